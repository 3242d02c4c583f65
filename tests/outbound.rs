//! What muster asks of others, against services on loopback that are well, and against such as are not: the keys of an
//! issuer, and the backend that says who a player is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::process::{Process, fresh_signer, write_certificate, write_keys};
use common::*;
use muster::client::{Client, ConnectError, Connector, Event, RequestError, Transport as Over, TransportChoice};
use muster::config::{IssuerSettings, Profile, Settings};
use muster::fetch::{Bounds, FetchFault, Fetcher, Url};
use muster::metrics::{Asking, Refresh};
use muster::outbox::Transport;
use muster::ticket::{Algorithm, KeyHint, Signer, generate_key};
use muster::wire::{Code, WireRole};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a fake service does with a request.
#[derive(Clone)]
enum Reply {
    Says(u16, &'static str, String),
    /// Reads, and never answers.
    Hangs,
    /// A byte now and then, for ever.
    Drips,
    /// Half of an answer, and the end.
    Breaks,
}

fn ok(body: impl ToString) -> Reply {
    Reply::Says(200, "", body.to_string())
}

fn status(status: u16) -> Reply {
    Reply::Says(status, "", String::new())
}

type Script = Box<dyn Fn(&str) -> Reply + Send>;

/// A service on loopback that remembers the heads of its requests.
#[derive(Clone)]
struct Fake {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Fake {
    async fn start(script: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            address: listener.local_addr().unwrap(),
            script: Arc::new(Mutex::new(Box::new(script))),
            heads: Arc::default(),
            connections: Arc::default(),
        };
        let this = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                this.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(this.clone().serve(stream));
            }
        });
        fake
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        loop {
            let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
                if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                    return;
                }
                continue;
            };
            let head = String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
            let reply = (self.script.lock())(&head);
            self.heads.lock().push(head);
            match reply {
                Reply::Says(status, more, body) => {
                    let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n{more}\r\n", body.len());
                    if stream.write_all((head + &body).as_bytes()).await.is_err() {
                        return;
                    }
                }
                Reply::Hangs => std::future::pending().await,
                Reply::Breaks => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{").await;
                    return;
                }
                Reply::Drips => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n").await;
                    while stream.write_all(b" ").await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    return;
                }
            }
        }
    }

    fn set(&self, script: impl Fn(&str) -> Reply + Send + 'static) {
        *self.script.lock() = Box::new(script);
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> usize {
        self.heads.lock().len()
    }
}

/// A key of an issuer: what signs, and the JWK that it publishes.
struct IssuerKey {
    signer: Signer,
    jwk: Value,
}

impl IssuerKey {
    fn new() -> Self {
        muster::ticket::install_crypto();
        let key = generate_key(Algorithm::EdDsa).unwrap();
        let signer = Signer::from_text(&key.private, &KeyHint::default()).unwrap();
        let set = signer.ring().unwrap().public_jwk_set();
        Self { signer, jwk: set["keys"][0].clone() }
    }

    fn ticket(&self, sub: &str) -> String {
        mint(&self.signer, sub, Map::new())
    }
}

fn set_of<'a>(keys: impl IntoIterator<Item = &'a IssuerKey>) -> Value {
    json!({ "keys": keys.into_iter().map(|key| &key.jwk).collect::<Vec<_>>() })
}

/// A server that believes what is published at `url`, beside its own key.
fn believing(url: String) -> impl Fn(&mut Settings) {
    move |settings| {
        settings.issuers = vec![IssuerSettings {
            name: "id".into(),
            profile: Profile::Muster,
            jwks_url: Some(url.clone()),
            ..IssuerSettings::default()
        }];
        settings.outbound.jwks_pause = Duration::from_millis(50);
    }
}

async fn enter(world: &World, transport: Transport, ticket: &str) -> Result<(), Option<u16>> {
    let opening = Opening { ticket: Some(ticket), ..Opening::default() };
    match world.open(transport, opening).await {
        Ok(mut peer) => match soon("a first message", peer.next()).await {
            Heard::Message(muster::wire::ServerMessage::Welcome(_)) => Ok(()),
            Heard::Message(muster::wire::ServerMessage::Goodbye(goodbye)) => Err(Some(goodbye.code)),
            other => panic!("{other:?}"),
        },
        Err(answer) => {
            let problem: Value = serde_json::from_str(&answer.body).unwrap();
            Err(Some(problem["code"].as_u64().unwrap() as u16))
        }
    }
}

/// What SIGHUP does: it makes the certificate of development anew, too.
fn reload(world: &mut World) {
    world.server.reload();
    world.hash = world.server.certificate_hash().unwrap();
}

fn refreshes(world: &World, outcome: Refresh) -> u64 {
    world.metrics().of_issuer("id").refreshes.of(outcome).get()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_whose_key_was_published_just_now_gets_in_and_one_whose_key_was_taken_back_does_not() {
    let (first, second) = (IssuerKey::new(), IssuerKey::new());
    let keys = set_of([&first]);
    let issuer = Fake::start(move |_| ok(&keys)).await;
    let world = World::with(believing(issuer.url("/jwks"))).await;
    for transport in BOTH {
        assert_eq!(enter(&world, transport, &first.ticket("ada")).await, Ok(()));
    }
    let keys = set_of([&second]);
    issuer.set(move |_| ok(&keys));
    for transport in BOTH {
        assert_eq!(enter(&world, transport, &second.ticket("bob")).await, Ok(()), "a fresh key");
        assert_eq!(enter(&world, transport, &first.ticket("ada")).await, Err(Some(4401)), "a key that is gone");
        assert_eq!(enter(&world, transport, &world.ticket("eve")).await, Ok(()), "the server's own keys stay");
    }
    let head = issuer.heads.lock()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /jwks http/1.1\r\n") && head.contains("user-agent: muster/"), "{head}");
    assert!(world.metrics().of_issuer("id").loaded.get() > 0);
    assert!(world.metrics().expose().contains("muster_jwks_refreshes_total{issuer=\"id\",outcome=\"loaded\"}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_issuer_has_taken_back_opens_nothing_once_the_operator_says_so() {
    let (leaked, other) = (IssuerKey::new(), IssuerKey::new());
    let keys = set_of([&leaked, &other]);
    let issuer = Fake::start(move |_| ok(&keys)).await;
    // With the default interval: no fetch of the background comes while this runs.
    let mut world = World::with(believing(issuer.url("/jwks"))).await;
    assert_eq!(enter(&world, BOTH[0], &leaked.ticket("ada")).await, Ok(()));
    let keys = set_of([&other]);
    issuer.set(move |_| ok(&keys));
    assert_eq!(enter(&world, BOTH[0], &leaked.ticket("ada")).await, Ok(()), "nobody has asked since");
    let asked = refreshes(&world, Refresh::Loaded);
    reload(&mut world);
    world.until("it was asked", |world| refreshes(world, Refresh::Loaded) > asked).await;
    for transport in BOTH {
        assert_eq!(enter(&world, transport, &leaked.ticket("ada")).await, Err(Some(4401)));
        assert_eq!(enter(&world, transport, &other.ticket("bob")).await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_issuer_down_at_the_start_its_players_are_told_to_come_back_and_others_play() {
    let key = IssuerKey::new();
    let issuer = Fake::start(|_| status(500)).await;
    let world = World::with(believing(issuer.url("/jwks"))).await;
    for transport in BOTH {
        assert_eq!(enter(&world, transport, &key.ticket("ada")).await, Err(Some(1013)));
        assert_eq!(enter(&world, transport, &world.ticket("eve")).await, Ok(()));
    }
    let keys = set_of([&key]);
    issuer.set(move |_| ok(&keys));
    world.until("the keys are there", |world| refreshes(world, Refresh::Loaded) > 0).await;
    assert_eq!(enter(&world, Transport::WebSocket, &key.ticket("ada")).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_issuer_publishes_the_last_good_keys_serve() {
    let (good, evil) = (IssuerKey::new(), IssuerKey::new());
    let elsewhere = Fake::start({
        let keys = set_of([&evil]);
        move |_| ok(&keys)
    })
    .await;
    let issuer = Fake::start({
        let keys = set_of([&good]);
        move |_| ok(&keys)
    })
    .await;
    let world = World::with(believing(issuer.url("/jwks"))).await;
    assert_eq!(enter(&world, Transport::WebSocket, &good.ticket("ada")).await, Ok(()));

    let with_evil = |more: Value| json!({ "keys": [good.jwk, evil.jwk, more] }).to_string();
    let redirect = format!("Location: {}\r\n", elsewhere.url("/jwks")).leak();
    let table = [
        ("huge", ok(" ".repeat(300_000) + &set_of([&evil]).to_string()), Refresh::Refused),
        ("not JSON", ok("<html>Sign in</html>"), Refresh::Refused),
        ("no key", ok(r#"{"keys":[]}"#), Refresh::Refused),
        ("two of a name", ok(with_evil(evil.jwk.clone())), Refresh::Refused),
        ("a secret", ok(with_evil(json!({ "kty": "oct", "kid": "s", "k": "A".repeat(43) }))), Refresh::Refused),
        (
            "a bad point",
            ok(with_evil(json!({ "kty": "OKP", "crv": "Ed25519", "kid": "x", "x": "AA" }))),
            Refresh::Refused,
        ),
        ("broken inside", status(500), Refresh::Unreachable),
        ("a redirect", Reply::Says(302, redirect, set_of([&evil]).to_string()), Refresh::Unreachable),
        ("slow", Reply::Drips, Refresh::Unreachable),
    ];
    for (what, reply, outcome) in table {
        let before = refreshes(&world, outcome);
        issuer.set(move |_| reply.clone());
        let deadline = Instant::now() + SOON;
        while refreshes(&world, outcome) == before {
            let refused = enter(&world, Transport::WebSocket, &evil.ticket("eve")).await;
            assert!(matches!(refused, Err(Some(4401 | 1013))), "{what}: {refused:?}");
            assert!(Instant::now() < deadline, "{what}");
        }
        assert_eq!(enter(&world, Transport::WebSocket, &good.ticket("ada")).await, Ok(()), "{what}");
    }
    assert_eq!(elsewhere.connections.load(Ordering::Relaxed), 0, "nobody else is ever asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ticket_makes_the_server_ask_where_it_points_to() {
    let (key, trap) = (IssuerKey::new(), Fake::start(|_| status(404)).await);
    let keys = set_of([&key]);
    let issuer = Fake::start(move |_| ok(&keys)).await;
    let world = World::with(believing(issuer.url("/jwks"))).await;
    assert_eq!(enter(&world, Transport::WebSocket, &key.ticket("ada")).await, Ok(()));
    let asked = issuer.asked();
    let good = key.ticket("eve");
    let (_, rest) = good.split_once('.').unwrap();
    for name in ["jku", "x5u", "jwk", "x5c", "crit"] {
        let header = json!({ "alg": "EdDSA", "kid": "elsewhere", name: trap.url("/jwks") });
        let header = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header.to_string());
        for transport in BOTH {
            assert_eq!(enter(&world, transport, &format!("{header}.{rest}")).await, Err(Some(4401)), "{name}");
        }
    }
    assert_eq!((trap.connections.load(Ordering::Relaxed), issuer.asked()), (0, asked));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_change_five_times_a_second_under_logins_refuse_nobody() {
    let first = Arc::new(IssuerKey::new());
    // What is published: the key in use and the one before, since tickets are under way.
    let published = Arc::new(Mutex::new(VecDeque::from([Arc::clone(&first)])));
    let issuer = Fake::start({
        let published = Arc::clone(&published);
        move |_| ok(set_of(published.lock().iter().map(|key| &**key)))
    })
    .await;
    let world = Arc::new(World::with(believing(issuer.url("/jwks"))).await);
    let (logins, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + Duration::from_secs(3));
    let rotating = {
        let published = Arc::clone(&published);
        tokio::spawn(async move {
            let mut rotations = 0;
            while Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let mut published = published.lock();
                published.push_back(Arc::new(IssuerKey::new()));
                // A login on a busy machine may take seconds from its ticket to its link.
                if published.len() > 40 {
                    published.pop_front();
                }
                rotations += 1;
            }
            rotations
        })
    };
    let players = (0..8).map(|player| {
        let (world, published, logins) = (Arc::clone(&world), Arc::clone(&published), Arc::clone(&logins));
        tokio::spawn(async move {
            while Instant::now() < end {
                let key = Arc::clone(published.lock().back().unwrap());
                let name = format!("player-{player}");
                assert_eq!(enter(&world, Transport::WebSocket, &key.ticket(&name)).await, Ok(()));
                logins.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for player in players.collect::<Vec<_>>() {
        player.await.unwrap();
    }
    let rotations = rotating.await.unwrap();
    assert_eq!(world.figures(Code::BadTicket).refusals, 0);
    println!("{} logins, {rotations} rotations, {} fetches", logins.load(Ordering::Relaxed), issuer.asked());
    assert!(refreshes(&world, Refresh::Loaded) > 1);
}

/// A server that asks `backend` about the cookie `sessionid` and the header `x-session`.
fn asking(url: String) -> impl Fn(&mut Settings) {
    move |settings| {
        settings.forward.url = Some(url.clone());
        settings.forward.cookies = vec!["sessionid".into()];
        settings.forward.headers = vec!["X-Session".into()];
        // A busy machine is no failing backend.
        settings.forward.timeout = SOON;
    }
}

/// Knows Ada by the cookie or header `ada`, and nobody else.
fn knows_ada(head: &str) -> Reply {
    match head.contains("sessionid=ada") || head.contains("x-session: ada") {
        true => ok(r#"{"sub":"7","name":"Ada","role":"player"}"#),
        false => status(401),
    }
}

fn connector(world: &World, transport: Transport, name: &str, value: &str) -> Connector {
    connector_to(world.address(), world.hash, transport).header(name, value)
}

fn connector_to(address: SocketAddr, hash: [u8; 32], transport: Transport) -> Connector {
    let over = if transport == Transport::WebSocket { Over::WebSocket } else { Over::WebTransport };
    Connector::new(format!("muster://{address}")).transport(TransportChoice::Only(over)).certificate_hash(hash)
}

/// A player who shows a header to the server over a transport.
async fn shows(world: &World, transport: Transport, name: &str, value: &str) -> Result<String, u16> {
    match connector(world, transport, name, value).connect().await {
        Ok(mut client) => {
            let player = soon("an arrival", arrived(&mut client)).await;
            client.close().await;
            Ok(player)
        }
        Err(ConnectError::Refused(refused)) => Err(refused.code),
        Err(other) => panic!("{other}"),
    }
}

async fn arrived(client: &mut Client) -> String {
    loop {
        match client.next().await {
            Some(Event::Arrived(arrival)) => return arrival.player.as_str().to_owned(),
            Some(_) => {}
            None => panic!("it ended without an arrival"),
        }
    }
}

fn told(world: &World, outcome: Asking) -> u64 {
    world.metrics().forward_requests.of(outcome).get()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_is_who_the_backend_says_until_it_says_otherwise() {
    let backend = Fake::start(knows_ada).await;
    let world = World::with(asking(backend.url("/whoami?for=muster"))).await;
    for transport in BOTH {
        let both = "theme=dark; sessionid=ada; csrftoken=canary";
        assert_eq!(shows(&world, transport, "Cookie", both).await, Ok("7".into()));
        let head = backend.heads.lock().last().unwrap().to_ascii_lowercase();
        assert!(head.starts_with("get /whoami?for=muster http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\ncookie: sessionid=ada\r\n") && !head.contains("canary"), "{head}");
        assert!(head.contains("\r\nx-forwarded-for: 127.0.0.1\r\n") && !head.contains("origin:"), "{head}");
        assert_eq!(shows(&world, transport, "X-Session", "ada").await, Ok("7".into()));
        assert_eq!(shows(&world, transport, "Cookie", "sessionid=bob").await, Err(4401));
        backend.set(|_| status(403));
        assert_eq!(shows(&world, transport, "Cookie", "sessionid=ada").await, Err(4403));
        backend.set(|_| status(401));
        assert_eq!(shows(&world, transport, "Cookie", "sessionid=ada").await, Err(4401), "logged out");
        backend.set(knows_ada);
    }
    assert_eq!(world.metrics().tickets_consumed.get(), 0);
    assert_eq!((told(&world, Asking::Known), told(&world, Asking::Unknown)), (4, 4));
    assert!(world.metrics().expose().contains("\nmuster_admitted_total{issuer=\"forward\"} 4\n"));
    // A ticket says more than a cookie: nobody is asked.
    let asked = backend.asked();
    world.player(Transport::WebSocket, "eve", "").await;
    assert_eq!(backend.asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_backend_says_a_player_may_do_binds_as_in_a_ticket() {
    let backend = Fake::start(knows_ada).await;
    let world = World::with(asking(backend.url("/whoami"))).await;
    let mut host = world.player(BOTH[0], "host", "").await;
    let ours = create(&mut host, spec("Ours")).await;
    let mut other = world.player(BOTH[0], "other", "").await;
    let theirs = lobby_wish(create(&mut other, spec("Theirs")).await.id);
    for transport in BOTH {
        // It arrives where it is bound to, without having wished for it.
        let answer = json!({ "sub": 7, "lobby": ours.id.to_string(), "role": "spectator", "actions": ["chat"] });
        backend.set(move |_| ok(&answer));
        let mut ada = connector(&world, transport, "Cookie", "sessionid=ada").connect().await.unwrap();
        assert_eq!(soon("an arrival", arrived(&mut ada)).await, "7");
        let seen = host.lobby("a spectator", |view| view.members.iter().any(|m| m.player == player("7"))).await;
        let member = seen.members.iter().find(|member| member.player == player("7")).unwrap();
        assert_eq!(member.role, WireRole::Spectator);
        assert_eq!(ada.chat("hello").await, Ok(()));
        for refused in [ada.join(theirs.clone()).await, ada.create(spec("Mine")).await, ada.ready(true).await] {
            assert!(matches!(&refused, Err(RequestError::Refused(refused)) if refused.code == 4403), "{refused:?}");
        }
        ada.close().await;
        host.lobby("alone again", |view| view.members.len() == 1).await;

        backend.set(|_| ok(json!({ "sub": 7, "game": "duel" })));
        let ada = connector(&world, transport, "Cookie", "sessionid=ada").connect().await.unwrap();
        let refused = ada.join("quick:tiny").await;
        assert!(matches!(&refused, Err(RequestError::Refused(refused)) if refused.code == 4403), "{refused:?}");
        ada.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_whom_the_backend_let_in_is_sent_away_and_stays_out_while_it_is_on_the_list() {
    let list = scratch().join("revoked.jsonl");
    std::fs::write(&list, "").unwrap();
    let allowed = "Cache-Control: max-age=60\r\n";
    let backend = Fake::start(move |_| Reply::Says(200, allowed, r#"{"sub":"7"}"#.into())).await;
    let mut world = World::with(|settings| {
        asking(backend.url("/whoami"))(settings);
        settings.forward.cache = Duration::from_secs(60);
        settings.revocations.file = Some(list.clone());
    })
    .await;
    let mut inside = Vec::new();
    for (transport, cookie) in BOTH.into_iter().zip(["sessionid=a", "sessionid=b"]) {
        backend.set(move |head| {
            let sub = if head.contains("sessionid=a") { 7 } else { 8 };
            Reply::Says(200, allowed, json!({ "sub": sub }).to_string())
        });
        let mut client = connector(&world, transport, "Cookie", cookie).connect().await.unwrap();
        soon("an arrival", arrived(&mut client)).await;
        inside.push(client);
    }
    std::fs::write(&list, "{\"player\":\"7\"}\n{\"player\":\"8\"}\n").unwrap();
    let began = Instant::now();
    reload(&mut world);
    for client in &mut inside {
        // The client asks once more with what it has, and is refused.
        let refused = soon("an end", async {
            loop {
                if let Some(Event::Reconnecting { cause: ConnectError::Refused(refused), .. }) = client.next().await {
                    return refused;
                }
            }
        })
        .await;
        assert_eq!((refused.code, refused.slug.as_str()), (4403, "revoked"));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // What was kept of the backend's answer does not help, nor does a new one.
    for cookie in ["sessionid=a", "sessionid=b", "sessionid=a; x=y"] {
        for transport in BOTH {
            assert_eq!(shows(&world, transport, "Cookie", cookie).await, Err(4401), "{cookie}");
        }
    }
    std::fs::write(&list, "{\"player\":\"8\"}\n").unwrap();
    reload(&mut world);
    world.until("the new list", |world| world.metrics().revocations.get() == 1).await;
    assert_eq!(shows(&world, BOTH[0], "Cookie", "sessionid=a").await, Ok("7".into()));
    std::fs::remove_dir_all(list.parent().unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_fails_is_left_alone_after_five_times_and_one_that_answers_oddly_is_not() {
    let trap = Fake::start(|_| ok(r#"{"sub":"mallory"}"#)).await;
    let redirect = format!("Location: {}\r\n", trap.url("/")).leak();
    let table = [
        ("a fault", status(500), true),
        ("out of service", status(503), true),
        ("too many requests", status(429), true),
        ("a hang", Reply::Hangs, true),
        ("drops of an answer", Reply::Drips, true),
        ("half of an answer", Reply::Breaks, true),
        // It is well, and says something odd of one player: the others are let in.
        ("a cookie that it does not take", status(400), false),
        ("no JSON", ok("<html>"), false),
        ("no player", ok(r#"{"user":null}"#), false),
        ("a player that is none", ok(r#"{"sub":"a\u0000b"}"#), false),
        ("a session that is over", ok(r#"{"sub":"7","session_exp":1}"#), false),
        ("very much", ok(json!({ "sub": "7", "more": "x".repeat(20_000) })), false),
        ("a redirect", Reply::Says(302, redirect, r#"{"sub":"7"}"#.into()), false),
        ("no content", status(204), false),
    ];
    for (what, reply, unwell) in table {
        let backend = Fake::start(knows_ada).await;
        let never = matches!(reply, Reply::Hangs | Reply::Drips);
        let world = World::with(|settings| {
            asking(backend.url("/whoami"))(settings);
            if never {
                settings.forward.timeout = Duration::from_millis(300);
            }
        })
        .await;
        backend.set(move |head| if head.contains("sessionid=ada") { knows_ada(head) } else { reply.clone() });
        for attempt in 0..7 {
            let transport = BOTH[attempt % 2];
            assert_eq!(shows(&world, transport, "Cookie", "sessionid=odd").await, Err(1013), "{what}");
        }
        let (asked, left_alone) = if unwell { (5, 2) } else { (7, 0) };
        assert_eq!(backend.asked(), asked, "{what}: then it is left alone");
        assert_eq!(told(&world, Asking::LeftAlone), left_alone, "{what}");
        assert_eq!(world.metrics().forward_left_alone.get(), i64::from(unwell), "{what}");
        assert_eq!(world.metrics().players.get(), 0);
        let ada = shows(&world, BOTH[0], "Cookie", "sessionid=ada").await;
        assert_eq!(ada, if unwell { Err(1013) } else { Ok("7".into()) }, "{what}");
        world.player(Transport::WebSocket, "eve", "").await;
    }
    assert_eq!(trap.connections.load(Ordering::Relaxed), 0, "no redirect is followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_well_again_is_found_out_by_one_question() {
    let backend = Fake::start(|_| status(500)).await;
    let world = World::with(asking(backend.url("/whoami"))).await;
    for _ in 0..5 {
        assert_eq!(shows(&world, Transport::WebSocket, "Cookie", "sessionid=ada").await, Err(1013));
    }
    backend.set(knows_ada);
    soon("the backend is asked again", async {
        while shows(&world, Transport::WebSocket, "Cookie", "sessionid=ada").await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!((backend.asked(), world.metrics().forward_left_alone.get()), (6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_pages_that_are_not_listed_go_nowhere() {
    let backend = Fake::start(knows_ada).await;
    let upgrade = |world: &World, origin: &str| {
        let more = format!(
            "Origin: {origin}\r\nCookie: sessionid=ada\r\nX-Session: ada\r\nSec-WebSocket-Protocol: muster.1\r\n"
        );
        let address = world.address();
        async move { WsPeer::upgrade(address, "/v1/play", &more).await }
    };
    let world = World::with(asking(backend.url("/whoami"))).await;
    let mut page = Peer::over(Link::Ws(Box::new(upgrade(&world, ORIGIN).await.ok().unwrap())));
    assert_eq!(page.welcomed().await.player, player("7"));
    let head = backend.heads.lock().last().unwrap().clone();
    assert!(head.contains(&format!("origin: {ORIGIN}\r\n")), "{head}");
    let asked = backend.asked();
    for other in ["https://game.example.evil.example", "https://evilgame.example", "http://game.example", "null"] {
        assert_eq!(upgrade(&world, other).await.err().map(|answer| answer.status), Some(403), "{other}");
    }
    // With --dev and no page listed any may open a link, but with a ticket alone.
    let dev = World::with(|settings| {
        asking(backend.url("/whoami"))(settings);
        settings.origins.allowed.clear();
        settings.limits.first_message = Duration::from_millis(200);
    })
    .await;
    let mut stranger = Peer::over(Link::Ws(Box::new(upgrade(&dev, "https://elsewhere.example").await.ok().unwrap())));
    stranger.is_told(Code::TicketTimeout, "ticket-timeout").await;
    assert_eq!(backend.asked(), asked, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_used_again_only_as_long_as_the_backend_and_the_operator_allow() {
    let cached = |allowed: &'static str| move |_: &str| Reply::Says(200, allowed, r#"{"sub":"7"}"#.into());
    for (allowed, cache, expected) in
        [("Cache-Control: max-age=60\r\n", 60, 1), ("Cache-Control: max-age=60\r\n", 0, 3), ("", 60, 3)]
    {
        let backend = Fake::start(cached(allowed)).await;
        let world = World::with(|settings| {
            asking(backend.url("/whoami"))(settings);
            settings.forward.cache = Duration::from_secs(cache);
        })
        .await;
        for _ in 0..3 {
            assert_eq!(shows(&world, Transport::WebSocket, "Cookie", "sessionid=ada").await, Ok("7".into()));
        }
        assert_eq!(backend.asked(), expected, "{allowed:?} {cache}");
        shows(&world, Transport::WebSocket, "Cookie", "sessionid=bob").await.unwrap();
        assert_eq!(backend.asked(), expected + 1, "another cookie is another question");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_others_do_wrong_is_one_line_that_says_who_and_what_and_that_it_goes_on() {
    let (good, evil) = (IssuerKey::new(), IssuerKey::new());
    let service = Fake::start(knows_ada).await;
    let publish = |reply: Reply| {
        service.set(move |head| if head.starts_with("GET /jwks ") { reply.clone() } else { knows_ada(head) });
    };
    publish(ok(set_of([&good])));
    let (directory, signer) = (scratch(), fresh_signer());
    write_certificate(&directory);
    write_keys(&directory, &[&signer]);
    let settings = format!(
        "[[issuers]]\nname = \"id\"\nprofile = \"muster\"\njwks_url = \"{}\"\n\
         [forward]\nurl = \"{}\"\ncookies = [\"sessionid\"]\n[revocations]\nfile = \"revoked.jsonl\"\n",
        service.url("/jwks"),
        service.url("/whoami")
    );
    std::fs::write(directory.join("muster.toml"), settings).unwrap();
    std::fs::write(directory.join("revoked.jsonl"), "{\"player\":\"mallory\"}\n").unwrap();
    let server = Process::launch_in(directory, signer, &[], &[], &["--config=muster.toml"]).await;
    let says = async |line: &str| server.wrote(line, |text| text.contains(line).then_some(())).await;
    let enters = async |ticket: String| {
        let opening = Opening { ticket: Some(&ticket), ..Opening::default() };
        server.open(BOTH[0], opening).await.expect("let in").welcomed().await;
    };
    says("the issuer's keys are in force issuer=id keys=1").await;

    let moved = "Location: http://127.0.0.1:9/\r\n";
    let weak = json!({ "keys": [good.jwk, { "kty": "RSA", "kid": "w", "n": "_".repeat(168), "e": "AQAB" }] });
    for (reply, why) in [
        (ok(" ".repeat(300_000)), "it answered with more than 262144 bytes"),
        (ok("<html>Sign in</html>"), "its key set was refused: not a JWK set in JSON"),
        (ok(weak), "its key set was refused: key 2 of the set: an RSA key of 1008 bits is too weak"),
        (ok(set_of([&evil, &evil])), "its key set was refused: two keys have the kid"),
        (status(500), "it answered with status 500 serving=1"),
        (Reply::Says(302, moved, String::new()), "it answered with status 302; redirects are not followed"),
        (Reply::Breaks, "it broke off: "),
        (Reply::Drips, "it did not answer within 5s"),
    ] {
        publish(reply);
        server.signal("HUP");
        says(&format!("the issuer's keys stay as they were issuer=id fault={why}")).await;
        enters(good.ticket("ada")).await;
    }
    publish(ok(set_of([&good])));
    server.signal("HUP");
    says("the issuer's keys can be fetched again issuer=id").await;

    for (reply, why) in [
        (status(500), "the backend answered with status 500\n"),
        (ok("<html>"), "the backend's answer describes no player: it is not a JSON object"),
        (ok(r#"{"sub":7,"role":"admin"}"#), "the backend's answer describes no player: its `role` is not"),
        (Reply::Says(302, moved, String::new()), "the backend answered with status 302; redirects are not followed\n"),
        (Reply::Hangs, "the backend did not answer within 2s"),
    ] {
        service.set(move |_| reply.clone());
        let refused = connector_to(server.address, server.hash, BOTH[0]).header("Cookie", "sessionid=ada");
        assert!(
            matches!(refused.connect().await, Err(ConnectError::Refused(refused)) if refused.code == 1013),
            "{why}"
        );
        says(&format!("the backend that knows the players failed fault={why}")).await;
        enters(good.ticket("ada")).await;
    }
    assert!(server.metric("muster_forward_requests_total{outcome=\"bad-answer\"}").await == 4);

    for (text, why) in [
        ("{\"player\":\"eve\"}\n{\"player\":}\n", "revoked.jsonl:2: not a revocation in JSON: "),
        (
            "{\"player\":\"eve\"}\n\n{\"plaier\":\"bob\"}\n",
            "revoked.jsonl:3: not a revocation in JSON: unknown field `plaier`",
        ),
    ] {
        std::fs::write(server.directory.join("revoked.jsonl"), text).unwrap();
        server.signal("HUP");
        says(&format!("the list of revocations stays as it was fault={why}")).await;
        enters(server.ticket("eve")).await;
        let ticket = server.ticket("mallory");
        let refused = server.open(BOTH[0], Opening { ticket: Some(&ticket), ..Opening::default() }).await;
        refused.err().expect("still on the list").is_problem(Code::BadTicket, "bad-ticket");
    }
    assert_eq!(server.metric("muster_revocation_faults_total{where=\"list\"}").await, 2);

    std::fs::write(server.directory.join("keys.json"), "{").unwrap();
    server.signal("HUP");
    says("the keys stay as they were fault=keys.json: ").await;
    enters(server.ticket("eve")).await;
    assert_eq!(server.metric("muster_key_faults_total").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_questions_are_under_way_than_are_allowed() {
    let backend = Fake::start(|_| Reply::Hangs).await;
    let world = Arc::new(
        World::with(|settings| {
            asking(backend.url("/whoami"))(settings);
            settings.forward.in_flight = 2;
            settings.forward.timeout = Duration::from_secs(5);
        })
        .await,
    );
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { shows(&world, Transport::WebSocket, "Cookie", "sessionid=ada").await })
        })
        .collect();
    world.until("both are under way", |_| backend.asked() == 2).await;
    assert_eq!(shows(&world, Transport::WebSocket, "Cookie", "sessionid=ada").await, Err(1013));
    assert_eq!((told(&world, Asking::Busy), backend.asked()), (1, 2));
    for player in waiting {
        assert_eq!(player.await.unwrap(), Err(1013));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_authorities_that_are_believed_are_asked() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("https://localhost:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 1_024];
            if stream.read(&mut head).await.is_ok() {
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmine").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    let bounds = Bounds { timeout: SOON, body: 16 };
    let strict = Fetcher::new(None).unwrap();
    let refused = strict.get(&url, Default::default(), bounds).await.unwrap_err();
    assert!(matches!(refused, FetchFault::Unreachable(_)), "{refused}");
    let trusting = Fetcher::new(Some(certificate.pem().as_bytes())).unwrap();
    let answer = trusting.get(&url, Default::default(), bounds).await.unwrap();
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"mine"[..]));
    let short = Bounds { body: 3, ..bounds };
    assert_eq!(trusting.get(&url, Default::default(), short).await.unwrap_err(), FetchFault::TooLarge(3));
}
