//! What players write about themselves: names that would play tricks on whoever reads them, be it a page, a terminal
//! or a log.

use muster::wire::{Code, LobbySpec, Request, ServerMessage};
use serde_json::{Map, json};

use crate::OFTEN;
use crate::common::process::Process;
use crate::common::{BOTH, Opening, World, create, lobby_wish, mint, spec};

/// Each is in no text that muster hands on.
const TRICKS: [&str; 24] = [
    "a\nb",
    "a\r\nWARN forged line",
    "\u{1b}[31mred",
    "\u{1b}]0;title\u{7}",
    "\u{9b}2J",
    "a\u{0}b",
    "a\u{8}\u{8}b",
    "a\u{7f}",
    "a\u{85}b",
    "a\u{2028}b",
    "a\u{2029}b",
    "a\u{202a}b",
    "a\u{202e}b",
    "a\u{2066}b",
    "a\u{2069}b",
    "a\u{200e}b",
    "a\u{61c}b",
    "a\u{200b}b",
    "a\u{200d}b",
    "a\u{2060}b",
    "a\u{feff}b",
    "a\u{e0041}b",
    "a\u{3164}b",
    "a\u{fff9}b",
];

fn is_trick(c: char) -> bool {
    (c.is_control() && c != '\n') || TRICKS.iter().any(|trick| !c.is_ascii() && trick.contains(c))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_that_plays_tricks_reaches_another_player() {
    // Every refusal is an answer to a request here; their rate is not the point.
    let world = World::with_limits(|limits| limits.messages_per_second = 1_000).await;
    let mut host = world.player(BOTH[0], "host", "").await;
    let lobby = create(&mut host, spec("Ours")).await;
    let wish = lobby_wish(lobby.id);
    for trick in TRICKS {
        // In the ticket, where the backend let it through.
        for transport in BOTH {
            let ticket = world.ticket_with("eve", &[("name", json!(trick))]);
            let opening = Opening { ticket: Some(&ticket), join: &wish, ..Opening::default() };
            let (code, reason) = match trick.chars().any(|c| c.is_control()) {
                true => (Code::BadTicket, "bad-ticket"),
                false => (Code::Malformed, "bad-name"),
            };
            world.is_refused(transport, opening, code, reason).await;
        }
        // And in what a player names or says.
        let refused = host.request(Request::Chat(trick.into())).await.expect_err(trick);
        assert_eq!(refused.code, Code::Malformed.number(), "{trick:?}");
    }
    let mut other = world.player(BOTH[1], "other", "").await;
    for trick in TRICKS {
        let spec = LobbySpec { name: trick.into(), ..spec("x") };
        let refused = other.request(Request::Create(spec)).await.expect_err(trick);
        assert_eq!(refused.code, Code::Malformed.number(), "{trick:?}");
    }
    // What is let through is markup to nobody here: a page shows it as text. Spaces are tidied, nothing else is changed.
    let fine = [("ada", "<script>alert(1)</script>", "<script>alert(1)</script>"), ("bob", "  Bob\u{a0}L. ", "Bob L.")];
    for (sub, name, shown) in fine {
        let ticket = world.ticket_with(sub, &[("name", json!(name))]);
        let opening = Opening { ticket: Some(&ticket), join: &wish, ..Opening::default() };
        let ada = world.arrive(BOTH[1], opening).await;
        let named = |view: &muster::wire::LobbyView| view.members.iter().any(|member| member.name == shown);
        let view = host.lobby("the name as it is shown", named).await;
        assert!(view.members.iter().all(|member| !member.name.contains(is_trick)));
        drop(ada);
    }
    for bytes in &host.raw {
        let message: ServerMessage = muster::codec::decode(bytes).unwrap();
        assert!(!format!("{message:?}").contains(is_trick), "{message:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_lines_or_escapes_into_the_log() {
    for format in ["text", "json"] {
        let mut server = Process::launch(&[], &OFTEN, &["--log-level=trace", &format!("--log-format={format}")]).await;
        for trick in TRICKS {
            for claims in
                [json!({ "name": trick }), json!({ "sub": trick }), json!({ "jti": trick }), json!({ "lobby": trick })]
            {
                let claims: Map<_, _> = claims.as_object().unwrap().clone();
                let ticket = mint(&server.signer, "eve", claims);
                let opening = Opening { ticket: Some(&ticket), ..Opening::default() };
                if let Ok(mut peer) = server.open(BOTH[0], opening).await {
                    peer.next().await;
                }
            }
            let ticket = server.ticket("eve");
            let escaped: String = trick.bytes().map(|byte| format!("%{byte:02x}")).collect();
            for join in [escaped.clone(), format!("quick:{escaped}"), format!("code:{escaped}")] {
                let opening = Opening { ticket: Some(&ticket), join: &join, ..Opening::default() };
                assert!(server.open(BOTH[0], opening).await.is_err(), "{join}");
            }
            crate::common::websocket::get(server.address, &format!("/{escaped}")).await;
        }
        let genuine = server.player(BOTH[0], "ada", "quick:relay").await;
        drop(genuine);
        server.signal("TERM");
        let (status, output) = server.ends().await;
        assert_eq!(status.code(), Some(0));
        let log: Vec<&str> =
            output.lines().filter(|line| !line.starts_with("muster ") && !line.starts_with("  ")).collect();
        assert!(log.len() > TRICKS.len(), "{output}");
        for line in &log {
            assert!(!line.contains(is_trick), "{line:?}");
            // Every line is one that muster began: none was begun by a peer.
            let begun = match format {
                "json" => {
                    serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["timestamp"].is_string())
                }
                _ => line.starts_with(|first: char| first.is_ascii_digit()) && line.as_bytes().get(4) == Some(&b'-'),
            };
            assert!(begun, "{line:?}");
        }
    }
}
