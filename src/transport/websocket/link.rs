//! One live WebSocket: a single task that reads, and that writes only when the socket was full.
//!
//! Owns: the read half, the heartbeat and the closing handshake. Must not know: what a message says.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, Sleep, sleep_until};

use super::frames::{Event, FrameReader};
use super::outlet::{Phase, WebSocketOutlet};
use crate::admission::{Admission, goodbye};
use crate::hub::Attached;
use crate::outbox::Outlet;
use crate::request::OpenRequest;
use crate::wire::Code;

/// A link whose upgrade is done.
pub struct WebSocketLink {
    socket: OwnedReadHalf,
    outlet: Arc<WebSocketOutlet>,
    reader: FrameReader,
    /// What was read behind the upgrade request, not yet handled.
    early: Option<Vec<u8>>,
    /// Messages that came right behind Hello, for when there is a player to handle them for.
    behind_hello: Vec<Vec<u8>>,
    tls: bool,
    heard: Instant,
    heartbeat: Duration,
}

/// Why a link's reading came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The peer is gone, or the closing handshake is done.
    Gone,
    /// This end has to close, with this code.
    Close(Code),
}

impl WebSocketLink {
    /// Puts the halves together. `early` is what was read behind the upgrade request.
    pub fn new(socket: OwnedReadHalf, early: Vec<u8>, outlet: Arc<WebSocketOutlet>, admission: &Admission) -> Self {
        let limits = admission.limits();
        Self {
            socket,
            early: Some(early),
            behind_hello: Vec::new(),
            tls: outlet.is_tls(),
            outlet,
            reader: FrameReader::new(limits.message_bytes, limits.fragments),
            heard: Instant::now(),
            heartbeat: limits.heartbeat,
        }
    }

    /// Waits for the first message, for a request that carried no credentials, and reads it as a Hello.
    ///
    /// # Errors
    /// The code to close with.
    pub async fn read_hello(&mut self, admission: &Admission, request: &OpenRequest) -> Result<OpenRequest, Code> {
        let mut deadline = pin!(sleep_until(Instant::now() + admission.limits().first_message));
        let mut hello = None;
        let (mut behind, mut behind_bytes) = (Vec::new(), 0);
        let request = poll_fn(|context| {
            let read = self.poll_read(context, &mut |message| {
                if hello.is_none() {
                    hello = Some(admission.read_hello(request, message)?);
                    return Ok(());
                }
                behind_bytes += message.len().max(MIN_MESSAGE);
                if behind_bytes > READ_BYTES {
                    return Err(Code::Malformed);
                }
                behind.push(message.to_vec());
                Ok(())
            });
            match (read, hello.take()) {
                (Poll::Ready(End::Close(code)), _) => Poll::Ready(Err(code)),
                (Poll::Ready(End::Gone), _) => Poll::Ready(Err(Code::Left)),
                (Poll::Pending, Some(request)) => Poll::Ready(Ok(request)),
                (Poll::Pending, None) => deadline.as_mut().poll(context).map(|()| Err(Code::TicketTimeout)),
            }
        })
        .await?;
        self.behind_hello = behind;
        Ok(request)
    }

    /// Carries the link until it ends.
    pub async fn run(mut self, attached: Attached) {
        let mut probe = pin!(sleep_until(self.heard + self.heartbeat / 3));
        let mut armed = false;
        let behind_hello = std::mem::take(&mut self.behind_hello);
        let mut early = behind_hello.iter().try_for_each(|message| attached.handle_message(message));
        let end = poll_fn(|context| {
            if let Err(code) = std::mem::replace(&mut early, Ok(())) {
                return Poll::Ready(End::Close(code));
            }
            if self.outlet.poll_drive(context) != Phase::Open {
                return Poll::Ready(End::Gone);
            }
            let before = self.heard;
            match self.poll_read(context, &mut |message| attached.handle_message(message)) {
                // Once polled, the timer wakes this task by itself; while the peer talks it need not be asked.
                Poll::Pending if armed && self.heard != before && self.heard < probe.deadline() => Poll::Pending,
                Poll::Pending => {
                    armed = true;
                    self.poll_probe(context, probe.as_mut())
                }
                ended => ended,
            }
        })
        .await;
        match end {
            End::Close(code) => {
                attached.closing(code);
                // The place waits from now on, however long the peer takes to read why.
                drop(attached);
                self.refuse(code, &goodbye(code, None)).await;
            }
            // Closed by the other end of the outlet, or by the peer's Close.
            End::Gone if self.outlet.phase() != Phase::Open => self.drain().await,
            End::Gone => {}
        }
    }

    /// Says goodbye, closes, and waits a bounded time for the peer to have read why.
    pub async fn refuse(&mut self, code: Code, goodbye: &Bytes) {
        self.outlet.close(code, goodbye);
        self.drain().await;
    }

    /// Writes what is left and reads until the peer closes too, or a deadline: ending with unread bytes would reset the
    /// connection and lose the goodbye.
    async fn drain(&mut self) {
        let mut deadline = pin!(sleep_until(Instant::now() + CLOSE_WAIT));
        let mut room = [MaybeUninit::uninit(); 512];
        poll_fn(|context| {
            if deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            self.outlet.poll_drive(context);
            loop {
                let mut buffer = ReadBuf::uninit(&mut room);
                match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }

    /// A peer that was quiet for a third of the heartbeat is asked whether it is there; browsers answer by themselves.
    fn poll_probe(&self, context: &mut Context<'_>, mut probe: Pin<&mut Sleep>) -> Poll<End> {
        let every = self.heartbeat / 3;
        while probe.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let quiet = now.saturating_duration_since(self.heard);
            if quiet >= self.heartbeat {
                return Poll::Ready(End::Close(Code::HeartbeatLost));
            }
            if quiet >= every {
                self.outlet.ping();
                probe.as_mut().reset(now + every);
            } else {
                probe.as_mut().reset(self.heard + every);
            }
        }
        Poll::Pending
    }

    fn poll_read(&mut self, context: &mut Context<'_>, take: &mut dyn FnMut(&[u8]) -> Result<(), Code>) -> Poll<End> {
        let mut read = self.handle_early(take);
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        loop {
            match read {
                Ok(()) => {}
                Err(Code::Left) => return Poll::Ready(End::Gone),
                Err(code) => return Poll::Ready(End::Close(code)),
            }
            // A read that does not fill the buffer tells tokio that the socket is drained: no second call to find out.
            let mut buffer = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(End::Gone),
            }
            self.heard = Instant::now();
            read = self.handle_read(buffer.filled_mut(), take);
        }
    }

    /// Handles what had been read when the link came into being.
    fn handle_early(&mut self, take: &mut dyn FnMut(&[u8]) -> Result<(), Code>) -> Result<(), Code> {
        let Some(mut early) = self.early.take() else { return Ok(()) };
        self.handle_plain(&mut early, take)?;
        if self.tls { self.handle_read(&mut [], take) } else { Ok(()) }
    }

    fn handle_read(&mut self, bytes: &mut [u8], take: &mut dyn FnMut(&[u8]) -> Result<(), Code>) -> Result<(), Code> {
        if !self.tls {
            return self.handle_plain(bytes, take);
        }
        let outlet = Arc::clone(&self.outlet);
        outlet.read_tls(bytes, &mut |plain| self.handle_plain(plain, take))
    }

    fn handle_plain(&mut self, bytes: &mut [u8], take: &mut dyn FnMut(&[u8]) -> Result<(), Code>) -> Result<(), Code> {
        let Self { reader, outlet, .. } = self;
        reader.handle_bytes(bytes, |event| match event {
            Event::Message(message) => take(message),
            Event::Ping(payload) => {
                outlet.pong(payload);
                Ok(())
            }
            Event::Pong => Ok(()),
            Event::Close => {
                outlet.answer_close();
                Err(Code::Left)
            }
        })
    }
}

/// What an empty message behind Hello counts for, so that their number is bounded as well.
const MIN_MESSAGE: usize = 64;
/// One read takes at most this much; a whole message and its header fit.
const READ_BYTES: usize = 8 * 1_024;
/// How long a peer may take to answer a Close (security: at most 2 s).
const CLOSE_WAIT: Duration = Duration::from_secs(2);
