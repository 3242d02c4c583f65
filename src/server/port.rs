//! The main port's TCP side. It gives connections that no runtime watches yet, since most of them go straight to the epoll of a
//! WebSocket driver.

use std::io;
use std::net::{SocketAddr, TcpStream};

use mio::net::TcpListener;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A listener in tokio's epoll.
pub struct Port(AsyncFd<TcpListener>);

impl Port {
    /// Takes a listener that does not block.
    ///
    /// # Errors
    /// What the system says.
    // As for the drivers' bell: the successor is `unsafe`, since a descriptor could change under it. A listener's does not.
    #[allow(deprecated)]
    pub fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        AsyncFd::with_interest(TcpListener::from_std(listener), Interest::READABLE).map(Self)
    }

    /// The next connection. It does not block, and sends what is written at once where the listener does.
    ///
    /// # Errors
    /// What the system says, such as that there are no more file descriptors.
    ///
    /// # Cancel safety
    /// Cancel safe: no connection is lost.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(accepted) = ready.try_io(|listener| listener.get_ref().accept()) {
                return accepted.map(|(stream, address)| (stream.into(), address));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[tokio::test]
    async fn what_comes_does_not_block_and_waits_for_nothing_more_to_send() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(8).unwrap();
        let listener: std::net::TcpListener = socket.into();
        let address = listener.local_addr().unwrap();
        let port = Port::new(listener).unwrap();
        for _ in 0..3 {
            let client = tokio::task::spawn_blocking(move || TcpStream::connect(address).unwrap());
            let (stream, peer) = port.accept().await.unwrap();
            let client = client.await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            assert!(stream.nodelay().unwrap(), "connections have it from their listener");
            let error = io::Read::read(&mut &stream, &mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
