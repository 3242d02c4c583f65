//! Why there is no link: typed, and each in one line that says what to do.
//!
//! Owns: the errors of the client. Must not know: how they came about.

use std::fmt;
use std::time::Duration;

use crate::wire::{Act, Code, Goodbye};

/// The server's no, with its number from the code table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// The number of a [`Code`]; one that is not in the table is acted on by its hundred.
    pub code: u16,
    /// The stable slug: what exactly was wrong.
    pub slug: String,
    /// When to come back at the earliest.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// What a client does about it.
    pub fn act(&self) -> Act {
        Code::act_of(self.code)
    }

    /// Whether it is this row of the table.
    pub fn is(&self, code: Code) -> bool {
        self.code == code.number()
    }
}

impl From<Goodbye> for Refused {
    fn from(goodbye: Goodbye) -> Self {
        let retry_after = goodbye.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
        Self { code: goodbye.code, slug: printable(&goodbye.reason), retry_after }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server said {} ({}): ", self.slug, self.code)?;
        f.write_str(match (Code::from_number(self.code), self.act()) {
            (Some(Code::BadTicket | Code::TicketTimeout), _) => "get a new ticket from the game's backend",
            (Some(Code::TicketUsed), _) => "a ticket is good for one connection; get a new one",
            (Some(Code::Forbidden), _) => "this ticket does not allow it; get one that does",
            (Some(Code::NotFound), _) => "there is no such lobby, session or game; choose another",
            (Some(Code::Version), _) => "the server speaks another version; update the client",
            (Some(Code::TooFast), _) => "slow down",
            (Some(Code::Replaced), _) => "the same player connected elsewhere",
            (Some(Code::LobbyFull), _) => "choose another lobby, or try again with the same ticket",
            (Some(Code::LobbyClosed), _) => "choose another lobby",
            (Some(Code::Banned | Code::Kicked), _) => "there is no way back with this player",
            (_, Act::Stop) => "it is over",
            (_, Act::Report) => "please report this as a bug of the client or the server",
            (_, Act::Retry) => "try again later",
            (_, Act::Resume) => "come back to the same seat",
            (_, Act::NewTicket) => "mend the request or get a new ticket",
        })?;
        match self.retry_after {
            Some(after) => write!(f, ", in {:.1} s at the earliest", after.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be used.
    #[error("{url:?} is not the address of a server ({why}): write it as muster://HOST:PORT")]
    BadUrl {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The source of tickets gave none.
    #[error("no ticket: {0}")]
    NoTicket(String),
    /// The server said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The WebTransport request was answered with 403, 404 or 429, without a reason.
    #[error(
        "the server turned the WebTransport request away without a reason: connect over WebSocket to be told it, or try again later"
    )]
    TurnedAway,
    /// Nobody answers there.
    #[error(
        "cannot reach {address} over {over}: {why}; check that the server runs there and that nothing blocks the way"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// The transport.
        over: &'static str,
        /// The system's reason.
        why: String,
    },
    /// The server's certificate is not trusted, or TLS failed in another way.
    #[error("TLS with {address} failed: {why}; give the certificate's hash or the authority that signed it")]
    Tls {
        /// Host and port.
        address: String,
        /// What failed.
        why: String,
    },
    /// It took too long.
    #[error("no answer from {address} within {:.1} s; try again, or check what blocks the way", .after.as_secs_f64())]
    Timeout {
        /// Host and port.
        address: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// What answers does not speak muster, or speaks it wrongly.
    #[error("what answers at {address} is not a muster server: {why}")]
    Protocol {
        /// Host and port.
        address: String,
        /// What was wrong.
        why: String,
    },
}

impl ConnectError {
    /// Whether another transport or another attempt may do better: the server did not decide against the player.
    pub fn is_transport(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Tls { .. } | Self::Timeout { .. } | Self::TurnedAway => true,
            Self::Protocol { .. } => true,
            Self::BadUrl { .. } | Self::NoTicket(_) | Self::Refused(_) => false,
        }
    }
}

/// Why a client is closed for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The player left, as it was asked for.
    #[error("left")]
    Left,
    /// The server ended it, and no return is possible or wise.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The link was lost and the way back was not found in time.
    #[error("the link was lost and not regained in time; last: {0}")]
    Lost(ConnectError),
    /// The server sent what is no message of the protocol: a bug of the one or the other.
    #[error("the server sent {0}; please report this as a bug of the client or the server")]
    Protocol(&'static str),
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The server said no.
    #[error("refused: {} ({})", .0.slug, .0.code)]
    Refused(Refused),
    /// It was sent, the link was lost, and the answer with it: it may or may not have been carried out.
    #[error("the link was lost before the answer came; look at the lobby and ask again")]
    OutcomeLost,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

/// Why an input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// One has no seat: not in a session, or a spectator.
    #[error("no seat in a session")]
    NoSeat,
    /// Longer than the server takes; about [`crate::limits::Limits::message_bytes`] less the framing.
    #[error("an input of {length} bytes, over the server's limit of {max}")]
    TooLong {
        /// Of the input.
        length: usize,
        /// What is allowed.
        max: usize,
    },
}

/// Text from the network that may be shown: control characters are dropped, the length is bounded.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_one_line_with_its_number_and_what_to_do() {
        for code in Code::ALL {
            let refused = Refused { code: code.number(), slug: code.slug().into(), retry_after: None };
            let line = refused.to_string();
            assert!(line.contains(&code.number().to_string()) && line.contains(code.slug()) && !line.contains('\n'));
            assert!(line.rsplit(": ").next().is_some_and(|advice| advice.len() > 5), "{line}");
        }
    }

    #[test]
    fn a_reason_from_the_network_cannot_move_the_cursor() {
        let goodbye = Goodbye { code: 4401, reason: "bad\u{1b}[2J\n".into(), retry_after_ms: Some(1_500) };
        let refused = Refused::from(goodbye);
        assert_eq!(refused.slug, "bad[2J");
        assert!(refused.to_string().ends_with("in 1.5 s at the earliest"), "{refused}");
    }
}
