//! The loops: accepting connections, telling TLS from plain, renewing the certificate, waiting for signals.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ServeError;
use super::port::Port;
use crate::admission::{Admission, Pending};
use crate::certificate::CertificateStore;
use crate::config::{Config, TlsWebSocket};
use crate::http::{Http, HttpBounds, Peer, Response, TlsStream, refusal_bytes, serve_connection, serve_router};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::transport::websocket::{Door, Encryption, Unread, WebSockets};
use crate::wire::Code;

/// Accepts TCP connections: HTTP, and the WebSockets that come of it.
#[derive(Clone)]
pub struct Acceptor {
    admission: Admission,
    http: Http<WebSockets>,
    encryption: Encryption,
    bounds: HttpBounds,
}

impl Acceptor {
    pub fn new(
        config: &Config,
        admission: Admission,
        http: Http<WebSockets>,
        certificates: Option<&CertificateStore>,
    ) -> Result<Self, ServeError> {
        let encryption = match (certificates, config.tls.websocket) {
            (None, _) | (_, TlsWebSocket::Off) => Encryption::Off,
            (Some(store), TlsWebSocket::On) => Encryption::Always(Arc::new(store.tcp_config()?)),
            (Some(store), _) => Encryption::Spoken(Arc::new(store.tcp_config()?)),
        };
        let bounds = HttpBounds::from(&config.limits);
        Ok(Self { admission, http, encryption, bounds })
    }

    /// Accepts and serves until `stop`. Who comes while the node drains is told so.
    pub async fn run(self, port: Port, door: Door, stop: CancellationToken) {
        loop {
            let Some((socket, address)) = accept(|| port.accept(), &stop).await else { return };
            let pending = match self.admission.knock(address) {
                Ok(pending) => pending,
                Err(code) => {
                    self.turn_away(&socket, code);
                    continue;
                }
            };
            door.enter(socket, address, pending, tokio::time::Instant::now().into_std());
        }
    }

    /// What the door is to know of TLS.
    pub fn encryption(&self) -> Encryption {
        self.encryption.clone()
    }

    /// Serves what the door leaves to others, each in a task of its own.
    pub fn beside_door(
        &self,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> impl Fn(Unread) + Send + Sync + 'static {
        let (acceptor, stop, tasks) = (self.clone(), stop.clone(), tasks.clone());
        move |unread| {
            let (acceptor, stop) = (acceptor.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = acceptor.serve(unread, &stop) => {}
                }
            });
        }
    }

    /// Says why, as far as that costs one write and no memory, and drops the connection. Where everything is TLS there
    /// is nothing to be said before a handshake.
    fn turn_away(&self, mut socket: &std::net::TcpStream, code: Code) {
        if !matches!(self.encryption, Encryption::Always(_)) {
            // A fresh connection has room; one that has not hears nothing.
            let _ = socket.write(&refusal_bytes(code));
        }
    }

    async fn serve(self, unread: Unread, stop: &CancellationToken) {
        let Unread { socket, tls, bytes, peer: address, pending, refusal } = unread;
        let peer = Peer { address, tls: tls.is_some() };
        let stream = match TcpStream::from_std(socket) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "a connection cannot be watched"),
        };
        match tls {
            None => Box::pin(self.answer(stream, bytes, peer, pending, refusal, stop)).await,
            Some(tls) => {
                Box::pin(self.answer(TlsStream::new(stream, tls), bytes, peer, pending, refusal, stop)).await;
            }
        }
    }

    async fn answer<I>(
        self,
        io: I,
        begun: Vec<u8>,
        peer: Peer,
        pending: Arc<Pending>,
        refusal: Option<Response>,
        stop: &CancellationToken,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { http, bounds, .. } = self;
        // The first request may have been judged before.
        let refusal = Mutex::new(refusal);
        let service = |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&pending));
            let (http, refusal) = (http.clone(), refusal.lock().take());
            async move {
                Ok::<_, Infallible>(match refusal {
                    Some(refusal) => http.finish_for(&request, refusal),
                    // In a room of its own: a connection whose request has not come holds none for its answer.
                    None => Box::pin(http.answer(request, peer)).await.unwrap_or_else(|never| match never {}),
                })
            }
        };
        if let Err(error) = serve_connection(io, begun.into(), service, bounds, stop).await {
            tracing::debug!(peer = %peer.address, %error, "a connection broke");
        }
    }
}

/// Serves a router on a listener of its own until `stop`: the metrics, the admin API. Past [`SIDE_CONNECTIONS`] at a time
/// a connection is dropped at once.
pub async fn serve_beside(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let bounds = HttpBounds::from(&limits);
    let places = Arc::new(Semaphore::new(SIDE_CONNECTIONS));
    while let Some((stream, address)) = accept(|| listener.accept(), &stop).await {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn(async move {
            let _place = place;
            let peer = Peer { address, tls: false };
            if let Err(error) = serve_router(stream, &router, peer, bounds, &stop).await {
                tracing::debug!(peer = %address, %error, "a connection beside the main port broke");
            }
        });
    }
}

/// Keeps revocations tidy until `stop`: what is over is forgotten, what the disk did not take is tried again.
pub async fn tidy_revocations(admission: Admission, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(TIDY_EVERY)).await.is_some() {
        admission.tidy_revocations().await;
    }
}

/// Keeps the metric of the certificate's end in step with the certificate.
pub async fn watch_expiry(store: CertificateStore, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut current = store.subscribe();
    loop {
        metrics.certificate_expiry.set(i64::try_from(current.borrow_and_update().not_after()).unwrap_or(i64::MAX));
        match stop.run_until_cancelled(current.changed()).await {
            Some(Ok(())) => {}
            _ => return,
        }
    }
}

/// Returns at SIGTERM or Ctrl-C; calls `reload` at SIGHUP.
pub async fn wait_for_stop(reload: impl Fn()) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) else {
        tracing::error!("the system's signals cannot be heard; Ctrl-C still stops");
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = tokio::signal::ctrl_c() => return,
            _ = hangup.recv() => reload(),
        }
    }
}

/// The next connection; `None` once told to close. When the process is out of file descriptors it waits a moment rather
/// than spin.
async fn accept<S, F>(next: impl Fn() -> F, closing: &CancellationToken) -> Option<(S, SocketAddr)>
where
    F: Future<Output = io::Result<(S, SocketAddr)>>,
{
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.cancelled() => return None,
            accepted = next() => accepted,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again in 100 ms");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
}

const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);
/// Connections at a time on a listener beside the main port.
const SIDE_CONNECTIONS: usize = 256;
const TIDY_EVERY: Duration = Duration::from_secs(30);
