//! `muster play` as a process, against a server that does what each test wants.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::process::{Output, Stdio};
use std::time::Duration;

use fake::{FakeLink, FakeServer, seated};
use muster::codec;
use muster::game::arena::{Body, Point, State};
use muster::ids::{GameName, JoinCode, LobbyId, PlayerId};
use muster::wire::{ClientMessage, Code, LobbyStatus, LobbyView, Member, Request, ServerMessage, WireRole};
use serde_json::Value;
use tokio::task::JoinSet;

/// The process with its output captured; it is killed if it outlives the test.
fn play(url: &str, flags: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(["play", "--url", url]).args(flags);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn lobby(ready: bool) -> ServerMessage {
    let player = PlayerId::new("ada").unwrap();
    let member = Member { player: player.clone(), name: "Ada".into(), role: WireRole::Player, ready, connected: true };
    ServerMessage::Lobby(LobbyView {
        id: LobbyId(1),
        code: JoinCode::from_random(7),
        game: GameName::new("arena").unwrap(),
        name: "Ada's".into(),
        public: true,
        locked: false,
        capacity: 8,
        min_players: 1,
        host: Some(player),
        status: LobbyStatus::Gathering,
        members: vec![member],
    })
}

/// Plays the server of one player: lobby, seat, a snapshot every 20 ms; returns the ticket and what came until Bye.
async fn host(mut link: FakeLink) -> (String, u32, u32) {
    let ticket = link.welcome().await;
    link.send(&lobby(false)).await;
    let (mut ready, mut inputs, mut tick) = (0, 0, 0);
    let mut schedule = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            message = link.receive() => match message {
                ClientMessage::Request { body: Request::Ready(true), .. } => {
                    ready += 1;
                    link.send(&lobby(true)).await;
                    link.send(&seated()).await;
                }
                ClientMessage::Inputs(_) => inputs += 1,
                ClientMessage::Ping { nonce, .. } => {
                    link.send(&ServerMessage::Pong { nonce, server_time_us: 1_000_000 }).await;
                }
                ClientMessage::Bye => return (ticket, ready, inputs),
                other => panic!("{other:?}"),
            },
            _ = schedule.tick(), if ready > 0 => {
                tick += 1;
                let body = Body { seat: 2, at: Point { x: 5_000, y: 5_000 }, aim: 0, score: 3, absent: false };
                let state = State { ticks_left: 9, pickups: vec![], bodies: vec![body] };
                link.send_snapshot(tick, 0, &codec::encode(&state)).await;
            }
        }
    }
}

async fn finish(command: &mut tokio::process::Command) -> Output {
    tokio::time::timeout(Duration::from_secs(30), command.output()).await.expect("it ends by itself").unwrap()
}

#[tokio::test]
async fn a_player_and_its_bots_fetch_tickets_get_ready_play_and_leave_with_a_word() {
    let mut server = FakeServer::start().await;
    let url = server.url();
    let flags = ["--name", "ada", "--bots", "2", "--seconds", "3", "--json", "--prefer", "websocket"];
    let mut command = play(&url, &flags);
    let (output, hosted) = tokio::join!(finish(&mut command), async {
        let mut hosts = JoinSet::new();
        for _ in 0..3 {
            hosts.spawn(host(server.link().await));
        }
        hosts.join_all().await
    });
    assert!(output.status.success(), "{output:?}");
    let mut tickets: Vec<_> = hosted.iter().map(|(ticket, ..)| ticket.as_str()).collect();
    tickets.sort_unstable();
    assert_eq!(tickets, ["ticket.for.ada", "ticket.for.ada-bot-1", "ticket.for.ada-bot-2"]);
    assert!(hosted.iter().all(|(_, ready, inputs)| *ready == 1 && *inputs > 20), "{hosted:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, seconds) = lines.split_last().unwrap();
    assert!(seconds.len() >= 2, "{text}");
    assert_eq!((&seconds[1]["transport"], &seconds[1]["bots"]), (&"websocket".into(), &2.into()));
    assert!(seconds[1]["snapshots_per_second"].as_f64().unwrap() > 20.0, "{text}");
    assert_eq!(summary["player"], "ada");
    assert!(summary["summary"] == true && summary["snapshots"].as_u64().unwrap() > 50, "{text}");
}

#[tokio::test]
async fn a_refusal_ends_it_with_one_line_that_names_the_code() {
    let mut server = FakeServer::start().await;
    let url = server.url();
    let mut command = play(&url, &["--ticket", "a.b.c", "--transport", "webtransport"]);
    let (output, _link) = tokio::join!(finish(&mut command), async {
        let mut link = server.link().await;
        link.admit().await;
        link.send(&fake::goodbye(Code::BadTicket, None)).await;
        link
    });
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("bad-ticket (4401)") && !said.contains("a.b.c"), "{said}");
    assert!(output.stdout.is_empty());
}
