#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::client::websocket::WebSocketLink;
use crate::ids::{GameName, LobbyId, PlayerId, SeatId, SessionId, SessionTag};
use crate::wire::{ResumeOutcome, ResumeToken, Seated, ServerMessage};

/// An engine on a link in memory, and the server's end of it. No way leads back once the link is lost.
fn connected(grace_ms: u32) -> (Engine, DuplexStream) {
    let (here, there) = tokio::io::duplex(16 * 1_024);
    let welcome = Welcome {
        player: PlayerId::new("ada").unwrap(),
        name: "Ada".into(),
        resume: ResumeToken([1; 32]),
        outcome: ResumeOutcome::Arrived,
        counted: 0,
        last_request: 0,
        server_time_us: 0,
        heartbeat_ms: 5_000,
        grace_ms,
        max_message: 4_096,
    };
    let link = Link::WebSocket(WebSocketLink::over(Box::new(here), &[]));
    // Port 9 is discard: nothing is sent there, since a URL with a path is refused before.
    (Engine::new(Connector::new("muster://127.0.0.1:9/nowhere").ticket("a.b.c"), link, welcome), there)
}

async fn send(there: &mut DuplexStream, message: &ServerMessage) {
    there.write_all(&frame(&codec::encode(message))).await.unwrap();
}

/// An unmasked binary frame, as servers send it.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a test sends less than 64 KiB in one frame");
    let mut frame = vec![0x82, 126];
    frame.extend(length.to_be_bytes());
    frame.extend(message);
    frame
}

fn seated() -> ServerMessage {
    ServerMessage::Seated(Seated {
        session: SessionId(1),
        tag: SessionTag(1),
        lobby: LobbyId(1),
        game: GameName::new("arena").unwrap(),
        seat: Some(SeatId(0)),
        tick_hz: 20,
        settings: vec![],
        last_input: InputSeq(0),
    })
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_is_noticed_by_the_heartbeat_alone() {
    let (mut engine, there) = connected(15_000);
    assert!(matches!(engine.next().await, Some(Event::Arrived(_))));
    let began = Instant::now();
    let Some(Event::Reconnecting { attempt: 1, cause, .. }) = engine.next().await else { panic!("not lost") };
    assert!(cause.to_string().contains("nothing was heard"), "{cause}");
    assert!((6_000..9_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    drop(there);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_mended_is_not_tried_again() {
    let (mut engine, there) = connected(15_000);
    drop(there);
    let mut events = Vec::new();
    while let Some(event) = engine.next().await {
        events.push(event);
    }
    assert!(matches!(events.get(1), Some(Event::Reconnecting { .. })), "{events:?}");
    assert!(matches!(events.last(), Some(Event::Closed(Closed::Lost(ConnectError::BadUrl { .. })))), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_grace_a_lost_link_is_the_end() {
    let (mut engine, there) = connected(0);
    engine.next().await;
    drop(there);
    assert!(matches!(engine.next().await, Some(Event::Closed(Closed::Lost(_)))));
    assert_eq!(engine.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_application_that_sends_too_much_sheds_old_inputs_and_keeps_memory() {
    let (mut engine, mut there) = connected(15_000);
    send(&mut there, &seated()).await;
    engine.next().await;
    assert!(matches!(engine.next().await, Some(Event::Seated(_))));
    for _ in 0..1_000 {
        engine.send_input(&[0; 1_000]).unwrap();
        let idle = tokio::time::timeout(Duration::ZERO, engine.next()).await;
        assert!(idle.is_err(), "{idle:?}");
    }
    assert!(engine.stats().inputs_shed > 900, "{:?}", engine.stats());
    let State::Up(link) = &engine.state else { panic!("lost") };
    assert!(link.queued() <= INPUT_BACKLOG + 8 * 1_100, "{}", link.queued());
    // Once the server reads, the newest get through.
    let mut sink = vec![0; 64 * 1_024];
    tokio::select! {
        event = engine.next() => panic!("{event:?}"),
        _ = async { while there.read(&mut sink).await.unwrap() > 0 {} } => panic!("closed"),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    let State::Up(link) = &engine.state else { panic!("lost") };
    assert_eq!(link.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn junk_closes_and_a_flood_of_pings_is_answered() {
    let (mut engine, mut there) = connected(15_000);
    engine.next().await;
    there.write_all(&[0x89, 1, b'?']).await.unwrap();
    there.write_all(&[0x82, 1, 0x02]).await.unwrap();
    assert_eq!(engine.next().await, Some(Event::Closed(Closed::Protocol("a message that does not decode"))));
    let mut seen = Vec::new();
    drop(engine);
    there.read_to_end(&mut seen).await.unwrap();
    assert!(seen.windows(2).any(|window| window == [0x8A, 0x81]), "a masked Pong of one byte");
}
