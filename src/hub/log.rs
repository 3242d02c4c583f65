//! The reliable messages of one player, numbered and kept until they are acknowledged. Pure.

use std::collections::VecDeque;

use bytes::Bytes;

/// What a player that comes back has to be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Missed {
    /// Exactly these, in order.
    Messages(Vec<Bytes>),
    /// More than was kept, or a count that cannot be: the state is sent afresh.
    TooMuch,
}

/// Numbers messages from 1 and keeps the newest that were not acknowledged, up to a bound in bytes.
#[derive(Debug, Default)]
pub struct ReliableLog {
    /// Messages numbered so far.
    sent: u64,
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
}

impl ReliableLog {
    /// How many messages have been numbered.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Numbers a message and keeps it; the oldest go when more than `bound` bytes are kept.
    pub fn push(&mut self, message: Bytes, bound: usize) {
        self.sent += 1;
        self.kept_bytes += message.len();
        self.kept.push_back(message);
        while self.kept_bytes > bound {
            self.drop_oldest();
        }
    }

    /// Drops what the player says it has received. A count that was never sent is ignored.
    pub fn acknowledge(&mut self, received: u64) {
        if received > self.sent {
            return;
        }
        while self.first_kept() <= received && !self.kept.is_empty() {
            self.drop_oldest();
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// What a player that has received `received` messages is missing.
    pub fn missed(&self, received: u64) -> Missed {
        if received > self.sent || received + 1 < self.first_kept() {
            return Missed::TooMuch;
        }
        let skip = received + 1 - self.first_kept();
        Missed::Messages(self.kept.iter().skip(skip as usize).cloned().collect())
    }

    /// Forgets what is kept; the numbers go on.
    pub fn forget(&mut self) {
        self.kept = VecDeque::new();
        self.kept_bytes = 0;
    }

    /// The number of the oldest message kept, or of the next one.
    fn first_kept(&self) -> u64 {
        self.sent + 1 - self.kept.len() as u64
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.kept_bytes -= oldest.len();
        } else {
            self.kept_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(number: u64) -> Bytes {
        Bytes::copy_from_slice(&number.to_le_bytes())
    }

    #[test]
    fn past_the_bound_a_resume_is_a_fresh_start() {
        let mut log = ReliableLog::default();
        (1..=4).for_each(|number| log.push(message(number), 16));
        assert_eq!(log.missed(1), Missed::TooMuch);
        assert_eq!(log.missed(2), Missed::Messages(vec![message(3), message(4)]));
        assert_eq!(log.missed(5), Missed::TooMuch);
    }

    proptest! {
        #[test]
        fn a_resume_gets_exactly_what_was_missed_in_order(total in 0u64..50, acknowledged in 0u64..60, received in 0u64..60) {
            let mut log = ReliableLog::default();
            (1..=total).for_each(|number| log.push(message(number), 10_000));
            log.acknowledge(acknowledged);
            let kept_from = if acknowledged <= total { acknowledged } else { 0 };
            let expected = if received > total || received < kept_from {
                Missed::TooMuch
            } else {
                Missed::Messages((received + 1..=total).map(message).collect())
            };
            prop_assert_eq!(log.missed(received), expected);
        }
    }
}
