//! The seam between every other thread and the one thread that drives QUIC.
//!
//! Owns: what waits for the driver, and whether it must be woken for it. Must not know: QUIC, links.
//!
//! Invariant: the driver says that it sleeps before it looks into the mailbox for the last time, so that what is posted
//! after that look finds it asleep and wakes it. While it works or paces itself nobody makes a system call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use mio::Waker;
use parking_lot::Mutex;
use quinn_proto::ServerConfig;

use crate::hub::Place;
use crate::wire::Code;

/// One connection: its place in the driver's table, and a number that is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerId {
    pub(super) index: usize,
    pub(super) serial: u64,
}

/// A code, and the Goodbye that explains it.
pub(super) type Farewell = (Code, Bytes);

/// What the driver is asked to do beside sending what links hold.
pub(super) enum Command {
    /// New connections get this configuration.
    Serve(Arc<ServerConfig>),
    /// Admission has decided.
    Judged(PeerId, Result<Place, Farewell>),
    /// No new connections; the thread ends with the last one, or soon.
    Stop,
}

/// What waits for the driver.
#[derive(Default)]
pub(super) struct Letters {
    /// Links with something to send, each at most once.
    pub(super) links: Vec<PeerId>,
    pub(super) commands: Vec<Command>,
}

impl Letters {
    fn is_empty(&self) -> bool {
        self.links.is_empty() && self.commands.is_empty()
    }
}

/// Where every thread leaves word for the driver.
pub(super) struct Mailbox {
    letters: Mutex<Letters>,
    asleep: AtomicBool,
    waker: Waker,
    open: AtomicUsize,
}

impl Mailbox {
    pub(super) fn new(waker: Waker) -> Self {
        Self { letters: Mutex::default(), asleep: AtomicBool::new(false), waker, open: AtomicUsize::new(0) }
    }

    /// Says that a link has something to send.
    pub(super) fn touch(&self, link: PeerId) {
        self.letters.lock().links.push(link);
        self.wake();
    }

    pub(super) fn command(&self, command: Command) {
        self.letters.lock().commands.push(command);
        self.wake();
    }

    /// Exchanges what waits for an empty `letters`.
    pub(super) fn collect(&self, letters: &mut Letters) {
        std::mem::swap(&mut *self.letters.lock(), letters);
    }

    /// Announces that the driver sleeps from now on; `false` when something waits, and it must not.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let quiet = self.letters.lock().is_empty();
        if !quiet {
            self.rise();
        }
        quiet
    }

    pub(super) fn rise(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Connections that QUIC keeps, as the driver said last.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn set_open(&self, connections: usize) {
        self.open.store(connections, Ordering::Relaxed);
    }

    fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            // It fails only when the driver's poll is gone, and the driver with it.
            let _ = self.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use super::*;

    const LINK: PeerId = PeerId { index: 3, serial: 9 };

    fn wakes(poll: &mut Poll) -> bool {
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        !events.is_empty()
    }

    #[test]
    fn only_a_driver_that_sleeps_is_woken_and_only_once() {
        let mut poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(Waker::new(poll.registry(), Token(0)).unwrap());
        mailbox.touch(LINK);
        assert!(!wakes(&mut poll), "it is awake and will look by itself");
        assert!(!mailbox.fall_asleep(), "something waits");
        let mut letters = Letters::default();
        mailbox.collect(&mut letters);
        assert_eq!(letters.links, [LINK]);
        assert!(mailbox.fall_asleep());
        mailbox.touch(LINK);
        assert!(wakes(&mut poll));
        mailbox.touch(LINK);
        assert!(!wakes(&mut poll), "it was woken already");
    }
}
