//! What has to be true across nodes: a ticket is used once, a revoked player stays out.
//!
//! Owns: the seam. Asynchronous, and decided by the outcome of one compare-and-set, never by reading first, so that an
//! engine such as NATS JetStream can stand behind it. Must not know: lobbies' rules, links.

mod embedded;

use std::future::Future;
use std::pin::Pin;

pub use embedded::Embedded;

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

/// Shared by all nodes.
pub trait Directory: Send + Sync + 'static {
    /// Uses a ticket up, once and for all nodes. It may be forgotten from `until` on.
    ///
    /// # Cancel safety
    /// A cancelled call may or may not have burned the ticket.
    fn burn<'a>(&'a self, ticket: &'a TicketId, until: UnixSeconds, now: UnixSeconds) -> Answer<'a, Burned>;

    /// Whether the ticket, or everything issued to the player before some time, was revoked.
    fn is_revoked<'a>(&'a self, player: &'a PlayerId, ticket: &'a TicketFacts) -> Answer<'a, bool>;
}
