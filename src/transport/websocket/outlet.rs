//! The way out over one WebSocket: written straight to the socket by whoever has something to say.
//!
//! Owns: the write half, the TLS state and what waits. Must not know: who the player is, what a message says. While the
//! socket takes everything there is no queue, no copy and no wake-up; once it does not, the link's own task goes on.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use rustls::ServerConnection;
use socket2::SockRef;
use tokio::net::tcp::OwnedWriteHalf;

use crate::outbox::{Backlog, Offered, Outlet, QueueFull, Transport};
use crate::wire::{Code, SnapshotFrames, WS_HEADROOM, ws_header};

/// Leads out over one WebSocket.
pub struct WebSocketOutlet {
    socket: OwnedWriteHalf,
    /// Bytes of reliable messages that may wait.
    bound: usize,
    /// Whether the link's task has something to do here: write what waits, or end. Spares it the lock at every read.
    /// Set under the lock.
    attention: AtomicBool,
    state: Mutex<State>,
}

struct State {
    tls: Option<Box<ServerConnection>>,
    /// What the socket did not take of the newest write.
    in_flight: Bytes,
    /// A control frame that goes out next: the newest pong or ping.
    control: Option<Bytes>,
    backlog: Backlog,
    phase: Phase,
    /// The link's task, once it has been here.
    task: Option<Waker>,
}

/// How far the closing handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Open.
    Open,
    /// Our Close is written or waits; the peer's is awaited.
    Closing,
    /// Nothing can be written any more.
    Closed,
}

impl WebSocketOutlet {
    /// Takes the write half, and the TLS state where there is one.
    pub fn new(socket: OwnedWriteHalf, tls: Option<Box<ServerConnection>>, bound: usize) -> Self {
        let state = State {
            tls,
            in_flight: Bytes::new(),
            control: None,
            backlog: Backlog::default(),
            phase: Phase::Open,
            task: None,
        };
        Self { socket, bound, attention: AtomicBool::new(true), state: Mutex::new(state) }
    }

    /// How far the closing handshake is.
    pub fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    /// Writes a Ping, unless something waits anyway.
    pub fn ping(&self) {
        self.control(0x89, &[]);
    }

    /// Answers a Ping. Of several that wait, the newest is sent.
    pub fn pong(&self, payload: &[u8]) {
        self.control(0x8a, payload);
    }

    /// Answers the peer's Close with the same, and ends.
    pub fn answer_close(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
            state.backlog.clear();
            state.control = Some(close_frame(Code::Left));
            self.write(&mut state);
        }
    }

    /// Drives what waits, for the link's task: it will be woken when there is more to do. The task must not change.
    pub fn poll_drive(&self, context: &mut Context<'_>) -> Phase {
        if !self.attention.load(Ordering::Acquire) {
            return Phase::Open;
        }
        let mut state = self.state.lock();
        match &mut state.task {
            Some(task) => task.clone_from(context.waker()),
            task => *task = Some(context.waker().clone()),
        }
        while state.phase != Phase::Closed && !state.is_idle() {
            match self.socket.as_ref().poll_write_ready(context) {
                Poll::Ready(Ok(())) => self.write(&mut state),
                Poll::Ready(Err(_)) => self.end(&mut state),
                Poll::Pending => break,
            }
        }
        let rests = state.phase == Phase::Open && state.is_idle();
        self.attention.store(!rests, Ordering::Release);
        state.phase
    }

    /// Hands bytes from the socket to TLS and passes on what they say in plain.
    ///
    /// # Errors
    /// When they are not TLS, or when `handle` refuses.
    pub fn read_tls(
        &self,
        mut bytes: &[u8],
        handle: &mut dyn FnMut(&mut [u8]) -> Result<(), Code>,
    ) -> Result<(), Code> {
        let mut plain = [0; 4_096];
        loop {
            let mut state = self.state.lock();
            let Some(tls) = &mut state.tls else { return Err(Code::Internal) };
            if !bytes.is_empty() {
                tls.read_tls(&mut bytes).map_err(|_| Code::ProtocolError)?;
            }
            let outcome = tls.process_new_packets();
            if tls.wants_write() {
                self.write(&mut state);
            }
            outcome.map_err(|_| Code::ProtocolError)?;
            drop(state);
            while let Some(count) = self.read_plain(&mut plain) {
                handle(plain.get_mut(..count).unwrap_or_default())?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Whether the bytes of this link are under TLS.
    pub fn is_tls(&self) -> bool {
        self.state.lock().tls.is_some()
    }

    fn read_plain(&self, plain: &mut [u8]) -> Option<usize> {
        let mut state = self.state.lock();
        let count = io::Read::read(&mut state.tls.as_mut()?.reader(), plain).ok()?;
        (count > 0).then_some(count)
    }

    fn control(&self, first: u8, payload: &[u8]) {
        let mut frame = Vec::with_capacity(2 + payload.len());
        frame.extend([first, payload.len() as u8]);
        frame.extend_from_slice(payload);
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.control = Some(frame.into());
            self.write(&mut state);
        }
    }

    /// Writes until nothing waits or the socket is full. Behind the last word the write half is shut.
    fn write(&self, state: &mut State) {
        while state.phase != Phase::Closed && state.has_next() {
            match self.write_some(state) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.call_task(state),
                Err(_) => return self.end(state),
            }
        }
        if state.phase == Phase::Closing {
            if let Some(tls) = &mut state.tls {
                tls.send_close_notify();
                // The kernel takes these few bytes or the peer does without them.
                let _ = tls.write_tls(&mut TrySocket(&self.socket));
            }
            let _ = SockRef::from(self.socket.as_ref()).shutdown(Shutdown::Write);
            self.end(state);
        }
    }

    /// Has the link's task look at what is to be done.
    fn call_task(&self, state: &mut State) {
        self.attention.store(true, Ordering::Release);
        if let Some(task) = &state.task {
            task.wake_by_ref();
        }
    }

    fn end(&self, state: &mut State) {
        state.phase = Phase::Closed;
        state.backlog.clear();
        state.in_flight = Bytes::new();
        self.call_task(state);
    }

    fn write_some(&self, state: &mut State) -> io::Result<()> {
        let State { tls, in_flight, .. } = state;
        let Some(tls) = tls else {
            let written = self.try_write(in_flight)?;
            in_flight.advance(written);
            return Ok(());
        };
        if !in_flight.is_empty() {
            let taken = io::Write::write(&mut tls.writer(), in_flight)?;
            in_flight.advance(taken);
        }
        while tls.wants_write() {
            tls.write_tls(&mut TrySocket(&self.socket))?;
        }
        Ok(())
    }
}

impl WebSocketOutlet {
    /// Writes past tokio while the socket takes it; when it does not, asks through tokio, which then knows to tell when it
    /// does again.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match SockRef::from(self.socket.as_ref()).send(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.try_write(bytes),
            outcome => outcome,
        }
    }
}

impl Outlet for WebSocketOutlet {
    fn transport(&self) -> Transport {
        Transport::WebSocket
    }

    fn offer_snapshot(&self, frames: &SnapshotFrames) -> Offered {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return Offered::Closed;
        }
        if !state.is_idle() {
            let replaced = state.backlog.replace_snapshot(frames.websocket().clone());
            return if replaced { Offered::Replaced } else { Offered::Waiting };
        }
        if state.tls.is_some() {
            state.in_flight = frames.websocket().clone();
            self.write(&mut state);
            return Offered::Sent;
        }
        // The common case, once per player and tick: one system call, and nothing is copied, counted or queued.
        let frame = frames.websocket();
        match self.try_write(frame) {
            Ok(written) if written == frame.len() => return Offered::Sent,
            Ok(written) => state.in_flight = frame.slice(written..),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Nothing of it went out: it may still give way to a newer one.
                state.backlog.replace_snapshot(frame.clone());
                self.call_task(&mut state);
                return Offered::Waiting;
            }
            Err(_) => {
                self.end(&mut state);
                return Offered::Closed;
            }
        }
        self.write(&mut state);
        Offered::Sent
    }

    fn queue(&self, message: &Bytes) -> Result<(), QueueFull> {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return Ok(());
        }
        let frame = message_frame(message);
        state.backlog.push_reliable(frame.clone(), self.bound).or_else(|QueueFull| {
            // Full of what nobody has flushed yet, perhaps: several long messages at once are no slow reader.
            self.write(&mut state);
            state.backlog.push_reliable(frame, self.bound)
        })
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
        let last = [message_frame(goodbye), close_frame(code)].concat();
        // Never full: the bound is for what a slow peer may pile up, not for the last word.
        let _ = state.backlog.push_reliable(last.into(), usize::MAX);
        self.write(&mut state);
        self.call_task(&mut state);
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.control.is_none() && self.backlog.is_empty() && !self.tls_waits()
    }

    fn tls_waits(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Makes what is to be written next the one in flight; several reliable messages go out as one write.
    fn has_next(&mut self) -> bool {
        if !self.in_flight.is_empty() || self.tls_waits() {
            return true;
        }
        let Some(first) = self.control.take().or_else(|| self.backlog.pop()) else { return false };
        self.in_flight = first;
        if self.backlog.reliable_bytes() > 0 {
            let mut joined = self.in_flight.to_vec();
            while joined.len() < JOINED_WRITE && self.backlog.reliable_bytes() > 0 {
                let Some(next) = self.backlog.pop() else { break };
                joined.extend_from_slice(&next);
            }
            self.in_flight = joined.into();
        }
        true
    }
}

/// Lets rustls write to the socket without waiting.
struct TrySocket<'a>(&'a OwnedWriteHalf);

impl io::Write for TrySocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn message_frame(message: &[u8]) -> Bytes {
    let mut room = [0; WS_HEADROOM];
    [ws_header(message.len(), &mut room), message].concat().into()
}

fn close_frame(code: Code) -> Bytes {
    let reason = code.slug().as_bytes();
    let mut frame = vec![0x88, (2 + reason.len()) as u8];
    frame.extend(code.number().to_be_bytes());
    frame.extend_from_slice(reason);
    frame.into()
}

/// Reliable messages are joined into one write up to about this many bytes.
const JOINED_WRITE: usize = 16 * 1_024;
