//! A stand-in for admission with the signatures of the real one: ticket `good` gets in, `full` finds no place.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::codec;
use crate::limits::Limits;
use crate::outbox::Outlet;
use crate::transport::request::{Credentials, OpenRequest, RawTicket};
use crate::wire::{ClientFrame, ClientMessage, Code, Goodbye, ServerMessage, decode_client};

/// Lets links in.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    limits: Limits,
    pending: Arc<AtomicUsize>,
    flooded: bool,
    attached: Arc<AtomicUsize>,
    inputs: Arc<AtomicUsize>,
    outlets: Mutex<Vec<Arc<dyn Outlet>>>,
}

/// A link that is not admitted yet.
pub struct Pending(Arc<AtomicUsize>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A refusal.
pub struct Refused {
    /// Why.
    pub code: Code,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// The encoded Goodbye.
    pub fn goodbye(&self) -> Bytes {
        goodbye(self.code, self.retry_after)
    }
}

/// A place for a player.
pub struct Place(Arc<Inner>);

/// A link with its place.
pub struct Attached {
    inner: Arc<Inner>,
    outlet: Arc<dyn Outlet>,
}

/// The encoded Goodbye.
pub fn goodbye(code: Code, retry_after: Option<Duration>) -> Bytes {
    codec::encode(&ServerMessage::Goodbye(Goodbye {
        code: code.number(),
        reason: code.slug().to_owned(),
        retry_after_ms: retry_after.map(|after| after.as_millis() as u32),
    }))
    .into()
}

impl Admission {
    /// With these limits; a flooded one knocks nobody in.
    pub fn stand_in(limits: Limits, flooded: bool) -> Self {
        Self(Arc::new(Inner {
            limits,
            pending: Arc::default(),
            flooded,
            attached: Arc::default(),
            inputs: Arc::default(),
            outlets: Mutex::default(),
        }))
    }

    /// Links that are pending, attached, and inputs taken.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
        (count(&self.0.pending), count(&self.0.attached), count(&self.0.inputs))
    }

    /// Every outlet that was ever attached.
    pub fn outlets(&self) -> Vec<Arc<dyn Outlet>> {
        self.0.outlets.lock().clone()
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Counts a pending link.
    ///
    /// # Errors
    /// The code of the refusal.
    pub fn knock(&self, _peer: SocketAddr) -> Result<Pending, Code> {
        if self.0.flooded {
            return Err(Code::TooFast);
        }
        self.0.pending.fetch_add(1, Ordering::SeqCst);
        Ok(Pending(Arc::clone(&self.0.pending)))
    }

    /// Checks the origin.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn check_origin(&self, origin: Option<&str>, _authority: &str) -> Result<(), Code> {
        if origin == Some("https://evil.example") { Err(Code::Forbidden) } else { Ok(()) }
    }

    /// The cookie.
    pub fn ticket_cookie(&self, _origin: Option<&str>) -> Option<&str> {
        None
    }

    /// Admits.
    ///
    /// # Errors
    /// The refusal.
    pub async fn admit(&self, request: &OpenRequest) -> Result<Place, Refused> {
        let refused = |code, after| Err(Refused { code, retry_after: after });
        match &request.credentials {
            Some(Credentials::Ticket(RawTicket(ticket))) if ticket == "good" => Ok(Place(Arc::clone(&self.0))),
            Some(Credentials::Ticket(RawTicket(ticket))) if ticket == "full" => {
                refused(Code::LobbyFull, Some(Duration::from_secs(3)))
            }
            _ => refused(Code::BadTicket, None),
        }
    }

    /// Reads Hello.
    ///
    /// # Errors
    /// [`Code::Malformed`].
    pub fn read_hello(&self, request: &OpenRequest, message: &[u8]) -> Result<OpenRequest, Code> {
        match decode_client(message) {
            Ok(ClientFrame::Message(ClientMessage::Hello { ticket, .. })) => {
                let credentials = Some(Credentials::Ticket(RawTicket(ticket)));
                Ok(OpenRequest { credentials, ..request.clone() })
            }
            _ => Err(Code::Malformed),
        }
    }
}

impl Place {
    /// Attaches.
    pub fn attach(self, outlet: Arc<dyn Outlet>) -> Attached {
        let hello = codec::encode(&ServerMessage::Pong { nonce: 0, server_time_us: 0 });
        let _ = outlet.queue(&hello.into());
        outlet.flush();
        self.0.attached.fetch_add(1, Ordering::SeqCst);
        self.0.outlets.lock().push(Arc::clone(&outlet));
        Attached { inner: self.0, outlet }
    }
}

impl Attached {
    /// Takes a message.
    ///
    /// # Errors
    /// The code to close with.
    pub fn handle_message(&self, bytes: &[u8]) -> Result<(), Code> {
        match decode_client(bytes).map_err(|_| Code::Malformed)? {
            ClientFrame::Inputs(batch) => {
                self.inner.inputs.fetch_add(batch.count(), Ordering::SeqCst);
            }
            ClientFrame::Message(ClientMessage::Ping { nonce, .. }) => {
                let pong = codec::encode(&ServerMessage::Pong { nonce, server_time_us: 1 });
                self.outlet.queue(&pong.into()).map_err(|_| Code::SlowReader)?;
                self.outlet.flush();
            }
            ClientFrame::Message(ClientMessage::Bye) => return Err(Code::Left),
            ClientFrame::Message(_) => return Err(Code::Malformed),
        }
        Ok(())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.inner.attached.fetch_sub(1, Ordering::SeqCst);
    }
}
