//! The one secret of the admin API.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

/// The token that every request must bear. Only its digest is held.
#[derive(Clone)]
pub struct AdminToken([u8; 32]);

/// Why a token is not taken: the operator's to mend, before anything listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakToken {
    /// Nothing is there.
    #[error("the token is empty")]
    Empty,
    /// Too little to be random enough.
    #[error("the token has {0} bytes, and at least {min} are needed", min = AdminToken::MIN_BYTES)]
    Short(usize),
    /// Longer than a header should carry.
    #[error("the token is longer than {max} bytes", max = AdminToken::MAX_BYTES)]
    Long,
    /// It could not be sent in a header.
    #[error("the token has characters other than printable ASCII, or white space inside")]
    NotPrintable,
    /// Made of few characters, of a repetition or of a sequence.
    #[error("the token can be guessed: it repeats itself or counts")]
    Repetitive,
    /// A word that examples and defaults are made of.
    #[error("the token looks like a default or an example")]
    Default,
}

impl AdminToken {
    /// The fewest bytes of a token.
    pub const MIN_BYTES: usize = 32;
    /// The most bytes of a token.
    pub const MAX_BYTES: usize = 1_024;

    /// Takes a token that nobody guesses, white space around it left out.
    ///
    /// # Errors
    /// [`WeakToken`].
    pub fn new(text: &str) -> Result<Self, WeakToken> {
        let token = text.trim();
        match token.len() {
            0 => return Err(WeakToken::Empty),
            length if length < Self::MIN_BYTES => return Err(WeakToken::Short(length)),
            length if length > Self::MAX_BYTES => return Err(WeakToken::Long),
            _ => {}
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WeakToken::NotPrintable);
        }
        if is_repetitive(token.as_bytes()) {
            return Err(WeakToken::Repetitive);
        }
        if beside_known_words(token) < MIN_OF_ITS_OWN {
            return Err(WeakToken::Default);
        }
        Ok(Self(digest_of(token.as_bytes())))
    }

    /// Whether this is the token. Takes the same time wherever the two differ.
    pub fn is(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(&digest_of(presented)).into()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken([redacted])")
    }
}

fn digest_of(bytes: &[u8]) -> [u8; 32] {
    let mut whole = [0; 32];
    whole.copy_from_slice(digest(&SHA256, bytes).as_ref());
    whole
}

/// Few different bytes, one piece over and over, or mostly a count up or down.
fn is_repetitive(bytes: &[u8]) -> bool {
    let mut seen = [false; 256];
    bytes.iter().for_each(|byte| seen.iter_mut().skip(usize::from(*byte)).take(1).for_each(|seen| *seen = true));
    if seen.into_iter().filter(|seen| *seen).count() < MIN_DIFFERENT {
        return true;
    }
    let repeats = |period: usize| bytes.iter().zip(bytes.iter().skip(period)).all(|(a, b)| a == b);
    if (1..=bytes.len() / 2).any(repeats) {
        return true;
    }
    let steps = bytes.iter().zip(bytes.iter().skip(1)).filter(|(a, b)| a.abs_diff(**b) <= 1).count();
    2 * steps > bytes.len()
}

/// Letters and digits that are left when every known word is taken out.
fn beside_known_words(token: &str) -> usize {
    let letters = token.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase());
    let mut rest: String = letters.collect();
    for word in KNOWN_WORDS {
        rest = rest.replace(word, "");
    }
    rest.len()
}

/// Longer ones first, so that none is cut apart by a shorter one.
const KNOWN_WORDS: [&str; 24] = [
    "0123456789abcdef",
    "abcdefghijklmnopqrstuvwxyz",
    "1234567890",
    "defaultencryption",
    "administrator",
    "supersecret",
    "correcthorsebatterystaple",
    "replaceme",
    "changethis",
    "changeme",
    "password",
    "replace",
    "default",
    "example",
    "letmein",
    "qwertyuiop",
    "muster",
    "secret",
    "please",
    "admin",
    "token",
    "insert",
    "your",
    "key",
];

/// Different bytes of the fewest in a token that was made at random: 32 hexadecimal digits have about 14.
const MIN_DIFFERENT: usize = 8;
/// What a token must have of its own: 16 hexadecimal digits are 64 bits.
const MIN_OF_ITS_OWN: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_anybody_could_guess_is_refused() {
        for (text, why) in [
            ("", WeakToken::Empty),
            (" \n", WeakToken::Empty),
            ("changeme", WeakToken::Short(8)),
            ("defaultkey", WeakToken::Short(10)),
            (&"5f0e8a1b9c2d7e3f".repeat(2)[..31], WeakToken::Short(31)),
            (&"a".repeat(64), WeakToken::Repetitive),
            (&"changeme".repeat(8), WeakToken::Repetitive),
            (&"5f0e8a1b9c2d7e3f".repeat(2), WeakToken::Repetitive),
            ("0123456789abcdefghijklmnopqrstuvwxyz", WeakToken::Repetitive),
            ("abababcdcdcdabababcdcdcdabababcdcdcdab", WeakToken::Repetitive),
            ("changeme-changeme-please-changeme-1234", WeakToken::Default),
            ("your-super-secret-admin-token-replace-me", WeakToken::Default),
            ("defaultencryptionkey-defaultkey-muster", WeakToken::Default),
            ("correct-horse-battery-staple-password", WeakToken::Default),
            ("two words that a header cannot carry as one", WeakToken::NotPrintable),
            ("schlüssel-5f0e8a1b9c2d7e3f-5f0e8a1b", WeakToken::NotPrintable),
            (&"x9".repeat(600), WeakToken::Long),
        ] {
            assert_eq!(AdminToken::new(text).err(), Some(why), "{text:?}");
        }
    }

    #[test]
    fn random_tokens_are_taken_and_only_the_same_one_passes() {
        for seed in 0..2_000_u32 {
            let random = digest_of(&seed.to_be_bytes());
            let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            let half = &hex[..32];
            assert!(AdminToken::new(&hex).is_ok() && AdminToken::new(half).is_ok(), "{hex}");
        }
        let text = "9f86d081884c7d659a2feaa0c55ad015";
        let token = AdminToken::new(&format!("  {text}\n")).unwrap();
        assert!(token.is(text.as_bytes()));
        for wrong in ["", "9f86d081884c7d659a2feaa0c55ad01", "9f86d081884c7d659a2feaa0c55ad0150", &text.to_uppercase()]
        {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "AdminToken([redacted])");
    }
}
