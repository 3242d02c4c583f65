//! What a ticket lets its player do, beyond where it may go.
//!
//! Owns: the names of actions and sets of them. Must not know: requests; who carries one out asks here first.

/// Something that a ticket may leave out of what a player may do. To join where the ticket leads and to leave are not
/// among them: a ticket that allowed neither would be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Open a lobby of one's own.
    Create,
    /// Say whether one is ready.
    Ready,
    /// Talk.
    Chat,
    /// Remove a member, as host.
    Kick,
    /// Shut the lobby and open it again, as host.
    Lock,
    /// Make another member the host.
    PassHost,
    /// Start the session, as host.
    Start,
    /// See the list of public lobbies.
    Watch,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 8] =
        [Self::Create, Self::Ready, Self::Chat, Self::Kick, Self::Lock, Self::PassHost, Self::Start, Self::Watch];

    /// The name in the claim `actions`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Ready => "ready",
            Self::Chat => "chat",
            Self::Kick => "kick",
            Self::Lock => "lock",
            Self::PassHost => "pass-host",
            Self::Start => "start",
            Self::Watch => "watch",
        }
    }
}

/// A set of actions. Empty by default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(u16);

impl Actions {
    /// Whether the action is among them.
    pub fn contains(self, action: Action) -> bool {
        self.0 & bit(action) != 0
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        Self(actions.into_iter().fold(0, |set, action| set | bit(action)))
    }
}

fn bit(action: Action) -> u16 {
    1 << (action as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it_and_nothing_else() {
        let set: Actions = [Action::Chat, Action::Watch, Action::Chat].into_iter().collect();
        for action in Action::ALL {
            assert_eq!(set.contains(action), matches!(action, Action::Chat | Action::Watch), "{}", action.as_str());
            assert!(!Actions::default().contains(action));
        }
    }
}
