//! One live link: what goes out, what comes in, and how it ends.
//!
//! Owns: the control stream after the session opened, the datagrams, the order of Goodbye and close. Must not know: who
//! the player is, what a message says.
//!
//! Snapshots go from the tick's own thread into QUIC, without a wake-up of the link's task. Newest wins: while two
//! snapshots wait in QUIC (the path is slower than the ticks), a newer one waits in the link, and is replaced by the
//! next. Two, not one: QUIC's own task may come to the first only after the second tick on a busy machine. One task per
//! link does all the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{Connection, RecvStream, SendDatagramError, SendStream, VarInt, WriteError};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::h3;
use super::request::Streams;
use crate::admission::goodbye;
use crate::hub::Attached;
use crate::outbox::{Backlog, Offered, Outlet, QueueFull, Transport};
use crate::wire::{Code, ControlReader, SnapshotFrames, put_control};

/// The way out to one WebTransport peer.
pub(super) struct Link {
    quic: Connection,
    queue_bytes: usize,
    /// The room in QUIC's datagram queue when nothing waits in it.
    idle_room: usize,
    out: Mutex<Out>,
    /// Tells the writer that something waits.
    wake: Notify,
    /// Tells the link's task that it has been asked to close.
    closing: Notify,
    /// Whether the peer said anything since this was last looked at.
    heard: AtomicBool,
}

/// The control stream.
pub(super) struct Control {
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
    pub(super) reader: ControlReader,
}

#[derive(Default)]
struct Out {
    backlog: Backlog,
    snapshot: Option<SnapshotFrames>,
    goodbye: Option<(Code, Bytes)>,
}

/// What the writer does next.
enum Next {
    Message(Bytes),
    Snapshot(SnapshotFrames),
    Goodbye(Bytes),
    Nothing,
}

/// What became of a snapshot's datagrams.
enum Datagrams {
    Sent,
    /// Earlier snapshots still wait in QUIC.
    Behind,
    /// It belongs on the control stream: too large, or the peer takes no datagrams.
    Unfit,
    Lost,
}

impl Link {
    pub(super) fn new(quic: Connection, queue_bytes: usize) -> Self {
        let idle_room = quic.datagram_send_buffer_space();
        Self {
            quic,
            queue_bytes,
            idle_room,
            out: Mutex::default(),
            wake: Notify::new(),
            closing: Notify::new(),
            heard: AtomicBool::new(true),
        }
    }

    /// Serves the link until it ends.
    pub(super) async fn run(
        self: Arc<Self>,
        control: Control,
        streams: Streams,
        attached: Attached,
        heartbeat: Duration,
    ) {
        let Control { mut send, recv, reader } = control;
        let mut inward = Inward::new(recv, reader, streams);
        let told = {
            let writing = self.write(&mut send);
            tokio::pin!(writing);
            tokio::select! {
                biased;
                fault = self.listen(&mut inward, &attached, heartbeat) => match fault {
                    Some(code) => {
                        attached.closing(code);
                        self.close(code, &goodbye(code, None));
                        matches!(timeout(LINGER, writing).await, Ok(Ok(())))
                    }
                    None => false,
                },
                result = &mut writing => result.is_ok(),
                () = self.overdue() => false,
            }
        };
        // The hub learns now that the link is gone; the peer may take its time.
        drop(attached);
        self.end(told, inward).await;
    }

    /// Writes what waits and the Goodbye of a link that was closed before anybody was attached to it, and ends it.
    pub(super) async fn part(&self, control: Control, streams: Streams) {
        let Control { mut send, recv, reader } = control;
        let told = matches!(timeout(LINGER, self.write(&mut send)).await, Ok(Ok(())));
        self.end(told, Inward::new(recv, reader, streams)).await;
    }

    /// Gives the peer [`LINGER`] to read the Goodbye and go by itself, then closes.
    async fn end(&self, told: bool, mut inward: Inward) {
        let code = self.out.lock().goodbye.as_ref().map_or(Code::Left, |(code, _)| *code);
        if told {
            let _ = timeout(LINGER, inward.gone()).await;
        }
        debug!(peer = %self.quic.remote_address(), code = code.slug(), told, "link closed");
        inward.streams.close(&self.quic, code).await;
    }

    /// Takes what the peer says, until it ends the link (`None`) or has to be told why (`Some`).
    async fn listen(&self, inward: &mut Inward, attached: &Attached, heartbeat: Duration) -> Option<Code> {
        let Inward { control, streams, kept } = inward;
        tokio::select! {
            end = self.read_control(control, attached) => end,
            end = self.read_datagrams(attached) => end,
            () = refuse_streams(&self.quic, kept) => None,
            () = streams.ended() => None,
            () = self.fall_silent(heartbeat) => Some(Code::HeartbeatLost),
        }
    }

    async fn read_control(&self, control: &mut Incoming, attached: &Attached) -> Option<Code> {
        loop {
            match control.next_message().await {
                Ok(message) => {
                    self.heard.store(true, Ordering::Relaxed);
                    if let Err(code) = attached.handle_message(&message) {
                        return Some(code);
                    }
                }
                Err(end) => return end,
            }
        }
    }

    async fn read_datagrams(&self, attached: &Attached) -> Option<Code> {
        self.drop_early_datagrams().await;
        loop {
            let datagram = self.quic.read_datagram().await.ok()?;
            let payload = match h3::datagram_payload(&datagram) {
                Ok(Some(payload)) => payload,
                Ok(None) => continue,
                Err(_) => return Some(Code::ProtocolError),
            };
            // A kind that is not known is skipped: a newer client may try it.
            if let Some((&WHOLE, message)) = payload.split_first() {
                self.heard.store(true, Ordering::Relaxed);
                if let Err(code) = attached.handle_message(message) {
                    return Some(code);
                }
            }
            // With the peer's packet came acknowledgements, which may have made room.
            self.send_waiting();
        }
    }

    /// What came before the player was admitted is not for it.
    async fn drop_early_datagrams(&self) {
        loop {
            tokio::select! {
                biased;
                early = self.quic.read_datagram() => if early.is_err() { return },
                () = std::future::ready(()) => return,
            }
        }
    }

    /// Resolves when the peer has said nothing for the time of a heartbeat, late by a third of it at most.
    async fn fall_silent(&self, heartbeat: Duration) {
        let mut quiet = 0;
        while quiet < QUIET_LOOKS {
            sleep(heartbeat / QUIET_LOOKS).await;
            quiet = if self.heard.swap(false, Ordering::Relaxed) { 0 } else { quiet + 1 };
        }
    }

    /// Resolves when the link was asked to close, and the writer still has not come to the Goodbye.
    async fn overdue(&self) {
        self.closing.notified().await;
        sleep(LINGER).await;
    }

    /// Writes what waits, as it comes, up to and with the Goodbye.
    async fn write(&self, send: &mut SendStream) -> Result<(), WriteError> {
        loop {
            match self.next() {
                Next::Message(framed) => send.write_chunk(framed).await?,
                Next::Snapshot(frames) => {
                    let body = frames.body();
                    let length = Bytes::copy_from_slice(&(body.len() as u32).to_le_bytes());
                    send.write_all_chunks(&mut [length, body]).await?;
                }
                Next::Goodbye(framed) => {
                    send.write_chunk(framed).await?;
                    // The only error is that the peer has stopped the stream.
                    let _ = send.finish();
                    return Ok(());
                }
                Next::Nothing => self.wake.notified().await,
            }
        }
    }

    fn next(&self) -> Next {
        let mut out = self.out.lock();
        if let Some(framed) = out.backlog.pop() {
            return Next::Message(framed);
        }
        if let Some((_, message)) = &out.goodbye {
            return Next::Goodbye(framed(message));
        }
        match out.snapshot.take() {
            None => Next::Nothing,
            Some(frames) => match self.send_datagrams(&frames) {
                Datagrams::Unfit => Next::Snapshot(frames),
                Datagrams::Behind => {
                    out.snapshot = Some(frames);
                    Next::Nothing
                }
                Datagrams::Sent | Datagrams::Lost => Next::Nothing,
            },
        }
    }

    /// Sends the snapshot that waits, if there is room for it now.
    fn send_waiting(&self) {
        let mut out = self.out.lock();
        if let Some(frames) = &out.snapshot
            && matches!(self.send_datagrams(frames), Datagrams::Sent)
        {
            out.snapshot = None;
        }
    }

    fn send_datagrams(&self, frames: &SnapshotFrames) -> Datagrams {
        let Some(datagrams) = frames.shared_datagrams() else {
            return Datagrams::Unfit;
        };
        let cost: usize = datagrams.iter().map(|datagram| datagram.len() + size_of::<Bytes>()).sum();
        if self.idle_room.saturating_sub(self.quic.datagram_send_buffer_space()) >= 2 * cost {
            return Datagrams::Behind;
        }
        for datagram in datagrams {
            match self.quic.send_datagram(datagram.clone()) {
                Ok(()) => {}
                Err(SendDatagramError::ConnectionLost(_)) => return Datagrams::Lost,
                Err(_) => return Datagrams::Unfit,
            }
        }
        Datagrams::Sent
    }
}

impl Outlet for Link {
    fn transport(&self) -> Transport {
        Transport::WebTransport
    }

    fn offer_snapshot(&self, frames: &SnapshotFrames) -> Offered {
        let mut out = self.out.lock();
        if out.goodbye.is_some() {
            return Offered::Closed;
        }
        let sent = self.send_datagrams(frames);
        let unfit = match sent {
            Datagrams::Sent => {
                out.snapshot = None;
                return Offered::Sent;
            }
            Datagrams::Lost => return Offered::Closed,
            Datagrams::Behind => false,
            Datagrams::Unfit => true,
        };
        let replaced = out.snapshot.replace(frames.clone()).is_some();
        drop(out);
        if unfit {
            self.wake.notify_one();
        }
        if replaced { Offered::Replaced } else { Offered::Waiting }
    }

    fn queue(&self, message: &Bytes) -> Result<(), QueueFull> {
        let mut out = self.out.lock();
        if out.goodbye.is_some() {
            return Ok(());
        }
        out.backlog.push_reliable(framed(message), self.queue_bytes)
    }

    fn flush(&self) {
        self.wake.notify_one();
    }

    fn close(&self, code: Code, goodbye: &Bytes) {
        let mut out = self.out.lock();
        if out.goodbye.is_some() {
            return;
        }
        out.goodbye = Some((code, goodbye.clone()));
        out.snapshot = None;
        drop(out);
        self.wake.notify_one();
        self.closing.notify_one();
    }

    fn round_trip(&self) -> Option<Duration> {
        Some(self.quic.rtt())
    }
}

impl Control {
    /// The next message; as [`Incoming::next_message`].
    pub(super) async fn next_message(&mut self) -> Result<Bytes, Option<Code>> {
        next_message(&mut self.recv, &mut self.reader).await
    }
}

/// The half of the control stream that is read.
struct Incoming {
    recv: RecvStream,
    reader: ControlReader,
}

impl Incoming {
    async fn next_message(&mut self) -> Result<Bytes, Option<Code>> {
        next_message(&mut self.recv, &mut self.reader).await
    }
}

/// All that is read of a link, beside datagrams.
struct Inward {
    control: Incoming,
    streams: Streams,
    /// HTTP/3's own streams of the peer: nothing is read of them, but stopping one would end the connection.
    kept: Vec<RecvStream>,
}

impl Inward {
    fn new(recv: RecvStream, reader: ControlReader, streams: Streams) -> Self {
        Self { control: Incoming { recv, reader }, streams, kept: Vec::new() }
    }

    /// Resolves when the peer has ended the link, in whichever way.
    async fn gone(&mut self) {
        let control = async { while let Ok(Some(_)) = self.control.recv.read_chunk(READ_BYTES, true).await {} };
        tokio::select! {
            () = control => {}
            () = self.streams.ended() => {}
        }
    }
}

/// The next message of the control stream; its end is `Err(None)`, a message over the bound the code for it.
async fn next_message(recv: &mut RecvStream, reader: &mut ControlReader) -> Result<Bytes, Option<Code>> {
    loop {
        if let Some(message) = reader.poll_message().map_err(|_| Code::MessageTooBig)? {
            return Ok(message);
        }
        match recv.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => reader.handle_bytes(&chunk.bytes),
            Ok(None) | Err(_) => return Err(None),
        }
    }
}

/// Resets every further bidirectional stream, and stops every unidirectional one that is not HTTP/3's own, of which
/// QUIC bounds the number. Resolves when the connection is lost.
async fn refuse_streams(quic: &Connection, kept: &mut Vec<RecvStream>) {
    let refusal = VarInt::from_u32(BUFFERED_STREAM_REJECTED);
    let two_way = async {
        while let Ok((mut send, mut recv)) = quic.accept_bi().await {
            // The only error is that the peer was first.
            let _ = send.reset(refusal);
            let _ = recv.stop(refusal);
        }
    };
    let one_way = async {
        while let Ok(recv) = quic.accept_uni().await {
            kept.push(recv);
            let mut kind = [0; 2];
            if let Some(recv) = kept.last_mut()
                && recv.read_exact(&mut kind).await.is_ok()
                && kind == WEBTRANSPORT_UNI
            {
                let _ = recv.stop(refusal);
                kept.pop();
            }
        }
    };
    tokio::join!(two_way, one_way);
}

fn framed(message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(4 + message.len());
    put_control(message, &mut out);
    Bytes::from(out)
}

/// The kind of a datagram that is one whole message.
const WHOLE: u8 = 0;
/// Stream type 0x54 as a varint of two bytes, as everybody writes it.
const WEBTRANSPORT_UNI: [u8; 2] = [0x40, 0x54];
const BUFFERED_STREAM_REJECTED: u32 = 0x3994_bd84;
/// For the Goodbye to be written, and again for the peer to go.
const LINGER: Duration = Duration::from_millis(500);
const QUIET_LOOKS: u32 = 3;
const READ_BYTES: usize = 4 * 1024;
