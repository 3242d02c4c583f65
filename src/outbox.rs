//! What waits for one link, and the one way out to it that both transports offer.
//!
//! Owns: the policy of a slow link (one waiting snapshot, the newest; reliable messages in order up to a bound) and the
//! [`Outlet`] seam. Must not know: sockets, who the player is, what a message says.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::wire::{Code, SnapshotFrames};

/// Which transport a link is on. The game never learns it; people and metrics do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// WebSocket over TCP, with or without TLS.
    WebSocket,
    /// WebTransport over QUIC.
    WebTransport,
    /// In this process: the twin that tests use.
    Memory,
}

impl Transport {
    /// Every transport, in order.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::WebTransport, Self::Memory];

    /// A stable name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::WebTransport => "webtransport",
            Self::Memory => "memory",
        }
    }
}

/// What became of a snapshot that was offered to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// The kernel (or QUIC) has it.
    Sent,
    /// It waits; nothing waited before it.
    Waiting,
    /// It waits, and an older one that waited was dropped for it.
    Replaced,
    /// The link is closing; it was dropped.
    Closed,
}

/// The way out to one peer. One implementation per transport; every call returns at once and may come from any thread.
pub trait Outlet: Send + Sync + 'static {
    /// The transport this leads over.
    fn transport(&self) -> Transport;

    /// Has the processor fetch what an offer touches, without waiting for it. Called for many links in a row, it has their
    /// memory, which is cold at each tick, come side by side instead of one after the other.
    fn warm(&self) {}

    /// Hands over a snapshot: straight to the socket when nothing waits, else it takes the place of the one that waits.
    fn offer_snapshot(&self, frames: &SnapshotFrames) -> Offered;

    /// Appends a reliable message (its encoded bytes, without framing). Writes nothing yet; see [`Self::flush`].
    ///
    /// # Errors
    /// [`QueueFull`] when more would wait than the link's bound. The caller then closes the link.
    fn queue(&self, message: &Bytes) -> Result<(), QueueFull>;

    /// Writes what waits, as far as the socket takes it; the link's own task does the rest.
    fn flush(&self);

    /// Says goodbye (the encoded message) behind what waits, closes with the code, and takes nothing any more. Bounded
    /// in time by the transport; a second call does nothing.
    fn close(&self, code: Code, goodbye: &Bytes);

    /// The transport's own estimate of the round trip, where it has one.
    fn round_trip(&self) -> Option<Duration> {
        None
    }
}

/// More reliable messages wait for a link than it may hold. The link is at fault, not the seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link's queue is full")]
pub struct QueueFull;

/// What waits for one link. Pure: the transport asks what is next, and says how much of it went.
#[derive(Debug, Default)]
pub struct Backlog {
    reliable: VecDeque<Bytes>,
    reliable_bytes: usize,
    snapshot: Option<Bytes>,
}

impl Backlog {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.reliable.is_empty() && self.snapshot.is_none()
    }

    /// Bytes of reliable messages that wait.
    pub fn reliable_bytes(&self) -> usize {
        self.reliable_bytes
    }

    /// Appends framed reliable bytes.
    ///
    /// # Errors
    /// [`QueueFull`] when `bound` bytes would be exceeded; nothing is appended then. One message always fits, however long.
    pub fn push_reliable(&mut self, framed: Bytes, bound: usize) -> Result<(), QueueFull> {
        if !self.reliable.is_empty() && self.reliable_bytes.saturating_add(framed.len()) > bound {
            return Err(QueueFull);
        }
        self.reliable_bytes += framed.len();
        self.reliable.push_back(framed);
        Ok(())
    }

    /// Makes this the snapshot that waits; returns whether an older one was dropped.
    pub fn replace_snapshot(&mut self, framed: Bytes) -> bool {
        self.snapshot.replace(framed).is_some()
    }

    /// Takes what is to be written next: reliable messages in order, then the newest snapshot.
    pub fn pop(&mut self) -> Option<Bytes> {
        if let Some(next) = self.reliable.pop_front() {
            self.reliable_bytes -= next.len();
            if self.reliable.is_empty() {
                self.reliable = VecDeque::new();
            }
            return Some(next);
        }
        self.snapshot.take()
    }

    /// Drops everything that waits.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reliable_messages_keep_their_order_and_only_the_newest_snapshot_waits() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.push_reliable(Bytes::from_static(b"a"), 2), Ok(()));
        assert!(!backlog.replace_snapshot(Bytes::from_static(b"old")));
        assert!(backlog.replace_snapshot(Bytes::from_static(b"new")));
        assert_eq!(backlog.push_reliable(Bytes::from_static(b"b"), 2), Ok(()));
        assert_eq!(backlog.push_reliable(Bytes::from_static(b"c"), 2), Err(QueueFull));
        let order: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        assert_eq!(order, ["a", "b", "new"]);
        assert!(backlog.is_empty());
    }
}
