//! What players ask for: each request is carried out once and answered once.

use std::sync::Arc;
use std::time::Duration;

use super::link::LinkId;
use super::lobbies::{JoinFault, SPECTATORS, Target};
use super::{Arrival, Hub, Turn};
use crate::game::CreateError;
use crate::ids::{GameName, PlayerId};
use crate::lobby::{ListFilter, Lobby, LobbySettings, OpRefusal, Role, StartRule};
use crate::request::Wish;
use crate::text::LobbyName;
use crate::ticket::Action;
use crate::wire::{Code, LobbyFilter, LobbySpec, Refusal, Reply, Request, ServerMessage};

/// Why a request is not carried out.
struct Refused {
    code: Code,
    slug: &'static str,
}

impl Hub {
    /// Carries out a request of a link's player and answers it. One without a body came too fast.
    ///
    /// # Errors
    /// The code to close with, when the numbers of requests do not rise by one: an answer would have nobody to go to.
    pub(super) fn request(&self, player: &PlayerId, link: LinkId, id: u32, body: Option<Request>) -> Result<(), Code> {
        self.turn(|turn| {
            let Some(presence) = turn.state.players.get_mut(player) else { return Err(Code::Left) };
            if presence.link.as_ref().is_none_or(|current| current.id != link) {
                return Err(Code::Replaced);
            }
            if id <= presence.last_request {
                return Ok(());
            }
            if id != presence.last_request + 1 {
                return Err(Code::Malformed);
            }
            presence.last_request = id;
            let outcome = body.map_or(Err(TOO_FAST), |body| turn.carry_out(player, body));
            let refusal =
                outcome.err().map(|refused| Refusal { code: refused.code.number(), reason: refused.slug.to_owned() });
            turn.send(player, &ServerMessage::Reply(Reply { request: id, refusal }));
            Ok(())
        })
    }
}

impl Turn<'_> {
    fn carry_out(&mut self, player: &PlayerId, request: Request) -> Result<(), Refused> {
        let grants = self.state.players.get(player).map(|presence| &presence.grants);
        if action_of(&request).is_some_and(|action| grants.is_none_or(|grants| !grants.allows(action))) {
            return Err(JoinFault::Forbidden.into());
        }
        match request {
            Request::Join { wish } => self.join(player, &wish),
            Request::Create(spec) => self.create_for(player, spec),
            Request::Leave => self.in_lobby(player, |lobby, _| lobby.leave(player)),
            Request::Ready(ready) => self.in_lobby(player, |lobby, _| lobby.set_ready(player, ready)),
            Request::Chat(text) => self.in_lobby(player, |lobby, _| lobby.chat(player, &text)),
            Request::Kick(target) => self.in_lobby(player, |lobby, _| {
                owned(lobby)?;
                lobby.kick(player, &target)
            }),
            Request::Lock(locked) => self.in_lobby(player, |lobby, _| {
                owned(lobby)?;
                lobby.lock(player, locked)
            }),
            Request::PassHost(target) => self.in_lobby(player, |lobby, _| lobby.pass_host(player, &target)),
            Request::Start => self.in_lobby(player, |lobby, _| lobby.start(player)),
            Request::Watch(filter) => self.watch(player, &filter),
            Request::Unwatch => {
                self.state.watchers.remove(player);
                Ok(())
            }
        }
    }

    fn in_lobby(
        &mut self,
        player: &PlayerId,
        act: impl FnOnce(&mut Lobby, Duration) -> Result<(), OpRefusal>,
    ) -> Result<(), Refused> {
        let id = self.state.players.get(player).and_then(|presence| presence.lobby).ok_or(OpRefusal::NotMember)?;
        let entry = self.state.lobbies.get_mut(&id).ok_or(OpRefusal::NotMember)?;
        let outcome = act(&mut entry.lobby, self.now);
        self.drive_lobby(id);
        Ok(outcome?)
    }

    fn join(&mut self, player: &PlayerId, wish: &str) -> Result<(), Refused> {
        let target = wish.parse().map(Target::of).map_err(|_| MALFORMED)?.ok_or(MALFORMED)?;
        let arrival = self.as_arrival(player)?;
        let id = self.reserve(&arrival, &target)?;
        self.move_to(player, id);
        Ok(())
    }

    fn create_for(&mut self, player: &PlayerId, spec: LobbySpec) -> Result<(), Refused> {
        let arrival = self.as_arrival(player)?;
        let settings = self.settings_of(&arrival, spec)?;
        let id = self.create(settings)?;
        let reserved = self.reserve(&arrival, &Target::Lobby(id));
        self.drive_lobby(id);
        self.move_to(player, reserved?);
        Ok(())
    }

    /// Moves a player to a lobby where a place is reserved for it.
    fn move_to(&mut self, player: &PlayerId, id: crate::ids::LobbyId) {
        if self.state.players.get(player).is_some_and(|presence| presence.lobby == Some(id)) {
            return;
        }
        self.leave_lobby(player);
        self.enter_lobby(player, id);
    }

    fn as_arrival(&self, player: &PlayerId) -> Result<Arrival, Refused> {
        let presence = self.state.players.get(player).ok_or(JoinFault::Forbidden)?;
        let (name, grants) = (presence.name.clone(), Arc::clone(&presence.grants));
        let ticket = presence.ticket.clone();
        Ok(Arrival { player: player.clone(), name, grants, role: presence.role, ticket })
    }

    fn settings_of(&self, arrival: &Arrival, spec: LobbySpec) -> Result<LobbySettings, Refused> {
        let limits = &self.hub.0.limits;
        let game = GameName::new(&spec.game).map_err(|_| JoinFault::NotFound)?;
        let kind = self.hub.0.registry.game(&game).ok_or(JoinFault::NotFound)?;
        if !arrival.grants.allows_creating() || !arrival.grants.allows_game(&game) || arrival.role != Role::Player {
            return Err(JoinFault::Forbidden.into());
        }
        if spec.settings.len() > limits.settings_bytes {
            return Err(BAD_SETTINGS);
        }
        kind.check_settings(&spec.settings).map_err(|fault| match fault {
            CreateError::Undecodable | CreateError::Settings(_) => BAD_SETTINGS,
            CreateError::Panicked => Refused { code: Code::Internal, slug: "game-panicked" },
        })?;
        let info = kind.info();
        let most = (*info.players.end()).min(limits.lobby_capacity);
        let or = |asked: u16, default: u16| if asked == 0 { default } else { asked };
        let capacity = or(spec.capacity, most);
        let min_players = or(spec.min_players, *info.players.start());
        if capacity > most || min_players < *info.players.start() || min_players > capacity {
            return Err(Refused { code: Code::Malformed, slug: "bad-capacity" });
        }
        let name = LobbyName::new(&spec.name).map_err(|fault| Refused { code: Code::Malformed, slug: fault.slug() })?;
        Ok(LobbySettings {
            game,
            name,
            public: spec.public,
            capacity,
            spectators: SPECTATORS,
            min_players,
            settings: spec.settings,
            start: StartRule::WhenReady,
            late_join: info.late_join,
        })
    }

    fn watch(&mut self, player: &PlayerId, filter: &LobbyFilter) -> Result<(), Refused> {
        let game = match filter.game.as_str() {
            "" => None,
            name => Some(GameName::new(name).map_err(|_| JoinFault::NotFound)?),
        };
        let filter = ListFilter { game, open: filter.open };
        let list = ServerMessage::List(self.state.list(&filter));
        if let Some(presence) = self.state.players.get_mut(player) {
            presence.watching = Some(filter);
            self.state.watchers.insert(player.clone());
        }
        self.send(player, &list);
        Ok(())
    }
}

/// What the ticket must allow for a request. Where a player may join, its bindings say; to leave is always allowed.
fn action_of(request: &Request) -> Option<Action> {
    match request {
        Request::Join { .. } | Request::Leave | Request::Unwatch => None,
        Request::Create(_) => Some(Action::Create),
        Request::Ready(_) => Some(Action::Ready),
        Request::Chat(_) => Some(Action::Chat),
        Request::Kick(_) => Some(Action::Kick),
        Request::Lock(_) => Some(Action::Lock),
        Request::PassHost(_) => Some(Action::PassHost),
        Request::Start => Some(Action::Start),
        Request::Watch(_) => Some(Action::Watch),
    }
}

/// A quick-play lobby is nobody's: its host is whoever came first, and shuts nobody out.
fn owned(lobby: &Lobby) -> Result<(), OpRefusal> {
    if matches!(lobby.settings().start, StartRule::Automatic { .. }) { Err(OpRefusal::NotHost) } else { Ok(()) }
}

impl Target {
    /// What a wish asks for; `None` when it asks for nothing.
    pub fn of(wish: Wish) -> Option<Self> {
        match wish {
            Wish::None => None,
            Wish::Quick(game) => Some(Self::Quick(game)),
            Wish::Lobby(id) => Some(Self::Lobby(id)),
            Wish::Code(code) => Some(Self::Code(code)),
            Wish::Session(id) => Some(Self::Session(id)),
        }
    }
}

impl From<JoinFault> for Refused {
    fn from(fault: JoinFault) -> Self {
        Self { code: fault.code(), slug: fault.slug() }
    }
}

impl From<OpRefusal> for Refused {
    fn from(refusal: OpRefusal) -> Self {
        let code = match refusal {
            OpRefusal::NotMember | OpRefusal::NoSuchMember => Code::NotFound,
            OpRefusal::NotHost | OpRefusal::NotAPlayer | OpRefusal::Oneself => Code::Forbidden,
            OpRefusal::BadText(_) => Code::Malformed,
            OpRefusal::TooFewPlayers | OpRefusal::AlreadyPlaying => Code::Forbidden,
        };
        Self { code, slug: refusal.slug() }
    }
}

const MALFORMED: Refused = Refused { code: Code::Malformed, slug: "bad-wish" };
const BAD_SETTINGS: Refused = Refused { code: Code::Malformed, slug: "bad-settings" };
const TOO_FAST: Refused = Refused { code: Code::TooFast, slug: "too-fast" };
