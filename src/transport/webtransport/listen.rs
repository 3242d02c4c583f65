//! Accepting connections: one UDP socket, a bounded number of handshakes at a time.
//!
//! Owns: the QUIC endpoint and its certificate, the caps on handshakes, the deadline of each. Must not know: tickets,
//! what a link says.
//!
//! Invariant: a connection is worked on by exactly one task at a time, which closes it explicitly when it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, EndpointConfig, Incoming, TokioRuntime, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{open, tuning};
use crate::admission::{Admission, Pending};
use crate::limits::Limits;
use crate::wire::Code;

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
#[derive(Debug)]
pub struct Listener {
    handle: Handle,
}

/// What can be done with a listener from outside while it runs. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Handle {
    endpoint: Endpoint,
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
        let failed = |source| BindError::Socket { address, source };
        let socket = tuning::bind_socket(address, buffer_bytes).map_err(failed)?;
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime));
        let endpoint = endpoint.map_err(failed)?;
        Ok(Self { handle: Handle { endpoint, limits: Arc::new(limits.clone()) } })
    }

    /// What stays of the listener outside once it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Accepts until told to stop. Links that live then are for the hub to close; they have two seconds for it, after
    /// which the socket closes on whoever is left.
    ///
    /// # Cancel safety
    /// When dropped, no more connections are accepted; links live on.
    pub async fn run(self, admission: Admission, shutdown: CancellationToken) {
        let endpoint = self.handle.endpoint;
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let incoming = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            if let Some((incoming, slot, knocked)) = let_in(incoming, &handshakes, &admission) {
                tokio::spawn(handshake(incoming, slot, knocked, admission.clone()));
            }
        }
        endpoint.set_server_config(None);
        if timeout(STOPPING, endpoint.wait_idle()).await.is_err() {
            endpoint.close(VarInt::from_u32(u32::from(Code::Draining.number())), Code::Draining.slug().as_bytes());
            let _ = timeout(STOPPING, endpoint.wait_idle()).await;
        }
    }
}

impl Handle {
    /// The address that is listened on.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Serves new connections with another certificate. Links that live keep theirs.
    ///
    /// # Errors
    /// [`BindError::Tls`] when it cannot serve QUIC; the certificate before it stays.
    pub fn reload(&self, tls: rustls::ServerConfig) -> Result<(), BindError> {
        let server = tuning::server_config(tls, &self.limits)?;
        self.endpoint.set_server_config(Some(server));
        Ok(())
    }

    /// QUIC connections that are open, links or not.
    pub fn open_connections(&self) -> usize {
        self.endpoint.open_connections()
    }
}

/// Decides what a first packet gets: a handshake, a Retry that proves its address, or a refusal.
fn let_in(
    incoming: Incoming,
    handshakes: &Arc<Semaphore>,
    admission: &Admission,
) -> Option<(Incoming, OwnedSemaphorePermit, Option<Pending>)> {
    let Ok(slot) = Arc::clone(handshakes).try_acquire_owned() else {
        incoming.refuse();
        return None;
    };
    let busy = HANDSHAKES - handshakes.available_permits() > HANDSHAKES_BEFORE_RETRY;
    if !incoming.remote_address_validated() {
        if busy && incoming.may_retry() {
            // The only error is that the address is validated already.
            let _ = incoming.retry();
            return None;
        }
        return Some((incoming, slot, None));
    }
    // An address that is proven can be held to its rate before the costly part. One that is not could be a victim's.
    match admission.knock(canonical(incoming.remote_address())) {
        Ok(knocked) => Some((incoming, slot, Some(knocked))),
        Err(_) => {
            incoming.refuse();
            None
        }
    }
}

async fn handshake(incoming: Incoming, slot: OwnedSemaphorePermit, knocked: Option<Pending>, admission: Admission) {
    let peer = incoming.remote_address();
    let Some(quic) = connect(incoming, admission.limits().handshake).await else {
        debug!(%peer, "no QUIC handshake");
        return;
    };
    let knocked = match knocked {
        Some(knocked) => Ok(knocked),
        None => admission.knock(canonical(quic.remote_address())),
    };
    open::open(quic, slot, knocked, &admission).await;
}

async fn connect(incoming: Incoming, deadline: Duration) -> Option<Connection> {
    timeout(deadline, incoming.accept().ok()?).await.ok()?.ok()
}

/// IPv4 as IPv4, whichever kind of socket it came through.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Handshakes at the same time, up to the request. Over it: CONNECTION_REFUSED.
const HANDSHAKES: usize = 1_024;
/// Handshakes at the same time before addresses must be proven by a Retry, which costs their owners a round trip.
const HANDSHAKES_BEFORE_RETRY: usize = 128;
/// How long links have to go when the listener stops, and once more to be told that the socket closed.
const STOPPING: Duration = Duration::from_secs(2);
