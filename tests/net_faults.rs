//! What goes wrong for one must not be felt by others: games that panic, peers that do not read, operators who stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use std::time::{Duration, Instant};

use common::games::{BOMB, Script, shown};
use common::process::{Process, fresh_signer, write_certificate, write_keys};
use common::websocket::get;
use common::*;
use muster::codec;
use muster::ids::Tick;
use muster::outbox::Transport;
use muster::wire::*;
use serde_json::Map;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn a_game_that_panics_ends_its_own_session_and_nothing_else() {
    let world = World::start().await;
    let mut other = world.player(BOTH[0], "other", "").await;
    create(&mut other, LobbySpec { public: false, ..spec("Calm") }).await;
    other.request(Request::Start).await.unwrap();
    let calm = other.seat().await;
    for round in 1..=2 {
        let mut host = world.player(BOTH[0], "host", "").await;
        let lobby = create(&mut host, spec("Doomed")).await;
        let mut guest = world.player(BOTH[1], "guest", &lobby_wish(lobby.id)).await;
        guest.lobby("the lobby", |_| true).await;
        host.request(Request::Start).await.unwrap();
        let doomed = host.seat().await;
        guest.seat().await;
        let before = world.figures(Code::SessionCrashed);
        if round == 1 {
            host.input(BOMB).await;
        } else {
            let seq = guest.last_seq + 1;
            let inputs = vec![Input { seq: muster::ids::InputSeq(seq), data: vec![BOMB] }];
            guest.say(&ClientMessage::Inputs(Inputs { seen: Tick(0), inputs })).await;
        }
        // Everybody is told, and comes back to the lobby, where the session is said to be over.
        let mut back = Vec::new();
        for (mut peer, over) in [(host, BOTH[1]), (guest, BOTH[0])] {
            let ended = peer.ended().await;
            assert_eq!((ended.session, ended.reason), (doomed.session, EndReason::Crashed));
            peer.is_told(Code::SessionCrashed, "session-crashed").await;
            let peer = world.resume(over, peer.cut()).await;
            assert_eq!(peer.welcome.clone().unwrap().outcome, ResumeOutcome::Resumed);
            back.push(peer);
        }
        assert_eq!(world.figures(Code::SessionCrashed).closes, before.closes + 2);
        assert_eq!(world.metrics().game_panics.get(), round);
        assert_eq!(world.metrics().sessions.get(), 1);
        for peer in &mut back {
            let everybody = |view: &LobbyView| {
                view.status == LobbyStatus::Gathering
                    && view.members.iter().filter(|member| member.connected).count() == 2
            };
            peer.lobby("both in the lobby", everybody).await;
        }
        // The lobby lives on and can play again.
        back[0].request(Request::Start).await.unwrap();
        for peer in &mut back {
            assert_ne!(peer.seat().await.session, doomed.session);
            peer.input_is_applied(1).await;
        }
        let still = other.input_is_applied(1).await;
        assert_eq!(still.tag, calm.tag, "another session never noticed");
        for mut peer in back {
            peer.say(&ClientMessage::Bye).await;
            peer.is_told(Code::Left, "left").await;
        }
        world.until("the seats are free", |world| world.metrics().players.get() == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_never_reads_delays_nobody_and_goes_when_its_queue_is_full() {
    let world = World::with_limits(|limits| {
        limits.queue_bytes = 4_096;
        limits.messages_per_second = 1_000;
    })
    .await;
    for transport in BOTH {
        let mut host = world.player(BOTH[0], "host", "").await;
        // Too large for datagrams, so that it goes on the control stream, too.
        let settings = codec::encode(&Script { padding: 60_000, ticks: 0 });
        let lobby = create(&mut host, LobbySpec { settings, ..spec("Wide") }).await;
        let wish = lobby_wish(lobby.id);
        let mut slow = world.player(transport, "slow", &wish).await;
        slow.lobby("the lobby", |_| true).await;
        host.request(Request::Start).await.unwrap();
        host.seat().await;
        slow.seat().await;
        let replaced = || world.metrics().snapshots_replaced.of(transport).get();
        let (before, overflows) = (world.figures(Code::SlowReader), world.metrics().queue_overflows.get());
        // The kernel's and QUIC's buffers fill; from then on only the newest snapshot waits. The host ticks on.
        let started = replaced();
        soon("the buffers are full", async {
            while replaced() < started + 10 {
                host.snapshot("a tick", |_| true).await;
            }
        })
        .await;
        let first = host.input_is_applied(1).await;
        for _ in 0..20 {
            host.snapshot("a tick", |_| true).await;
        }
        assert!(host.input_is_applied(1).await.tick > first.tick);
        assert_eq!(world.figures(Code::SlowReader), before, "snapshots alone close nobody");
        // Reliable messages may not be dropped: when their bound is reached the link goes, and the place stays.
        soon("the queue is full", async {
            while world.figures(Code::SlowReader).closes == before.closes {
                host.request(Request::Chat("y".repeat(256))).await.unwrap();
            }
        })
        .await;
        assert_eq!(world.metrics().queue_overflows.get(), overflows + 1);
        host.lobby("an absence", |view| view.members.iter().any(|member| !member.connected)).await;
        // Having cleared its buffers, it may come back; it is all there, unless too much was missed.
        let memory = slow.cut();
        let mut back = world.resume(BOTH[0], memory).await;
        back.input_is_applied(1).await;
        for mut peer in [back, host] {
            peer.say(&ClientMessage::Bye).await;
            peer.is_told(Code::Left, "left").await;
        }
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_hold_nothing_open_and_keep_nobody_out() {
    let world = World::with_limits(|limits| limits.handshake = Duration::from_millis(500)).await;
    let beginnings: [&[u8]; 4] = [b"GET /v1/play HTTP/1.1\r\nHost: x\r\nX-", b"G", b"\x16\x03\x01\x02\x00", b""];
    let mut slow = Vec::new();
    for index in 0..80 {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        stream.write_all(beginnings[index % beginnings.len()]).await.unwrap();
        slow.push(stream);
    }
    for transport in BOTH {
        let mut good = world.player(transport, "good", "quick:tiny").await;
        good.seat().await;
        good.input_is_applied(1).await;
        good.say(&ClientMessage::Bye).await;
        good.is_told(Code::Left, "left").await;
    }
    for mut stream in slow {
        // One more header now and then changes nothing.
        let _ = stream.write_all(b"a").await;
        let mut rest = Vec::new();
        let _ = soon("the server closes", stream.read_to_end(&mut rest)).await;
    }
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_reset_in_every_state_leaves_nothing_behind() {
    let world = World::with_limits(|limits| limits.grace = Duration::from_millis(200)).await;
    for round in 0..40 {
        let ticket = world.ticket(&format!("p{round}"));
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_zero_linger().unwrap();
        let mut stream = socket.connect(world.address()).await.unwrap();
        let request = format!(
            "GET /v1/play?join=quick:tiny HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {ticket}\r\n\r\n"
        );
        let cut = request.len() * (round % 8) / 4;
        stream.write_all(&request.as_bytes()[..cut.min(request.len())]).await.unwrap();
        if round % 8 > 4 {
            let _ = soon("a first byte", stream.read(&mut [0; 64])).await;
        }
        drop(stream);
    }
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_tells_everybody_and_ends_well_within_five_seconds() {
    let mut process = Process::serve(&[]).await;
    assert_eq!(get(process.address, "/readyz").await.status, 200);
    let mut peers = Vec::new();
    for index in 0..6 {
        peers.push(process.player(BOTH[index % 2], &format!("p{index}"), "quick:relay").await);
    }
    // One that never answers the close: the server waits for it, in bounds.
    let mut stubborn = process.player(BOTH[0], "stubborn", "").await;
    let began = Instant::now();
    process.signal("TERM");
    let Link::Ws(link) = &mut stubborn.link else { panic!() };
    let told: ServerMessage = codec::decode(&soon("a Goodbye", link.message_without_pongs()).await).unwrap();
    assert!(matches!(told, ServerMessage::Goodbye(goodbye) if goodbye.code == Code::Draining.number()));
    // Meanwhile the node says that it is not ready, and lets nobody in.
    get(process.address, "/readyz").await.is_problem(Code::Draining, "draining");
    assert_eq!(get(process.address, "/healthz").await.status, 200);
    let ticket = process.ticket("late");
    let opening = Opening { ticket: Some(&ticket), join: "quick:relay", ..Opening::default() };
    let answer = process.open(BOTH[0], opening).await.err().expect("refused");
    answer.is_problem(Code::Draining, "draining");
    for mut peer in peers {
        let goodbye = peer.is_told(Code::Draining, "draining").await;
        assert!(goodbye.retry_after_ms.is_some());
    }
    let (status, output) = process.ends().await;
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(!output.contains("panicked"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_an_idle_server_at_once() {
    let mut process = Process::serve(&[]).await;
    process.signal("INT");
    let (status, output) = process.ends().await;
    assert_eq!(status.code(), Some(0), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_new_keys_and_certificates_and_drops_nobody() {
    let mut process = Process::serve(&[]).await;
    let mut peers = Vec::new();
    for (index, transport) in BOTH.into_iter().enumerate() {
        peers.push(process.player(transport, &format!("p{index}"), "").await);
    }
    let hash = get(process.address, "/v1/certificate-hash").await.body;
    let fresh = fresh_signer();
    let let_in = async |process: &Process, signer: &muster::ticket::Signer| {
        let ticket = mint(signer, "somebody", Map::new());
        let opening = Opening { ticket: Some(&ticket), ..Opening::default() };
        match process.open(BOTH[0], opening).await {
            Ok(mut peer) => {
                peer.welcomed().await;
                peer.say(&ClientMessage::Bye).await;
                true
            }
            Err(answer) => {
                answer.is_problem(Code::BadTicket, "bad-ticket");
                false
            }
        }
    };
    assert!(!let_in(&process, &fresh).await);

    // Both keys, and another certificate.
    write_keys(&process.directory, &[&process.signer, &fresh]);
    write_certificate(&process.directory);
    process.signal("HUP");
    soon("the new key", async { while !let_in(&process, &fresh).await {} }).await;
    assert!(let_in(&process, &process.signer).await, "and the old one still");
    let renewed = soon("the new certificate", async {
        loop {
            let now = get(process.address, "/v1/certificate-hash").await.body;
            if now != hash {
                return now;
            }
        }
    })
    .await;
    let certificate: serde_json::Value = serde_json::from_str(&renewed).unwrap();
    let hex = certificate["sha256"].as_str().or(certificate["value"].as_str()).or(certificate["hash"].as_str());
    let hash = decode_hash(hex.unwrap_or_else(|| panic!("{renewed}")));
    process.hash = hash;
    let late = process.player(BOTH[1], "late", "").await;

    // A file that cannot be read changes nothing.
    std::fs::write(process.directory.join("keys.json"), "{").unwrap();
    std::fs::write(process.directory.join("cert.pem"), "nonsense").unwrap();
    process.signal("HUP");
    assert!(let_in(&process, &fresh).await);

    // The old key goes.
    write_keys(&process.directory, &[&fresh]);
    process.signal("HUP");
    soon("the old key is gone", async { while let_in(&process, &process.signer).await {} }).await;
    assert!(let_in(&process, &fresh).await);
    for mut peer in peers.into_iter().chain([late]) {
        peer.ping().await;
    }
    process.signal("TERM");
    let (status, output) = process.ends().await;
    assert_eq!(status.code(), Some(0), "{output}");
}

fn decode_hash(text: &str) -> [u8; 32] {
    use base64::Engine as _;
    let bytes = if text.len() == 64 {
        (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    } else {
        base64::engine::general_purpose::STANDARD.decode(text).unwrap()
    };
    bytes.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_seen_ticking_while_others_come_and_go() {
    let world = World::with_limits(|limits| limits.grace = Duration::from_millis(100)).await;
    let mut steady = world.player(BOTH[0], "steady", "quick:tiny").await;
    steady.seat().await;
    let mut ticks = Vec::new();
    for round in 0..30 {
        let mut visitor = world.player(BOTH[round % 2], &format!("v{round}"), "quick:tiny").await;
        visitor.seat().await;
        if round % 3 == 0 {
            visitor.say(&ClientMessage::Bye).await;
        }
        drop(visitor);
        ticks.push(steady.snapshot("a tick", |_| true).await.tick);
    }
    assert!(ticks.is_sorted());
    // After a quiet moment everybody else is gone, and no chair is left warm.
    let alone = steady.snapshot("alone", |snapshot| shown(&snapshot.state).present == [0]).await;
    assert!(alone.tick > ticks[0]);
    world.until("everybody else is gone", |world| world.metrics().players.get() == 1).await;
    let transport = Transport::WebTransport;
    world.until("and their links", |world| world.metrics().links.of(transport).get() == 0).await;
}
