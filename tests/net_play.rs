//! From a ticket to a session and back to the lobby, over both transports, against a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::games::{END, RESULT, Script, shown};
use common::*;
use muster::codec;
use muster::ids::{SeatId, Tick};
use muster::outbox::Transport;
use muster::wire::*;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn quick_play_leads_to_a_seat_and_to_snapshots_that_tell_of_ones_inputs() {
    let world = World::start().await;
    for transport in BOTH {
        let mut ada = world.player(transport, "ada", "quick:tiny").await;
        let welcome = ada.welcome.clone().unwrap();
        assert_eq!((welcome.player, welcome.outcome, welcome.counted), (player("ada"), ResumeOutcome::Arrived, 0));
        let view = ada.lobby("a lobby", |_| true).await;
        assert_eq!((view.game.as_str(), view.public, view.members.len()), ("tiny", true, 1));
        let seated = ada.seat().await;
        assert_eq!((seated.seat, seated.tick_hz, seated.lobby), (Some(SeatId(0)), 50, view.id));
        let roster = ada
            .until("a roster", |message| match message {
                ServerMessage::Roster(roster) => Some(roster.clone()),
                _ => None,
            })
            .await;
        assert_eq!((roster.tag, roster.seats[0].player.clone()), (seated.tag, player("ada")));
        let before = ada.snapshot("a snapshot", |_| true).await;
        for value in 1..=5 {
            ada.input_is_applied(value).await;
        }
        let after = ada.snapshot("the next", |_| true).await;
        assert!(after.tick > before.tick && after.time_us > before.time_us);
        assert_eq!(after.applied, [(SeatId(0), ada_last(&ada))]);
        let shown = shown(&after.state);
        assert_eq!((shown.inputs, shown.sum), (5, 15), "each was applied once");
        ada.say(&ClientMessage::Bye).await;
        ada.is_told(Code::Left, "left").await;
        world.is_empty().await;
    }
}

fn ada_last(ada: &Peer) -> muster::ids::InputSeq {
    muster::ids::InputSeq(ada.last_seq)
}

#[tokio::test(flavor = "multi_thread")]
async fn ticks_reach_a_websocket_one_by_one_in_order() {
    let world = World::start().await;
    let mut ada = world.player(Transport::WebSocket, "ada", "quick:tiny").await;
    ada.seat().await;
    let first = ada.snapshot("a snapshot", |_| true).await.tick;
    // The peer reads all the time, so that nothing gives way to a newer one; a stalled machine may skip ticks, which
    // the server counts.
    let (mut seen, mut newest) = (0, first);
    while newest < Tick(first.0 + 50) {
        newest = ada.snapshot("a snapshot", |_| true).await.tick;
        seen += 1;
    }
    let replaced = world.metrics().snapshots_replaced.of(Transport::WebSocket).get();
    assert!(u64::from(newest.0 - first.0) - seen <= replaced + world.metrics().ticks_skipped.get() + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lobby_is_created_joined_by_code_made_ready_played_and_played_again() {
    let world = World::start().await;
    for (host_over, guest_over) in [(BOTH[0], BOTH[1]), (BOTH[1], BOTH[0])] {
        let mut host = world.player(host_over, "host", "").await;
        let settings = codec::encode(&Script { padding: 10, ticks: 0 });
        let lobby = create(&mut host, LobbySpec { settings, capacity: 4, ..spec("Ours") }).await;
        assert_eq!((lobby.host.clone(), lobby.capacity), (Some(player("host")), 4));

        // A code is read in either case.
        let mut guest = world.player(guest_over, "guest", &code_wish(lobby.code).to_lowercase()).await;
        assert_eq!(guest.lobby("the lobby", |_| true).await.id, lobby.id);
        host.lobby("the guest", |view| view.members.len() == 2).await;

        guest.is_refused(Request::Start, Code::Forbidden, "not-host").await;
        guest.request(Request::Chat("hello".into())).await.unwrap();
        for peer in [&mut host, &mut guest] {
            assert_eq!(peer.chat().await, (player("guest"), "hello".to_owned()));
        }
        for round in 0..3 {
            if round % 2 == 0 {
                guest.request(Request::Ready(true)).await.unwrap();
                host.request(Request::Ready(true)).await.unwrap();
            } else {
                host.request(Request::Start).await.unwrap();
            }
            let (a, b) = (host.seat().await, guest.seat().await);
            assert_eq!((a.session, a.tag, a.lobby), (b.session, b.tag, lobby.id));
            assert_ne!(a.seat, b.seat);
            host.input_is_applied(3).await;
            guest.input_is_applied(4).await;
            let state = host.snapshot("both", |snapshot| shown(&snapshot.state).sum == 7).await.state;
            assert_eq!(shown(&state).padding.len(), 10, "the settings came through");
            host.input(END).await;
            if host_over == Transport::WebTransport {
                // A datagram may be lost.
                host.say(&ClientMessage::Inputs(Inputs {
                    seen: Tick(0),
                    inputs: vec![Input { seq: muster::ids::InputSeq(host.last_seq), data: vec![END] }],
                }))
                .await;
            }
            for peer in [&mut host, &mut guest] {
                let ended = peer.ended().await;
                assert_eq!((ended.session, ended.reason), (a.session, EndReason::Finished));
                assert_eq!(ended.result, RESULT);
                let back = peer.lobby("the lobby again", |view| view.status == LobbyStatus::Gathering).await;
                assert!(back.members.iter().all(|member| member.connected), "{back:?}");
            }
        }
        for mut peer in [host, guest] {
            peer.say(&ClientMessage::Bye).await;
            peer.is_told(Code::Left, "left").await;
        }
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_comes_by_itself_and_everybody_is_in_the_lobby_still() {
    let world = World::start().await;
    let mut peers = Vec::new();
    for (index, transport) in [BOTH[0], BOTH[1], BOTH[0]].into_iter().enumerate() {
        peers.push(world.player(transport, &format!("p{index}"), "").await);
    }
    let lobby = create(&mut peers[0], LobbySpec { game: "short".into(), ..spec("Short") }).await;
    for peer in &mut peers[1..] {
        peer.request(Request::Join { wish: lobby_wish(lobby.id) }).await.unwrap();
    }
    for _ in 0..2 {
        peers[0].request(Request::Start).await.unwrap();
        for peer in &mut peers {
            peer.seat().await;
            assert_eq!(peer.ended().await.reason, EndReason::Finished);
        }
        // An input that crosses the end on its way is late, not out of order.
        for peer in &mut peers {
            peer.input(1).await;
            peer.ping().await;
        }
    }
    assert_eq!(world.metrics().sessions_allocated.get(), 2);
    assert_eq!(world.metrics().sessions.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_kicks_locks_and_passes_the_host_on() {
    let world = World::start().await;
    for transport in BOTH {
        let mut host = world.player(transport, "host", "").await;
        let lobby = create(&mut host, spec("Strict")).await;
        let wish = lobby_wish(lobby.id);
        let mut ann = world.player(transport, "ann", &wish).await;
        let mut bob = world.player(transport, "bob", &wish).await;
        host.lobby("everybody", |view| view.members.len() == 3).await;

        ann.is_refused(Request::Kick(player("bob")), Code::Forbidden, "not-host").await;
        ann.is_refused(Request::Lock(true), Code::Forbidden, "not-host").await;
        ann.is_refused(Request::PassHost(player("ann")), Code::Forbidden, "not-host").await;
        host.is_refused(Request::Kick(player("host")), Code::Forbidden, "oneself").await;
        host.is_refused(Request::Kick(player("nobody")), Code::NotFound, "no-such-member").await;

        let before = world.figures(Code::Kicked);
        host.request(Request::Kick(player("bob"))).await.unwrap();
        bob.is_told(Code::Kicked, "kicked").await;
        assert_eq!(world.figures(Code::Kicked).closes, before.closes + 1);
        let ticket = world.ticket("bob");
        let again = Opening { ticket: Some(&ticket), join: &wish, ..Opening::default() };
        world.is_refused(transport, again, Code::Kicked, "removed-by-host").await;

        host.request(Request::Lock(true)).await.unwrap();
        ann.lobby("the lock", |view| view.locked).await;
        let ticket = world.ticket("cid");
        let locked = Opening { ticket: Some(&ticket), join: &wish, ..Opening::default() };
        let before = world.figures(Code::LobbyClosed);
        world.is_refused(transport, locked.clone(), Code::LobbyClosed, "lobby-locked").await;
        assert_eq!(world.figures(Code::LobbyClosed), Figures { refusals: before.refusals + 1, ..before });
        host.request(Request::Lock(false)).await.unwrap();
        // The lock burned nothing.
        let mut cid = world.arrive(transport, locked).await;
        cid.lobby("the lobby", |view| !view.locked).await;

        host.request(Request::PassHost(player("ann"))).await.unwrap();
        ann.lobby("a new host", |view| view.host == Some(player("ann"))).await;
        host.is_refused(Request::Start, Code::Forbidden, "not-host").await;
        // The host's leaving passes it on by itself.
        ann.request(Request::Leave).await.unwrap();
        ann.until("having left", |message| matches!(message, ServerMessage::LobbyLeft { .. }).then_some(())).await;
        let view = cid.lobby("another host", |view| view.members.len() == 2).await;
        assert!(view.host.is_some() && view.host != Some(player("ann")), "{view:?}");
        drop((ann, host, cid));
        // Their places wait; nobody else needs them in this test.
        for sub in ["ann", "host", "cid"] {
            let mut peer = world.player(transport, sub, "").await;
            peer.say(&ClientMessage::Bye).await;
            peer.is_told(Code::Left, "left").await;
        }
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_public_lobbies_is_live() {
    let world = World::start().await;
    for transport in BOTH {
        let mut watcher = world.player(transport, "watcher", "").await;
        watcher.request(Request::Watch(LobbyFilter { game: "tiny".into(), open: true })).await.unwrap();
        let list = |wanted: usize| {
            move |message: &ServerMessage| match message {
                ServerMessage::List(list) if list.len() == wanted => Some(list.clone()),
                _ => None,
            }
        };
        watcher.until("an empty list", list(0)).await;
        let mut host = world.player(transport, "host", "").await;
        create(&mut host, LobbySpec { capacity: 2, ..spec("Seen") }).await;
        let seen = watcher.until("one lobby", list(1)).await;
        assert_eq!((seen[0].name.as_str(), seen[0].players, seen[0].capacity), ("Seen", 1, 2));

        let mut hidden = world.player(transport, "hidden", "").await;
        let private = create(&mut hidden, LobbySpec { public: false, ..spec("Hidden") }).await;
        let mut other = world.player(transport, "other", "").await;
        create(&mut other, LobbySpec { game: "duel".into(), ..spec("Another game") }).await;
        // Quick play finds the public one of the game, and fills it.
        let mut guest = world.player(transport, "guest", "quick:tiny").await;
        assert_eq!(guest.lobby("a lobby", |_| true).await.name, "Seen");
        watcher.until("no open one", list(0)).await;
        host.request(Request::Leave).await.unwrap();
        watcher.until("an open one", list(1)).await;
        // A private one is for those who know its code.
        let mut friend = world.player(transport, "friend", &code_wish(private.code)).await;
        assert_eq!(friend.lobby("a lobby", |_| true).await.id, private.id);

        watcher.request(Request::Unwatch).await.unwrap();
        guest.request(Request::Leave).await.unwrap();
        for mut peer in [watcher, host, hidden, other, guest, friend] {
            peer.say(&ClientMessage::Bye).await;
            peer.is_told(Code::Left, "left").await;
        }
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spectators_watch_and_late_players_join_a_session_that_runs() {
    let world = World::start().await;
    for transport in BOTH {
        let mut host = world.player(transport, "host", "").await;
        let lobby = create(&mut host, spec("Open")).await;
        host.request(Request::Start).await.unwrap();
        let session = host.seat().await.session;
        let wish = format!("session:{session}");

        let ticket = world.ticket_with("eve", &[("role", json!("spectator"))]);
        let mut eve =
            world.arrive(transport, Opening { ticket: Some(&ticket), join: &wish, ..Opening::default() }).await;
        let seated = eve.seat().await;
        assert_eq!((seated.session, seated.seat), (session, None));
        eve.snapshot("what is played", |_| true).await;
        eve.is_refused(Request::Ready(true), Code::Forbidden, "not-a-player").await;
        eve.is_refused(Request::Create(spec("No")), Code::Forbidden, "forbidden").await;

        let mut late = world.player(transport, "late", &wish).await;
        let seated = late.seat().await;
        assert_eq!((seated.session, seated.seat), (session, Some(SeatId(1))));
        late.input_is_applied(9).await;
        eve.snapshot("the late player's input", |snapshot| shown(&snapshot.state).sum == 9).await;
        let roster = host
            .until("everybody's places", |message| match message {
                ServerMessage::Roster(roster) if roster.seats.len() == 2 && roster.spectators == 1 => {
                    Some(roster.clone())
                }
                _ => None,
            })
            .await;
        assert_eq!(roster.seats[1].player, player("late"));
        assert_eq!(host.lobby("the lobby", |view| view.members.len() == 3).await.id, lobby.id);

        // A spectator's input is of nobody's seat: not out of place, and not applied.
        drop((host, late, eve));
        for sub in ["host", "late", "eve"] {
            let mut peer = world.player(transport, sub, "").await;
            peer.say(&ClientMessage::Bye).await;
            peer.is_told(Code::Left, "left").await;
        }
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_game_that_takes_nobody_late_refuses_without_burning_the_ticket() {
    let world = World::start().await;
    let mut one = world.player(Transport::WebSocket, "one", "").await;
    let lobby = create(&mut one, LobbySpec { game: "duel".into(), ..spec("Duel") }).await;
    one.is_refused(Request::Start, Code::Forbidden, "too-few-players").await;
    let mut two = world.player(Transport::WebTransport, "two", &lobby_wish(lobby.id)).await;
    two.lobby("the lobby", |_| true).await;
    one.request(Request::Start).await.unwrap();
    let session = one.seat().await.session;
    two.seat().await;
    two.request(Request::Leave).await.unwrap();
    for transport in BOTH {
        let ticket = world.ticket("three");
        let wish = format!("session:{session}");
        let opening = Opening { ticket: Some(&ticket), join: &wish, ..Opening::default() };
        let before = world.figures(Code::LobbyFull);
        world.is_refused(transport, opening, Code::LobbyFull, "no-late-join").await;
        assert_eq!(world.figures(Code::LobbyFull), Figures { refusals: before.refusals + 1, ..before });
        drop(world.arrive(transport, Opening { ticket: Some(&ticket), ..Opening::default() }).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_race_with_one_ticket_exactly_one_gets_in() {
    let world = World::start().await;
    for round in 0..5 {
        let ticket = world.ticket(&format!("racer-{round}"));
        let racers = (0..8).map(|index| {
            let opening = Opening { ticket: Some(&ticket), join: "quick:tiny", ..Opening::default() };
            let world = &world;
            async move {
                match world.open(BOTH[index % 2], opening).await {
                    Err(answer) => {
                        answer.is_problem(Code::TicketUsed, "ticket-used");
                        None
                    }
                    Ok(mut peer) => match soon("a first message", peer.next()).await {
                        Heard::Message(ServerMessage::Welcome(_)) => Some(peer),
                        Heard::Message(ServerMessage::Goodbye(goodbye)) => {
                            assert_eq!(goodbye.code, Code::TicketUsed.number());
                            None
                        }
                        other => panic!("{other:?}"),
                    },
                }
            }
        });
        let before = world.metrics().tickets_consumed.get();
        let mut peers = Vec::new();
        let mut set = Vec::new();
        for racer in racers {
            set.push(Box::pin(racer));
        }
        // All at once, on this task.
        let mut done = vec![false; set.len()];
        soon(
            "every racer",
            std::future::poll_fn(|context| {
                for (racer, done) in set.iter_mut().zip(&mut done).filter(|(_, done)| !**done) {
                    if let std::task::Poll::Ready(outcome) = racer.as_mut().poll(context) {
                        *done = true;
                        peers.extend(outcome);
                    }
                }
                if done.iter().all(|done| *done) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            }),
        )
        .await;
        assert_eq!(peers.len(), 1, "round {round}");
        assert_eq!(world.metrics().tickets_consumed.get(), before + 1);
        let mut winner = peers.pop().unwrap();
        winner.seat().await;
    }
}

use std::future::Future;

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_login_takes_over_and_keeps_the_seat() {
    let world = World::start().await;
    for (first, second) in [(BOTH[0], BOTH[1]), (BOTH[1], BOTH[0]), (BOTH[0], BOTH[0])] {
        let mut old = world.player(first, "ada", "quick:tiny").await;
        let before = old.seat().await;
        let sum = shown(&old.input_is_applied(5).await.state).sum;
        let figures = world.figures(Code::Replaced);

        let mut new = world.player(second, "ada", "quick:tiny").await;
        assert_eq!(new.welcome.clone().unwrap().outcome, ResumeOutcome::Arrived);
        old.is_told(Code::Replaced, "replaced").await;
        let after = new.seat().await;
        assert_eq!((after.session, after.seat, after.tag), (before.session, before.seat, before.tag));
        assert_eq!(after.last_input.0, old.last_seq, "inputs go on from where they were");
        let state = shown(&new.input_is_applied(6).await.state);
        assert_eq!(state.sum, sum + 6, "the same game");
        let closes = world.figures(Code::Replaced).closes;
        assert_eq!(closes, figures.closes + 1, "one close, counted once");

        // Without a wish the place is kept as well; and the old link's token is worth nothing any more.
        let newest = world.player(first, "ada", "").await;
        new.is_told(Code::Replaced, "replaced").await;
        for stale in [old.resume_point(), new.resume_point()] {
            let opening = Opening { resume: Some(stale), ..Opening::default() };
            world.is_refused(second, opening, Code::BadTicket, "bad-ticket").await;
        }
        let mut newest = newest;
        assert_eq!(newest.seat().await.session, before.session);
        newest.say(&ClientMessage::Bye).await;
        newest.is_told(Code::Left, "left").await;
        world.is_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_for_one_lobby_never_opens_another() {
    let world = World::start().await;
    let mut a = world.player(Transport::WebSocket, "a", "").await;
    let ours = create(&mut a, spec("A")).await;
    let mut b = world.player(Transport::WebSocket, "b", "").await;
    let theirs = create(&mut b, spec("B")).await;
    b.request(Request::Start).await.unwrap();
    let session = b.seat().await.session;
    let elsewhere = [lobby_wish(theirs.id), code_wish(theirs.code), format!("session:{session}"), "quick:duel".into()];
    for transport in BOTH {
        for binding in [json!(ours.id.to_string()), json!(ours.code.as_str())] {
            let ticket = world.ticket_with("mallory", &[("lobby", binding)]);
            for wish in &elsewhere {
                let before = world.figures(Code::Forbidden);
                let opening = Opening { ticket: Some(&ticket), join: wish, ..Opening::default() };
                world.is_refused(transport, opening, Code::Forbidden, "forbidden").await;
                assert_eq!(world.figures(Code::Forbidden), Figures { refusals: before.refusals + 1, ..before });
            }
            // None of these burned it: its own lobby is where it leads, even without a wish.
            let opening = Opening { ticket: Some(&ticket), ..Opening::default() };
            let mut mallory = world.arrive(transport, opening).await;
            assert_eq!(mallory.lobby("its lobby", |_| true).await.id, ours.id);
            for wish in &elsewhere {
                mallory.is_refused(Request::Join { wish: wish.clone() }, Code::Forbidden, "forbidden").await;
            }
            mallory.is_refused(Request::Create(spec("Mine")), Code::Forbidden, "forbidden").await;
            mallory.request(Request::Leave).await.unwrap();
            mallory.is_refused(Request::Join { wish: elsewhere[0].clone() }, Code::Forbidden, "forbidden").await;
            mallory.request(Request::Join { wish: lobby_wish(ours.id) }).await.unwrap();
            mallory.say(&ClientMessage::Bye).await;
            mallory.is_told(Code::Left, "left").await;
        }
        // For another game, and for another session.
        let ticket = world.ticket_with("mallory", &[("game", json!("duel"))]);
        for wish in [&lobby_wish(ours.id), "quick:tiny"] {
            let opening = Opening { ticket: Some(&ticket), join: wish, ..Opening::default() };
            world.is_refused(transport, opening, Code::Forbidden, "forbidden").await;
        }
        let ticket = world.ticket_with("mallory", &[("session", json!("00000000000000000000000000000001"))]);
        for wish in [lobby_wish(ours.id), lobby_wish(theirs.id), "quick:tiny".into()] {
            let opening = Opening { ticket: Some(&ticket), join: &wish, ..Opening::default() };
            world.is_refused(transport, opening, Code::Forbidden, "forbidden").await;
        }
    }
    assert_eq!(world.metrics().lobbies.get(), 2, "nothing was made for any of these");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lobby_burns_nothing() {
    let world = World::start().await;
    let mut host = world.player(Transport::WebSocket, "host", "").await;
    let lobby = create(&mut host, LobbySpec { capacity: 2, ..spec("Small") }).await;
    let wish = lobby_wish(lobby.id);
    let mut second = world.player(Transport::WebTransport, "second", &wish).await;
    for transport in BOTH {
        let ticket = world.ticket("third");
        let opening = Opening { ticket: Some(&ticket), join: &wish, ..Opening::default() };
        for _ in 0..3 {
            let before = world.figures(Code::LobbyFull);
            world.is_refused(transport, opening.clone(), Code::LobbyFull, "lobby-full").await;
            assert_eq!(world.figures(Code::LobbyFull), Figures { refusals: before.refusals + 1, ..before });
        }
        second.request(Request::Leave).await.unwrap();
        let mut third = world.arrive(transport, opening).await;
        third.lobby("the lobby", |view| view.id == lobby.id).await;
        second.is_refused(Request::Join { wish: wish.clone() }, Code::LobbyFull, "lobby-full").await;
        third.say(&ClientMessage::Bye).await;
        third.is_told(Code::Left, "left").await;
        second.request(Request::Join { wish: wish.clone() }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_comes_back_in_another_role_changes_places() {
    let world = World::start().await;
    let mut host = world.player(Transport::WebSocket, "host", "").await;
    let lobby = create(&mut host, spec("Roles")).await;
    let wish = lobby_wish(lobby.id);
    for transport in BOTH {
        for role in ["player", "spectator", "player"] {
            let ticket = world.ticket_with("ada", &[("role", json!(role))]);
            let opening = Opening { ticket: Some(&ticket), join: &wish, ..Opening::default() };
            let mut ada = world.arrive(transport, opening).await;
            let expected = if role == "player" { WireRole::Player } else { WireRole::Spectator };
            ada.lobby("one's new role", |view| {
                view.members.iter().any(|member| member.player == player("ada") && member.role == expected)
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_ticket_makes_the_host() {
    let world = World::start().await;
    let mut first = world.player(Transport::WebSocket, "first", "").await;
    let lobby = create(&mut first, spec("Hosted")).await;
    let ticket = world.ticket_with("boss", &[("role", json!("host")), ("name", json!("The Boss"))]);
    let wish = lobby_wish(lobby.id);
    let opening = Opening { ticket: Some(&ticket), join: &wish, ..Opening::default() };
    let mut boss = world.arrive(Transport::WebTransport, opening).await;
    let view = boss.lobby("the lobby", |_| true).await;
    assert_eq!(view.host, Some(player("boss")), "{view:?}");
    assert_eq!(view.members[1].name, "The Boss");
    boss.request(Request::Kick(player("first"))).await.unwrap();
    first.is_told(Code::Kicked, "kicked").await;
}
