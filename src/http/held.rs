//! A connection whose first bytes were read by whoever had to know what it wants, and that may hold back what is written to it.
//!
//! A link's first messages are ready by the time its upgrade is answered. Held back, the answer goes out with them, in one
//! packet: one system call and one wake-up of the peer less in each handshake.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Tells a connection to hold back what is written from now on: whoever says so sends it. In the extensions of every request.
#[derive(Clone, Debug, Default)]
pub struct Hold(Arc<AtomicBool>);

/// A connection, what was read of it before, and what it holds back.
#[derive(Debug)]
pub struct Held<I> {
    io: I,
    begun: Bytes,
    hold: Hold,
    held: Vec<u8>,
}

impl Hold {
    /// Holds back.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<I> Held<I> {
    /// A connection that has said `begun` so far, and holds nothing back until it is told to.
    pub fn new(io: I, begun: Bytes, hold: Hold) -> Self {
        Self { io, begun, hold, held: Vec::new() }
    }

    /// The connection, what of its first bytes nobody has read, and what is to be written to it before anything else.
    pub fn into_parts(self) -> (I, Bytes, Vec<u8>) {
        (self.io, self.begun, self.held)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Held<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.begun.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.begun.len().min(buf.remaining());
        buf.put_slice(self.begun.get(..count).unwrap_or_default());
        self.begun.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Held<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.hold.is_on() {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.hold.is_on() {
            parts.iter().for_each(|part| self.held.extend_from_slice(part));
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_is_written_after_the_word_is_kept_and_what_came_before_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let hold = Hold::default();
        let mut held = Held::new(ours, Bytes::new(), hold.clone());
        held.write_all(b"sent").await.unwrap();
        hold.begin();
        held.write_all(b"ke").await.unwrap();
        assert_eq!(held.write_vectored(&[IoSlice::new(b"p"), IoSlice::new(b"t")]).await.unwrap(), 2);
        held.flush().await.unwrap();
        let (io, _, bytes) = held.into_parts();
        drop(io);
        assert_eq!(bytes, b"kept");
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"sent");
    }

    #[tokio::test]
    async fn what_was_read_before_is_read_first_and_what_is_left_of_it_is_given_back() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"then").await.unwrap();
        let mut held = Held::new(ours, Bytes::from_static(b"first"), Hold::default());
        let mut two = [0; 2];
        held.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"fi");
        let (io, left, _) = held.into_parts();
        assert_eq!(&left[..], b"rst");
        let mut all = [0; 7];
        Held::new(io, left, Hold::default()).read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"rstthen");
    }
}
