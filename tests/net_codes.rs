//! The code table, row by row: what sends a code, and what the Rust client makes of it over both transports: the number, the
//! slug, the act, and one more in the metric of that code. A row that is added has no case here, and does not compile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::games::BOMB;
use common::*;
use muster::client::{self, Client, Closed, ConnectError, Connector, Event, Join, Refused, TransportChoice, Trust};
use muster::wire::*;
use serde_json::json;

/// How a row of the table is shown.
enum Case {
    /// Refused at the door: a ticket, and the wish that it comes with.
    Door(String, String),
    /// The end of a link that was open.
    Live(Live),
    /// Shown by a test with this name, in this file, where the peer is one that no well-behaved client can be.
    Elsewhere(&'static str, &'static str),
    /// Nothing in this version sends it.
    NoSender(&'static str),
}

#[derive(Clone, Copy)]
enum Live {
    Leaves,
    LogsInAgain,
    IsKicked,
    CrashesTheGame,
    IsDrained,
}

fn case(code: Code, world: &World, full: &str, locked: &str, used: &str) -> Case {
    const REFUSALS: &str = "tests/net_refusals.rs";
    let door = |wish: &str| Case::Door(world.ticket("eve"), wish.to_owned());
    match code {
        Code::BadTicket => Case::Door("junk".into(), String::new()),
        Code::Forbidden => {
            let bound = ("lobby", json!("00000000000000000000000000000002"));
            Case::Door(world.ticket_with("eve", &[bound]), full.to_owned())
        }
        Code::NotFound => door("lobby:00000000000000000000000000000001"),
        Code::TicketUsed => Case::Door(used.to_owned(), String::new()),
        Code::LobbyFull => door(full),
        Code::LobbyClosed => door(locked),
        Code::Overloaded => door("quick:duel"),
        Code::Left => Case::Live(Live::Leaves),
        Code::Replaced => Case::Live(Live::LogsInAgain),
        Code::Kicked => Case::Live(Live::IsKicked),
        Code::SessionCrashed => Case::Live(Live::CrashesTheGame),
        Code::Draining => Case::Live(Live::IsDrained),
        Code::ProtocolError | Code::TextFrame | Code::BadUtf8 | Code::FrameTooBig => {
            Case::Elsewhere(REFUSALS, "broken_frames_close_the_websocket_with_their_code")
        }
        Code::MessageTooBig => Case::Elsewhere(REFUSALS, "a_message_over_the_bound_closes_the_control_stream"),
        Code::Malformed => Case::Elsewhere(REFUSALS, "bad_messages_close_the_link_with_their_code_and_the_place_waits"),
        Code::TicketTimeout => Case::Elsewhere(REFUSALS, "who_says_nothing_is_told_that_no_ticket_came"),
        Code::Version => Case::Elsewhere(REFUSALS, "another_version_is_told_so"),
        Code::TooFast => Case::Elsewhere(REFUSALS, "a_flood_of_messages_is_answered_for_a_while_and_then_closed"),
        Code::HeartbeatLost => Case::Elsewhere(REFUSALS, "a_link_that_says_nothing_loses_its_heartbeat"),
        Code::SlowReader => {
            Case::Elsewhere("tests/net_faults.rs", "one_who_never_reads_delays_nobody_and_goes_when_its_queue_is_full")
        }
        Code::Internal => Case::NoSender("a fault of the server's own: no peer can bring it about"),
        Code::Restart => Case::NoSender("a node that restarts drains, and says 4001"),
        Code::Moved => Case::NoSender("sessions do not move between nodes yet"),
        Code::SessionOver => {
            Case::NoSender("who was in a session that is over is in its lobby still, and is told Ended")
        }
        Code::Banned => Case::NoSender("a lobby's ban says 4501; no other is there yet"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_code_table_reaches_the_client_over_both_transports() {
    for transport in [client::Transport::WebSocket, client::Transport::WebTransport] {
        for code in Code::ALL {
            // A world of its own for each: draining is for good, and figures do not mix.
            let world = World::with_limits(|limits| limits.lobbies = 2).await;
            let mut host = world.player(BOTH[0], "host", "").await;
            let full = create(&mut host, LobbySpec { capacity: 1, ..spec("Small") }).await;
            let mut other = world.player(BOTH[0], "other", "").await;
            let locked = create(&mut other, spec("Locked")).await;
            let used = world.ticket("used");
            drop(world.arrive(BOTH[0], Opening { ticket: Some(&used), ..Opening::default() }).await);
            match case(code, &world, &lobby_wish(full.id), &lobby_wish(locked.id), &used) {
                Case::Door(ticket, wish) => {
                    other.request(Request::Lock(true)).await.unwrap();
                    is_refused(&world, transport, code, ticket, &wish).await;
                }
                Case::Live(live) => is_ended(&world, transport, code, live, &mut other, &lobby_wish(locked.id)).await,
                Case::Elsewhere(file, test) => {
                    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
                    assert!(source.contains(&format!("async fn {test}()")), "{code:?}: {file} has no {test}");
                }
                Case::NoSender(why) => assert!(!why.is_empty()),
            }
        }
    }
}

fn connector(world: &World, transport: client::Transport, ticket: String) -> Connector {
    Connector::new(format!("muster://{}", world.address()))
        .ticket(ticket)
        .transport(TransportChoice::Only(transport))
        .trust(Trust::Hashes(vec![world.hash]))
}

fn is_the_row(refused: &Refused, code: Code, slugs: &[&str]) {
    assert_eq!((refused.code, refused.act()), (code.number(), code.act()));
    assert!(slugs.contains(&refused.slug.as_str()), "{refused:?}");
}

async fn is_refused(world: &World, transport: client::Transport, code: Code, ticket: String, wish: &str) {
    let before = world.figures(code);
    let mut connector = connector(world, transport, ticket);
    if !wish.is_empty() {
        connector = connector.join(wish.parse::<Join>().unwrap());
    }
    let ConnectError::Refused(refused) = soon("a refusal", connector.connect()).await.expect_err("refused") else {
        panic!("{code:?} over {transport} came as another error");
    };
    // The body of a refusal over HTTP has the slug of the code; a Goodbye may be more telling.
    is_the_row(&refused, code, &[code.slug(), "lobby-locked"]);
    assert_eq!(refused.retry_after.is_some(), code == Code::Overloaded, "{code:?} over {transport}");
    assert_eq!(world.figures(code), Figures { refusals: before.refusals + 1, ..before }, "{code:?} over {transport}");
}

async fn is_ended(world: &World, transport: client::Transport, code: Code, live: Live, host: &mut Peer, lobby: &str) {
    let connector = connector(world, transport, world.ticket("eve")).join(lobby.parse::<Join>().unwrap());
    let mut eve = connector.connect().await.unwrap();
    until(&mut eve, |event| matches!(event, Event::Lobby(_))).await;
    let before = world.figures(code);
    match live {
        Live::Leaves => {
            eve.close().await;
            world.until("the close is counted", |world| world.figures(code).closes == before.closes + 1).await;
            return;
        }
        Live::LogsInAgain => drop(world.player(BOTH[0], "eve", "").await),
        Live::IsKicked => host.request(Request::Kick(player("eve"))).await.unwrap(),
        Live::CrashesTheGame => {
            host.request(Request::Start).await.unwrap();
            until(&mut eve, |event| matches!(event, Event::Seated(_))).await;
            eve.send_input(&[BOMB]).unwrap();
        }
        Live::IsDrained => world.server.hub().drain(Code::Draining),
    }
    let ended = |event: &Event| matches!(event, Event::Closed(_) | Event::Reconnecting { .. });
    let refused = match until(&mut eve, ended).await {
        Event::Closed(Closed::Refused(refused)) | Event::Reconnecting { cause: ConnectError::Refused(refused), .. } => {
            refused
        }
        other => panic!("{code:?} over {transport}: {other:?}"),
    };
    is_the_row(&refused, code, &[code.slug()]);
    // Everybody in the session, and everybody on the node, has this end; else eve alone.
    let ends = match live {
        Live::CrashesTheGame => 2,
        Live::IsDrained => 3,
        Live::Leaves | Live::LogsInAgain | Live::IsKicked => 1,
    };
    world.until("the closes are counted", |world| world.figures(code).closes == before.closes + ends).await;
}

async fn until(client: &mut Client, picks: impl Fn(&Event) -> bool) -> Event {
    soon("an event", async {
        loop {
            let event = client.next().await.expect("open");
            if picks(&event) {
                return event;
            }
        }
    })
    .await
}

#[test]
fn what_has_no_sender_is_in_no_room_that_closes_or_refuses() {
    // Where one of these is sent one day, its row above needs a case.
    let silent = [Code::Restart, Code::Moved, Code::SessionOver, Code::Banned];
    let mut rooms = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(path) = rooms.pop() {
        if path.is_dir() {
            rooms.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !path.ends_with("wire/code.rs") && !path.components().any(|part| part.as_os_str() == "client") {
            let source = std::fs::read_to_string(&path).unwrap();
            for code in silent {
                assert!(!source.contains(&format!("Code::{code:?}")), "{} names {code:?}", path.display());
            }
        }
    }
}
