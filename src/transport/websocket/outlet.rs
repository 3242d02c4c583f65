//! The way out over one WebSocket: written straight to the socket by whoever has something to say.
//!
//! Owns: the write half, the TLS state and what waits. Must not know: who the player is, what a message says. While the
//! socket takes everything there is no queue, no copy and no wake-up; once it does not, the link's driver goes on.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use rustls::ServerConnection;

use super::mailbox::{Letter, LinkKey, Mailbox};
use crate::outbox::{Offered, Outlet, QueueFull, Transport};
use crate::wire::{Code, SnapshotFrames, WS_HEADROOM, ws_header};

/// Leads out over one WebSocket. What a tick and a read touch of it lies in one cache line, the first.
#[repr(C, align(64))]
pub(super) struct WebSocketOutlet {
    socket: TcpStream,
    /// Bytes of reliable messages that may wait.
    bound: u32,
    is_tls: bool,
    /// Whether the driver has something to do here: write what waits, or end. Spares it the lock at every read.
    /// Set under the lock.
    attention: AtomicBool,
    state: Mutex<State>,
    /// Who reads this link, once it is there.
    driver: OnceLock<(LinkKey, Arc<Mailbox>)>,
}

struct State {
    phase: Phase,
    tls: Option<Box<ServerConnection>>,
    /// Nothing, nearly always.
    waiting: Option<Box<Waiting>>,
}

/// What the socket has no room for.
#[derive(Default)]
struct Waiting {
    /// What it did not take of the newest write.
    in_flight: Bytes,
    /// Whether those are reliable messages, which count against the bound until they are written.
    is_reliable_in_flight: bool,
    /// What goes out next: the newest pong or ping.
    control: Option<Bytes>,
    /// Reliable messages, framed, one behind the other: they go out as one write.
    reliable: Vec<u8>,
    /// The newest one, behind them.
    snapshot: Option<Bytes>,
}

/// How far the closing handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Open.
    Open,
    /// Our Close is written or waits; the peer's is awaited.
    Closing,
    /// Nothing can be written any more.
    Closed,
}

impl WebSocketOutlet {
    /// Takes a socket that does not block, the TLS state where there is one, and the answer to the upgrade, which goes out
    /// ahead of whatever is said first.
    pub(super) fn new(socket: TcpStream, tls: Option<Box<ServerConnection>>, answer: Vec<u8>, bound: usize) -> Self {
        let waiting = Waiting { reliable: answer, ..Waiting::default() };
        Self {
            socket,
            bound: u32::try_from(bound).unwrap_or(u32::MAX),
            is_tls: tls.is_some(),
            attention: AtomicBool::new(false),
            state: Mutex::new(State { phase: Phase::Open, tls, waiting: Some(Box::new(waiting)) }),
            driver: OnceLock::new(),
        }
    }

    /// Tells where to call for the driver. It looks by itself once, behind this.
    pub(super) fn enter(&self, key: LinkKey, mailbox: Arc<Mailbox>) {
        // A link enters once.
        let _ = self.driver.set((key, mailbox));
    }

    pub(super) fn key(&self) -> Option<LinkKey> {
        self.driver.get().map(|(key, _)| *key)
    }

    pub(super) fn driver(&self) -> Option<(LinkKey, &Arc<Mailbox>)> {
        self.driver.get().map(|(key, mailbox)| (*key, mailbox))
    }

    /// To be read from; what is written goes through the outlet.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the bytes of this link are under TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether there is something to [`drive`](Self::drive).
    pub(super) fn needs_driver(&self) -> bool {
        self.attention.load(Ordering::Acquire)
    }

    /// How far the closing handshake is.
    pub(super) fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    /// Writes a Ping, unless something waits anyway.
    pub(super) fn ping(&self) {
        self.control(0x89, &[]);
    }

    /// Answers a Ping. Of several that wait, the newest is sent.
    pub(super) fn pong(&self, payload: &[u8]) {
        self.control(0x8a, payload);
    }

    /// Answers the peer's Close with the same, and ends.
    pub(super) fn answer_close(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
            let waiting = state.waiting();
            (waiting.reliable, waiting.snapshot) = (close_frame(Code::Left), None);
            self.write(&mut state);
        }
    }

    /// Writes what waits, for the driver, as far as the socket takes it. When it does not take all of it, the system tells
    /// that it is writable once it is.
    pub(super) fn drive(&self) -> Phase {
        let mut state = self.state.lock();
        if state.phase != Phase::Closed && !state.is_idle() {
            self.write(&mut state);
        }
        let rests = state.phase == Phase::Open && state.is_idle();
        self.attention.store(!rests, Ordering::Release);
        state.phase
    }

    /// Nobody reads this link any more: it takes nothing from now on, and its peer hears no more of it, whoever still
    /// holds it.
    pub(super) fn lose(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Closed;
        state.waiting = None;
        // It may have been shut before.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Hands bytes from the socket to TLS and passes on what they say in plain, through `plain`.
    ///
    /// # Errors
    /// When they are not TLS, or when `handle` refuses.
    pub(super) fn read_tls(
        &self,
        mut bytes: &[u8],
        plain: &mut [u8],
        handle: &mut dyn FnMut(&mut [u8]) -> Result<(), Code>,
    ) -> Result<(), Code> {
        loop {
            let mut state = self.state.lock();
            let Some(tls) = &mut state.tls else { return Err(Code::Internal) };
            if !bytes.is_empty() {
                tls.read_tls(&mut bytes).map_err(|_| Code::ProtocolError)?;
            }
            let outcome = tls.process_new_packets();
            let count = read_plain(tls, plain);
            if tls.wants_write() {
                self.write(&mut state);
            }
            let waits = outcome.map_err(|_| Code::ProtocolError)?.plaintext_bytes_to_read() > count;
            drop(state);
            handle(plain.get_mut(..count).unwrap_or_default())?;
            if waits {
                self.read_on(plain, handle)?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Passes on what did not fit at once.
    fn read_on(&self, plain: &mut [u8], handle: &mut dyn FnMut(&mut [u8]) -> Result<(), Code>) -> Result<(), Code> {
        loop {
            let count = match &mut self.state.lock().tls {
                Some(tls) => read_plain(tls, plain),
                None => 0,
            };
            if count == 0 {
                return Ok(());
            }
            handle(plain.get_mut(..count).unwrap_or_default())?;
        }
    }

    fn control(&self, first: u8, payload: &[u8]) {
        let mut frame = Vec::with_capacity(2 + payload.len());
        frame.extend([first, payload.len() as u8]);
        frame.extend_from_slice(payload);
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.waiting().control = Some(frame.into());
            self.write(&mut state);
        }
    }

    /// Writes until nothing waits or the socket is full. Behind the last word the write half is shut.
    fn write(&self, state: &mut State) {
        while state.phase != Phase::Closed && state.has_next() {
            match self.write_some(state) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.call_driver(state),
                Err(_) => return self.end(state),
            }
        }
        if state.phase == Phase::Closing {
            if let Some(tls) = &mut state.tls {
                tls.send_close_notify();
                // The kernel takes these few bytes or the peer does without them.
                let _ = tls.write_tls(&mut TrySocket(&self.socket));
            }
            // A peer that is gone needs no end.
            let _ = self.socket.shutdown(Shutdown::Write);
            self.end(state);
        }
    }

    /// Has the driver look at what is to be done. It is told after the socket was full: should it have been so for a moment
    /// only, the driver's own attempt finds out.
    fn call_driver(&self, state: &State) {
        let known = self.attention.swap(true, Ordering::AcqRel);
        if (!known || state.phase != Phase::Open)
            && let Some((key, mailbox)) = self.driver()
        {
            mailbox.post(Letter::Look(key));
        }
    }

    fn end(&self, state: &mut State) {
        state.phase = Phase::Closed;
        state.waiting = None;
        self.call_driver(state);
    }

    fn write_some(&self, state: &mut State) -> io::Result<()> {
        let State { tls, waiting, .. } = state;
        let in_flight = waiting.as_mut().map(|waiting| &mut waiting.in_flight).filter(|bytes| !bytes.is_empty());
        let Some(tls) = tls else {
            let Some(in_flight) = in_flight else { return Ok(()) };
            let written = (&self.socket).write(in_flight)?;
            in_flight.advance(written);
            return Ok(());
        };
        if let Some(in_flight) = in_flight {
            let taken = tls.writer().write(in_flight)?;
            in_flight.advance(taken);
        }
        while tls.wants_write() {
            tls.write_tls(&mut TrySocket(&self.socket))?;
        }
        Ok(())
    }

    /// Seals a snapshot and writes it, where nothing waits; returns what was not sealed.
    fn write_sealed(&self, state: &mut State, frame: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut state.tls else { return Ok(0) };
        let taken = tls.writer().write(frame)?;
        match tls.write_tls(&mut TrySocket(&self.socket)) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }
}

impl Outlet for WebSocketOutlet {
    fn transport(&self) -> Transport {
        Transport::WebSocket
    }

    fn warm(&self) {
        std::hint::black_box(self.attention.load(Ordering::Relaxed));
    }

    fn offer_snapshot(&self, frames: &SnapshotFrames) -> Offered {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return Offered::Closed;
        }
        if !state.is_idle() {
            let replaced = state.waiting().snapshot.replace(frames.rest_of_websocket(0)).is_some();
            return if replaced { Offered::Replaced } else { Offered::Waiting };
        }
        // The common case, once per player and tick: one system call, and nothing is copied, counted or queued.
        let frame = frames.websocket();
        let written = if self.is_tls { self.write_sealed(&mut state, frame) } else { (&self.socket).write(frame) };
        match written {
            Ok(written) => {
                if written < frame.len() {
                    let rest = frames.rest_of_websocket(written);
                    *state.waiting() = Waiting { in_flight: rest, ..Waiting::default() };
                }
                if !state.is_idle() {
                    self.write(&mut state);
                }
                Offered::Sent
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Nothing of it went out: it may still give way to a newer one.
                state.waiting().snapshot = Some(frames.rest_of_websocket(0));
                self.call_driver(&state);
                Offered::Waiting
            }
            Err(_) => {
                self.end(&mut state);
                Offered::Closed
            }
        }
    }

    fn queue(&self, message: &Bytes) -> Result<(), QueueFull> {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return Ok(());
        }
        if !state.waiting().has_room_for(message, self.bound) {
            // Full of what nobody has flushed yet, perhaps: several long messages at once are no slow reader.
            self.write(&mut state);
            if !state.waiting().has_room_for(message, self.bound) {
                return Err(QueueFull);
            }
        }
        put_message(message, &mut state.waiting().reliable);
        Ok(())
    }

    fn flush(&self) {
        let mut state = self.state.lock();
        self.write(&mut state);
    }

    fn close(&self, code: Code, goodbye: &Bytes) {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return;
        }
        state.phase = Phase::Closing;
        // The bound is for what a slow peer may pile up, not for the last word.
        let reliable = &mut state.waiting().reliable;
        put_message(goodbye, reliable);
        reliable.extend(close_frame(code));
        self.write(&mut state);
        self.call_driver(&state);
    }
}

impl State {
    fn waiting(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }

    fn is_idle(&self) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| waiting.is_empty()) && !self.tls_waits()
    }

    fn tls_waits(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Makes what is to be written next the one in flight. A link for which nothing waits holds no room for it.
    fn has_next(&mut self) -> bool {
        if self.waiting.as_mut().is_some_and(|waiting| waiting.has_next()) {
            return true;
        }
        self.waiting = None;
        self.tls_waits()
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.control.is_none() && self.reliable.is_empty() && self.snapshot.is_none()
    }

    /// Makes what is to be written next the one in flight: control frames, reliable messages, the newest snapshot.
    fn has_next(&mut self) -> bool {
        if self.in_flight.is_empty() {
            self.is_reliable_in_flight = self.control.is_none() && !self.reliable.is_empty();
            self.in_flight = if let Some(control) = self.control.take() {
                control
            } else if self.reliable.is_empty() {
                self.snapshot.take().unwrap_or_default()
            } else {
                std::mem::take(&mut self.reliable).into()
            };
        }
        !self.in_flight.is_empty()
    }

    /// Whether one more reliable message may wait. With nothing before it, any may.
    fn has_room_for(&self, message: &[u8], bound: u32) -> bool {
        let in_flight = if self.is_reliable_in_flight { self.in_flight.len() } else { 0 };
        let before = in_flight + self.reliable.len();
        before == 0 || before + WS_HEADROOM + message.len() <= bound as usize
    }
}

/// Lets rustls write to the socket. One record, which is the rule, goes by the call that takes one piece.
struct TrySocket<'a>(&'a TcpStream);

impl io::Write for TrySocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match parts {
            [part] => self.0.write(part),
            parts => self.0.write_vectored(parts),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_plain(tls: &mut ServerConnection, plain: &mut [u8]) -> usize {
    // An error says that there is nothing, or that the peer has ended.
    tls.reader().read(plain).unwrap_or(0)
}

fn put_message(message: &[u8], out: &mut Vec<u8>) {
    let mut room = [0; WS_HEADROOM];
    let header = ws_header(message.len(), &mut room);
    out.reserve(header.len() + message.len());
    out.extend_from_slice(header);
    out.extend_from_slice(message);
}

fn close_frame(code: Code) -> Vec<u8> {
    let reason = code.slug().as_bytes();
    let mut frame = vec![0x88, (2 + reason.len()) as u8];
    frame.extend(code.number().to_be_bytes());
    frame.extend_from_slice(reason);
    frame
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;

    use super::*;
    use crate::ids::{SessionTag, Tick};

    #[test]
    fn a_long_snapshot_under_way_takes_no_room_from_messages_and_those_have_their_bound() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let outlet = WebSocketOutlet::new(socket, None, Vec::new(), 1_024);
        // More than the system takes for a peer that does not read.
        let long = SnapshotFrames::new(SessionTag(1), Tick(1), 0, std::iter::empty(), &vec![7; 32 << 20]);
        assert_eq!(outlet.offer_snapshot(&long), Offered::Sent);
        assert!(!outlet.state.lock().is_idle());
        let message = Bytes::from_static(&[1; 100]);
        let taken = (0..100).take_while(|_| outlet.queue(&message).is_ok()).count();
        assert_eq!(taken, 9, "of 102 bytes each, with room kept for the longest header");
    }
}
