//! A player's link while it lives: what goes out, what comes in, and how it begins to end.
//!
//! Owns: the control stream after the session opened, the datagrams, the order of Goodbye and close. Must not know: who
//! the player is, what a message says.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::{Connection, SendDatagramError, StreamId};

use super::h3;
use super::link::Next;
use super::peer::{LINGER, Peer, Stage};
use super::streams::{self, Read};
use super::tuning;
use crate::admission::goodbye;
use crate::hub::Attached;
use crate::outbox::Outlet;
use crate::wire::{Code, ControlReader, SnapshotFrames};

/// The inbound half of a link.
pub(super) struct Live {
    attached: Attached,
    reader: ControlReader,
    heard: Instant,
    heartbeat: Duration,
}

/// What became of a snapshot.
enum Sent {
    Gone,
    /// Earlier ones still wait in QUIC.
    Behind,
    /// It belongs on the control stream: too large, or the peer takes no datagrams.
    Unfit,
}

impl Live {
    pub(super) fn new(attached: Attached, reader: ControlReader, now: Instant, heartbeat: Duration) -> Self {
        Self { attached, reader, heard: now, heartbeat }
    }

    /// When it has said nothing for too long, unless it says something until then.
    pub(super) fn silent_at(&self) -> Instant {
        self.heard + self.heartbeat
    }

    /// Hands over the messages that are whole.
    fn take_messages(&mut self, now: Instant) -> Result<(), Code> {
        while let Some(message) = self.reader.poll_message().map_err(|_| Code::MessageTooBig)? {
            self.heard = now;
            self.attached.handle_message(&message)?;
        }
        Ok(())
    }

    fn take_datagram(&mut self, datagram: &Bytes, now: Instant) -> Result<(), Code> {
        let payload = h3::datagram_payload(datagram).map_err(|_| Code::ProtocolError)?;
        // A kind that is not known is skipped: a newer client may try it.
        if let Some((&WHOLE, message)) = payload.and_then(<[u8]>::split_first) {
            self.heard = now;
            self.attached.handle_message(message)?;
        }
        Ok(())
    }
}

impl Peer {
    /// Sends what the link holds, as far as QUIC takes it.
    pub(super) fn send(&mut self, now: Instant) {
        let (Some(link), Some(control)) = (&self.link, self.control) else { return };
        if !matches!(self.stage, Stage::Live(_) | Stage::Farewell { .. }) {
            return;
        }
        link.set_round_trip(self.quic.rtt());
        let waiting = link.collect();
        self.behind = false;
        let unfit = waiting.snapshot.and_then(|frames| match send_datagrams(&mut self.quic, &frames) {
            Sent::Gone => {
                self.ticked = Some(now);
                None
            }
            Sent::Unfit => Some(frames),
            Sent::Behind => {
                self.behind = true;
                link.keep_snapshot(frames);
                None
            }
        });
        if waiting.more || !self.writer.is_done() {
            self.write(control, now);
        }
        if let Some(frames) = unfit {
            self.write_snapshot(control, frames, now);
        }
    }

    /// Writes a snapshot to the control stream, unless that is behind: then the newest waits.
    fn write_snapshot(&mut self, control: StreamId, frames: SnapshotFrames, now: Instant) {
        if !matches!(self.stage, Stage::Live(_)) {
            return;
        }
        if self.writer.is_done() {
            let body = frames.body();
            self.writer.push(Bytes::copy_from_slice(&(body.len() as u32).to_le_bytes()));
            self.writer.push(body);
            self.write(control, now);
        } else if let Some(link) = &self.link {
            self.behind = true;
            link.keep_snapshot(frames);
        }
    }

    fn write(&mut self, control: StreamId, now: Instant) {
        let Some(link) = &self.link else { return };
        loop {
            if self.writer.pump(&mut self.quic, control).is_err() {
                return self.handle_end(now);
            }
            if !self.writer.is_done() {
                break;
            }
            match link.next() {
                Some(Next::Message(framed)) => self.writer.push(framed),
                Some(Next::Goodbye(framed)) => {
                    self.writer.push(framed);
                    self.writer.finish();
                }
                None => break,
            }
        }
        if self.writer.is_finished() {
            self.stage = Stage::Lingering;
            self.deadline = Some(now + LINGER);
        } else if matches!(self.stage, Stage::Live(_))
            && link.closed_with().is_some()
            && let Stage::Live(live) = std::mem::replace(&mut self.stage, Stage::Closed)
        {
            self.stage = Stage::Farewell { _counted: Some(live.attached) };
            self.deadline = Some(now + LINGER);
        }
    }

    pub(super) fn read_control(&mut self, stream: StreamId, now: Instant) {
        let Stage::Live(live) = &mut self.stage else { return };
        // What came with the first message first.
        let mut outcome = live.take_messages(now);
        let mut end = Read::More;
        if outcome.is_ok() {
            end = streams::read(&mut self.quic, stream, |bytes| {
                live.reader.handle_bytes(bytes);
                outcome = live.take_messages(now);
                if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        match outcome {
            Err(code) => self.depart(now, code),
            Ok(()) if end == Read::End => self.handle_end(now),
            Ok(()) => {}
        }
    }

    pub(super) fn read_datagrams(&mut self, now: Instant) {
        let mut outcome = Ok(());
        while let Some(datagram) = self.quic.datagrams().recv() {
            // What comes before the player is admitted is not for it.
            if let (Stage::Live(live), Ok(())) = (&mut self.stage, outcome) {
                outcome = live.take_datagram(&datagram, now);
            }
        }
        if let Err(code) = outcome {
            self.depart(now, code);
        }
    }

    /// Ends the link from this side: Goodbye first.
    pub(super) fn depart(&mut self, now: Instant, code: Code) {
        if matches!(self.stage, Stage::Live(_))
            && let Stage::Live(live) = std::mem::replace(&mut self.stage, Stage::Closed)
        {
            live.attached.closing(code);
            self.stage = Stage::Farewell { _counted: Some(live.attached) };
            self.deadline = Some(now + LINGER);
            if let Some(link) = &self.link {
                link.close(code, &goodbye(code, None));
            }
            self.send(now);
        }
    }
}

fn send_datagrams(quic: &mut Connection, frames: &SnapshotFrames) -> Sent {
    let Some(pieces) = frames.shared_datagrams() else {
        return Sent::Unfit;
    };
    let mut queue = quic.datagrams();
    let cost: usize = pieces.iter().map(|piece| piece.len() + size_of::<Bytes>()).sum();
    // Nothing waits in QUIC between two ticks unless the path is slower than they are.
    let waits = tuning::DATAGRAM_SEND_BYTES - queue.send_buffer_space().min(tuning::DATAGRAM_SEND_BYTES);
    if waits >= 2 * cost {
        return Sent::Behind;
    }
    for piece in pieces {
        match queue.send(piece.clone(), true) {
            Ok(()) => {}
            Err(SendDatagramError::Blocked(_)) => return Sent::Behind,
            Err(_) => return Sent::Unfit,
        }
    }
    Sent::Gone
}

/// The kind of a datagram that is one whole message.
const WHOLE: u8 = 0;
