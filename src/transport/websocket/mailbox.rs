//! The seam between every other task and the driver that reads a share of the links.
//!
//! Owns: what waits for the driver, and waking it. Must not know: sockets, what a link is at. Letters are rare: a connection that
//! comes, a verdict, a socket that was full, an end. What a link says or is sent in its course passes without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::door::Opening;
use super::link::Arrival;
use super::upgrade::Verdict;
use crate::admission::Refused;
use crate::http::Response;
use crate::hub::Place;

/// One link: its place in its driver's table, and a number that this driver never gives twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkKey {
    pub(super) index: usize,
    pub(super) serial: u64,
}

/// What a driver is told.
pub(super) enum Letter {
    /// A connection that has yet to say what it wants.
    Open(Box<Opening>),
    /// What admission decided about one.
    Decided(LinkKey, Result<Verdict, Response>),
    /// A link whose upgrade is done.
    Enter(Box<Arrival>),
    /// Admission has decided.
    Judged(LinkKey, Result<Place, Refused>),
    /// The outlet waits for its socket, or has ended.
    Look(LinkKey),
}

/// Where everybody leaves word for one driver.
#[derive(Default)]
pub(super) struct Mailbox {
    letters: Mutex<Letters>,
    bell: Notify,
}

#[derive(Default)]
struct Letters {
    waiting: Vec<Letter>,
    /// The driver has ended: what is posted is dropped, and a link with it.
    closed: bool,
}

impl Mailbox {
    pub(super) fn post(&self, letter: Letter) {
        let mut letters = self.letters.lock();
        if letters.closed {
            // A link that is dropped tells the hub, which must not happen under this lock.
            drop(letters);
            return drop(letter);
        }
        letters.waiting.push(letter);
        drop(letters);
        self.bell.notify_one();
    }

    /// Waits until something may have been posted.
    ///
    /// # Cancel safety
    /// Cancel safe: the next call returns at once, should this one have been woken.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Exchanges what waits for an empty `letters`.
    pub(super) fn collect(&self, letters: &mut Vec<Letter>) {
        std::mem::swap(&mut self.letters.lock().waiting, letters);
    }

    /// Takes nothing any more.
    pub(super) fn close(&self) {
        let mut letters = self.letters.lock();
        letters.closed = true;
        let waiting = std::mem::take(&mut letters.waiting);
        drop(letters);
        drop(waiting);
    }
}

/// The drivers of a server. Links go to them in turn.
#[derive(Clone)]
pub(super) struct Drivers(Arc<(Box<[Arc<Mailbox>]>, AtomicUsize)>);

impl Drivers {
    pub(super) fn new(mailboxes: Vec<Arc<Mailbox>>) -> Self {
        Self(Arc::new((mailboxes.into(), AtomicUsize::new(0))))
    }

    /// The one whose turn it is; `None` when there is none.
    pub(super) fn next(&self) -> Option<&Arc<Mailbox>> {
        let (mailboxes, turn) = &*self.0;
        mailboxes.get(turn.fetch_add(1, Ordering::Relaxed) % mailboxes.len().max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: LinkKey = LinkKey { index: 3, serial: 9 };

    #[tokio::test]
    async fn what_is_posted_rings_even_when_nobody_listens_yet() {
        let mailbox = Mailbox::default();
        mailbox.post(Letter::Look(KEY));
        mailbox.rung().await;
        let mut letters = Vec::new();
        mailbox.collect(&mut letters);
        assert!(matches!(letters.as_slice(), [Letter::Look(KEY)]));
    }

    #[test]
    fn a_driver_that_has_ended_is_left_nothing() {
        let mailbox = Mailbox::default();
        mailbox.post(Letter::Look(KEY));
        mailbox.close();
        mailbox.post(Letter::Look(KEY));
        let mut letters = Vec::new();
        mailbox.collect(&mut letters);
        assert!(letters.is_empty());
    }

    #[test]
    fn links_go_to_the_drivers_in_turn() {
        let drivers = Drivers::new(vec![Arc::default(), Arc::default()]);
        let turns: Vec<_> = (0..4).filter_map(|_| drivers.next().map(Arc::as_ptr)).collect();
        assert_eq!((turns[0], turns[1]), (turns[2], turns[3]));
        assert_ne!(turns[0], turns[1]);
        assert!(Drivers::new(Vec::new()).next().is_none());
    }
}
