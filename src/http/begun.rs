//! A connection whose first bytes were read already, by whoever had to know what it wants.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads the bytes that were read before, then on.
#[derive(Debug)]
pub struct Begun<I> {
    io: I,
    bytes: Bytes,
}

impl<I> Begun<I> {
    /// A connection that has said `bytes` so far.
    pub fn new(io: I, bytes: impl Into<Bytes>) -> Self {
        Self { io, bytes: bytes.into() }
    }

    /// The connection, and what of the bytes nobody has read.
    pub fn into_parts(self) -> (I, Bytes) {
        (self.io, self.bytes)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Begun<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.bytes.len().min(buf.remaining());
        buf.put_slice(self.bytes.get(..count).unwrap_or_default());
        self.bytes.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Begun<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
    async fn what_was_read_before_is_read_first_and_what_is_left_of_it_is_given_back() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"then").await.unwrap();
        let mut begun = Begun::new(ours, &b"first"[..]);
        let mut two = [0; 2];
        begun.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"fi");
        let (io, left) = begun.into_parts();
        assert_eq!(&left[..], b"rst");
        let mut all = [0; 7];
        Begun::new(io, left).read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"rstthen");
    }
}
