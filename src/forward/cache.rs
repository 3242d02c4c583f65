//! Answers that may be used again for seconds.
//!
//! Owns: how long, and how many. Pure: time comes in as a value. Invariants: it holds the hash of what was asked, never
//! a cookie or a header itself; it never holds more than its bound.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::ticket::Verified;

/// What was asked, as a SHA-256 hash.
pub type Question = [u8; 32];

/// The last good answers.
#[derive(Debug, Default)]
pub struct Answers {
    kept: HashMap<Question, (Duration, Verified)>,
    /// In order of their coming; an answer that was replaced is here twice.
    order: VecDeque<Question>,
}

impl Answers {
    /// The most answers kept; the oldest make room.
    pub const MOST: usize = 4_096;

    /// The answer to a question, if it still holds.
    pub fn find(&mut self, question: &Question, now: Duration) -> Option<Verified> {
        match self.kept.get(question) {
            Some((until, verified)) if now < *until => Some(verified.clone()),
            _ => None,
        }
    }

    /// Keeps an answer until a moment.
    pub fn keep(&mut self, question: Question, verified: Verified, until: Duration) {
        while self.order.len() >= Self::MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.kept.remove(&oldest);
            }
        }
        self.order.push_back(question);
        self.kept.insert(question, (until, verified));
    }
}

/// How long an answer may be used again: what `Cache-Control` says, in seconds, up to `most`. Without a word it may not.
pub fn lifetime(cache_control: impl Iterator<Item = impl AsRef<str>>, most: Duration) -> Duration {
    let mut allowed = Duration::ZERO;
    for header in cache_control {
        for directive in header.as_ref().split(',').map(|part| part.trim().to_ascii_lowercase()) {
            match directive.split_once('=') {
                None if directive == "no-store" || directive == "no-cache" => return Duration::ZERO,
                Some(("max-age", seconds)) => {
                    allowed = seconds.trim_matches('"').parse().map_or(Duration::ZERO, Duration::from_secs);
                }
                _ => {}
            }
        }
    }
    allowed.min(most)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ticket::UnixSeconds;

    fn verified(player: &str) -> Verified {
        Verified::from_answer(format!(r#"{{"sub":"{player}"}}"#).as_bytes(), UnixSeconds(1)).unwrap()
    }

    fn question(number: usize) -> Question {
        let mut question = [0; 32];
        question[..8].copy_from_slice(&number.to_be_bytes());
        question
    }

    #[test]
    fn an_answer_holds_until_its_time_and_for_its_question_alone() {
        let (mut answers, end) = (Answers::default(), Duration::from_secs(5));
        answers.keep(question(1), verified("ada"), end);
        assert_eq!(answers.find(&question(1), Duration::ZERO).unwrap().player.as_str(), "ada");
        assert_eq!(answers.find(&question(2), Duration::ZERO), None);
        assert_eq!(answers.find(&question(1), end), None);
    }

    #[test]
    fn there_are_never_more_than_the_bound() {
        let mut answers = Answers::default();
        for number in 0..3 * Answers::MOST {
            answers.keep(question(number % (Answers::MOST + 7)), verified("ada"), Duration::from_secs(1));
            assert!(answers.kept.len() <= Answers::MOST && answers.order.len() <= Answers::MOST);
        }
    }

    #[test]
    fn only_what_the_backend_allows_is_kept_and_never_for_longer_than_is_configured() {
        let most = Duration::from_secs(10);
        let seconds = |headers: &[&str]| lifetime(headers.iter(), most).as_secs();
        assert_eq!(seconds(&[]), 0);
        assert_eq!(seconds(&["private, max-age=3"]), 3);
        assert_eq!(seconds(&["Max-Age=\"4\""]), 4);
        assert_eq!(seconds(&["max-age=3600"]), 10);
        assert_eq!(seconds(&["max-age=3", "no-store"]), 0);
        assert_eq!(seconds(&["no-cache, max-age=3"]), 0);
        assert_eq!(seconds(&["max-age=-1"]), 0);
        assert_eq!(seconds(&["public"]), 0);
    }
}
