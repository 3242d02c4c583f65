//! The in-memory twin: a link without a socket, for tests that want a whole node under a clock of their own.
//!
//! Owns: what waits for the peer until it is taken. Must not know: lobbies, sessions, games. A peer comes in through the
//! same [`Admission`] as over any other transport, and is held to the same queue bound.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::admission::{Admission, Refused, goodbye};
use crate::hub::Attached;
use crate::outbox::{Backlog, Offered, Outlet, QueueFull, Transport};
use crate::request::OpenRequest;
use crate::wire::{Code, SnapshotFrames};

/// One live link, in the hands of the peer. Dropping it loses the link, as a network would.
pub struct MemoryLink {
    outlet: Arc<MemoryOutlet>,
    attached: Option<Attached>,
}

/// The way out: what the server says waits here.
struct MemoryOutlet {
    /// Bytes of reliable messages that may wait.
    bound: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    backlog: Backlog,
    last_word: Option<(Code, Bytes)>,
}

impl MemoryLink {
    /// Opens a link with a request that carries its credentials.
    ///
    /// # Errors
    /// As [`Admission::admit`].
    ///
    /// # Cancel safety
    /// As [`Admission::admit`].
    pub async fn open(admission: &Admission, request: &OpenRequest) -> Result<Self, Refused> {
        let place = admission.admit(request).await?;
        let bound = admission.limits().queue_bytes;
        let outlet = Arc::new(MemoryOutlet { bound, state: Mutex::default() });
        let attached = place.attach(Arc::clone(&outlet) as Arc<dyn Outlet>);
        Ok(Self { outlet, attached: Some(attached) })
    }

    /// Says one whole message to the server. One that may not be said closes the link, as over any transport; after that
    /// nothing is heard any more.
    pub fn say(&mut self, message: &[u8]) {
        if self.outlet.state.lock().last_word.is_some() {
            return;
        }
        if let Some(Err(code)) = self.attached.as_ref().map(|attached| attached.handle_message(message)) {
            if let Some(attached) = self.attached.take() {
                attached.closing(code);
            }
            self.outlet.close(code, &goodbye(code, None));
        }
    }

    /// Takes the next message that waits: reliable ones in order, then the newest snapshot, then the Goodbye.
    pub fn poll_message(&mut self) -> Option<Bytes> {
        let mut state = self.outlet.state.lock();
        if let Some(message) = state.backlog.pop() {
            return Some(message);
        }
        state.last_word.as_mut().map(|(_, goodbye)| std::mem::take(goodbye)).filter(|goodbye| !goodbye.is_empty())
    }

    /// What the server closed the link with, if it did.
    pub fn closed(&self) -> Option<Code> {
        self.outlet.state.lock().last_word.as_ref().map(|(code, _)| *code)
    }
}

impl Outlet for MemoryOutlet {
    fn transport(&self) -> Transport {
        Transport::Memory
    }

    fn offer_snapshot(&self, frames: &SnapshotFrames) -> Offered {
        let mut state = self.state.lock();
        if state.last_word.is_some() {
            return Offered::Closed;
        }
        if state.backlog.replace_snapshot(frames.body()) { Offered::Replaced } else { Offered::Waiting }
    }

    fn queue(&self, message: &Bytes) -> Result<(), QueueFull> {
        let mut state = self.state.lock();
        if state.last_word.is_some() { Ok(()) } else { state.backlog.push_reliable(message.clone(), self.bound) }
    }

    fn flush(&self) {}

    fn close(&self, code: Code, goodbye: &Bytes) {
        let mut state = self.state.lock();
        state.last_word.get_or_insert_with(|| (code, goodbye.clone()));
    }
}
