//! Places outlive links: coming back over either transport, with what was missed, once, and as nobody else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::games::shown;
use common::*;
use muster::client::{Connector, Event, TransportChoice};
use muster::codec;
use muster::metrics::Resume;
use muster::outbox::Transport;
use muster::wire::*;

const WAYS: [(Transport, Transport); 4] =
    [(BOTH[0], BOTH[0]), (BOTH[0], BOTH[1]), (BOTH[1], BOTH[0]), (BOTH[1], BOTH[1])];

async fn bye(mut peer: Peer) {
    peer.say(&ClientMessage::Bye).await;
    peer.is_told(Code::Left, "left").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_comes_in_order_and_once_over_any_transport() {
    // Chat is the point here, not its rate.
    let world = World::with_limits(|limits| limits.messages_per_second = 1_000).await;
    for (first, second) in WAYS {
        let mut ada = world.player(first, "ada", "").await;
        let lobby = create(&mut ada, spec("Ours")).await;
        let mut bob = world.player(BOTH[0], "bob", &lobby_wish(lobby.id)).await;
        ada.lobby("both", |view| view.members.len() == 2).await;
        for line in ["one", "two"] {
            bob.request(Request::Chat(line.into())).await.unwrap();
            assert_eq!(ada.chat().await.1, line);
        }
        ada.ping().await;
        let memory = ada.cut();
        bob.lobby("an absence", |view| view.members.iter().any(|member| !member.connected)).await;
        let said: Vec<String> = (0..20).map(|line| format!("line {line}")).collect();
        for line in &said {
            bob.request(Request::Chat(line.clone())).await.unwrap();
        }
        let before = memory.point.received;
        let mut ada = world.resume(second, memory).await;
        let welcome = ada.welcome.clone().unwrap();
        assert_eq!(welcome.outcome, ResumeOutcome::Resumed);
        for line in &said {
            assert_eq!(&ada.chat().await.1, line);
        }
        bob.request(Request::Chat("after".into())).await.unwrap();
        assert_eq!(ada.chat().await.1, "after", "nothing came twice");
        assert!(welcome.counted >= before + 20 && ada.received > welcome.counted);
        bob.lobby("a return", |view| view.members.iter().all(|member| member.connected)).await;
        bye(ada).await;
        bye(bob).await;
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_in_a_session_waits_and_play_goes_on_where_it_was() {
    let world = World::start().await;
    for (first, second) in WAYS {
        let mut ada = world.player(first, "ada", "quick:tiny").await;
        let seated = ada.seat().await;
        let mut bob = world.player(BOTH[0], "bob", "quick:tiny").await;
        bob.seat().await;
        let sum = shown(&ada.input_is_applied(5).await.state).sum;
        let last = ada.last_seq;
        let memory = ada.cut();
        bob.snapshot("an empty chair", |snapshot| shown(&snapshot.state).present == [1]).await;
        let mut ada = world.resume(second, memory).await;
        assert_eq!(ada.welcome.clone().unwrap().outcome, ResumeOutcome::Resumed);
        // No second Seated is needed: the client knows its seat; the snapshots follow, and so do its inputs.
        let snapshot = ada.snapshot("a full state", |_| true).await;
        assert_eq!(snapshot.tag, seated.tag);
        assert!(snapshot.applied.iter().any(|(seat, seq)| Some(*seat) == seated.seat && seq.0 == last));
        assert_eq!(shown(&ada.input_is_applied(6).await.state).sum, sum + 6);
        bob.snapshot("both", |snapshot| shown(&snapshot.state).present.len() == 2).await;
        // An input of before, said again, does nothing.
        ada.inputs(&[(last, &[100])]).await;
        assert_eq!(shown(&ada.input_is_applied(1).await.state).sum, sum + 7);
        bye(ada).await;
        bye(bob).await;
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_sent_again_are_carried_out_once() {
    let world = World::start().await;
    for (first, second) in WAYS {
        let mut ada = world.player(first, "ada", "").await;
        create(&mut ada, spec("Ours")).await;
        let done = ada.ask(Request::Chat("once".into())).await;
        ada.reply(done).await.unwrap();
        assert_eq!(ada.chat().await.1, "once");
        let mut ada = world.resume(second, ada.cut()).await;
        assert_eq!(ada.welcome.clone().unwrap().last_request, done);
        // A client that does not know whether it got through sends it again; and then the next one.
        ada.say(&ClientMessage::Request { id: done, body: Request::Chat("once".into()) }).await;
        ada.request(Request::Chat("next".into())).await.unwrap();
        assert_eq!(ada.chat().await.1, "next");
        bye(ada).await;
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_bound_it_is_a_fresh_start_and_said_so() {
    let world = World::with_limits(|limits| {
        limits.resume_bytes = 600;
        limits.messages_per_second = 1_000;
    })
    .await;
    for (first, second) in WAYS {
        let mut ada = world.player(first, "ada", "quick:tiny").await;
        let seated = ada.seat().await;
        let mut bob = world.player(BOTH[0], "bob", "quick:tiny").await;
        bob.seat().await;
        ada.lobby("both", |view| view.members.len() == 2).await;
        ada.input_is_applied(3).await;
        let last = ada.last_seq;
        let memory = ada.cut();
        for _ in 0..10 {
            bob.request(Request::Chat("x".repeat(100))).await.unwrap();
        }
        let mut ada = world.resume(second, memory).await;
        let welcome = ada.welcome.clone().unwrap();
        assert_eq!(welcome.outcome, ResumeOutcome::Restarted);
        // The state comes afresh: the lobby, the seat, the roster, a snapshot; the chat is lost.
        let view = ada.lobby("the lobby", |_| true).await;
        assert_eq!((view.id, view.members.len()), (seated.lobby, 2));
        let again = ada.seat().await;
        assert_eq!((again.session, again.seat, again.last_input.0), (seated.session, seated.seat, last));
        ada.input_is_applied(4).await;
        bob.request(Request::Chat("after".into())).await.unwrap();
        assert_eq!(ada.chat().await.1, "after");
        // The counts agree again: another resume is whole.
        let ada = world.resume(first, ada.cut()).await;
        assert_eq!(ada.welcome.clone().unwrap().outcome, ResumeOutcome::Resumed);
        bye(ada).await;
        bye(bob).await;
        world.is_empty().await;
    }
    assert_eq!(world.metrics().resumes.of(Resume::Restarted).get(), 4);
    assert_eq!(world.metrics().resumes.of(Resume::Resumed).get(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_once_for_its_player_alone_and_within_the_grace() {
    let world = World::with_limits(|limits| limits.grace = Duration::from_millis(1_000)).await;
    for transport in BOTH {
        let refused = async |point: ResumePoint, what: &str| {
            let before = (world.figures(Code::BadTicket), world.metrics().resumes.of(Resume::Refused).get());
            let opening = Opening { resume: Some(point), ..Opening::default() };
            world.is_refused(transport, opening, Code::BadTicket, "bad-ticket").await;
            let after = (world.figures(Code::BadTicket), world.metrics().resumes.of(Resume::Refused).get());
            assert_eq!(after.0.refusals, before.0.refusals + 1, "{what}");
            assert_eq!(after.1, before.1 + 1, "{what}");
        };
        let ada = world.player(transport, "ada", "").await;
        let memory = ada.cut();
        let used = memory.point.clone();
        let mut guessed = used.clone();
        guessed.token.0[31] ^= 1;
        refused(guessed, "a guess").await;

        // The player's own token, while its link is up: taken over, as by a newer login.
        let mut ada = world.resume(transport, memory).await;
        refused(used, "a second time").await;
        let memory = Memory::of(&ada);
        let over = world.resume(transport, memory).await;
        ada.is_told(Code::Replaced, "replaced").await;
        assert_eq!(over.welcome.clone().unwrap().player, player("ada"));

        // Whatever somebody else says of who it is, the token's player is who comes back.
        let late = over.cut();
        world.until("the grace is over", |world| world.metrics().players.get() == 0).await;
        refused(late.point, "after the grace").await;
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_cannot_be_is_a_fresh_start() {
    let world = World::start().await;
    for transport in BOTH {
        let mut ada = world.player(transport, "ada", "quick:tiny").await;
        ada.seat().await;
        let mut memory = ada.cut();
        memory.point.received = u64::MAX;
        let mut ada = world.resume(transport, memory).await;
        assert_eq!(ada.welcome.clone().unwrap().outcome, ResumeOutcome::Restarted);
        ada.seat().await;
        bye(ada).await;
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_in_anything_that_others_get() {
    let world = World::start().await;
    let mut peers = Vec::new();
    for index in 0..4 {
        peers.push(world.player(BOTH[index % 2], &format!("p{index}"), "quick:tiny").await);
    }
    let mut tokens = Vec::new();
    for index in 0..4 {
        let mut peer = peers.remove(0);
        peer.seat().await;
        peer.request(Request::Chat("hello".into())).await.unwrap();
        peer.request(Request::Watch(LobbyFilter::default())).await.unwrap();
        peer.input_is_applied(1).await;
        tokens.push(peer.resume_point().token);
        let raw = std::mem::take(&mut peer.raw);
        let mut back = world.resume(BOTH[(index + 1) % 2], peer.cut()).await;
        tokens.push(back.resume_point().token);
        back.ping().await;
        back.raw.extend(raw);
        peers.push(back);
    }
    for peer in &mut peers {
        peer.ping().await;
        for _ in 0..3 {
            peer.snapshot("a snapshot", |_| true).await;
        }
    }
    for token in &tokens {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &token.0);
        for message in peers.iter().flat_map(|peer| &peer.raw) {
            // Any eight bytes of it would be too many.
            let secrets = token.0.windows(8).chain(hash.as_ref().windows(8));
            for secret in secrets {
                assert!(!message.windows(8).any(|part| part == secret));
            }
        }
    }
    let distinct: std::collections::HashSet<_> = tokens.iter().map(|token| token.0).collect();
    assert_eq!(distinct.len(), tokens.len(), "each is new");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_client_comes_back_by_itself_and_loses_nothing() {
    let world = World::with_limits(|limits| limits.messages_per_second = 1_000).await;
    for transport in [muster::client::Transport::WebSocket, muster::client::Transport::WebTransport] {
        let connector = Connector::new(format!("muster://{}", world.address()))
            .ticket(world.ticket("ada"))
            .certificate_hash(world.hash)
            .transport(TransportChoice::Only(transport));
        let mut client = soon("a client", connector.connect()).await.unwrap();
        client.create(spec("Ours")).await.unwrap();
        let mut bob = loop {
            if let Event::Lobby(view) = soon("an event", client.next()).await.unwrap() {
                break world.player(BOTH[0], "bob", &lobby_wish(view.id)).await;
            }
        };
        let mut heard = Vec::new();
        for round in 0..5 {
            client.cut().await;
            for line in 0..4 {
                bob.request(Request::Chat(format!("{round}.{line}"))).await.unwrap();
            }
            // Asked while the link is down: carried out once it is back, and once.
            let own = client.chat(format!("own {round}"));
            soon("an answer across the cut", own).await.unwrap();
            while heard.len() < (round + 1) * 5 {
                if let Event::Chat(line) = soon("an event", client.next()).await.unwrap() {
                    heard.push(line.text);
                }
            }
        }
        let of_bob: Vec<&String> = heard.iter().filter(|line| !line.starts_with("own")).collect();
        let expected: Vec<String> =
            (0..5).flat_map(|round| (0..4).map(move |line| format!("{round}.{line}"))).collect();
        assert_eq!(of_bob, expected.iter().collect::<Vec<_>>());
        assert_eq!(heard.iter().filter(|line| line.starts_with("own")).count(), 5);
        assert_eq!(client.stats().resumes, 5);
        soon("leaving", client.close()).await;
        bye(bob).await;
        world.is_empty().await;
    }
}

/// A resume point over the first message, as a browser that keeps secrets out of URLs would send it.
#[tokio::test(flavor = "multi_thread")]
async fn a_resume_point_may_come_in_hello() {
    let world = World::start().await;
    for transport in BOTH {
        let mut ada = world.player(transport, "ada", "quick:tiny").await;
        ada.seat().await;
        let point = ada.cut().point;
        let mut back = world.open(transport, Opening::default()).await.unwrap();
        let hello = ClientMessage::Hello { ticket: String::new(), join: String::new(), resume: Some(point) };
        back.say_bytes(&codec::encode(&hello)).await;
        assert_eq!(back.welcomed().await.outcome, ResumeOutcome::Resumed);
        bye(back).await;
        world.is_empty().await;
    }
}

/// The end of the session is among what was missed: until the client has read it, its inputs are late, not out of order.
#[tokio::test(flavor = "multi_thread")]
async fn inputs_right_behind_a_resume_are_late_when_the_session_has_ended() {
    let world = World::start().await;
    for transport in BOTH {
        let mut ada = world.player(transport, "ada", "").await;
        let lobby = create(&mut ada, spec("Ours")).await;
        let mut bob = world.player(BOTH[0], "bob", &lobby_wish(lobby.id)).await;
        bob.lobby("the lobby", |_| true).await;
        ada.request(Request::Start).await.unwrap();
        ada.seat().await;
        bob.seat().await;
        ada.input_is_applied(1).await;
        let memory = ada.cut();
        bob.input(common::games::END).await;
        bob.ended().await;
        let mut ada = world.resume(transport, memory).await;
        ada.input(2).await;
        ada.ping().await;
        ada.ended().await;
        bye(ada).await;
        bye(bob).await;
        world.is_empty().await;
    }
}
