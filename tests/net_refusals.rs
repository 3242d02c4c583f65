//! Every bad input, over both transports: its code, its slug, the Goodbye before the close, what is counted, and that
//! nothing was allocated for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::websocket::{get, http, masked};
use common::*;
use muster::codec;
use muster::metrics::InputDrop;
use muster::outbox::Transport;
use muster::ticket::{Algorithm, KeyHint, Signer, generate_key};
use muster::wire::*;
use serde_json::{Map, Value, json};

/// Each way that a ticket may come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// A native client over WebSocket: refused by HTTP.
    Native,
    /// A page over WebSocket: upgraded, told, closed.
    Page,
    /// In the first message over WebSocket.
    Hello,
    /// In the query over WebTransport.
    Query,
    /// In the query over WebTransport, from a page.
    QueryPage,
    /// In the first message over WebTransport.
    Stream,
}

const WAYS: [Way; 6] = [Way::Native, Way::Page, Way::Hello, Way::Query, Way::QueryPage, Way::Stream];

impl Way {
    async fn open(self, world: &World, ticket: &str, join: &str) -> Result<Peer, HttpAnswer> {
        let opening = Opening { ticket: Some(ticket), join, ..Opening::default() };
        let page = Some(ORIGIN);
        match self {
            Self::Native => world.open(Transport::WebSocket, opening).await,
            Self::Page => world.open(Transport::WebSocket, Opening { origin: page, ..opening }).await,
            Self::Query => world.open(Transport::WebTransport, opening).await,
            Self::QueryPage => world.open(Transport::WebTransport, Opening { origin: page, ..opening }).await,
            Self::Hello | Self::Stream => {
                let over = if self == Self::Hello { Transport::WebSocket } else { Transport::WebTransport };
                let mut peer = world.open(over, Opening::default()).await?;
                peer.say(&ClientMessage::Hello { ticket: ticket.into(), join: join.into(), resume: None }).await;
                Ok(peer)
            }
        }
    }

    /// Tries a ticket that must be refused, and looks at all that a refusal must and must not do.
    async fn is_refused(self, world: &World, what: &str, ticket: &str, join: &str, code: Code, reason: &str) {
        let before = world.figures(code);
        let seats = world.metrics().players.get();
        let outcome = self.open(world, ticket, join).await;
        assert_eq!(outcome.is_err(), self == Self::Native, "{what} by {self:?}");
        match outcome {
            Ok(mut peer) => {
                let goodbye = peer.is_told(code, reason).await;
                assert_eq!(goodbye.retry_after_ms.is_some(), code == Code::Overloaded, "{what} by {self:?}");
                assert!(peer.raw.len() == 1, "{what} by {self:?}: the Goodbye is the first and only message");
            }
            Err(answer) => {
                answer.is_problem(code, reason);
                assert!(!answer.body.contains(ticket) || ticket.is_empty());
            }
        }
        let expected = Figures { refusals: before.refusals + 1, ..before };
        assert_eq!(world.figures(code), expected, "{what} by {self:?}");
        assert_eq!(world.metrics().players.get(), seats, "{what} by {self:?}");
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tickets_are_refused_by_every_way_and_cost_nothing() {
    let world = World::start().await;
    let at = now();
    let forger = Signer::from_text(&generate_key(Algorithm::EdDsa).unwrap().private, &KeyHint::default()).unwrap();
    let claims = json!({ "iss": "muster", "aud": "muster", "sub": "eve", "iat": at, "exp": at + 60, "jti": "x1" });
    let with = |claim: &str, value: Value| world.ticket_with("eve", &[(claim, value)]);
    let good = world.ticket("eve");
    let (head, rest) = good.split_once('.').unwrap();
    let tampered = {
        let (_, signature) = rest.split_once('.').unwrap();
        format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    let table = [
        ("junk", "junk".to_owned(), "bad-ticket"),
        ("three junk parts", "a.b.c".to_owned(), "bad-ticket"),
        ("over the bound", "x".repeat(2_049), "bad-ticket"),
        ("expired before it was made", with("exp", json!(at - 30)), "ticket-expired"),
        ("expired", world.ticket_with("eve", &[("iat", json!(at - 90)), ("exp", json!(at - 30))]), "ticket-expired"),
        ("not yet valid", with("nbf", json!(at + 60)), "bad-ticket"),
        (
            "from the future",
            world.ticket_with("eve", &[("iat", json!(at + 60)), ("exp", json!(at + 120))]),
            "bad-ticket",
        ),
        ("good for ten years", with("exp", json!(at + 315_360_000)), "bad-ticket"),
        ("forged", mint(&forger, "eve", Map::new()), "bad-ticket"),
        ("tampered with", tampered, "bad-ticket"),
        ("alg none", unsigned(&json!({ "alg": "none", "typ": "muster-ticket+jwt" }), &claims), "bad-ticket"),
        ("alg nOnE", unsigned(&json!({ "alg": "nOnE" }), &claims), "bad-ticket"),
        ("cut short", good[..good.len() - 8].to_owned(), "bad-ticket"),
        ("another audience", with("aud", json!("elsewhere")), "bad-ticket"),
        ("another issuer", with("iss", json!("elsewhere")), "bad-ticket"),
        ("no player", with("sub", json!(7)), "bad-ticket"),
        ("a player with a control character", with("sub", json!("a\u{1b}[2J")), "bad-ticket"),
    ];
    for (what, ticket, reason) in &table {
        for way in WAYS {
            way.is_refused(&world, what, ticket, "quick:tiny", Code::BadTicket, reason).await;
        }
    }
    assert_eq!(world.metrics().lobbies.get(), 0);
    for way in WAYS {
        let mut fine = way.open(&world, &world.ticket("fine"), "quick:tiny").await.expect("let in");
        assert_eq!(fine.welcomed().await.outcome, ResumeOutcome::Arrived, "{way:?}");
        fine.say(&ClientMessage::Bye).await;
        fine.is_told(Code::Left, "left").await;
    }
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn good_tickets_in_the_wrong_place_are_refused_by_every_way() {
    let world = World::start().await;
    let mut host = world.player(Transport::WebSocket, "host", "").await;
    let small = create(&mut host, LobbySpec { capacity: 1, ..spec("Small") }).await;
    let used = world.ticket("used");
    drop(world.arrive(Transport::WebSocket, Opening { ticket: Some(&used), ..Opening::default() }).await);
    let nowhere = "lobby:00000000000000000000000000000001";
    let bound = world.ticket_with("bound", &[("lobby", json!("00000000000000000000000000000002"))]);
    let bidi = world.ticket_with("bidi", &[("name", json!("a\u{202e}b"))]);
    let control = world.ticket_with("control", &[("name", json!("a\u{7}b"))]);
    let spectator = world.ticket_with("eve", &[("role", json!("spectator"))]);
    let full = lobby_wish(small.id);
    let table = [
        ("used", &used, "", Code::TicketUsed, "ticket-used"),
        ("used, for a lobby", &used, "quick:tiny", Code::TicketUsed, "ticket-used"),
        ("bound to another lobby", &bound, &full, Code::Forbidden, "forbidden"),
        ("bound to a lobby that is gone", &bound, "", Code::NotFound, "not-found"),
        ("no such lobby", &world.ticket("a"), nowhere, Code::NotFound, "not-found"),
        ("no such code", &world.ticket("a"), "code:AAAAAA", Code::NotFound, "not-found"),
        (
            "no such session",
            &world.ticket("a"),
            "session:00000000000000000000000000000001",
            Code::NotFound,
            "not-found",
        ),
        ("no such game", &world.ticket("a"), "quick:chess", Code::NotFound, "not-found"),
        ("a full lobby", &world.ticket("a"), &full, Code::LobbyFull, "lobby-full"),
        ("a name that turns text round", &bidi, "", Code::Malformed, "bad-name"),
        ("a name with a control character", &control, "", Code::BadTicket, "bad-ticket"),
        ("a spectator of nothing", &spectator, "quick:chess", Code::NotFound, "not-found"),
    ];
    for (what, ticket, join, code, reason) in table {
        for way in WAYS {
            way.is_refused(&world, what, ticket, join, code, reason).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_contradict_themselves_are_malformed() {
    let world = World::start().await;
    let (a, b) = (world.ticket("a"), world.ticket("b"));
    let token = URL_SAFE_NO_PAD.encode([7; 32]);
    let before = world.figures(Code::Malformed);
    let targets = [
        "/v1/play?join=teleport:mars".to_owned(),
        "/v1/play?join=quick".to_owned(),
        format!("/v1/play?ticket={b}"),
        format!("/v1/play?resume={token}.1"),
        "/v1/play?resume=junk".to_owned(),
    ];
    for target in &targets {
        for (page, browser) in [("", false), (ORIGIN, true)] {
            let origin = if browser { format!("Origin: {page}\r\n") } else { String::new() };
            let more = format!("{origin}Sec-WebSocket-Protocol: muster.1, ticket.{a}\r\n");
            match WsPeer::upgrade(world.address(), target, &more).await {
                Ok(peer) if browser => {
                    drop(Peer::over(Link::Ws(Box::new(peer))).is_told(Code::Malformed, "malformed").await)
                }
                Err(answer) if !browser => answer.is_problem(Code::Malformed, "malformed"),
                _ => panic!("{target}"),
            }
        }
        if !target.contains("ticket=") {
            let join = if target.contains('&') { "&" } else { "" };
            let target = format!("{target}{join}&ticket={a}");
            let endpoint = common::webtransport::endpoint(world.hash);
            let link = common::webtransport::connect(&endpoint, world.address(), &target, &[]).await.unwrap();
            let mut peer = Peer::over(Link::Wt(Box::new(WtPeer::over(endpoint, link).await)));
            peer.is_told(Code::Malformed, "malformed").await;
        }
    }
    let tries = targets.len() as u64 * 3 - 1;
    assert_eq!(world.figures(Code::Malformed), Figures { refusals: before.refusals + tries, ..before });
    // The same ticket twice is fine, and none of this used it up.
    let more = format!("Sec-WebSocket-Protocol: muster.1, ticket.{a}\r\nAuthorization: Bearer {a}\r\n");
    let peer = WsPeer::upgrade(world.address(), &format!("/v1/play?ticket={a}"), &more).await.unwrap();
    Peer::over(Link::Ws(Box::new(peer))).welcomed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_none_burns_no_ticket() {
    let world = World::start().await;
    let ticket = world.ticket("ada");
    let head = "GET /v1/play HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for broken in
        ["Sec-WebSocket-Version: 13\r\n".to_owned(), key.to_owned(), format!("{key}Sec-WebSocket-Version: 8\r\n")]
    {
        let request = format!("{head}{broken}Authorization: Bearer {ticket}\r\n\r\n");
        let answer = http(world.address(), &request).await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    let plain = format!("GET /v1/play HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ticket}\r\n\r\n");
    assert_eq!(http(world.address(), &plain).await.status, 400);
    assert_eq!((world.metrics().players.get(), world.metrics().tickets_consumed.get()), (0, 0));
    world.arrive(Transport::WebSocket, Opening { ticket: Some(&ticket), ..Opening::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_of_ticket_is_not_even_read() {
    let world = World::start().await;
    let huge = "x".repeat(1 << 20);
    let answer = WsPeer::upgrade(world.address(), "/v1/play", &format!("Authorization: Bearer {huge}\r\n")).await;
    let status = answer.err().expect("refused").status;
    // The connection may be reset before the answer is read: then there is none.
    assert!(status == 431 || status == 0, "{status}");
    for (transport, code) in [(BOTH[0], Code::FrameTooBig), (BOTH[1], Code::MessageTooBig)] {
        let before = world.figures(code);
        let mut peer = world.open(transport, Opening::default()).await.unwrap();
        peer.say(&ClientMessage::Hello { ticket: huge.clone(), join: String::new(), resume: None }).await;
        peer.is_told(code, code.slug()).await;
        assert_eq!(world.figures(code), Figures { refusals: before.refusals + 1, ..before });
    }
    let endpoint = common::webtransport::endpoint(world.hash);
    let target = format!("/v1/play?ticket={huge}");
    assert!(common::webtransport::connect(&endpoint, world.address(), &target, &[]).await.is_err());
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_told_so() {
    let world = World::start().await;
    let ticket = world.ticket("ada");
    let before = world.figures(Code::Version);
    // One that offers another version understands no Goodbye: HTTP tells pages as well.
    for origin in [None, Some(ORIGIN)] {
        let opening = Opening { ticket: Some(&ticket), origin, protocols: Some("muster.9"), ..Opening::default() };
        let answer = world.open(Transport::WebSocket, opening).await.err().expect("refused");
        answer.is_problem(Code::Version, "version");
    }
    let opening = Opening { ticket: Some(&ticket), protocols: Some("\"muster.9\""), ..Opening::default() };
    world.is_refused(Transport::WebTransport, opening, Code::Version, "version").await;
    assert_eq!(world.figures(Code::Version), Figures { refusals: before.refusals + 3, ..before });
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_pages_and_unknown_paths_are_http_errors() {
    let world = World::start().await;
    let before = world.figures(Code::Forbidden);
    let foreign = [
        "https://evil.example",
        "null",
        "https://game.example.evil.example",
        "http://game.example",
        "https://game.example:444",
    ];
    for (count, origin) in (1..).zip(foreign) {
        let ticket = world.ticket("ada");
        let opening = Opening { ticket: Some(&ticket), origin: Some(origin), ..Opening::default() };
        let answer = world.open(Transport::WebSocket, opening.clone()).await.err().expect(origin);
        answer.is_problem(Code::Forbidden, "forbidden");
        assert!(world.open(Transport::WebTransport, opening).await.is_err(), "{origin}");
        assert_eq!(world.figures(Code::Forbidden), Figures { refusals: before.refusals + 2 * count, ..before });
    }
    let two = format!("Origin: {ORIGIN}\r\nOrigin: {ORIGIN}\r\nSec-WebSocket-Protocol: muster.1\r\n");
    assert_eq!(WsPeer::upgrade(world.address(), "/v1/play", &two).await.err().unwrap().status, 403);
    get(world.address(), "/v2/play").await.is_problem(Code::NotFound, "not-found");
    let endpoint = common::webtransport::endpoint(world.hash);
    assert!(common::webtransport::connect(&endpoint, world.address(), "/v2/play", &[]).await.is_err());
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_told_that_no_ticket_came() {
    let world = World::with_limits(|limits| limits.first_message = Duration::from_millis(300)).await;
    for transport in BOTH {
        let before = world.figures(Code::TicketTimeout);
        let mut silent = world.open(transport, Opening::default()).await.unwrap();
        silent.is_told(Code::TicketTimeout, "ticket-timeout").await;
        assert_eq!(world.figures(Code::TicketTimeout), Figures { refusals: before.refusals + 1, ..before });
    }
    // A half of a message is as good as none.
    let before = world.figures(Code::TicketTimeout);
    let mut half = world.open(Transport::WebSocket, Opening::default()).await.unwrap();
    let Link::Ws(peer) = &mut half.link else { panic!() };
    peer.raw(&masked(0x82, &[0; 100])[..50]).await;
    half.is_told(Code::TicketTimeout, "ticket-timeout").await;
    // And one that never opens its control stream has nowhere to be told; the close code says it. With a ticket or not.
    let ticket = world.ticket("ada");
    for target in ["/v1/play".to_owned(), format!("/v1/play?ticket={ticket}")] {
        let endpoint = common::webtransport::endpoint(world.hash);
        let link = common::webtransport::connect(&endpoint, world.address(), &target, &[]).await.unwrap();
        match soon("a close", link.closed()).await {
            wtransport::error::ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.code().into_inner(), 4_408);
            }
            other => panic!("{other:?}"),
        }
    }
    world.until("each counted", |world| world.figures(Code::TicketTimeout).refusals == before.refusals + 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_that_is_no_hello_is_malformed() {
    let world = World::start().await;
    let ticket = world.ticket("ada");
    let hello =
        |ticket: &str, join: &str| ClientMessage::Hello { ticket: ticket.into(), join: join.into(), resume: None };
    let point = ResumePoint { token: ResumeToken([7; 32]), received: 0 };
    let both = ClientMessage::Hello { ticket: ticket.clone(), join: String::new(), resume: Some(point.clone()) };
    let mut cut_short = codec::encode(&hello(&ticket, ""));
    cut_short.pop();
    let left_over = [codec::encode(&hello(&ticket, "")), vec![0]].concat();
    let table: Vec<(&str, Vec<u8>, Code)> = vec![
        ("a Ping", codec::encode(&ClientMessage::Ping { nonce: 1, received: 0 }), Code::Malformed),
        ("a Bye", codec::encode(&ClientMessage::Bye), Code::Malformed),
        ("a Request", codec::encode(&ClientMessage::Request { id: 1, body: Request::Leave }), Code::Malformed),
        ("nothing", vec![], Code::Malformed),
        ("an unknown kind", vec![200, 1, 2], Code::Malformed),
        ("cut short", cut_short, Code::Malformed),
        ("bytes left over", left_over, Code::Malformed),
        ("a ticket and a resume point", codec::encode(&both), Code::Malformed),
        ("a bad wish", codec::encode(&hello(&ticket, "teleport:mars")), Code::Malformed),
        ("an empty ticket", codec::encode(&hello("", "")), Code::BadTicket),
        (
            "an unknown resume point",
            codec::encode(&ClientMessage::Hello { ticket: String::new(), join: String::new(), resume: Some(point) }),
            Code::BadTicket,
        ),
    ];
    for transport in BOTH {
        for (what, bytes, code) in &table {
            let before = world.figures(*code);
            let mut peer = world.open(transport, Opening::default()).await.unwrap();
            peer.say_bytes(bytes).await;
            peer.is_told(*code, code.slug()).await;
            assert_eq!(world.figures(*code), Figures { refusals: before.refusals + 1, ..before }, "{what}");
        }
    }
    // None of it burned the ticket.
    world.arrive(Transport::WebSocket, Opening { ticket: Some(&ticket), ..Opening::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_hello_at_once_waits_for_the_welcome() {
    let world = World::start().await;
    for transport in BOTH {
        let hello = ClientMessage::Hello { ticket: world.ticket("ada"), join: "quick:tiny".into(), resume: None };
        let ping = ClientMessage::Ping { nonce: 5, received: 0 };
        let chat = ClientMessage::Request { id: 1, body: Request::Chat("early".into()) };
        let mut peer = world.open(transport, Opening::default()).await.unwrap();
        let messages = [&hello, &ping, &chat].map(codec::encode);
        match &mut peer.link {
            Link::Ws(peer) => peer.raw(&messages.map(|message| masked(0x82, &message)).concat()).await,
            Link::Wt(peer) => {
                let mut bytes = Vec::new();
                messages.iter().for_each(|message| put_control(message, &mut bytes));
                peer.raw(&bytes).await;
            }
        }
        peer.welcomed().await;
        peer.until("the Pong", |message| matches!(message, ServerMessage::Pong { nonce: 5, .. }).then_some(())).await;
        assert_eq!(peer.chat().await.1, "early");
        assert_eq!(peer.reply(1).await, Ok(()));
        peer.say(&ClientMessage::Bye).await;
        peer.is_told(Code::Left, "left").await;
    }
    world.is_empty().await;
}

/// What an admitted player says, what it is closed with, and whether only WebSockets can say it.
fn bad_messages() -> Vec<(&'static str, Vec<u8>, Code)> {
    let request = |id, body| codec::encode(&ClientMessage::Request { id, body });
    let inputs = |count: u32| {
        let inputs = (1..=count).map(|seq| Input { seq: muster::ids::InputSeq(seq), data: vec![1] }).collect();
        codec::encode(&ClientMessage::Inputs(Inputs { seen: muster::ids::Tick(0), inputs }))
    };
    let mut cut_short = request(1, Request::Chat("hello".into()));
    cut_short.pop();
    vec![
        ("nothing", vec![], Code::Malformed),
        ("an unknown kind", vec![77], Code::Malformed),
        ("an unknown request", vec![3, 1, 99], Code::Malformed),
        ("cut short", cut_short, Code::Malformed),
        ("bytes left over", [request(1, Request::Leave), vec![0]].concat(), Code::Malformed),
        ("a length that lies", vec![3, 1, 4, 253, 255, 255, 255, 255, 255, 255, 255, 127], Code::Malformed),
        ("text that is not UTF-8", vec![3, 1, 4, 2, 0xff, 0xfe], Code::Malformed),
        (
            "a second Hello",
            codec::encode(&ClientMessage::Hello { ticket: "x".into(), join: String::new(), resume: None }),
            Code::Malformed,
        ),
        ("an input before a seat", inputs(1), Code::Malformed),
        ("no inputs", inputs(0), Code::Malformed),
        ("too many inputs", inputs(17), Code::Malformed),
        ("a request out of turn", request(3, Request::Leave), Code::Malformed),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_close_the_link_with_their_code_and_the_place_waits() {
    let world = World::start().await;
    for transport in BOTH {
        for (what, bytes, code) in bad_messages() {
            let mut peer = world.player(transport, "ada", "").await;
            let before = world.figures(code);
            peer.say_bytes(&bytes).await;
            peer.is_told(code, code.slug()).await;
            let memory = peer.cut();
            assert_eq!(
                world.figures(code),
                Figures { closes: before.closes + 1, ..before },
                "{what} over {transport:?}"
            );
            let mut back = world.resume(transport, memory).await;
            assert_eq!(back.welcome.clone().unwrap().outcome, ResumeOutcome::Resumed, "{what}");
            back.ping().await;
        }
    }
    // Over a datagram as well.
    let mut peer = world.player(Transport::WebTransport, "ada", "").await;
    let Link::Wt(link) = &peer.link else { panic!() };
    link.datagram(&[77]);
    peer.is_told(Code::Malformed, "malformed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_frames_close_the_websocket_with_their_code() {
    let world = World::start().await;
    let fragments = |count: usize| {
        let mut bytes = masked(0x02, &[1]);
        (1..count).for_each(|_| bytes.extend(masked(0x00, &[1])));
        bytes
    };
    let table: Vec<(&str, Vec<u8>, Code)> = vec![
        ("text", masked(0x81, b"hello"), Code::TextFrame),
        ("unmasked", vec![0x82, 1, 0], Code::ProtocolError),
        ("a reserved bit", masked(0xc2, b""), Code::ProtocolError),
        ("a reserved opcode", masked(0x83, b""), Code::ProtocolError),
        ("a fragmented ping", masked(0x09, b""), Code::ProtocolError),
        ("a long ping", masked(0x89, &[0; 126]), Code::ProtocolError),
        ("a continuation of nothing", masked(0x80, b""), Code::ProtocolError),
        ("a close of one byte", masked(0x88, b"x"), Code::ProtocolError),
        ("a close with bad UTF-8", masked(0x88, &[3, 0xe8, 0xff]), Code::BadUtf8),
        ("too long", masked(0x82, &[0; 4_097]), Code::FrameTooBig),
        ("a length that lies", vec![0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255], Code::FrameTooBig),
        ("too long in sum", [masked(0x02, &[0; 4_000]), masked(0x80, &[0; 97])].concat(), Code::FrameTooBig),
        ("endless fragments", fragments(40_000), Code::FrameTooBig),
    ];
    for (what, bytes, code) in table {
        let mut peer = world.player(Transport::WebSocket, "ada", "").await;
        let before = world.figures(code);
        let Link::Ws(link) = &mut peer.link else { panic!() };
        link.raw(&bytes).await;
        peer.is_told(code, code.slug()).await;
        assert_eq!(world.figures(code), Figures { closes: before.closes + 1, ..before }, "{what}");
        // Before there is a player it is a refusal.
        let before = world.figures(code);
        let mut stranger = world.open(Transport::WebSocket, Opening::default()).await.unwrap();
        let Link::Ws(link) = &mut stranger.link else { panic!() };
        link.raw(&bytes).await;
        stranger.is_told(code, code.slug()).await;
        assert_eq!(world.figures(code), Figures { refusals: before.refusals + 1, ..before }, "{what}");
    }
    // Sixteen fragments are a message, any number of times.
    let mut peer = world.player(Transport::WebSocket, "ada", "").await;
    let ping = codec::encode(&ClientMessage::Ping { nonce: 250, received: 0 });
    for _ in 0..5 {
        let mut bytes = masked(0x02, &ping[..1]);
        (0..14).for_each(|_| bytes.extend(masked(0x00, b"")));
        bytes.extend(masked(0x80, &ping[1..]));
        let Link::Ws(link) = &mut peer.link else { panic!() };
        link.raw(&bytes).await;
        peer.until("a Pong", |message| matches!(message, ServerMessage::Pong { nonce: 250, .. }).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_bound_closes_the_control_stream() {
    let world = World::start().await;
    let before = world.figures(Code::MessageTooBig);
    let mut peer = world.player(Transport::WebTransport, "ada", "").await;
    let Link::Wt(link) = &mut peer.link else { panic!() };
    link.raw(&u32::MAX.to_le_bytes()).await;
    peer.is_told(Code::MessageTooBig, "message-too-big").await;
    assert_eq!(world.figures(Code::MessageTooBig).closes, before.closes + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_says_nothing_loses_its_heartbeat() {
    let world = World::with_limits(|limits| limits.heartbeat = Duration::from_millis(900)).await;
    for transport in BOTH {
        let mut peer = world.player(transport, "ada", "").await;
        let before = world.figures(Code::HeartbeatLost);
        // A WebSocket library would answer the server's pings; this one is asked not to.
        let goodbye = match &mut peer.link {
            Link::Ws(link) => soon("a Goodbye", link.message_without_pongs()).await,
            Link::Wt(link) => soon("a Goodbye", link.message()).await.unwrap(),
        };
        let Ok(ServerMessage::Goodbye(goodbye)) = codec::decode(&goodbye) else { panic!("no Goodbye") };
        assert_eq!(goodbye.code, Code::HeartbeatLost.number());
        peer.is_closed(Code::HeartbeatLost).await;
        assert_eq!(world.figures(Code::HeartbeatLost).closes, before.closes + 1);
        // The place waits.
        let back = world.resume(transport, peer.cut()).await;
        assert_eq!(back.welcome.unwrap().outcome, ResumeOutcome::Resumed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_messages_is_answered_for_a_while_and_then_closed() {
    let world = World::with_limits(|limits| {
        limits.flood_grace = Duration::from_millis(500);
        limits.messages_per_second = 5;
    })
    .await;
    for transport in BOTH {
        let mut flooder = world.player(transport, "flooder", "quick:tiny").await;
        let mut other = world.player(transport, "other", "quick:tiny").await;
        let before = world.figures(Code::TooFast).closes;
        // Each request over the rate is refused in its Reply and not carried out; its number is used up.
        let mut answers = Vec::new();
        for _ in 0..40 {
            answers.push(flooder.request(Request::Chat("spam".into())).await);
        }
        let carried = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!((15..40).contains(&carried), "{carried}");
        let refusal = answers.into_iter().find_map(Result::err).unwrap();
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::TooFast.number(), "too-fast"));
        // Going on for the grace time ends the link.
        let goodbye = soon("the end of the flood", async {
            loop {
                flooder.say(&ClientMessage::Ping { nonce: 1, received: 0 }).await;
                tokio::select! {
                    biased;
                    heard = flooder.next() => match heard {
                        Heard::Message(ServerMessage::Goodbye(goodbye)) => return goodbye,
                        Heard::Message(_) => {}
                        Heard::End(end) => panic!("{end:?} without a Goodbye"),
                    },
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
            }
        })
        .await;
        assert_eq!((goodbye.code, goodbye.reason.as_str()), (Code::TooFast.number(), "too-fast"));
        assert_eq!(world.figures(Code::TooFast).closes, before + 1);
        other.seat().await;
        other.input_is_applied(1).await;
        for mut peer in [other, world.player(transport, "flooder", "").await] {
            peer.say(&ClientMessage::Bye).await;
            peer.is_told(Code::Left, "left").await;
        }
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_inputs_is_dropped_while_others_tick_on() {
    let world = World::with_limits(|limits| limits.flood_grace = Duration::from_millis(800)).await;
    for transport in BOTH {
        let mut flooder = world.player(transport, "flooder", "quick:tiny").await;
        let mut other = world.player(Transport::WebSocket, "other", "quick:tiny").await;
        flooder.seat().await;
        other.seat().await;
        let dropped = |world: &World| world.metrics().inputs_dropped.of(InputDrop::TooMany).get();
        let before = (dropped(&world), world.figures(Code::TooFast).closes);
        let goodbye = soon("the end of the flood", async {
            loop {
                for _ in 0..20 {
                    flooder.input(0).await;
                }
                tokio::select! {
                    biased;
                    heard = flooder.next() => match heard {
                        Heard::Message(ServerMessage::Goodbye(goodbye)) => return goodbye,
                        Heard::Message(_) => {}
                        Heard::End(end) => panic!("{end:?} without a Goodbye"),
                    },
                    () = tokio::time::sleep(Duration::from_millis(1)) => {}
                }
                // In the meantime nobody else is kept waiting.
                if dropped(&world) > before.0 {
                    other.snapshot("a tick", |_| true).await;
                }
            }
        })
        .await;
        assert_eq!(goodbye.code, Code::TooFast.number());
        assert_eq!(world.figures(Code::TooFast).closes, before.1 + 1);
        assert!(dropped(&world) > before.0);
        other.input_is_applied(1).await;
        for mut peer in [other, world.player(transport, "flooder", "").await] {
            peer.say(&ClientMessage::Bye).await;
            peer.is_told(Code::Left, "left").await;
        }
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_chat_with_control_characters_are_refused_in_the_reply() {
    let world = World::start().await;
    let long = "x".repeat(257);
    for transport in BOTH {
        let mut peer = world.player(transport, "ada", "").await;
        for (name, reason) in [
            ("", "text-empty"),
            ("a\u{7}", "text-control"),
            ("\u{1b}[2J", "text-control"),
            ("a\u{202e}b", "text-direction"),
            ("a\u{200b}b", "text-invisible"),
            (&long, "text-too-long"),
        ] {
            peer.is_refused(Request::Create(spec(name)), Code::Malformed, reason).await;
        }
        peer.is_refused(Request::Create(LobbySpec { game: "chess".into(), ..spec("x") }), Code::NotFound, "not-found")
            .await;
        peer.is_refused(Request::Create(LobbySpec { capacity: 65, ..spec("x") }), Code::Malformed, "bad-capacity")
            .await;
        peer.is_refused(Request::Create(LobbySpec { settings: vec![1], ..spec("x") }), Code::Malformed, "bad-settings")
            .await;
        peer.is_refused(
            Request::Create(LobbySpec { settings: vec![0; 1_025], ..spec("x") }),
            Code::Malformed,
            "bad-settings",
        )
        .await;
        peer.is_refused(Request::Join { wish: "teleport:mars".into() }, Code::Malformed, "bad-wish").await;
        peer.is_refused(Request::Join { wish: String::new() }, Code::Malformed, "bad-wish").await;
        peer.is_refused(Request::Chat("hello".into()), Code::NotFound, "not-member").await;
        peer.is_refused(Request::Watch(LobbyFilter { game: "Ä".into(), open: false }), Code::NotFound, "not-found")
            .await;
        assert_eq!(world.metrics().lobbies.get(), 0);
        create(&mut peer, spec("Fine")).await;
        for (text, reason) in [("", "text-empty"), ("a\u{9b}b", "text-control"), (&long, "text-too-long")] {
            peer.is_refused(Request::Chat(text.into()), Code::Malformed, reason).await;
        }
        peer.say(&ClientMessage::Bye).await;
        peer.is_told(Code::Left, "left").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_over_its_rate_is_turned_away_and_counted_once() {
    let world = World::with_limits(|limits| limits.connects_per_second = 1).await;
    // The bucket holds two.
    let _first = world.player(Transport::WebTransport, "a", "").await;
    let _second = world.player(Transport::WebTransport, "b", "").await;
    let before = world.figures(Code::TooFast).refusals;
    let ticket = world.ticket("c");
    let opening = Opening { ticket: Some(&ticket), ..Opening::default() };
    let outcome = world.open(Transport::WebTransport, opening).await;
    assert!(outcome.is_err());
    assert_eq!(world.figures(Code::TooFast).refusals, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_full_says_so() {
    let world = World::with_limits(|limits| limits.lobbies = 1).await;
    let mut host = world.player(Transport::WebSocket, "host", "").await;
    create(&mut host, spec("The only one")).await;
    let mut other = world.player(Transport::WebSocket, "other", "").await;
    other.is_refused(Request::Create(spec("One too many")), Code::Overloaded, "overloaded").await;
    for way in WAYS {
        way.is_refused(
            &world,
            "no room for a lobby",
            &world.ticket("late"),
            "quick:duel",
            Code::Overloaded,
            "overloaded",
        )
        .await;
    }
}
