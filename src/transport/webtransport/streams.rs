//! Reading and writing one QUIC stream without waiting.
//!
//! Owns: what waits for a stream that takes no more for now. Must not know: what travels.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;
use quinn_proto::{Connection, ReadError, StreamId, VarInt, WriteError};

/// Whether more may come on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    More,
    /// It was finished or reset.
    End,
}

/// Hands what has come to `take`, until it breaks off. Nothing of it is kept in QUIC.
pub(super) fn read(quic: &mut Connection, stream: StreamId, mut take: impl FnMut(&[u8]) -> ControlFlow<()>) -> Read {
    let mut stream = quic.recv_stream(stream);
    let Ok(mut chunks) = stream.read(true) else {
        return Read::End;
    };
    let outcome = loop {
        match chunks.next(READ_BYTES) {
            Ok(Some(chunk)) => {
                if take(&chunk.bytes).is_break() {
                    break Read::More;
                }
            }
            Err(ReadError::Blocked) => break Read::More,
            Ok(None) | Err(ReadError::Reset(_)) => break Read::End,
        }
    };
    // The driver asks every connection that was touched for packets.
    let _ = chunks.finalize();
    outcome
}

/// Reads what has come and forgets it.
pub(super) fn skip(quic: &mut Connection, stream: StreamId) -> Read {
    read(quic, stream, |_| ControlFlow::Continue(()))
}

/// Refuses a bidirectional stream of the peer.
pub(super) fn refuse(quic: &mut Connection, stream: StreamId) {
    // The only error is that the peer was first.
    let _ = quic.send_stream(stream).reset(VarInt::from_u32(BUFFERED_STREAM_REJECTED));
    refuse_one_way(quic, stream);
}

/// Refuses a stream that only the peer writes.
pub(super) fn refuse_one_way(quic: &mut Connection, stream: StreamId) {
    // The only error is that the peer was first.
    let _ = quic.recv_stream(stream).stop(VarInt::from_u32(BUFFERED_STREAM_REJECTED));
}

/// The peer takes no more of this stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped;

/// What waits for a stream of the server.
#[derive(Debug, Default)]
pub(super) struct Writer {
    waiting: VecDeque<Bytes>,
    end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Due,
    Said,
}

impl Writer {
    pub(super) fn push(&mut self, bytes: impl Into<Bytes>) {
        self.waiting.push_back(bytes.into());
    }

    /// Ends the stream behind what waits.
    pub(super) fn finish(&mut self) {
        if self.end == End::Open {
            self.end = End::Due;
        }
    }

    /// Whether all was handed to QUIC, with the end of the stream if that was asked for.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.end != End::Due
    }

    /// Whether all was handed to QUIC, and the end of the stream too.
    pub(super) fn is_finished(&self) -> bool {
        self.end == End::Said
    }

    /// Hands QUIC as much as it takes.
    ///
    /// # Errors
    /// [`Stopped`] when the peer takes no more.
    pub(super) fn pump(&mut self, quic: &mut Connection, stream: StreamId) -> Result<(), Stopped> {
        while !self.waiting.is_empty() {
            // What was written in part stays in front, without that part.
            match quic.send_stream(stream).write_chunks(self.waiting.make_contiguous()) {
                Ok(written) => drop(self.waiting.drain(..written.chunks)),
                Err(WriteError::Blocked) => return Ok(()),
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return Err(Stopped),
            }
        }
        // What one large snapshot needed is given back.
        self.waiting = VecDeque::new();
        if self.end == End::Due {
            self.end = End::Said;
            return quic.send_stream(stream).finish().map_err(|_| Stopped);
        }
        Ok(())
    }
}

const READ_BYTES: usize = 4 * 1024;
const BUFFERED_STREAM_REJECTED: u32 = 0x3994_bd84;
