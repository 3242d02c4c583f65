//! Any sequence of calls leaves a lobby whole: the invariants of `muster::lobby` hold after every call, and a model that
//! knows only the calls, their answers and the events agrees with what the lobby shows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster::ids::{GameName, JoinCode, LobbyId, PlayerId, SessionId};
use muster::lobby::{
    Event, JoinRefusal, LeftReason, Lobby, LobbySettings, LobbySummary, LobbyView, OpRefusal, Phase, Role, StartRule,
};
use muster::text::{DisplayName, LobbyName};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lobby_keeps_its_invariants_whatever_is_called(
        settings in settings(),
        operations in operations(),
    ) {
        let mut world = World::new(settings);
        for operation in operations {
            world.call(operation);
            world.drain();
            world.check();
        }
    }

    #[test]
    fn a_lobby_whose_links_are_all_lost_closes_by_its_own_deadlines(
        settings in settings(),
        operations in operations(),
    ) {
        let mut world = World::new(settings);
        for operation in operations {
            world.call(operation);
            world.drain();
        }
        for player in 0..PLAYERS {
            world.call(Operation::LinkLost { player, grace_secs: 15 });
            world.drain();
        }
        // Each deadline lets at least one of them go, or starts a session.
        for _ in 0..=usize::from(PLAYERS) * 2 {
            world.call(Operation::Deadline);
            world.drain();
            world.check();
        }
        prop_assert!(world.closed);
    }

    #[test]
    fn calls_without_a_drain_between_them_lose_no_event(
        settings in settings(),
        operations in operations(),
    ) {
        let (mut patient, mut hasty) = (World::new(settings.clone()), World::new(settings));
        let (mut told, mut told_late) = (Vec::new(), Vec::new());
        for operation in operations {
            patient.call(operation.clone());
            told.extend(patient.drain());
            // The model is not asked here: it is behind until the drain.
            hasty.carry_out(&hasty.resolve(operation));
        }
        while let Some(event) = hasty.lobby.poll_event() {
            told_late.push(event);
        }
        told.retain(|event| *event != Event::Changed);
        told_late.retain(|event| *event != Event::Changed);
        prop_assert_eq!(told, told_late);
        prop_assert_eq!(patient.lobby.view(), hasty.lobby.view());
    }
}

/// One call. Players are numbers, so that the same few meet again and again, and [`HOST`] is whoever the host is; times
/// are offsets from now.
#[derive(Clone, Debug)]
enum Operation {
    Reserve {
        player: u8,
        role: Role,
        for_secs: u64,
    },
    Cancel(u8),
    Enter {
        player: u8,
        wants_host: bool,
    },
    Leave(u8),
    Ready(u8, bool),
    Chat(u8, String),
    Kick(u8, u8),
    Lock(u8, bool),
    PassHost(u8, u8),
    Start(u8),
    LinkLost {
        player: u8,
        grace_secs: u64,
    },
    LinkBack(u8),
    SessionStarted(u128),
    SessionFailed,
    SessionEnded(u128),
    Timeout {
        after_secs: u64,
    },
    /// The timeout at the next deadline exactly.
    Deadline,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let player = || 0..PLAYERS;
    let actor = || prop_oneof![Just(HOST), 0..PLAYERS];
    let role = prop_oneof![4 => Just(Role::Player), 1 => Just(Role::Spectator)];
    prop_oneof![
        8 => (player(), role, 0..10u64).prop_map(|(player, role, for_secs)| Reserve { player, role, for_secs }),
        12 => (player(), any::<bool>()).prop_map(|(player, wants_host)| Enter { player, wants_host }),
        1 => player().prop_map(Cancel),
        2 => player().prop_map(Leave),
        8 => (player(), prop::bool::weighted(0.8)).prop_map(|(player, ready)| Ready(player, ready)),
        1 => (player(), any::<String>()).prop_map(|(player, text)| Chat(player, text)),
        1 => (actor(), player()).prop_map(|(actor, target)| Kick(actor, target)),
        1 => (actor(), prop::bool::weighted(0.3)).prop_map(|(actor, locked)| Lock(actor, locked)),
        1 => (actor(), player()).prop_map(|(actor, target)| PassHost(actor, target)),
        2 => actor().prop_map(Start),
        2 => (player(), 0..10u64).prop_map(|(player, grace_secs)| LinkLost { player, grace_secs }),
        2 => player().prop_map(LinkBack),
        4 => (0..2u128).prop_map(SessionStarted),
        1 => Just(SessionFailed),
        3 => (0..2u128).prop_map(SessionEnded),
        1 => (0..20u64).prop_map(|after_secs| Timeout { after_secs }),
        2 => Just(Deadline),
    ]
}

/// Some players are there from the start, so that what follows is not refused for want of members.
fn operations() -> impl Strategy<Value = Vec<Operation>> {
    (0..PLAYERS, proptest::collection::vec(operation(), 0..80)).prop_map(|(first, then)| {
        let reserve = |player| Operation::Reserve { player, role: Role::Player, for_secs: 5 };
        let enter = |player| Operation::Enter { player, wants_host: false };
        (0..first).flat_map(|player| [reserve(player), enter(player)]).chain(then).collect()
    })
}

fn settings() -> impl Strategy<Value = LobbySettings> {
    let start = prop_oneof![
        Just(StartRule::WhenReady),
        (0..4u64, 0..4u64).prop_map(|(minimum, session)| StartRule::Automatic {
            after_minimum: Duration::from_secs(minimum),
            after_session: Duration::from_secs(session),
        }),
    ];
    (any::<bool>(), 0..6u16, 0..3u16, 0..4u16, start, any::<bool>()).prop_map(
        |(public, capacity, spectators, min_players, start, late_join)| LobbySettings {
            game: game(),
            name: LobbyName::new("any").unwrap(),
            public,
            capacity,
            spectators,
            min_players,
            settings: Vec::new(),
            start,
            late_join,
        },
    )
}

/// A lobby, its clock, and what somebody would know who only followed the calls and the events.
struct World {
    lobby: Lobby,
    now: Duration,
    shown: (LobbyView, LobbySummary),
    members: BTreeSet<PlayerId>,
    reserved: BTreeMap<PlayerId, (Role, Duration)>,
    kicked: BTreeSet<PlayerId>,
    /// Whom the session that starts or runs was told of.
    seated: BTreeSet<PlayerId>,
    closed: bool,
}

/// What a call answered, where it answers.
#[derive(Debug)]
enum Answer {
    Nothing,
    Join(Result<(), JoinRefusal>),
    Done(Result<(), OpRefusal>),
}

impl World {
    fn new(settings: LobbySettings) -> Self {
        let now = Duration::from_secs(1_000);
        let lobby = Lobby::new(LobbyId(1), JoinCode::from_random(1), settings, now);
        let shown = (lobby.view(), lobby.summary());
        Self {
            lobby,
            now,
            shown,
            members: BTreeSet::new(),
            reserved: BTreeMap::new(),
            kicked: BTreeSet::new(),
            seated: BTreeSet::new(),
            closed: false,
        }
    }

    /// Puts the host's number where [`HOST`] stands.
    fn resolve(&self, mut operation: Operation) -> Operation {
        use Operation::*;
        if let Kick(actor, _) | Lock(actor, _) | PassHost(actor, _) | Start(actor) = &mut operation
            && *actor == HOST
        {
            *actor = (0..PLAYERS).find(|player| self.lobby.host() == Some(&id(*player))).unwrap_or(0);
        }
        operation
    }

    /// Makes the call and nothing else.
    fn carry_out(&mut self, operation: &Operation) -> Answer {
        use Operation::*;
        let lobby = &mut self.lobby;
        match *operation {
            Reserve { player, role, for_secs } => {
                return Answer::Join(lobby.reserve(&id(player), role, self.now, self.now + secs(for_secs)));
            }
            Enter { player, wants_host } => {
                return Answer::Join(lobby.enter(&id(player), DisplayName::nameless(), wants_host, self.now));
            }
            Leave(actor) => return Answer::Done(lobby.leave(&id(actor))),
            Ready(actor, ready) => return Answer::Done(lobby.set_ready(&id(actor), ready)),
            Chat(actor, ref text) => return Answer::Done(lobby.chat(&id(actor), text)),
            Kick(actor, target) => return Answer::Done(lobby.kick(&id(actor), &id(target))),
            Lock(actor, locked) => return Answer::Done(lobby.lock(&id(actor), locked)),
            PassHost(actor, target) => return Answer::Done(lobby.pass_host(&id(actor), &id(target))),
            Start(actor) => return Answer::Done(lobby.start(&id(actor))),
            Cancel(player) => lobby.cancel(&id(player)),
            LinkLost { player, grace_secs } => lobby.handle_link_lost(&id(player), self.now + secs(grace_secs)),
            LinkBack(player) => lobby.handle_link_back(&id(player)),
            SessionStarted(session) => lobby.handle_session_started(SessionId(session)),
            SessionFailed => lobby.handle_session_failed(self.now),
            SessionEnded(session) => lobby.handle_session_ended(SessionId(session), self.now),
            Timeout { after_secs } => {
                self.now += secs(after_secs);
                lobby.handle_timeout(self.now);
            }
            Deadline => {
                self.now = lobby.next_deadline().unwrap_or(self.now).max(self.now);
                lobby.handle_timeout(self.now);
            }
        }
        Answer::Nothing
    }

    /// Makes the call, and checks its answer against what was known before it.
    fn call(&mut self, operation: Operation) {
        use Operation::*;
        let before = self.shown.0.phase;
        let host = self.shown.0.host.clone();
        let operation = self.resolve(operation);
        let answer = self.carry_out(&operation);
        match (operation, answer) {
            (Reserve { player, role, for_secs }, Answer::Join(answer)) => {
                self.lapse();
                self.reserving(id(player), role, self.now + secs(for_secs), answer);
            }
            (Enter { player, .. }, Answer::Join(answer)) => {
                let reserved = self.reserved.remove(&id(player));
                assert_eq!(answer.is_ok(), reserved.is_some(), "one enters with a reservation and not without");
                if let Some((role, _)) = reserved {
                    assert_eq!(self.lobby.member(&id(player)).map(|member| member.role), Some(role));
                    self.members.insert(id(player));
                }
            }
            (operation, Answer::Done(answer)) => self.acting(&operation, answer, before, host.as_ref()),
            (Cancel(player), _) => drop(self.reserved.remove(&id(player))),
            (operation @ (SessionFailed | SessionEnded(_)), _) if self.lobby.phase() != before => {
                match operation {
                    SessionEnded(session) => assert_eq!(before, Phase::Playing(SessionId(session))),
                    _ => assert_eq!(before, Phase::Starting),
                }
                assert!(self.lobby.members().all(|member| !member.ready), "nobody is ready after a session");
                self.seated.clear();
            }
            (Timeout { .. } | Deadline, _) => {
                self.lapse();
                let next = self.lobby.next_deadline();
                assert!(next.is_none_or(|at| at > self.now), "everything due has been done");
            }
            _ => {}
        }
    }

    /// A reservation is given exactly when there is a place and nothing speaks against it.
    fn reserving(&mut self, player: PlayerId, role: Role, until: Duration, answer: Result<(), JoinRefusal>) {
        let settings = self.lobby.settings();
        let places = if role == Role::Player { settings.capacity } else { settings.spectators };
        let taken = self.lobby.members().filter(|member| member.role == role).count()
            + self.reserved.values().filter(|(reserved, _)| *reserved == role).count();
        let expected = if self.lobby.member(&player).is_some() {
            Err(JoinRefusal::AlreadyHere)
        } else if self.reserved.contains_key(&player) {
            Err(JoinRefusal::AlreadyArriving)
        } else if self.kicked.contains(&player) {
            Err(JoinRefusal::Banned)
        } else if self.lobby.is_closed() {
            Err(JoinRefusal::Closed)
        } else if self.shown.0.locked {
            Err(JoinRefusal::Locked)
        } else if role == Role::Player && self.lobby.phase() != Phase::Gathering && !settings.late_join {
            Err(JoinRefusal::NoLateJoin)
        } else if taken >= usize::from(places) {
            Err(JoinRefusal::Full)
        } else {
            Ok(())
        };
        assert_eq!(answer, expected);
        if answer.is_ok() {
            self.reserved.insert(player, (role, until));
        }
    }

    /// Only members act, and only the host does what is the host's.
    fn acting(&mut self, op: &Operation, answer: Result<(), OpRefusal>, before: Phase, host: Option<&PlayerId>) {
        use Operation::*;
        let (Leave(actor) | Ready(actor, _) | Chat(actor, _) | Lock(actor, _) | Start(actor)) = *op else {
            let (Kick(actor, target) | PassHost(actor, target)) = *op else { panic!("{op:?} does not answer so") };
            assert_eq!(answer == Err(OpRefusal::NotMember), !self.members.contains(&id(actor)));
            assert!(answer.is_err() || (host == Some(&id(actor)) && self.members.contains(&id(target))));
            if answer.is_ok() && matches!(op, Kick(..)) {
                self.kicked.insert(id(target));
            } else if answer.is_ok() {
                assert_eq!(self.lobby.host(), Some(&id(target)));
            }
            return;
        };
        let (member, is_host) = (self.members.contains(&id(actor)), host == Some(&id(actor)));
        assert_eq!(answer == Err(OpRefusal::NotMember), !member);
        match op {
            Leave(_) => assert_eq!(answer.is_ok(), member),
            Lock(..) => assert_eq!(answer.is_ok(), is_host),
            Start(_) => assert!(answer.is_err() || (is_host && before == Phase::Gathering)),
            Ready(..) => assert!(answer.is_err() || before == Phase::Gathering),
            _ => {}
        }
    }

    /// Forgets the reservations whose time is over.
    fn lapse(&mut self) {
        let now = self.now;
        self.reserved.retain(|_, (_, until)| *until > now);
    }

    /// Takes the events out, and checks each against what was known before it.
    fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut changed = false;
        while let Some(event) = self.lobby.poll_event() {
            assert!(!self.closed && !changed, "{event:?} after the last event");
            events.push(event.clone());
            match event {
                Event::Changed => changed = true,
                Event::Left { player, reason } => self.leaving(&player, reason),
                Event::Chat { player, .. } => assert!(self.members.contains(&player)),
                Event::StartSession { players, spectators } => self.starting(players, spectators),
                Event::SeatLate { player, .. } => {
                    assert!(matches!(self.lobby.phase(), Phase::Playing(_)) && self.members.contains(&player));
                    assert!(self.seated.insert(player), "one seat each");
                }
                Event::Closed => self.closed = true,
            }
        }
        let shown = (self.lobby.view(), self.lobby.summary());
        assert!(changed || self.closed || shown == self.shown, "what is shown differs, and nobody was told");
        self.shown = shown;
        events
    }

    fn leaving(&mut self, player: &PlayerId, reason: LeftReason) {
        assert!(self.members.remove(player), "{player} left without being here");
        self.seated.remove(player);
        let connected = self.shown.0.members.iter().any(|member| member.player == *player && member.connected);
        match reason {
            LeftReason::Left => {}
            LeftReason::Kicked => assert!(self.kicked.contains(player)),
            LeftReason::LinkLost => assert!(!connected, "{player} had a link"),
        }
    }

    fn starting(&mut self, players: Vec<PlayerId>, spectators: Vec<PlayerId>) {
        let in_order = self.lobby.members().filter(|member| member.role == Role::Player);
        assert!(players.iter().eq(in_order.map(|member| &member.player)), "in order of arrival");
        assert!(players.len() >= usize::from(self.lobby.settings().min_players));
        assert!(self.seated.is_empty(), "one session at a time");
        self.seated.extend(players.into_iter().chain(spectators));
        assert_eq!(self.seated, self.members, "everybody is told of");
    }

    fn check(&self) {
        let (view, summary) = &self.shown;
        let settings = self.lobby.settings();
        let here: BTreeSet<_> = view.members.iter().map(|member| member.player.clone()).collect();
        assert_eq!((&here, view.members.len()), (&self.members, self.members.len()), "events and view agree");
        assert!(here.is_disjoint(&self.kicked) && here.iter().all(|player| !self.reserved.contains_key(player)));
        assert!(view.members.iter().all(|member| self.lobby.member(&member.player) == Some(member)));
        assert!(view.members.iter().all(|member| member.role == Role::Player || !member.ready));

        for (role, places) in [(Role::Player, settings.capacity), (Role::Spectator, settings.spectators)] {
            let members = view.members.iter().filter(|member| member.role == role).count();
            let reserved = self.reserved.values().filter(|(reserved, _)| *reserved == role).count();
            assert!(members + reserved <= usize::from(places), "{role:?}: {members} + {reserved} of {places}");
        }
        let mut players = view.members.iter().filter(|member| member.role == Role::Player);
        let count = players.clone().count();
        assert_eq!((usize::from(summary.players), summary.open), (count, self.lobby.is_open()));
        let stranger = PlayerId::new("stranger").unwrap();
        assert_eq!(self.lobby.quick_fit(&stranger, &game()).is_some(), settings.public && summary.open);

        assert_eq!(view.host.is_some(), count > 0, "a host exactly when there is a player");
        assert!(view.host.is_none() || players.clone().any(|member| view.host.as_ref() == Some(&member.player)));

        if view.phase == Phase::Gathering && count >= usize::from(settings.min_players) {
            match settings.start {
                StartRule::WhenReady => assert!(players.any(|member| !member.ready), "all ready, and nothing starts"),
                StartRule::Automatic { .. } => assert!(self.lobby.next_deadline().is_some(), "nothing will start"),
            }
        }
        assert_eq!(self.lobby.is_closed(), self.closed);
        if self.closed {
            assert!(here.is_empty() && self.reserved.is_empty() && self.lobby.next_deadline().is_none());
        } else {
            assert!(self.lobby.next_deadline().is_some() || !here.is_empty(), "an empty lobby would stay for ever");
        }
    }
}

fn id(player: u8) -> PlayerId {
    PlayerId::new(&format!("p{player}")).unwrap()
}

fn game() -> GameName {
    GameName::new("arena").unwrap()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const PLAYERS: u8 = 8;
const HOST: u8 = u8::MAX;
