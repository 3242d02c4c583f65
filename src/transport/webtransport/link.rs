//! The way out to one WebTransport peer, as every other thread sees it.
//!
//! Owns: what waits until the driver comes to it. Must not know: QUIC, who the player is, what a message says.
//!
//! A tick leaves the newest snapshot here and goes on: the driver comes by within a millisecond, once for all links of
//! all sessions that ticked. Newest wins: one that still waits is replaced by the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::mailbox::{Mailbox, PeerId};
use crate::outbox::{Backlog, Offered, Outlet, QueueFull, Transport};
use crate::wire::{Code, SnapshotFrames, put_control};

/// What is shared of a link between the driver and all who send.
pub(super) struct Link {
    peer: PeerId,
    mailbox: Arc<Mailbox>,
    queue_bytes: usize,
    /// Microseconds.
    round_trip: AtomicU64,
    out: Mutex<Out>,
}

/// What waits.
#[derive(Default)]
struct Out {
    backlog: Backlog,
    snapshot: Option<SnapshotFrames>,
    end: End,
    /// Whether the driver was told, and has not come yet.
    listed: bool,
}

#[derive(Default)]
enum End {
    #[default]
    Open,
    /// With the Goodbye, until that is taken.
    Closing(Code, Option<Bytes>),
    Lost,
}

/// What the driver finds when it comes.
pub(super) struct Waiting {
    pub(super) snapshot: Option<SnapshotFrames>,
    /// Whether there is something for the control stream.
    pub(super) more: bool,
}

/// What is written to the control stream next, each already behind its length.
pub(super) enum Next {
    Message(Bytes),
    /// The last of all.
    Goodbye(Bytes),
}

impl Link {
    pub(super) fn new(peer: PeerId, mailbox: Arc<Mailbox>, queue_bytes: usize) -> Self {
        Self { peer, mailbox, queue_bytes, round_trip: AtomicU64::new(0), out: Mutex::default() }
    }

    /// Takes the snapshot that waits. What is offered from now on tells the driver anew.
    pub(super) fn collect(&self) -> Waiting {
        let mut out = self.out.lock();
        out.listed = false;
        let more = !out.backlog.is_empty() || matches!(out.end, End::Closing(_, Some(_)));
        Waiting { snapshot: out.snapshot.take(), more }
    }

    /// Puts a snapshot back that could not go, unless a newer one has come.
    pub(super) fn keep_snapshot(&self, frames: SnapshotFrames) {
        let mut out = self.out.lock();
        if matches!(out.end, End::Open) {
            out.snapshot.get_or_insert(frames);
        }
    }

    /// Takes what the control stream carries next.
    pub(super) fn next(&self) -> Option<Next> {
        let mut out = self.out.lock();
        if let Some(framed) = out.backlog.pop() {
            return Some(Next::Message(framed));
        }
        match &mut out.end {
            End::Closing(_, goodbye) => goodbye.take().map(|message| Next::Goodbye(framed(&message))),
            End::Open | End::Lost => None,
        }
    }

    /// The code it was closed with.
    pub(super) fn closed_with(&self) -> Option<Code> {
        match self.out.lock().end {
            End::Closing(code, _) => Some(code),
            End::Open | End::Lost => None,
        }
    }

    /// The peer is gone: nothing is taken any more, and what waits is dropped.
    pub(super) fn lose(&self) {
        let mut out = self.out.lock();
        *out = Out { end: End::Lost, ..Out::default() };
    }

    pub(super) fn set_round_trip(&self, round_trip: Duration) {
        self.round_trip.store(round_trip.as_micros() as u64, Ordering::Relaxed);
    }

    /// Tells the driver, unless it was told already. Its lock is let go of first: the driver may be waiting for it.
    fn tell(&self, mut out: parking_lot::MutexGuard<'_, Out>) {
        let told = std::mem::replace(&mut out.listed, true);
        drop(out);
        if !told {
            self.mailbox.touch(self.peer);
        }
    }
}

impl Outlet for Link {
    fn transport(&self) -> Transport {
        Transport::WebTransport
    }

    fn offer_snapshot(&self, frames: &SnapshotFrames) -> Offered {
        let mut out = self.out.lock();
        if !matches!(out.end, End::Open) {
            return Offered::Closed;
        }
        let replaced = out.snapshot.replace(frames.clone()).is_some();
        self.tell(out);
        if replaced { Offered::Replaced } else { Offered::Waiting }
    }

    fn queue(&self, message: &Bytes) -> Result<(), QueueFull> {
        let mut out = self.out.lock();
        match out.end {
            End::Open => out.backlog.push_reliable(framed(message), self.queue_bytes),
            End::Closing(..) | End::Lost => Ok(()),
        }
    }

    fn flush(&self) {
        self.tell(self.out.lock());
    }

    fn close(&self, code: Code, goodbye: &Bytes) {
        let mut out = self.out.lock();
        if !matches!(out.end, End::Open) {
            return;
        }
        out.end = End::Closing(code, Some(goodbye.clone()));
        out.snapshot = None;
        self.tell(out);
    }

    fn round_trip(&self) -> Option<Duration> {
        match self.round_trip.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }
}

fn framed(message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(4 + message.len());
    put_control(message, &mut out);
    Bytes::from(out)
}
