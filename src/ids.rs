//! Identifiers and counters as types, so that one is never passed for another.
//!
//! Owns: the newtypes and their text forms. Must not know: what they identify.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The `sub` of a verified ticket: 1 to 64 bytes of printable text, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlayerId(Arc<str>);

impl PlayerId {
    /// The longest player id, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Accepts 1 to [`Self::MAX_BYTES`] bytes without control characters or white space at the ends.
    ///
    /// # Errors
    /// [`BadId`] for anything else.
    pub fn new(text: &str) -> Result<Self, BadId> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        let clean = !text.chars().any(char::is_control) && text.trim() == text;
        if fits && clean { Ok(Self(text.into())) } else { Err(BadId) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id for a log line: ASCII, all else as escapes, so that nothing in it turns, hides or breaks a line.
    pub fn in_log(&self) -> impl fmt::Display + '_ {
        self.0.escape_default()
    }
}

impl fmt::Display for PlayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name under which a game is registered: 1 to 32 of `a-z`, `0-9`, `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GameName(Arc<str>);

impl GameName {
    /// The longest game name, in bytes.
    pub const MAX_BYTES: usize = 32;

    /// Accepts 1 to [`Self::MAX_BYTES`] of lower-case ASCII letters, digits and hyphens.
    ///
    /// # Errors
    /// [`BadId`] for anything else.
    pub fn new(text: &str) -> Result<Self, BadId> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        let clean = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits && clean { Ok(Self(text.into())) } else { Err(BadId) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GameName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is not a valid identifier of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid identifier")]
pub struct BadId;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let plain = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if !plain {
                    return Err(BadId);
                }
                u128::from_str_radix(text, 16).map(Self).map_err(|_| BadId)
            }
        }
    };
}

random_id! {
    /// A lobby: 128 random bits, written as 32 lower-case hexadecimal digits.
    LobbyId
}
random_id! {
    /// A game session: 128 random bits, written as 32 lower-case hexadecimal digits.
    SessionId
}

/// The short number of a session on its node. It stands in every snapshot instead of the long id, so that a
/// datagram that was under way when one session ended is not taken for the next one's. Counts up; wraps at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionTag(pub u32);

/// The code by which a lobby is joined: six letters `A-Z` without `I` and `O` (24^6, about 191 million).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JoinCode([u8; 6]);

impl JoinCode {
    /// The letters a code is made of.
    pub const LETTERS: &'static [u8; 24] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";

    /// The code that a random number stands for.
    pub fn from_random(mut random: u64) -> Self {
        let mut letters = [b'A'; 6];
        for letter in &mut letters {
            let index = (random % 24) as usize;
            *letter = Self::LETTERS.get(index).copied().unwrap_or(b'A');
            random /= 24;
        }
        Self(letters)
    }

    /// The six letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??????")
    }
}

impl fmt::Display for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinCode({})", self.as_str())
    }
}

impl FromStr for JoinCode {
    type Err = BadId;

    /// Reads a code as a person types it: lower case is taken for upper case.
    fn from_str(text: &str) -> Result<Self, BadId> {
        let mut letters = [0; 6];
        if text.len() != letters.len() {
            return Err(BadId);
        }
        for (letter, byte) in letters.iter_mut().zip(text.bytes()) {
            *letter = byte.to_ascii_uppercase();
            if !Self::LETTERS.contains(letter) {
                return Err(BadId);
            }
        }
        Ok(Self(letters))
    }
}

/// A seat's number within its session, from 0. A seat that was given up may be given to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatId(pub u16);

impl fmt::Display for SeatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One step of a game session. The first step is tick 1; 0 stands for "none yet".
///
/// Ticks rise by exactly 1 and never wrap: a session is ended before 2^32 ticks (388 days at 128 Hz).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick after this one; stays at the last one at the end of the range.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number a client gives an input. It starts at 1 when the player is seated and rises; 0 stands for "none yet".
/// It never wraps within a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InputSeq(pub u32);

impl fmt::Display for InputSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lobby_id_reads_back_what_it_writes() {
        let id = LobbyId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("".parse::<LobbyId>(), Err(BadId));
        assert_eq!("+1234567890123456789012345678901".parse::<LobbyId>(), Err(BadId));
    }

    #[test]
    fn a_join_code_is_read_in_either_case_and_nothing_else() {
        let code = JoinCode::from_random(123_456_789);
        assert_eq!(code.as_str().to_lowercase().parse(), Ok(code));
        for bad in ["", "ABCDE", "ABCDEFG", "ABCDE1", "ABCDEI", "ABCDEO", "ÄBCDE"] {
            assert_eq!(bad.parse::<JoinCode>(), Err(BadId), "{bad}");
        }
    }

    #[test]
    fn a_player_id_has_no_control_characters_and_a_bounded_length() {
        assert!(PlayerId::new("ada").is_ok());
        assert!(PlayerId::new(&"x".repeat(64)).is_ok());
        for bad in ["", " ada", "a\nb", "a\u{1b}[2J"] {
            assert_eq!(PlayerId::new(bad), Err(BadId), "{bad:?}");
        }
        assert_eq!(PlayerId::new(&"x".repeat(65)), Err(BadId));
    }

    #[test]
    fn a_player_id_plays_no_tricks_in_a_log_line() {
        let shown = |id: &str| PlayerId::new(id).map(|id| id.in_log().to_string());
        assert_eq!(shown("dj:7 ada@game.example"), Ok("dj:7 ada@game.example".into()));
        assert_eq!(shown("a\u{2028}b\u{202e}c\u{3164}"), Ok("a\\u{2028}b\\u{202e}c\\u{3164}".into()));
    }
}
