//! What is revoked, and how it is written down.
//!
//! Owns: the kinds of revocations, which tickets each covers, its line of JSON. Must not know: files, links, the time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::PlayerId;
use crate::ticket::{TicketFacts, TicketId, UnixSeconds};

/// Tickets that are good no longer, until a moment at which they would be refused anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which tickets.
    pub of: Revoked,
    /// When this may be forgotten. The last moment there is stands for never.
    pub until: UnixSeconds,
}

/// Which tickets are revoked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revoked {
    /// Every ticket, of anybody, whose `iat` is before this moment.
    Everything {
        /// The first `iat` that is not covered.
        issued_before: UnixSeconds,
    },
    /// Every ticket of one player whose `iat` is before this moment.
    Player {
        /// Whose.
        player: PlayerId,
        /// The first `iat` that is not covered.
        issued_before: UnixSeconds,
    },
    /// The one with this `jti`.
    Ticket(TicketId),
}

impl Revocation {
    /// Whether this ticket of this player is among them.
    pub fn covers(&self, player: &PlayerId, ticket: &TicketFacts) -> bool {
        match &self.of {
            Revoked::Everything { issued_before } => ticket.issued_at < *issued_before,
            Revoked::Player { player: revoked, issued_before } => {
                revoked == player && ticket.issued_at < *issued_before
            }
            Revoked::Ticket(jti) => ticket.jti.as_ref() == Some(jti),
        }
    }
}

/// A revocation as it is written: in the store, in the operator's list, in a request. One JSON object; exactly one of
/// `jti`, `player` and `all` is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationLine {
    /// The ticket with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The tickets of this player.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub player: Option<String>,
    /// `true`: the tickets of everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Only those whose `iat` is before this moment, in Unix seconds. Not with `jti`. In a file its absence means
    /// whenever issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<u64>,
    /// When it may be forgotten, in Unix seconds. In a file its absence means never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// What is wrong with a line: its author's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// It is not a JSON object of the known members.
    #[error("not a revocation in JSON: {0}")]
    Json(String),
    /// It names nothing, or several things.
    #[error("exactly one of `jti`, `player` and `all` is needed")]
    NotOne,
    /// `"all": false`.
    #[error("`all` is true or is left out")]
    NotAll,
    /// No ticket has this id.
    #[error("`jti` is not a ticket's id: 1 to 64 bytes without control characters")]
    Jti,
    /// No player has this id.
    #[error("`player` is not a player's id: 1 to 64 bytes without control characters")]
    Player,
    /// One ticket has one time.
    #[error("`issued_before` does not go with `jti`")]
    JtiWithTime,
}

impl RevocationLine {
    /// Reads what is written; `issued_before` is what an absent one stands for. An absent `until` is never.
    ///
    /// # Errors
    /// [`LineFault`].
    pub fn read(&self, issued_before: UnixSeconds) -> Result<Revocation, LineFault> {
        let before = self.issued_before.map_or(issued_before, UnixSeconds);
        let of = match (&self.jti, &self.player, self.all) {
            (Some(_), None, None) if self.issued_before.is_some() => return Err(LineFault::JtiWithTime),
            (Some(jti), None, None) => Revoked::Ticket(TicketId::new(jti).map_err(|_| LineFault::Jti)?),
            (None, Some(player), None) => {
                let player = PlayerId::new(player).map_err(|_| LineFault::Player)?;
                Revoked::Player { player, issued_before: before }
            }
            (None, None, Some(true)) => Revoked::Everything { issued_before: before },
            (None, None, Some(false)) => return Err(LineFault::NotAll),
            _ => return Err(LineFault::NotOne),
        };
        Ok(Revocation { of, until: self.until.map_or(NEVER, UnixSeconds) })
    }
}

impl From<&Revocation> for RevocationLine {
    fn from(revocation: &Revocation) -> Self {
        let moment = |at: UnixSeconds| (at != NEVER).then_some(at.0);
        let line = Self { until: moment(revocation.until), ..Self::default() };
        match &revocation.of {
            Revoked::Everything { issued_before } => {
                Self { all: Some(true), issued_before: moment(*issued_before), ..line }
            }
            Revoked::Player { player, issued_before } => {
                let player = Some(player.as_str().to_owned());
                Self { player, issued_before: moment(*issued_before), ..line }
            }
            Revoked::Ticket(jti) => Self { jti: Some(jti.as_str().to_owned()), ..line },
        }
    }
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Texts and numbers always become JSON.
        f.write_str(&serde_json::to_string(&RevocationLine::from(self)).unwrap_or_default())
    }
}

/// Reads one line of a file.
///
/// # Errors
/// [`LineFault`].
pub fn read_line(line: &str) -> Result<Revocation, LineFault> {
    let line: RevocationLine = serde_json::from_str(line).map_err(|error| LineFault::Json(error.to_string()))?;
    line.read(NEVER)
}

/// Reads an operator's list: a revocation a line, empty lines and comments after `#` at a line's front left out.
///
/// # Errors
/// The number of the first broken line, from 1, and what is wrong with it. One refuses the whole.
pub fn read_list(text: &str) -> Result<Vec<Revocation>, (usize, LineFault)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let written = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    written.map(|(number, line)| read_line(line).map_err(|fault| (number, fault))).collect()
}

/// The last moment there is.
pub const NEVER: UnixSeconds = UnixSeconds(u64::MAX);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn facts(jti: &str, issued_at: u64) -> TicketFacts {
        let jti = Some(TicketId::new(jti).unwrap());
        TicketFacts { jti, issued_at: UnixSeconds(issued_at), session_expires_at: None }
    }

    #[test]
    fn each_kind_covers_its_own_tickets_and_no_others() {
        let (ada, bob) = (PlayerId::new("ada").unwrap(), PlayerId::new("bob").unwrap());
        let read = |line| read_line(line).unwrap();
        let one = read(r#"{"jti":"t1"}"#);
        assert!(one.covers(&ada, &facts("t1", 9)) && !one.covers(&ada, &facts("t2", 9)));
        let unnamed = TicketFacts { jti: None, ..facts("t1", 9) };
        assert!(!one.covers(&ada, &unnamed), "a ticket without an id");
        let player = read(r#"{"player":"ada","issued_before":10}"#);
        assert!(player.covers(&ada, &facts("t1", 9)) && !player.covers(&ada, &facts("t1", 10)));
        assert!(!player.covers(&bob, &facts("t1", 9)));
        let all = read(r#"{"all":true,"issued_before":10}"#);
        assert!(all.covers(&bob, &unnamed) && !all.covers(&bob, &facts("t1", 10)));
        assert!(read(r#"{"player":"ada"}"#).covers(&ada, &facts("t9", 4_000_000_000)), "a ban: whenever issued");
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        for line in [
            r#"{"jti":"a b","until":7}"#,
            r#"{"player":"ada \"the\" first","issued_before":5,"until":7}"#,
            r#"{"player":"ada"}"#,
            r#"{"all":true,"issued_before":5,"until":7}"#,
        ] {
            let read = read_line(line).unwrap();
            assert_eq!(read.to_string(), line);
            assert_eq!(read_line(&read.to_string()).unwrap(), read);
        }
    }

    #[test]
    fn a_broken_line_refuses_the_list_and_is_named() {
        let list = "# banned\n\n{\"player\":\"ada\"}\n  {\"jti\":\"t1\"}\n";
        assert_eq!(read_list(list).unwrap().len(), 2);
        for (line, fault) in [
            ("{}", LineFault::NotOne),
            (r#"{"jti":"a","player":"b"}"#, LineFault::NotOne),
            (r#"{"all":false}"#, LineFault::NotAll),
            (r#"{"jti":""}"#, LineFault::Jti),
            (r#"{"player":" "}"#, LineFault::Player),
            (r#"{"jti":"a","issued_before":1}"#, LineFault::JtiWithTime),
        ] {
            assert_eq!(read_list(&format!("{list}{line}\n")), Err((5, fault)));
        }
        for line in ["ada", r#"{"player":1}"#, r#"{"player":"a","player":"b"}"#, r#"{"plaier":"a"}"#, r#"{"jti":"a"#] {
            let fault = read_list(line).unwrap_err();
            assert!(matches!(fault, (1, LineFault::Json(_))), "{line}: {fault:?}");
        }
    }
}
