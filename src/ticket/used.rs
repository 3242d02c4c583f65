//! The tickets that have been used: each gets its player in once.
//!
//! Owns: a bounded set of burned ticket ids. Must not know: what time it is, or which node asks.
//!
//! Invariants: of all burns of one id at most one is told [`Burn::First`]; an id is forgotten only once no clock within
//! the leeway accepts its ticket; where neither is certain, the answer is a refusal.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use aws_lc_rs::digest;

use super::{TicketId, UnixSeconds};

/// What became of a ticket that was to be used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Burn {
    /// It had not been used. It now has.
    First,
    /// It was used before: `ticket-used` (4409).
    Again,
    /// It ran out between its check and its use, or the clock was turned back to before what is remembered:
    /// nobody can say any more whether it was used. `bad-ticket` (4401), expired.
    Late,
    /// No room to record it, so that it must not be let in: `overloaded` (1013).
    Full,
}

/// The ids of used tickets, each kept until its ticket is no longer good.
///
/// 40 to 70 bytes an id. Burning takes constant time: each call also forgets a few ids whose time has passed, more
/// than it adds, so that the set is never full of old ones.
pub struct UsedTickets {
    capacity: usize,
    burned: HashSet<Fingerprint>,
    /// The same ids by the second at which they may be forgotten.
    by_end: BTreeMap<UnixSeconds, Vec<Fingerprint>>,
    /// Every id that was to be kept until here or earlier may have been forgotten.
    forgotten_until: UnixSeconds,
}

impl UsedTickets {
    /// The default capacity: 125 seconds' worth of 8,000 arrivals a second.
    pub const DEFAULT_CAPACITY: usize = 1_000_000;

    /// An empty set that remembers at most `capacity` ids at a time.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, burned: HashSet::new(), by_end: BTreeMap::new(), forgotten_until: UnixSeconds::default() }
    }

    /// Uses up a ticket, to be remembered until the moment `until` ([`super::Verified::burned_until`]).
    pub fn burn(&mut self, id: &TicketId, until: UnixSeconds, now: UnixSeconds) -> Burn {
        self.forget_some(now);
        let fingerprint = fingerprint(id);
        if self.burned.contains(&fingerprint) {
            return Burn::Again;
        }
        if until <= now || until <= self.forgotten_until {
            return Burn::Late;
        }
        if self.burned.len() >= self.capacity {
            return Burn::Full;
        }
        self.burned.insert(fingerprint);
        self.by_end.entry(until).or_default().push(fingerprint);
        Burn::First
    }

    /// How many ids are remembered.
    pub fn len(&self) -> usize {
        self.burned.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.burned.is_empty()
    }

    fn forget_some(&mut self, now: UnixSeconds) {
        for _ in 0..FORGOTTEN_PER_BURN {
            let Some(mut oldest) = self.by_end.first_entry() else { return };
            if *oldest.key() > now {
                return;
            }
            self.forgotten_until = self.forgotten_until.max(*oldest.key());
            match oldest.get_mut().pop() {
                Some(fingerprint) => {
                    self.burned.remove(&fingerprint);
                }
                None => {
                    oldest.remove();
                }
            }
        }
    }
}

impl fmt::Debug for UsedTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UsedTickets({} of {})", self.len(), self.capacity)
    }
}

impl Default for UsedTickets {
    fn default() -> Self {
        Self::new(Self::DEFAULT_CAPACITY)
    }
}

/// Half a SHA-256 of the id: ids are up to 128 bytes of the issuer's choice, and this is 16 whatever they are.
type Fingerprint = [u8; 16];

fn fingerprint(id: &TicketId) -> Fingerprint {
    let whole = digest::digest(&digest::SHA256, id.as_str().as_bytes());
    let mut half = Fingerprint::default();
    for (to, from) in half.iter_mut().zip(whole.as_ref()) {
        *to = *from;
    }
    half
}

/// More than one, so that the old go faster than the new come.
const FORGOTTEN_PER_BURN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> TicketId {
        TicketId::from_random(n)
    }

    const NOW: UnixSeconds = UnixSeconds(1_000);
    const END: UnixSeconds = UnixSeconds(1_065);

    #[test]
    fn a_ticket_is_used_once() {
        let mut used = UsedTickets::new(10);
        assert_eq!(used.burn(&id(1), END, NOW), Burn::First);
        assert_eq!(used.burn(&id(1), END, NOW), Burn::Again);
        assert_eq!(used.burn(&id(1), END, UnixSeconds(1_064)), Burn::Again, "up to its last second");
        assert_eq!(used.burn(&id(2), END, NOW), Burn::First);
    }

    #[test]
    fn a_full_set_refuses_instead_of_forgetting() {
        let mut used = UsedTickets::new(2);
        assert_eq!(used.burn(&id(1), END, NOW), Burn::First);
        assert_eq!(used.burn(&id(2), END, NOW), Burn::First);
        assert_eq!(used.burn(&id(3), END, NOW), Burn::Full);
        assert_eq!(used.burn(&id(1), END, NOW), Burn::Again, "what is known is still known");
        assert_eq!(used.burn(&id(3), UnixSeconds(1_100), END), Burn::First, "room comes when the old have run out");
        assert_eq!(UsedTickets::new(0).burn(&id(1), END, NOW), Burn::Full);
    }

    #[test]
    fn a_clock_that_is_turned_back_brings_no_ticket_back() {
        let mut used = UsedTickets::new(10);
        assert_eq!(used.burn(&id(1), END, NOW), Burn::First);
        let later = UnixSeconds(5_000);
        assert_eq!(used.burn(&id(2), UnixSeconds(5_060), later), Burn::First);
        assert_eq!(used.len(), 1, "the first is forgotten");
        assert_eq!(used.burn(&id(1), END, NOW), Burn::Late);
        assert_eq!(used.burn(&id(3), NOW, NOW), Burn::Late, "a ticket that ran out on the way");
    }

    #[test]
    fn what_has_run_out_is_forgotten_a_little_at_a_time() {
        let mut used = UsedTickets::new(100_000);
        for n in 0..10_000 {
            assert_eq!(used.burn(&id(n), END, NOW), Burn::First);
        }
        for n in 0..2_000 {
            let before = used.len();
            assert_eq!(used.burn(&id(100_000 + n), UnixSeconds(9_000), UnixSeconds(2_000)), Burn::First);
            assert!(before.saturating_sub(used.len()) < FORGOTTEN_PER_BURN);
        }
        assert_eq!(used.len(), 2_000);
    }
}
