//! What members do. Each checks that who acts is a member, and is the host where only the host may.

use super::{Event, LeftReason, Lobby, Member, OpRefusal, Phase, Role};
use crate::ids::PlayerId;
use crate::text::ChatText;

impl Lobby {
    /// Leaves the lobby, and the session with it. The place is free at once.
    ///
    /// # Errors
    /// [`OpRefusal::NotMember`].
    pub fn leave(&mut self, actor: &PlayerId) -> Result<(), OpRefusal> {
        self.acting(actor)?;
        self.remove(actor, LeftReason::Left);
        self.settle();
        Ok(())
    }

    /// Says whether one is ready. When all players are and the minimum is there, a session starts.
    ///
    /// # Errors
    /// [`OpRefusal::NotMember`], [`OpRefusal::NotAPlayer`], [`OpRefusal::AlreadyPlaying`].
    pub fn set_ready(&mut self, actor: &PlayerId, ready: bool) -> Result<(), OpRefusal> {
        let gathering = self.phase == Phase::Gathering;
        let member = self.roster.member_mut(actor).ok_or(OpRefusal::NotMember)?;
        if member.role != Role::Player {
            return Err(OpRefusal::NotAPlayer);
        }
        if !gathering {
            return Err(OpRefusal::AlreadyPlaying);
        }
        if member.ready != ready {
            member.ready = ready;
            self.changed = true;
            self.settle();
        }
        Ok(())
    }

    /// Says something to all members, spectators included.
    ///
    /// # Errors
    /// [`OpRefusal::NotMember`], [`OpRefusal::BadText`].
    pub fn chat(&mut self, actor: &PlayerId, raw: &str) -> Result<(), OpRefusal> {
        let name = self.acting(actor)?.name.clone();
        let text = ChatText::new(raw)?;
        self.events.push_back(Event::Chat { player: actor.clone(), name, text });
        Ok(())
    }

    /// Host: removes another member, who may not come back to this lobby.
    ///
    /// # Errors
    /// [`OpRefusal::NotMember`], [`OpRefusal::NotHost`], [`OpRefusal::Oneself`], [`OpRefusal::NoSuchMember`].
    pub fn kick(&mut self, actor: &PlayerId, target: &PlayerId) -> Result<(), OpRefusal> {
        self.hosting(actor)?;
        if actor == target {
            return Err(OpRefusal::Oneself);
        }
        if self.roster.member(target).is_none() {
            return Err(OpRefusal::NoSuchMember);
        }
        self.bans.insert(target.clone());
        self.remove(target, LeftReason::Kicked);
        self.settle();
        Ok(())
    }

    /// Host: lets nobody else in, or lets them in again. Places that are reserved already are kept.
    ///
    /// # Errors
    /// [`OpRefusal::NotMember`], [`OpRefusal::NotHost`].
    pub fn lock(&mut self, actor: &PlayerId, locked: bool) -> Result<(), OpRefusal> {
        self.hosting(actor)?;
        self.changed |= self.locked != locked;
        self.locked = locked;
        Ok(())
    }

    /// Host: makes another player the host.
    ///
    /// # Errors
    /// [`OpRefusal::NotMember`], [`OpRefusal::NotHost`], [`OpRefusal::NoSuchMember`], [`OpRefusal::NotAPlayer`].
    pub fn pass_host(&mut self, actor: &PlayerId, target: &PlayerId) -> Result<(), OpRefusal> {
        self.hosting(actor)?;
        let heir = self.roster.member(target).ok_or(OpRefusal::NoSuchMember)?;
        if heir.role != Role::Player {
            return Err(OpRefusal::NotAPlayer);
        }
        if actor != target {
            self.host = Some(target.clone());
            self.changed = true;
        }
        Ok(())
    }

    /// Host: starts a session now, whoever is ready.
    ///
    /// # Errors
    /// [`OpRefusal::NotMember`], [`OpRefusal::NotHost`], [`OpRefusal::AlreadyPlaying`], [`OpRefusal::TooFewPlayers`].
    pub fn start(&mut self, actor: &PlayerId) -> Result<(), OpRefusal> {
        self.hosting(actor)?;
        if self.phase != Phase::Gathering {
            return Err(OpRefusal::AlreadyPlaying);
        }
        if !self.has_minimum() {
            return Err(OpRefusal::TooFewPlayers);
        }
        self.begin();
        Ok(())
    }

    fn acting(&self, actor: &PlayerId) -> Result<&Member, OpRefusal> {
        self.roster.member(actor).ok_or(OpRefusal::NotMember)
    }

    fn hosting(&self, actor: &PlayerId) -> Result<(), OpRefusal> {
        self.acting(actor)?;
        if self.host.as_ref() == Some(actor) { Ok(()) } else { Err(OpRefusal::NotHost) }
    }
}
