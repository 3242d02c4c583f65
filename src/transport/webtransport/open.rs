//! From a request to an admitted link, or to a Goodbye.
//!
//! Owns: the order of the checks, the deadline until the player has shown who it is. Must not know: what makes a ticket
//! valid.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::h3::{self, BadHttp};
use super::link::{Control, Link};
use super::listen::canonical;
use super::request::{NoRequest, Request};
use crate::admission::{Admission, Pending};
use crate::hub::Place;
use crate::outbox::{Outlet, Transport};
use crate::request::{BadRequest, OpenRequest, RequestParts};
use crate::wire::{Code, ControlReader, PLAY_PATH, PROTOCOL};

/// Serves one connection up to the moment its link stands on its own.
pub(super) async fn open(
    quic: Connection,
    slot: OwnedSemaphorePermit,
    knocked: Result<Pending, Code>,
    admission: &Admission,
) {
    let peer = quic.remote_address();
    let handshake = admission.limits().handshake;
    // Who is refused anyway gets its status, but no time to hold a handshake's slot.
    let patience = if knocked.is_ok() { handshake } else { handshake.min(IMPATIENCE) };
    let request = match timeout(patience, Request::read(&quic)).await {
        Ok(Ok(request)) => request,
        Ok(Err(NoRequest::Http(error))) => {
            debug!(%peer, %error, "no request");
            return quic.close(VarInt::from_u32(error.number()), b"");
        }
        Ok(Err(NoRequest::Lost)) => return,
        Err(_) => {
            debug!(%peer, "no request in time");
            return quic.close(VarInt::from_u32(H3_REQUEST_INCOMPLETE), b"");
        }
    };
    drop(slot);
    match check(&request, peer, knocked, admission) {
        Ok(pending) => greet(quic, request, pending, admission).await,
        Err(code) => request.refuse(&quic, code).await,
    }
}

/// What is refused by a status, since it needs no explaining: an unknown path, a foreign origin, a flood.
fn check(
    request: &Request,
    peer: SocketAddr,
    knocked: Result<Pending, Code>,
    admission: &Admission,
) -> Result<Pending, Code> {
    let path = if request.target().0 == PLAY_PATH { Ok(()) } else { Err(Code::NotFound) };
    let checked = path.and_then(|()| admission.check_origin(request.header("origin")));
    checked.map_err(|code| admission.refuse_link(canonical(peer), code).code)?;
    // Who was turned away at the knock has been counted there.
    knocked
}

/// Opens the session, whatever is to be told in it.
async fn greet(quic: Connection, request: Request, pending: Pending, admission: &Admission) {
    let limits = admission.limits();
    let deadline = Instant::now() + limits.first_message;
    let asked = read(&request, canonical(quic.remote_address()), admission);
    let protocol = request.header("wt-available-protocols").map(|_| PROTOCOL).filter(|_| asked.is_ok());
    let Ok(streams) = request.accept(protocol).await else {
        return;
    };
    let link = Arc::new(Link::new(quic.clone(), limits.queue_bytes));
    let stream = async { timeout_at(deadline, open_control(&quic, limits.message_bytes)).await };
    let (admitted, control) = match asked {
        Err(bad) => {
            let refused = admission.refuse_request(canonical(quic.remote_address()), bad);
            (Some(Err((refused.code, refused.goodbye()))), stream.await)
        }
        // The ticket is verified while the control stream is under way.
        Ok(asked) if asked.credentials.is_some() => {
            tokio::join!(async { Some(admit(&asked, admission).await) }, stream)
        }
        Ok(asked) => match stream.await {
            Ok(Ok(mut control)) => {
                let hello = timeout_at(deadline, control.first_message()).await;
                (Some(greeted(asked, hello, admission).await), Ok(Ok(control)))
            }
            missing => (None, missing),
        },
    };
    let peer = quic.remote_address();
    let (control, admitted) = match (control, admitted) {
        (Ok(Ok(control)), Some(admitted)) => (control, admitted),
        (Ok(Err(NoRequest::Lost)), _) => return,
        (missing, admitted) => {
            debug!(%peer, "no control stream");
            let code = match (admitted, missing) {
                // Refused already for what it asked.
                (Some(Err((code, _))), _) => code,
                (_, Err(_)) => admission.refuse_link(canonical(peer), Code::TicketTimeout).code,
                (_, Ok(_)) => admission.refuse_link(canonical(peer), Code::ProtocolError).code,
            };
            // There is nowhere to say goodbye; the close code says it.
            return streams.close(&quic, code).await;
        }
    };
    match admitted {
        Ok(place) => {
            admission.hub().metrics().handshakes.of(Transport::WebTransport).inc();
            let attached = place.attach(Arc::clone(&link) as Arc<dyn Outlet>);
            drop(pending);
            let heartbeat = limits.heartbeat;
            // A task of its own, so that what only the opening needed is given back.
            tokio::spawn(link.run(control, streams, attached, heartbeat));
        }
        Err((code, told)) => {
            debug!(%peer, code = code.slug(), "told goodbye");
            link.close(code, &told);
            link.part(control, streams).await;
            drop(pending);
        }
    }
}

/// A code, and the Goodbye that explains it.
type Farewell = (Code, Bytes);

async fn admit(asked: &OpenRequest, admission: &Admission) -> Result<Place, Farewell> {
    admission.admit(asked).await.map_err(|refused| (refused.code, refused.goodbye()))
}

/// Admits by the first message, if it came.
async fn greeted<E>(
    asked: OpenRequest,
    hello: Result<Result<Bytes, Code>, E>,
    admission: &Admission,
) -> Result<Place, Farewell> {
    let complete = match hello {
        Ok(Ok(message)) => admission.read_hello(&asked, &message),
        Ok(Err(code)) => Err(code),
        Err(_) => Err(Code::TicketTimeout),
    };
    match complete {
        Ok(asked) => admit(&asked, admission).await,
        Err(code) => {
            let refused = admission.refuse_link(asked.peer, code);
            Err((refused.code, refused.goodbye()))
        }
    }
}

fn read(request: &Request, peer: SocketAddr, admission: &Admission) -> Result<OpenRequest, BadRequest> {
    let origin = request.header("origin");
    let parts = RequestParts {
        query: request.target().1,
        authorization: request.header("authorization").into_iter().collect(),
        protocols: request.header("wt-available-protocols").map(h3::string_list).unwrap_or_default(),
        cookies: request.header("cookie").into_iter().collect(),
        ticket_cookie: admission.ticket_cookie(origin),
        carriers: admission.carriers(),
    };
    let (credentials, wish) = parts.read()?;
    Ok(OpenRequest { transport: Transport::WebTransport, peer, origin: origin.map(str::to_owned), credentials, wish })
}

/// Waits for the one stream that the peer opens.
async fn open_control(quic: &Connection, message_bytes: usize) -> Result<Control, NoRequest> {
    let (send, mut recv) = quic.accept_bi().await.map_err(|_| NoRequest::Lost)?;
    let mut head = BytesMut::new();
    while h3::take_stream_head(&mut head)?.is_none() {
        match recv.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => head.extend_from_slice(&chunk.bytes),
            Ok(None) => return Err(BadHttp::Stream.into()),
            Err(_) => return Err(NoRequest::Lost),
        }
    }
    Ok(Control::new(send, recv, &head, message_bytes))
}

impl Control {
    fn new(send: SendStream, recv: RecvStream, early: &[u8], message_bytes: usize) -> Self {
        let mut reader = ControlReader::new(message_bytes);
        reader.handle_bytes(early);
        Self { send, recv, reader }
    }

    /// The first message, which brings the ticket.
    async fn first_message(&mut self) -> Result<Bytes, Code> {
        self.next_message().await.map_err(|end| end.unwrap_or(Code::TicketTimeout))
    }
}

/// Time for the request of an address that is over its bounds.
const IMPATIENCE: Duration = Duration::from_millis(500);
const READ_BYTES: usize = 4 * 1024;
const H3_REQUEST_INCOMPLETE: u32 = 0x010d;
