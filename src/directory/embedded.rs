//! The directory of a node that stands alone: in memory.

use std::future::ready;

use parking_lot::Mutex;

use super::{Answer, Burned, Directory, Unavailable};
use crate::ids::PlayerId;
use crate::ticket::{Burn, TicketFacts, TicketId, UnixSeconds, UsedTickets};

/// Holds the used tickets until they would have expired anyway.
pub struct Embedded {
    used: Mutex<UsedTickets>,
}

impl Embedded {
    /// Remembers at most `capacity` tickets at a time; when that many are alive, more are refused.
    pub fn new(capacity: usize) -> Self {
        Self { used: Mutex::new(UsedTickets::new(capacity)) }
    }
}

impl Directory for Embedded {
    fn burn<'a>(&'a self, ticket: &'a TicketId, until: UnixSeconds, now: UnixSeconds) -> Answer<'a, Burned> {
        let outcome = match self.used.lock().burn(ticket, until, now) {
            Burn::First => Ok(Burned::Now),
            Burn::Again => Ok(Burned::Before),
            Burn::Late => Ok(Burned::Late),
            Burn::Full => Err(Unavailable),
        };
        Box::pin(ready(outcome))
    }

    fn is_revoked<'a>(&'a self, _: &'a PlayerId, _: &'a TicketFacts) -> Answer<'a, bool> {
        Box::pin(ready(Ok(false)))
    }
}
