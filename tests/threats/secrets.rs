//! Tickets and resume tokens: in no log, metric, command line or message to somebody else; compared in constant time.

use std::path::{Path, PathBuf};

use muster::codec;
use muster::outbox::Transport;
use muster::request::resume_text;
use muster::wire::{ClientMessage, Request, ResumePoint, ServerMessage};

use crate::common::process::Process;
use crate::common::websocket::get;
use crate::common::{BOTH, Link, ORIGIN, Opening, Peer, World, WsPeer, mint, now, soon, spec};

/// What must not be seen anywhere: pieces of tickets that no other ticket has, and resume tokens.
#[derive(Default)]
struct Canaries(Vec<String>);

impl Canaries {
    fn ticket(&mut self, ticket: String) -> String {
        // The header of every ticket of a key is the same, and no secret; claims and signature are looked for, from
        // their beginnings.
        self.0.extend(ticket.split('.').skip(1).map(|part| part[part.len() - part.len().min(40)..].to_owned()));
        ticket
    }

    fn token(&mut self, peer: &Peer) {
        if let Some(welcome) = &peer.welcome {
            let text = resume_text(&ResumePoint { token: welcome.resume.clone(), received: 0 });
            let hex: String = welcome.resume.0.iter().map(|byte| format!("{byte:02x}")).collect();
            let listed = format!("{:?}", welcome.resume.0);
            self.0.extend([text.split('.').next().unwrap().to_owned(), hex, listed]);
        }
    }

    fn are_not_in(&self, what: &str, text: &str) {
        for canary in &self.0 {
            let found =
                text.lines().find(|line| line.contains(canary) || line.contains(&canary[..canary.len().min(24)]));
            assert!(found.is_none(), "{what}: {found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ticket_and_no_token_leaves_the_server_by_log_metric_or_command_line() {
    let environment = [("MUSTER_ORIGINS__ALLOWED", ORIGIN), ("MUSTER_TICKETS__COOKIE", "game_ticket")];
    for format in ["text", "json"] {
        let mut server =
            Process::launch(&[], &environment, &["--log-level=trace", &format!("--log-format={format}")]).await;
        let mut canaries = Canaries::default();
        let stale = {
            let more = [("iat", now() - 90), ("exp", now() - 30)].map(|(name, at)| (name.to_owned(), at.into()));
            canaries.ticket(mint(&server.signer, "canary", more.into_iter().collect()))
        };
        let mut let_in = 0;
        for carrier in CARRIERS {
            let good = canaries.ticket(server.ticket("canary"));
            let forged = canaries.ticket(format!("{}x", server.ticket("canary")));
            // Good, used, expired, forged, and with a wish that cannot be.
            for (ticket, join) in [(&good, "quick:relay"), (&good, ""), (&stale, ""), (&forged, ""), (&forged, "mars")]
            {
                let Ok(mut peer) = carrier.open(&server, ticket, join).await else { continue };
                let _ = soon("a first message", peer.next()).await;
                let_in += usize::from(peer.welcome.is_some());
                canaries.token(&peer);
                if peer.welcome.is_none() {
                    continue;
                }
                // The token's way back, over each transport, and a second try with the same.
                let point = peer.cut().point;
                for transport in BOTH {
                    let opening = Opening { resume: Some(point.clone()), ..Opening::default() };
                    if let Ok(mut back) = server.open(transport, opening).await {
                        let _ = soon("a first message", back.next()).await;
                        canaries.token(&back);
                    }
                }
            }
            // A path that is nobody's may carry one as well.
            get(server.address, &format!("/v2/play?ticket={good}")).await;
        }
        assert_eq!(let_in, CARRIERS.len(), "every carrier carried its good ticket");
        let metrics = get(server.address, "/metrics").await.body;
        assert!(metrics.contains("muster_refusals_total"), "{metrics}");
        canaries.are_not_in("the metrics", &metrics);
        canaries.are_not_in("the list of lobbies", &get(server.address, "/v1/lobbies").await.body);
        canaries.are_not_in("the command line", &server.proc_file("cmdline"));
        server.signal("TERM");
        let (status, output) = server.ends().await;
        assert_eq!(status.code(), Some(0));
        assert!(output.contains("DEBUG") && output.contains("refused"), "this log would show it: {output}");
        canaries.are_not_in("the log", &output);
    }
}

/// The ways that a ticket may come.
#[derive(Clone, Copy, Debug)]
enum Carrier {
    Header(Transport),
    Subprotocol,
    Query(Transport),
    Cookie,
    FirstMessage(Transport),
}

const CARRIERS: [Carrier; 7] = [
    Carrier::Header(Transport::WebSocket),
    Carrier::Subprotocol,
    Carrier::Query(Transport::WebSocket),
    Carrier::Query(Transport::WebTransport),
    Carrier::Cookie,
    Carrier::FirstMessage(Transport::WebSocket),
    Carrier::FirstMessage(Transport::WebTransport),
];

impl Carrier {
    async fn open(self, server: &Process, ticket: &str, join: &str) -> Result<Peer, ()> {
        let upgrade = async |target: String, more: String| {
            let peer = WsPeer::upgrade(server.address, &target, &more).await;
            peer.map(|peer| Peer::over(Link::Ws(Box::new(peer)))).map_err(drop)
        };
        let offer = "Sec-WebSocket-Protocol: muster.1\r\n";
        let wish = if join.is_empty() { String::new() } else { format!("?join={join}") };
        let opening = Opening { ticket: Some(ticket), join, ..Opening::default() };
        match self {
            Self::Header(transport) => server.open(transport, opening).await.map_err(drop),
            Self::Subprotocol => {
                server.open(Transport::WebSocket, Opening { origin: Some(ORIGIN), ..opening }).await.map_err(drop)
            }
            Self::Query(Transport::WebSocket) => {
                upgrade(format!("/v1/play?ticket={ticket}&join={join}"), offer.to_owned()).await
            }
            Self::Query(transport) => server.open(transport, opening).await.map_err(drop),
            Self::Cookie => {
                let more = format!("Origin: {ORIGIN}\r\nCookie: a=b; game_ticket={ticket}; c=d\r\n{offer}");
                upgrade(format!("/v1/play{wish}"), more).await
            }
            Self::FirstMessage(transport) => {
                let mut peer = server.open(transport, Opening::default()).await.map_err(drop)?;
                let hello = ClientMessage::Hello { ticket: ticket.into(), join: join.into(), resume: None };
                peer.say(&hello).await;
                Ok(peer)
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_the_token_of_somebody_else_nor_its_digest() {
    let world = World::start().await;
    for transport in BOTH {
        let mut host = world.player(BOTH[0], "host", "").await;
        let lobby = crate::common::create(&mut host, spec("Open")).await;
        let wish = crate::common::lobby_wish(lobby.id);
        let mut guest = world.player(transport, "guest", &wish).await;
        let mut watcher = world.player(transport, "watcher", "").await;
        watcher.request(Request::Watch(muster::wire::LobbyFilter { game: String::new(), open: false })).await.unwrap();
        host.lobby("both", |view| view.members.len() == 2).await;
        // Everything that is told to several: chat, views, seats, snapshots, an absence, a return, an end.
        guest.request(Request::Chat("hello".into())).await.unwrap();
        host.request(Request::Start).await.unwrap();
        host.seat().await;
        guest.seat().await;
        for value in 1..=5 {
            host.input_is_applied(value).await;
            guest.input_is_applied(value).await;
        }
        let tokens = |peer: &Peer| peer.welcome.clone().unwrap().resume.0;
        let mut secrets = vec![tokens(&host), tokens(&guest), tokens(&watcher)];
        let heard = guest.raw.clone();
        let mut guest = world.resume(transport, guest.cut()).await;
        secrets.push(tokens(&guest));
        host.request(Request::Chat("welcome back".into())).await.unwrap();
        guest.chat().await;
        guest.input_is_applied(9).await;
        host.input_is_applied(9).await;
        for peer in [&mut host, &mut guest, &mut watcher] {
            peer.ping().await;
        }
        let digests: Vec<[u8; 32]> = secrets
            .iter()
            .map(|token| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token).as_ref().try_into().unwrap())
            .collect();
        let everything: Vec<&Vec<u8>> =
            [&host.raw, &guest.raw, &watcher.raw, &heard].into_iter().flat_map(|raw| raw.iter()).collect();
        let mut kinds = std::collections::BTreeSet::new();
        for message in &everything {
            let decoded: ServerMessage = codec::decode(message).unwrap();
            kinds.insert(format!("{decoded:?}").split(['(', ' ', '{']).next().unwrap().to_owned());
            for secret in secrets.iter().chain(&digests) {
                // Half of one would be enough to be worth something.
                for half in secret.chunks(16) {
                    assert!(!message.windows(16).any(|window| window == half), "{decoded:?}");
                }
            }
        }
        assert!(kinds.len() >= 6, "all kinds of messages were looked at: {kinds:?}");
        assert_eq!(secrets.len(), std::collections::BTreeSet::from_iter(&secrets).len(), "each is another");
        for mut peer in [host, guest, watcher] {
            peer.say(&ClientMessage::Bye).await;
            peer.is_told(muster::wire::Code::Left, "left").await;
        }
        world.is_empty().await;
    }
}

#[test]
fn the_watch_over_the_log_of_every_server_under_test_sees_secrets() {
    use crate::common::watch::shows_a_secret;
    let token = [7_u8; 32];
    let text = resume_text(&ResumePoint { token: muster::wire::ResumeToken(token), received: 5 });
    let hex: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
    for bad in ["path=/v1/play?ticket=eyJhbGciOi", &format!("token {text}"), &hex, &format!("{token:?}")] {
        assert!(shows_a_secret(bad), "{bad}");
    }
    let fine = "2026-01-01T00:00:00.000000Z  INFO muster::admission: refused peer=127.0.0.1:40000 code=4401 \
                slug=\"bad-ticket\" why=ticket: the signature is not that of its key lobby=00000000000000000000000000000001";
    assert!(!shows_a_secret(fine));
    // What a process wrote is looked at line by line; its banner shows the certificate's digest.
    use crate::common::process::secret_line;
    let banner = format!("muster serves on 127.0.0.1:1, TCP and UDP\n  certificate  sha-256 {hex}\n{fine}\n");
    assert_eq!(secret_line(&banner), None);
    let bad = "2026-01-01T00:00:00.000000Z DEBUG path=/v1/play?ticket=eyJhbGciOi";
    assert_eq!(secret_line(&format!("{banner}{bad}\n{fine}\n")), Some(bad));
}

/// Reads the shipped sources: where a secret is compared, it is compared in constant time.
#[test]
fn secrets_are_compared_in_constant_time_or_by_their_digest_only() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let shipped = text.split("#[cfg(test)]").next().unwrap();
        // Derived equality of what holds a secret would be one that stops at the first difference.
        for (at, _) in shipped.match_indices("#[derive(") {
            let item = &shipped[at..];
            let derives = item.split(")]").next().unwrap();
            let head = item.split(['{', ';']).next().unwrap();
            let name =
                head.split_whitespace().skip_while(|word| !matches!(*word, "struct" | "enum")).nth(1).unwrap_or("");
            let name = name.split(['(', '<']).next().unwrap();
            if SECRET_TYPES.contains(&name) {
                seen += 1;
                if derives.contains("PartialEq") {
                    faults.push(format!("{}: {name} derives PartialEq", file.display()));
                }
            }
        }
        for (number, line) in (1..).zip(shipped.lines()) {
            if compares_a_secret(line) {
                faults.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(seen >= SECRET_TYPES.len(), "only {seen} of the types that hold secrets were found");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_gate_sees_what_it_is_there_for() {
    for bad in
        ["if token == expected {", "given_secret != self.secret", "assert(password.eq(&other))", "a == self.digest"]
    {
        assert!(compares_a_secret(bad), "{bad}");
    }
    for fine in ["token.ct_eq(&expected)", "// token == x", "Some(point) if ticket.is_empty() =>", "let ticket = 1;"] {
        assert!(!compares_a_secret(fine), "{fine}");
    }
}

/// Whether a line compares with `==`, `!=` or `eq` something that is named like a secret.
fn compares_a_secret(line: &str) -> bool {
    let code = line.split("//").next().unwrap();
    let secret = |name: &str| {
        let last = name.trim_end_matches(".as_ref").rsplit('.').next().unwrap_or_default().to_lowercase();
        SECRET_NAMES.iter().any(|secret| last == *secret || last.ends_with(&format!("_{secret}")))
    };
    let sides = |operator: &str| {
        code.split_once(operator).is_some_and(|(left, right)| {
            let outside = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.');
            let left = left.trim_end().trim_end_matches("()").rsplit(outside).next().unwrap_or_default();
            let right = right.trim_start_matches([' ', '&', '*']).split(outside).next().unwrap_or_default();
            secret(left) || secret(right)
        })
    };
    [" == ", " != ", ".eq("].into_iter().any(sides)
}

/// Types that hold a secret.
const SECRET_TYPES: [&str; 2] = ["Ticket", "AdminToken"];
/// What values are called that are secret.
const SECRET_NAMES: [&str; 7] = ["token", "secret", "digest", "password", "signature", "mac", "bearer"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files
}
