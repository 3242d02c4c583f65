//! Why a lobby refuses.

use crate::text::TextFault;

/// Why a place is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JoinRefusal {
    /// Every place of this kind is taken or reserved.
    #[error("the lobby is full")]
    Full,
    /// The host lets nobody else in.
    #[error("the lobby is locked")]
    Locked,
    /// The lobby is gone.
    #[error("the lobby is closed")]
    Closed,
    /// The host removed this player before.
    #[error("the host removed this player from the lobby")]
    Banned,
    /// The player is a member: not to be seated twice, but taken over by the newer link.
    #[error("the player is in the lobby already")]
    AlreadyHere,
    /// A place is reserved for this player, and somebody is about to enter with it.
    #[error("a place is reserved for this player already")]
    AlreadyArriving,
    /// A session runs, and nobody joins it late.
    #[error("a session runs, and it takes no late players")]
    NoLateJoin,
    /// No place was reserved, or the reservation lapsed.
    #[error("no place is reserved for this player")]
    NotReserved,
}

impl JoinRefusal {
    /// A stable name in ASCII, for the answer on the wire and for metrics.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Full => "lobby-full",
            Self::Locked => "lobby-locked",
            Self::Closed => "lobby-closed",
            Self::Banned => "removed-by-host",
            Self::AlreadyHere => "already-here",
            Self::AlreadyArriving => "already-arriving",
            Self::NoLateJoin => "no-late-join",
            Self::NotReserved => "not-reserved",
        }
    }
}

/// Why a member's wish is not carried out. The fault is the member's, or that of its timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpRefusal {
    /// Who asks is not in this lobby.
    #[error("not a member of this lobby")]
    NotMember,
    /// Only the host may do this.
    #[error("only the host may do this")]
    NotHost,
    /// Whom it is about is not in this lobby.
    #[error("no such member in this lobby")]
    NoSuchMember,
    /// The host cannot remove itself; it can leave.
    #[error("one cannot remove oneself")]
    Oneself,
    /// Only players are ready, and only players are hosts.
    #[error("spectators are never ready and never the host")]
    NotAPlayer,
    /// The minimum is not there.
    #[error("too few players to start")]
    TooFewPlayers,
    /// A session runs, or is about to.
    #[error("a session runs already")]
    AlreadyPlaying,
    /// The text is not fit to be shown.
    #[error(transparent)]
    BadText(#[from] TextFault),
}

impl OpRefusal {
    /// A stable name in ASCII, for the answer on the wire and for metrics.
    pub fn slug(self) -> &'static str {
        match self {
            Self::NotMember => "not-member",
            Self::NotHost => "not-host",
            Self::NoSuchMember => "no-such-member",
            Self::Oneself => "oneself",
            Self::NotAPlayer => "not-a-player",
            Self::TooFewPlayers => "too-few-players",
            Self::AlreadyPlaying => "already-playing",
            Self::BadText(fault) => fault.slug(),
        }
    }
}
