//! The door to WebTransport: binding, and what can be done with a listener from outside.
//!
//! Owns: the thread of the driver, from its start to its end. Must not know: QUIC, tickets, what a link says.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::driver::Driver;
use super::mailbox::{Command, Mailbox};
use super::peer::House;
use super::tuning;
use crate::admission::Admission;
use crate::limits::Limits;

/// Why the listener cannot start. The configuration is at fault.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is in use, not there, or not allowed.
    #[error("cannot listen on UDP {address}: {source}; is another server running there?")]
    Socket {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The TLS configuration does not speak TLS 1.3 with AES-128-GCM, which QUIC begins with.
    #[error("this TLS configuration cannot serve QUIC: TLS 1.3 with AES-128-GCM is needed")]
    Tls,
}

/// A bound socket that does not accept yet.
pub struct Listener {
    driver: Driver,
    handle: Handle,
}

/// What can be done with a listener from outside while it runs. Cloning shares it.
#[derive(Clone)]
pub struct Handle {
    address: SocketAddr,
    mailbox: Arc<Mailbox>,
    limits: Arc<Limits>,
}

impl Listener {
    /// Binds the socket. `buffer_bytes` is asked of the kernel for each direction; a warning says if it grants less.
    /// The ALPN protocol of `tls` is set to `h3`, its early data to none.
    ///
    /// # Errors
    /// [`BindError`] when the address or the TLS configuration is of no use.
    pub fn bind(
        address: SocketAddr,
        buffer_bytes: usize,
        tls: rustls::ServerConfig,
        limits: &Limits,
    ) -> Result<Self, BindError> {
        let server = tuning::server_config(tls, limits)?;
        let bound = || {
            let socket = tuning::bind_socket(address, buffer_bytes)?;
            Ok((socket.local_addr()?, Driver::new(socket, server)?))
        };
        let (address, (driver, mailbox)) = bound().map_err(|source| BindError::Socket { address, source })?;
        Ok(Self { driver, handle: Handle { address, mailbox, limits: Arc::new(limits.clone()) } })
    }

    /// What stays of the listener outside once it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Accepts until told to stop, on a thread of its own. Links that live then are for the hub to close; they have two
    /// seconds for it, after which whoever is left is told that the node drains, and has two more.
    ///
    /// # Cancel safety
    /// When dropped, it stops in the same way without being waited for.
    pub async fn run(self, admission: Admission, shutdown: CancellationToken) {
        let Self { driver, handle } = self;
        let stop = StopOnDrop(handle.mailbox);
        let house = House { admission, mailbox: Arc::clone(&stop.0), runtime: tokio::runtime::Handle::current() };
        let (over, ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("muster-quic".to_owned()).spawn(move || {
            // The hub may start a session from here, which has tasks.
            let _entered = house.runtime.enter();
            if let Err(error) = driver.run(&house) {
                error!(%error, "WebTransport has ended: the system's poll failed");
            }
            drop(over);
        });
        if let Err(error) = thread {
            return error!(%error, "WebTransport is not served: the system gives no thread");
        }
        let mut ended = ended;
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = &mut ended => return,
        }
        drop(stop);
        // The sender is never used: that it is gone says that the thread has ended.
        let _ = ended.await;
    }
}

impl Handle {
    /// The address that is listened on.
    ///
    /// # Errors
    /// None; the signature leaves room for systems that must be asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    /// Serves new connections with another certificate. Links that live keep theirs.
    ///
    /// # Errors
    /// [`BindError::Tls`] when it cannot serve QUIC; the certificate before it stays.
    pub fn reload(&self, tls: rustls::ServerConfig) -> Result<(), BindError> {
        let server = tuning::server_config(tls, &self.limits)?;
        self.mailbox.command(Command::Serve(Arc::new(server)));
        Ok(())
    }

    /// QUIC connections that are open, links or not; up to a round of the driver ago.
    pub fn open_connections(&self) -> usize {
        self.mailbox.open()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Tells the driver to stop, however the listener ends.
struct StopOnDrop(Arc<Mailbox>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.command(Command::Stop);
    }
}
