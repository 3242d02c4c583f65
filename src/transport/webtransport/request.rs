//! From a QUIC connection to the one request it carries.
//!
//! Owns: the streams that stand beside the control stream, the reading of the request and the writing of its answer.
//! Must not know: tickets, admission. The peer's SETTINGS are not waited for: a request for a WebTransport session
//! says all that they could, and QUIC itself says whether datagrams are taken.

use std::time::Duration;

use bytes::BytesMut;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::time::timeout;
use wtransport::proto::session::SessionRequest;

use super::h3::{self, BadHttp};
use crate::wire::Code;

/// A connection that brought no request. The peer is at fault, or gone.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRequest {
    /// The peer went.
    #[error("the connection was lost")]
    Lost,
    /// The peer does not speak as it should.
    #[error(transparent)]
    Http(#[from] BadHttp),
}

/// A request for a WebTransport session, and the streams that must live as long as the session does.
pub(super) struct Request {
    head: SessionRequest,
    streams: Streams,
}

/// What a session stands on beside its control stream. Dropping one of these would end the session.
pub(super) struct Streams {
    /// The server's HTTP/3 control stream.
    _settings: SendStream,
    answer: SendStream,
    request: RecvStream,
    /// Whether a browser is at the other end, which learns a close code from a capsule only.
    browser: bool,
}

impl Request {
    /// Sends SETTINGS and reads the request: the first stream of the peer, so that the session's id is 0.
    ///
    /// # Errors
    /// [`NoRequest`]; the connection is then to be closed.
    ///
    /// # Cancel safety
    /// Not cancel-safe: when dropped, the connection is to be closed.
    pub(super) async fn read(quic: &Connection) -> Result<Self, NoRequest> {
        let mut settings = quic.open_uni().await.map_err(|_| NoRequest::Lost)?;
        settings.write_all(&h3::settings()).await.map_err(|_| NoRequest::Lost)?;
        let (answer, mut request) = quic.accept_bi().await.map_err(|_| NoRequest::Lost)?;
        let mut buffer = BytesMut::new();
        let head = loop {
            if let Some(head) = h3::take_request(&mut buffer)? {
                break head;
            }
            match request.read_chunk(READ_BYTES, true).await {
                Ok(Some(chunk)) => buffer.extend_from_slice(&chunk.bytes),
                Ok(None) => return Err(BadHttp::Stream.into()),
                Err(_) => return Err(NoRequest::Lost),
            }
        };
        let browser = head.origin().is_some();
        Ok(Self { head, streams: Streams { _settings: settings, answer, request, browser } })
    }

    /// The path and the query.
    pub(super) fn target(&self) -> (&str, &str) {
        self.head.path().split_once('?').unwrap_or((self.head.path(), ""))
    }

    /// A header by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// Opens the session.
    ///
    /// # Errors
    /// [`NoRequest::Lost`] when the peer went.
    pub(super) async fn accept(mut self, protocol: Option<&str>) -> Result<Streams, NoRequest> {
        let answer = h3::answer(200, protocol);
        self.streams.answer.write_all(&answer).await.map_err(|_| NoRequest::Lost)?;
        Ok(self.streams)
    }

    /// Answers with a status and closes the connection once the peer has it, or after [`PARTING`].
    pub(super) async fn refuse(mut self, quic: &Connection, code: Code) {
        let answer = &mut self.streams.answer;
        if answer.write_all(&h3::answer(code.http_status(), None)).await.is_ok() && answer.finish().is_ok() {
            let _ = timeout(PARTING, answer.stopped()).await;
        }
        quic.close(VarInt::from_u32(H3_NO_ERROR), b"");
    }
}

impl Streams {
    /// Resolves when the peer ends the session, by capsule, by the end of the request's stream, or by going.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(super) async fn ended(&mut self) {
        // All that may come is a capsule, and the only one that matters is followed by the end of the stream.
        while let Ok(Some(_)) = self.request.read_chunk(READ_BYTES, true).await {}
    }

    /// Closes the connection with a code, after the capsule where the peer is a browser.
    pub(super) async fn close(mut self, quic: &Connection, code: Code) {
        let told = if code == Code::Left { 0 } else { code.number() };
        if self.browser && quic.close_reason().is_none() {
            let capsule = h3::close_capsule(told, code.slug());
            let said = async {
                if self.answer.write_all(&capsule).await.is_ok() && self.answer.finish().is_ok() {
                    let _ = self.answer.stopped().await;
                }
            };
            let _ = timeout(PARTING, said).await;
        }
        quic.close(VarInt::from_u32(u32::from(told)), code.slug().as_bytes());
    }
}

/// How long a peer has to acknowledge the last thing it is told.
const PARTING: Duration = Duration::from_millis(250);
const READ_BYTES: usize = 4 * 1024;
const H3_NO_ERROR: u32 = 0x0100;
