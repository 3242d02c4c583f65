#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::ids::{GameName, SessionId};
use crate::text::{LobbyName, TextFault};

/// A lobby and a clock, with short words for what the tests say often.
struct World {
    lobby: Lobby,
    now: Duration,
}

impl World {
    fn new(change: impl FnOnce(&mut LobbySettings)) -> Self {
        let mut settings = LobbySettings {
            game: GameName::new("arena").unwrap(),
            name: LobbyName::new("Friday").unwrap(),
            public: true,
            capacity: 8,
            spectators: 2,
            min_players: 2,
            settings: vec![1, 2, 3],
            start: StartRule::WhenReady,
            late_join: true,
        };
        change(&mut settings);
        let now = secs(100);
        Self { lobby: Lobby::new(LobbyId(7), JoinCode::from_random(7), settings, now), now }
    }

    fn with(players: &[&str]) -> Self {
        let mut world = Self::new(|_| ());
        players.iter().for_each(|player| world.join(player).unwrap());
        world.drain();
        world
    }

    fn automatic(after_minimum: u64, after_session: u64) -> Self {
        Self::new(|settings| {
            settings.start =
                StartRule::Automatic { after_minimum: secs(after_minimum), after_session: secs(after_session) };
        })
    }

    fn reserve(&mut self, player: &str, role: Role) -> Result<(), JoinRefusal> {
        self.lobby.reserve(&id(player), role, self.now, self.now + secs(5))
    }

    fn enter(&mut self, player: &str, wants_host: bool) -> Result<(), JoinRefusal> {
        self.lobby.enter(&id(player), DisplayName::new(player).unwrap(), wants_host, self.now)
    }

    fn join(&mut self, player: &str) -> Result<(), JoinRefusal> {
        self.reserve(player, Role::Player)?;
        self.enter(player, false)
    }

    fn watch(&mut self, player: &str) -> Result<(), JoinRefusal> {
        self.reserve(player, Role::Spectator)?;
        self.enter(player, false)
    }

    fn pass(&mut self, time: Duration) -> Vec<Event> {
        self.now += time;
        self.lobby.handle_timeout(self.now);
        self.drain()
    }

    fn drain(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.lobby.poll_event()).collect()
    }

    fn play(&mut self, session: u128) -> Vec<Event> {
        self.lobby.handle_session_started(SessionId(session));
        self.drain()
    }

    fn end(&mut self, session: u128) -> Vec<Event> {
        self.lobby.handle_session_ended(SessionId(session), self.now);
        self.drain()
    }

    fn host(&self) -> Option<&str> {
        self.lobby.host().map(PlayerId::as_str)
    }
}

fn id(player: &str) -> PlayerId {
    PlayerId::new(player).unwrap()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn starts(players: &[&str], spectators: &[&str]) -> Event {
    let ids = |names: &[&str]| names.iter().map(|name| id(name)).collect();
    Event::StartSession { players: ids(players), spectators: ids(spectators) }
}

fn left(player: &str, reason: LeftReason) -> Event {
    Event::Left { player: id(player), reason }
}

#[test]
fn a_full_lobby_refuses_the_ninth_player() {
    let mut world = World::new(|_| ());
    for player in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        assert!(world.lobby.is_open());
        assert_eq!(world.join(player), Ok(()));
    }
    assert_eq!(world.join("i"), Err(JoinRefusal::Full));
    assert_eq!(world.lobby.summary().players, 8);
    assert!(!world.lobby.summary().open);
    world.lobby.leave(&id("c")).unwrap();
    assert_eq!(world.join("i"), Ok(()), "a place that was left is free at once");
}

#[test]
fn a_reservation_holds_a_place_and_lapses_at_its_deadline() {
    let mut world = World::new(|settings| settings.capacity = 2);
    world.join("ada").unwrap();
    world.reserve("bob", Role::Player).unwrap();
    assert_eq!(world.reserve("bob", Role::Player), Err(JoinRefusal::AlreadyArriving));
    assert_eq!(world.join("eve"), Err(JoinRefusal::Full));
    assert_eq!(world.lobby.view().members.len(), 1, "a reservation is not a member");
    assert_eq!(world.lobby.next_deadline(), Some(world.now + secs(5)));
    world.drain();
    assert_eq!(world.pass(secs(4)), []);
    assert_eq!(world.pass(secs(1)), [Event::Changed], "the list shows the lobby as open again");
    assert_eq!(world.lobby.next_deadline(), None);
    assert_eq!(world.enter("bob", false), Err(JoinRefusal::NotReserved));
    assert_eq!(world.join("eve"), Ok(()));
}

#[test]
fn a_lapsed_reservation_makes_room_even_before_the_timeout_is_handled() {
    let mut world = World::new(|settings| settings.capacity = 2);
    world.join("ada").unwrap();
    world.reserve("bob", Role::Player).unwrap();
    world.now += secs(5);
    assert_eq!(world.join("eve"), Ok(()));
}

#[test]
fn a_cancelled_reservation_frees_the_place() {
    let mut world = World::new(|settings| settings.capacity = 2);
    world.join("ada").unwrap();
    world.reserve("bob", Role::Player).unwrap();
    world.lobby.cancel(&id("bob"));
    world.lobby.cancel(&id("bob"));
    world.lobby.cancel(&id("ada"));
    assert_eq!(world.join("eve"), Ok(()));
    assert!(world.lobby.member(&id("ada")).is_some(), "a member has no reservation to cancel");
}

#[test]
fn a_member_who_comes_again_is_already_here_even_when_full_or_locked() {
    let mut world = World::new(|settings| settings.capacity = 1);
    world.join("ada").unwrap();
    world.lobby.lock(&id("ada"), true).unwrap();
    assert_eq!(world.join("ada"), Err(JoinRefusal::AlreadyHere));
}

#[test]
fn spectators_have_places_of_their_own_and_no_say() {
    let mut world = World::with(&["ada"]);
    world.watch("sam").unwrap();
    world.reserve("sue", Role::Spectator).unwrap();
    assert_eq!(world.watch("sid"), Err(JoinRefusal::Full));
    world.enter("sue", true).unwrap();
    assert_eq!(world.host(), Some("ada"), "a spectator is never the host, whatever the ticket says");
    assert_eq!(world.lobby.summary().players, 1);
    assert_eq!(world.lobby.set_ready(&id("sam"), true), Err(OpRefusal::NotAPlayer));
    assert_eq!(world.lobby.pass_host(&id("ada"), &id("sam")), Err(OpRefusal::NotAPlayer));
    world.lobby.leave(&id("ada")).unwrap();
    assert_eq!(world.host(), None);
    assert!(!world.lobby.is_closed(), "somebody is still here");
    world.join("bob").unwrap();
    assert_eq!(world.host(), Some("bob"));
}

#[test]
fn the_host_passes_on_to_the_longest_present_player_with_a_link() {
    let mut world = World::with(&["ada", "bob", "cat"]);
    world.watch("sam").unwrap();
    assert_eq!(world.host(), Some("ada"));
    world.lobby.handle_link_lost(&id("bob"), world.now + secs(15));
    world.lobby.leave(&id("ada")).unwrap();
    assert_eq!(world.host(), Some("cat"), "bob is away");
    world.lobby.leave(&id("cat")).unwrap();
    assert_eq!(world.host(), Some("bob"), "away, but the only player");
}

#[test]
fn a_host_without_a_link_stays_host_until_the_grace_ends() {
    let mut world = World::with(&["ada", "bob"]);
    world.lobby.handle_link_lost(&id("ada"), world.now + secs(15));
    assert_eq!(world.pass(secs(14)), [Event::Changed]);
    assert_eq!(world.host(), Some("ada"));
    assert!(!world.lobby.member(&id("ada")).unwrap().connected);
    assert_eq!(world.pass(secs(1)), [left("ada", LeftReason::LinkLost), Event::Changed]);
    assert_eq!(world.host(), Some("bob"));
}

#[test]
fn a_link_that_is_back_in_time_keeps_place_host_and_readiness() {
    let mut world = World::with(&["ada", "bob"]);
    world.lobby.set_ready(&id("ada"), true).unwrap();
    world.lobby.handle_link_lost(&id("ada"), world.now + secs(15));
    world.pass(secs(14));
    world.lobby.handle_link_back(&id("ada"));
    assert_eq!(world.pass(secs(60)), [Event::Changed]);
    let ada = world.lobby.member(&id("ada")).unwrap();
    assert!(ada.connected && ada.ready);
    assert_eq!(world.host(), Some("ada"));
    assert_eq!(world.lobby.next_deadline(), None);
}

#[test]
fn a_host_by_ticket_takes_over_from_one_by_arrival_and_from_no_other() {
    let mut world = World::with(&["ada"]);
    world.reserve("bob", Role::Player).unwrap();
    world.enter("bob", true).unwrap();
    assert_eq!(world.host(), Some("bob"));
    world.reserve("cat", Role::Player).unwrap();
    world.enter("cat", true).unwrap();
    assert_eq!(world.host(), Some("bob"));
}

#[test]
fn the_host_can_pass_it_on_to_a_player_and_loses_it() {
    let mut world = World::with(&["ada", "bob"]);
    assert_eq!(world.lobby.pass_host(&id("bob"), &id("bob")), Err(OpRefusal::NotHost));
    assert_eq!(world.lobby.pass_host(&id("ada"), &id("eve")), Err(OpRefusal::NoSuchMember));
    assert_eq!(world.lobby.pass_host(&id("ada"), &id("bob")), Ok(()));
    assert_eq!(world.host(), Some("bob"));
    assert_eq!(world.lobby.lock(&id("ada"), true), Err(OpRefusal::NotHost));
    assert_eq!(world.drain(), [Event::Changed]);
}

#[test]
fn a_kicked_player_cannot_return() {
    let mut world = World::with(&["ada", "bob"]);
    assert_eq!(world.lobby.kick(&id("ada"), &id("bob")), Ok(()));
    assert_eq!(world.drain(), [left("bob", LeftReason::Kicked), Event::Changed]);
    assert_eq!(world.join("bob"), Err(JoinRefusal::Banned));
    assert_eq!(world.watch("bob"), Err(JoinRefusal::Banned), "nor watch");
    assert_eq!(world.lobby.quick_fit(&id("bob"), &GameName::new("arena").unwrap()), None);
}

#[test]
fn nobody_waits_for_the_grace_of_a_member_who_is_gone() {
    let mut world = World::with(&["ada", "bob"]);
    world.lobby.handle_link_lost(&id("bob"), world.now + secs(15));
    world.lobby.kick(&id("ada"), &id("bob")).unwrap();
    assert_eq!(world.lobby.next_deadline(), None);
}

#[test]
fn only_the_host_kicks_and_never_itself() {
    let mut world = World::with(&["ada", "bob"]);
    assert_eq!(world.lobby.kick(&id("bob"), &id("ada")), Err(OpRefusal::NotHost));
    assert_eq!(world.lobby.kick(&id("ada"), &id("ada")), Err(OpRefusal::Oneself));
    assert_eq!(world.lobby.kick(&id("ada"), &id("eve")), Err(OpRefusal::NoSuchMember));
    assert_eq!(world.drain(), []);
}

#[test]
fn a_locked_lobby_refuses_everybody_but_keeps_promised_places() {
    let mut world = World::with(&["ada"]);
    world.reserve("bob", Role::Player).unwrap();
    world.lobby.lock(&id("ada"), true).unwrap();
    assert_eq!(world.join("eve"), Err(JoinRefusal::Locked));
    assert_eq!(world.watch("sam"), Err(JoinRefusal::Locked));
    assert_eq!(world.enter("bob", false), Ok(()));
    world.lobby.lock(&id("ada"), false).unwrap();
    assert_eq!(world.join("eve"), Ok(()));
}

#[test]
fn somebody_outside_can_do_nothing_and_nothing_happens() {
    let mut world = World::with(&["ada", "bob"]);
    world.reserve("eve", Role::Player).unwrap();
    world.drain();
    let before = world.lobby.view();
    for eve in [id("eve"), id("mallory")] {
        let refused = Err(OpRefusal::NotMember);
        assert_eq!(world.lobby.leave(&eve), refused);
        assert_eq!(world.lobby.set_ready(&eve, true), refused);
        assert_eq!(world.lobby.chat(&eve, "hi"), refused);
        assert_eq!(world.lobby.kick(&eve, &id("bob")), refused);
        assert_eq!(world.lobby.lock(&eve, true), refused);
        assert_eq!(world.lobby.pass_host(&eve, &eve), refused);
        assert_eq!(world.lobby.start(&eve), refused);
        world.lobby.handle_link_lost(&eve, world.now);
        world.lobby.handle_link_back(&eve);
    }
    assert_eq!(world.drain(), []);
    assert_eq!(world.lobby.view(), before);
}

#[test]
fn all_ready_starts_only_with_the_minimum() {
    let mut world = World::with(&["ada"]);
    world.lobby.set_ready(&id("ada"), true).unwrap();
    assert_eq!(world.drain(), [Event::Changed], "ready, but alone");
    world.join("bob").unwrap();
    world.watch("sam").unwrap();
    assert_eq!(world.drain(), [Event::Changed]);
    world.lobby.set_ready(&id("bob"), true).unwrap();
    assert_eq!(world.drain(), [starts(&["ada", "bob"], &["sam"]), Event::Changed]);
    assert_eq!(world.lobby.phase(), Phase::Starting);
    assert!(world.lobby.summary().playing);
}

#[test]
fn the_others_start_when_the_one_who_is_not_ready_leaves() {
    let mut world = World::with(&["ada", "bob", "cat"]);
    world.lobby.set_ready(&id("ada"), true).unwrap();
    world.lobby.set_ready(&id("bob"), true).unwrap();
    world.drain();
    world.lobby.leave(&id("cat")).unwrap();
    assert_eq!(world.drain(), [left("cat", LeftReason::Left), starts(&["ada", "bob"], &[]), Event::Changed]);
}

#[test]
fn two_who_vanish_in_the_same_moment_start_nothing_for_each_other() {
    let mut world = World::with(&["ada", "bob", "cat"]);
    for player in ["bob", "cat"] {
        world.lobby.set_ready(&id(player), true).unwrap();
    }
    for player in ["ada", "bob"] {
        world.lobby.handle_link_lost(&id(player), world.now + secs(15));
    }
    world.drain();
    let gone = [left("ada", LeftReason::LinkLost), left("bob", LeftReason::LinkLost), Event::Changed];
    assert_eq!(world.pass(secs(15)), gone);
}

#[test]
fn the_host_starts_with_the_minimum_whoever_is_ready() {
    let mut world = World::with(&["ada"]);
    assert_eq!(world.lobby.start(&id("ada")), Err(OpRefusal::TooFewPlayers));
    world.join("bob").unwrap();
    world.drain();
    assert_eq!(world.lobby.start(&id("bob")), Err(OpRefusal::NotHost));
    assert_eq!(world.lobby.start(&id("ada")), Ok(()));
    assert_eq!(world.drain(), [starts(&["ada", "bob"], &[]), Event::Changed]);
    assert_eq!(world.lobby.start(&id("ada")), Err(OpRefusal::AlreadyPlaying));
    world.play(1);
    assert_eq!(world.lobby.start(&id("ada")), Err(OpRefusal::AlreadyPlaying));
    assert_eq!(world.lobby.set_ready(&id("ada"), true), Err(OpRefusal::AlreadyPlaying));
}

#[test]
fn after_a_session_everybody_is_back_and_nobody_is_ready() {
    let mut world = World::with(&["ada", "bob"]);
    world.lobby.set_ready(&id("ada"), true).unwrap();
    world.lobby.set_ready(&id("bob"), true).unwrap();
    world.play(1);
    assert_eq!(world.lobby.phase(), Phase::Playing(SessionId(1)));
    assert_eq!(world.end(2), [], "another session's end means nothing");
    assert_eq!(world.end(1), [Event::Changed]);
    assert_eq!(world.lobby.phase(), Phase::Gathering);
    assert_eq!(world.lobby.members().count(), 2);
    assert!(world.lobby.members().all(|member| !member.ready));
    assert_eq!(world.end(1), [], "it ends once");
}

#[test]
fn a_session_that_could_not_start_brings_everybody_back() {
    let mut world = World::with(&["ada", "bob"]);
    world.lobby.start(&id("ada")).unwrap();
    world.drain();
    world.lobby.handle_session_failed(world.now);
    assert_eq!(world.drain(), [Event::Changed]);
    assert_eq!(world.lobby.phase(), Phase::Gathering);
    world.lobby.handle_session_started(SessionId(1));
    assert_eq!(world.drain(), [], "nothing was asked for any more");
}

#[test]
fn whoever_comes_late_is_seated_late_exactly_once() {
    let mut world = World::with(&["ada", "bob"]);
    world.lobby.start(&id("ada")).unwrap();
    world.join("cat").unwrap();
    let late = |player, role| Event::SeatLate { player: id(player), role };
    assert_eq!(world.drain(), [starts(&["ada", "bob"], &[]), Event::Changed], "there is no session to seat cat in yet");
    assert_eq!(world.play(1), [late("cat", Role::Player), Event::Changed]);
    world.join("dan").unwrap();
    world.watch("sam").unwrap();
    assert_eq!(world.drain(), [late("dan", Role::Player), late("sam", Role::Spectator), Event::Changed]);
    world.end(1);
    world.lobby.start(&id("ada")).unwrap();
    assert_eq!(world.drain(), [starts(&["ada", "bob", "cat", "dan"], &["sam"]), Event::Changed]);
    assert_eq!(world.play(2), [Event::Changed]);
}

#[test]
fn without_late_join_a_running_session_takes_spectators_only() {
    let mut world = World::new(|settings| settings.late_join = false);
    world.join("ada").unwrap();
    world.join("bob").unwrap();
    world.reserve("cat", Role::Player).unwrap();
    world.lobby.start(&id("ada")).unwrap();
    world.play(1);
    assert!(!world.lobby.is_open());
    assert_eq!(world.join("dan"), Err(JoinRefusal::NoLateJoin));
    assert_eq!(world.enter("cat", false), Ok(()), "the place was promised before the start");
    assert_eq!(world.drain(), [Event::Changed], "and cat waits for the next session");
    world.watch("sam").unwrap();
    assert_eq!(world.drain(), [Event::SeatLate { player: id("sam"), role: Role::Spectator }, Event::Changed]);
    world.end(1);
    assert_eq!(world.join("dan"), Ok(()));
}

#[test]
fn quick_play_starts_by_itself_and_again_after_each_session() {
    let mut world = World::automatic(3, 10);
    world.join("ada").unwrap();
    assert_eq!(world.lobby.next_deadline(), None);
    world.join("bob").unwrap();
    assert_eq!(world.lobby.next_deadline(), Some(world.now + secs(3)));
    assert_eq!(world.pass(secs(2)), [Event::Changed]);
    assert_eq!(world.pass(secs(1)), [starts(&["ada", "bob"], &[]), Event::Changed]);
    world.play(1);
    assert_eq!(world.lobby.next_deadline(), None);
    world.end(1);
    world.join("cat").unwrap();
    assert_eq!(world.pass(secs(9)), [Event::Changed], "an arrival does not shorten the pause");
    assert_eq!(world.pass(secs(1)), [starts(&["ada", "bob", "cat"], &[]), Event::Changed]);
}

#[test]
fn the_pause_after_a_session_holds_even_when_the_minimum_is_lost_and_met_again() {
    let mut world = World::automatic(0, 10);
    world.join("ada").unwrap();
    world.join("bob").unwrap();
    world.play(1);
    world.end(1);
    world.lobby.leave(&id("bob")).unwrap();
    world.join("cat").unwrap();
    world.drain();
    assert_eq!(world.lobby.next_deadline(), Some(world.now + secs(10)));
}

#[test]
fn whoever_arrives_during_the_countdown_does_not_put_it_off() {
    let mut world = World::automatic(3, 10);
    world.join("ada").unwrap();
    world.join("bob").unwrap();
    world.pass(secs(2));
    world.join("cat").unwrap();
    world.drain();
    assert_eq!(world.pass(secs(1)), [starts(&["ada", "bob", "cat"], &[]), Event::Changed]);
}

#[test]
fn quick_play_without_delay_starts_the_moment_the_minimum_is_met() {
    let mut world = World::automatic(0, 0);
    world.join("ada").unwrap();
    world.drain();
    world.join("bob").unwrap();
    assert_eq!(world.drain(), [starts(&["ada", "bob"], &[]), Event::Changed]);
    world.play(1);
    assert_eq!(world.end(1), [starts(&["ada", "bob"], &[]), Event::Changed]);
    world.lobby.handle_session_failed(world.now);
    assert_eq!(world.drain(), [Event::Changed], "a session that fails is not tried again without pause");
    assert_eq!(world.lobby.next_deadline(), Some(world.now + RETRY_AFTER));
    assert_eq!(world.pass(RETRY_AFTER), [starts(&["ada", "bob"], &[]), Event::Changed]);
}

#[test]
fn an_automatic_start_is_called_off_below_the_minimum_and_begins_anew() {
    let mut world = World::automatic(3, 10);
    world.join("ada").unwrap();
    world.join("bob").unwrap();
    world.lobby.leave(&id("bob")).unwrap();
    world.drain();
    assert_eq!(world.lobby.next_deadline(), None);
    assert_eq!(world.pass(secs(3)), []);
    world.join("cat").unwrap();
    assert_eq!(world.lobby.next_deadline(), Some(world.now + secs(3)));
}

#[test]
fn an_empty_lobby_closes_exactly_once() {
    let mut world = World::with(&["ada"]);
    world.reserve("bob", Role::Player).unwrap();
    world.lobby.leave(&id("ada")).unwrap();
    assert_eq!(world.drain(), [left("ada", LeftReason::Left), Event::Changed]);
    assert!(!world.lobby.is_closed(), "bob is about to come");
    assert_eq!(world.pass(secs(5)), [Event::Closed]);
    assert!(world.lobby.is_closed() && world.lobby.next_deadline().is_none());
    assert_eq!(world.join("cat"), Err(JoinRefusal::Closed));
    assert_eq!(world.enter("cat", false), Err(JoinRefusal::Closed));
    assert_eq!(world.lobby.leave(&id("ada")), Err(OpRefusal::NotMember));
    assert!(!world.lobby.is_listed(&ListFilter::default()));
    world.lobby.cancel(&id("bob"));
    world.lobby.handle_session_failed(world.now);
    assert_eq!(world.pass(secs(100)), []);
}

#[test]
fn the_last_to_leave_closes_even_a_lobby_that_plays() {
    let mut world = World::with(&["ada", "bob"]);
    world.lobby.start(&id("ada")).unwrap();
    world.play(1);
    world.lobby.leave(&id("ada")).unwrap();
    world.drain();
    world.lobby.leave(&id("bob")).unwrap();
    assert_eq!(world.drain(), [left("bob", LeftReason::Left), Event::Closed]);
    assert_eq!(world.end(1), []);
}

#[test]
fn a_lobby_that_nobody_ever_entered_closes_at_the_first_timeout() {
    let mut world = World::new(|_| ());
    assert_eq!(world.lobby.next_deadline(), Some(world.now));
    assert_eq!(world.pass(Duration::ZERO), [Event::Closed]);
}

#[test]
fn chat_goes_to_all_clean_or_not_at_all() {
    let mut world = World::with(&["ada"]);
    world.watch("sam").unwrap();
    world.drain();
    assert_eq!(world.lobby.chat(&id("sam"), "  <b>hi</b> "), Ok(()));
    let text = crate::text::ChatText::new("<b>hi</b>").unwrap();
    assert_eq!(world.drain(), [Event::Chat { player: id("sam"), name: DisplayName::new("sam").unwrap(), text }]);
    assert_eq!(world.lobby.chat(&id("sam"), "\u{1b}[2J"), Err(OpRefusal::BadText(TextFault::Control)));
    assert_eq!(world.lobby.chat(&id("sam"), "\u{202e}"), Err(OpRefusal::BadText(TextFault::Direction)));
    assert_eq!(OpRefusal::BadText(TextFault::Control).slug(), "text-control");
    assert_eq!(world.drain(), []);
}

#[test]
fn a_call_that_changes_nothing_tells_nothing() {
    let mut world = World::with(&["ada", "bob"]);
    world.lobby.set_ready(&id("ada"), false).unwrap();
    world.lobby.lock(&id("ada"), false).unwrap();
    world.lobby.pass_host(&id("ada"), &id("ada")).unwrap();
    world.lobby.handle_link_back(&id("ada"));
    world.reserve("cat", Role::Player).unwrap();
    world.lobby.cancel(&id("cat"));
    assert_eq!(world.pass(secs(1)), []);
}

#[test]
fn the_list_shows_what_the_filter_asks_for_and_never_a_private_lobby() {
    let arena = ListFilter { game: Some(GameName::new("arena").unwrap()), open: false };
    let relay = ListFilter { game: Some(GameName::new("relay").unwrap()), open: false };
    let open = ListFilter { game: None, open: true };
    let mut world = World::with(&["ada"]);
    assert!(world.lobby.is_listed(&ListFilter::default()));
    assert!(world.lobby.is_listed(&arena) && world.lobby.is_listed(&open) && !world.lobby.is_listed(&relay));
    world.lobby.lock(&id("ada"), true).unwrap();
    assert!(world.lobby.is_listed(&arena) && !world.lobby.is_listed(&open));

    let mut private = World::new(|settings| settings.public = false);
    private.join("ada").unwrap();
    assert!(!private.lobby.is_listed(&ListFilter::default()));
    assert_eq!(private.lobby.quick_fit(&id("bob"), &GameName::new("arena").unwrap()), None);
}

#[test]
fn quick_play_prefers_the_fullest_lobby_then_the_oldest() {
    let arena = GameName::new("arena").unwrap();
    let lobby = |number: u128, age: u64, members: usize| {
        let settings = World::new(|_| ()).lobby.settings;
        let mut lobby = Lobby::new(LobbyId(number), JoinCode::from_random(1), settings, secs(age));
        for n in 0..members {
            lobby.reserve(&id(&format!("p{n}")), Role::Player, secs(age), secs(1_000)).unwrap();
        }
        lobby
    };
    let eve = id("eve");
    let lobbies = [lobby(1, 5, 2), lobby(2, 9, 3), lobby(3, 6, 3), lobby(4, 6, 3), lobby(5, 1, 8)];
    let best = lobbies.iter().filter_map(|lobby| Some((lobby.quick_fit(&eve, &arena)?, lobby.id()))).max();
    assert_eq!(best.map(|(_, id)| id), Some(LobbyId(3)), "8 of 8 is full; 3 of 8 twice as old as a third");
    assert_eq!(lobbies[0].quick_fit(&eve, &GameName::new("relay").unwrap()), None);
    assert_eq!(lobbies[0].quick_fit(&id("p0"), &arena), None, "not where a place is held for the player already");
}

#[test]
fn capacity_and_minimum_are_brought_into_their_bounds() {
    let bounds = |capacity, min_players| {
        let world = World::new(|settings| (settings.capacity, settings.min_players) = (capacity, min_players));
        (world.lobby.settings().capacity, world.lobby.settings().min_players)
    };
    assert_eq!(bounds(0, 0), (1, 1));
    assert_eq!(bounds(4, 9), (4, 4));
}

#[test]
fn a_thousand_members_keep_the_order_of_their_arrival() {
    let mut world = World::new(|settings| settings.capacity = 1_000);
    let names: Vec<String> = (0..1_000).map(|n| format!("p{n}")).collect();
    names.iter().for_each(|name| world.join(name).unwrap());
    world.drain();
    for name in names.iter().step_by(2) {
        world.lobby.leave(&id(name)).unwrap();
    }
    let here: Vec<String> = world.lobby.members().map(|member| member.player.to_string()).collect();
    assert_eq!(here, names.iter().skip(1).step_by(2).cloned().collect::<Vec<_>>());
    assert_eq!(world.host(), Some("p1"));
}
