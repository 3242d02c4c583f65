//! A TLS session that began elsewhere, as a stream that HTTP can be spoken on.

use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection under TLS.
#[derive(Debug)]
pub struct TlsStream {
    tcp: TcpStream,
    tls: Box<ServerConnection>,
    /// Whether the peer was told that nothing more comes.
    ended: bool,
}

impl TlsStream {
    /// Goes on with a session at any point of it.
    pub fn new(tcp: TcpStream, tls: Box<ServerConnection>) -> Self {
        Self { tcp, tls, ended: false }
    }

    /// The connection and the session.
    pub fn into_parts(self) -> (TcpStream, Box<ServerConnection>) {
        (self.tcp, self.tls)
    }

    /// Writes what TLS has ready, as far as the socket takes it; `false` when it does not take all.
    fn pump(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Direct(&self.tcp)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.tls.reader().read(buf.initialize_unfilled()) {
                Ok(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(this.tcp.poll_read_ready(cx))?;
            match this.tls.read_tls(&mut Direct(&this.tcp)) {
                Ok(_) => {
                    let outcome = this.tls.process_new_packets();
                    // An answer of TLS itself: a key update, or the alert that says what was wrong.
                    this.pump()?;
                    outcome.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let taken = this.tls.writer().write(bytes)?;
            let room = this.pump()?;
            if taken > 0 || bytes.is_empty() {
                return Poll::Ready(Ok(taken));
            }
            if !room {
                // TLS holds as much as it may until the socket has taken some.
                ready!(this.tcp.poll_write_ready(cx))?;
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.pump()? {
            ready!(this.tcp.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.ended, true) {
            self.tls.send_close_notify();
        }
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Lets TLS read and write without waiting. tokio notes when the socket has nothing or no room.
struct Direct<'a>(&'a TcpStream);

impl io::Read for Direct<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl io::Write for Direct<'_> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Both ends; the server's has not read a byte yet.
    async fn ends() -> (TlsStream, tokio_rustls::TlsConnector, TcpStream) {
        crate::ticket::install_crypto();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(chain[0].clone()).unwrap();
        let server = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (served, _) = listener.accept().await.unwrap();
        let session = Box::new(ServerConnection::new(Arc::new(server)).unwrap());
        (TlsStream::new(served, session), Arc::new(client).into(), tcp)
    }

    #[tokio::test]
    async fn both_ends_hear_all_that_the_other_says_however_slowly_it_reads() {
        let (mut server, client, tcp) = ends().await;
        let long: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
        let said = long.clone();
        let serving = tokio::spawn(async move {
            let mut asked = [0; 4];
            server.read_exact(&mut asked).await.unwrap();
            server.write_all(&said).await.unwrap();
            server.shutdown().await.unwrap();
            (asked, server.read(&mut [0; 8]).await.unwrap())
        });
        let mut client = client.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
        client.write_all(b"more").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert!(heard == long);
        client.shutdown().await.unwrap();
        assert_eq!(serving.await.unwrap(), (*b"more", 0));
    }

    #[tokio::test]
    async fn what_is_not_tls_is_an_error_and_so_is_an_end_without_a_word() {
        let (mut server, _, mut tcp) = ends().await;
        tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(server.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (mut server, client, tcp) = ends().await;
        let serving = tokio::spawn(async move { server.read(&mut [0; 8]).await });
        let client = client.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
        drop(client);
        assert_eq!(serving.await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
