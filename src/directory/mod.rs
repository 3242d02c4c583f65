//! What has to be true across nodes: a ticket is used once, a revoked player stays out.
//!
//! Owns: the seam. Asynchronous, and decided by the outcome of one compare-and-set, never by reading first, so that an
//! engine such as NATS JetStream can stand behind it; what a revocation covers, and the file that keeps it. Must not
//! know: lobbies' rules, links.

mod embedded;
mod revocation;
mod revoked_set;
mod store;

use std::future::Future;
use std::pin::Pin;

pub use embedded::{Embedded, MAX_REVOCATIONS};
pub use revocation::{LineFault, NEVER, Revocation, RevocationLine, Revoked, read_line, read_list};
pub use revoked_set::{Added, RevokedSet};
pub use store::{Store, StoreFault, check_store, read_list_file};

use crate::ids::PlayerId;
use crate::ticket::{TicketFacts, TicketId, UnixSeconds};

/// An answer that may need the network.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>;

/// The directory cannot record or answer now. What must be recorded is then refused (fail closed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the directory cannot be reached")]
pub struct Unavailable;

/// What became of a ticket that was to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burned {
    /// It had not been used; now it has.
    Now,
    /// Somebody was first.
    Before,
    /// It ran out on the way here.
    Late,
}

/// What became of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// From now on every node is told that its tickets are revoked.
    InForce,
    /// There is no room for it. It is not in force.
    Full,
}

/// Whether revocations outlive the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All that were made so far do.
    OnDisk,
    /// They were never meant to: no store is configured.
    InMemory,
    /// They hold until the process ends, and the store failed with these words. They are tried again.
    NotYet(String),
}

/// Shared by all nodes.
pub trait Directory: Send + Sync + 'static {
    /// Uses a ticket up, once and for all nodes. It may be forgotten from `until` on.
    ///
    /// # Cancel safety
    /// A cancelled call may or may not have burned the ticket.
    fn burn<'a>(&'a self, ticket: &'a TicketId, until: UnixSeconds, now: UnixSeconds) -> Answer<'a, Burned>;

    /// Whether the ticket, or everything issued to the player before some time, was revoked.
    fn is_revoked<'a>(&'a self, player: &'a PlayerId, ticket: &'a TicketFacts) -> Answer<'a, bool>;

    /// Puts a revocation in force: once this has answered, [`Self::is_revoked`] knows of it. Whoever is let in already
    /// is the caller's to find, after this, so that nobody slips through between.
    ///
    /// # Cancel safety
    /// A cancelled call may or may not have recorded it.
    fn revoke<'a>(&'a self, revocation: &'a Revocation, now: UnixSeconds) -> Answer<'a, Recorded>;

    /// Waits until every revocation so far would survive a restart, or it is known that it would not.
    ///
    /// # Cancel safety
    /// What was begun goes on.
    fn keep(&self) -> Answer<'_, Kept>;

    /// Forgets revocations that could no longer matter.
    fn forget(&self, now: UnixSeconds) -> Answer<'_, ()>;

    /// How many revocations are in force.
    fn in_force(&self) -> Answer<'_, usize>;

    /// Every revocation in force: everybody's, then players', then tickets', in order of their names.
    fn revocations(&self) -> Answer<'_, Vec<Revocation>>;
}
