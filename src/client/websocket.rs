//! A link over WebSocket: the upgrade by hyper, and the client's side of RFC 6455 on one stream in one task.
//!
//! Owns: the handshake, frames in and out. Must not know: what messages say.
//!
//! `fastwebsockets` masks what goes out. It does not read here: its `read_frame` is not cancel-safe, which would cost a
//! second task per player, and its handshake throws away the body of a refusal. Reading unmasked frames is the small
//! [`FrameReader`] below.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::{Buf as _, Bytes, BytesMut};
use fastwebsockets::{Frame, OpCode, Payload};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{
    AUTHORIZATION, CONNECTION, HOST, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::connect::Credentials;
use super::error::{ConnectError, Refused, printable};
use super::headers::Headers;
use super::link::{LinkEnd, MAX_MESSAGE};
use super::target::{Join, Target};
use crate::wire::{Code, PLAY_PATH, PROTOCOL};

/// A byte stream that a WebSocket runs on: TCP, TLS over TCP, or a pair in memory.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A live WebSocket.
pub(super) struct WebSocketLink {
    stream: Box<dyn Stream>,
    reader: FrameReader,
    /// Frames that wait to be written, from `written` on.
    outbound: Vec<u8>,
    written: usize,
    /// Whether something was written that the stream may hold back (TLS does).
    unflushed: bool,
    closing: bool,
}

impl std::fmt::Debug for WebSocketLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketLink").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

/// Upgrades a stream. The ticket or the resume point goes with the request.
///
/// # Errors
/// [`ConnectError::Refused`] when the server answers with a problem; else what was wrong with the transport.
pub(super) async fn upgrade(
    stream: Box<dyn Stream>,
    target: &Target,
    join: &Join,
    credentials: &Credentials,
    headers: &Headers,
) -> Result<WebSocketLink, ConnectError> {
    let address = target.authority();
    let protocol = |why: String| ConnectError::Protocol { address: address.clone(), why };
    let broken = |error: hyper::Error| ConnectError::Unreachable {
        address: address.clone(),
        over: "WebSocket",
        why: error.to_string(),
    };
    let key = fastwebsockets::handshake::generate_key();
    let mut request = upgrade_request(target, join, credentials, &key).map_err(|error| protocol(error.to_string()))?;
    if matches!(credentials, Credentials::Headers) {
        request.headers_mut().extend(headers.checked()?);
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Ok(response));
        }
        refusal(response).await.map(Err)
    };
    // The connection ends by itself after an upgrade, and after a refusal once the sender is gone.
    let (parts, outcome) = tokio::join!(connection.without_shutdown(), exchange);
    let response = match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(Some(refused))) => return Err(refused.into()),
        Ok(Err(None)) => return Err(protocol("it answered the request with another status than 101".into())),
        Err(error) => return Err(error),
    };
    let parts = parts.map_err(|error| protocol(error.to_string()))?;
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header(SEC_WEBSOCKET_ACCEPT) != accept_for(&key) {
        return Err(protocol("a bad Sec-WebSocket-Accept".into()));
    }
    if header(SEC_WEBSOCKET_PROTOCOL) != PROTOCOL {
        return Err(protocol(format!("it does not speak {PROTOCOL}")));
    }
    Ok(WebSocketLink::over(parts.io.into_inner(), &parts.read_buf))
}

fn upgrade_request(
    target: &Target,
    join: &Join,
    credentials: &Credentials,
    key: &str,
) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let query = match join {
        Join::Nowhere => String::new(),
        join => format!("?join={join}"),
    };
    let mut request = Request::get(format!("{PLAY_PATH}{query}"))
        .header(HOST, target.authority())
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, key);
    request = match credentials {
        Credentials::Ticket(ticket) => {
            request.header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL).header(AUTHORIZATION, format!("Bearer {ticket}"))
        }
        Credentials::Resume(point) => {
            let token = URL_SAFE_NO_PAD.encode(point.token.0);
            request.header(SEC_WEBSOCKET_PROTOCOL, format!("{PROTOCOL}, resume.{token}.{}", point.received))
        }
        Credentials::Headers => request.header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL),
    };
    request.body(Empty::new())
}

/// Reads the problem body of a refusal (RFC 9457): our own numbers where they are there, else what the status means.
async fn refusal(response: Response<Incoming>) -> Result<Option<Refused>, ConnectError> {
    #[derive(serde::Deserialize)]
    struct Problem {
        #[serde(rename = "type")]
        slug: String,
        detail: Option<String>,
        code: u16,
        retry_after_ms: Option<u64>,
    }
    let status = response.status().as_u16();
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(response.into_body(), 16 * 1_024).collect().await.map(|body| body.to_bytes());
    let seconds = header.map(Duration::from_secs);
    if let Ok(problem) = serde_json::from_slice::<Problem>(&body.unwrap_or_default()) {
        let retry_after = problem.retry_after_ms.map(Duration::from_millis).or(seconds);
        // The reason that a Goodbye would have, which may say more than the row of the table.
        let slug = problem.detail.filter(|detail| is_slug(detail)).unwrap_or(problem.slug);
        return Ok(Some(Refused { code: problem.code, slug: printable(&slug), retry_after }));
    }
    let code = match status {
        429 => Code::TooFast,
        500.. => Code::Overloaded,
        _ => return Ok(None),
    };
    Ok(Some(Refused { code: code.number(), slug: code.slug().into(), retry_after: seconds }))
}

fn is_slug(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// What the server must answer to a key (RFC 6455 4.2.2).
fn accept_for(key: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finish())
}

impl WebSocketLink {
    /// A link on a stream that was upgraded already, and what was read of it since.
    pub(super) fn over(stream: Box<dyn Stream>, read_already: &[u8]) -> Self {
        let reader = FrameReader { buffer: read_already.into(), fragments: None };
        Self { stream, reader, outbound: Vec::new(), written: 0, unflushed: false, closing: false }
    }

    /// Appends a message as one masked binary frame. The caller's bytes are masked in place.
    pub(super) fn queue(&mut self, message: &mut [u8]) {
        self.push(OpCode::Binary, message);
    }

    /// Appends a close frame; nothing goes out after it.
    pub(super) fn queue_close(&mut self) {
        if !self.closing {
            self.push(OpCode::Close, &mut Code::Left.number().to_be_bytes());
            self.closing = true;
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn queued(&self) -> usize {
        self.outbound.len() - self.written
    }

    fn push(&mut self, opcode: OpCode, payload: &mut [u8]) {
        if self.closing {
            return;
        }
        let mut frame = Frame::new(true, opcode, None, Payload::BorrowedMut(payload));
        frame.mask();
        let mut head = [0; 16];
        let length = frame.fmt_head(&mut head);
        self.outbound.extend_from_slice(head.get(..length).unwrap_or_default());
        self.outbound.extend_from_slice(&frame.payload);
    }

    /// Writes what waits and returns the next message.
    ///
    /// # Cancel safety
    /// Cancel-safe: a frame half read or half written stays in the link.
    pub(super) async fn receive(&mut self) -> Result<Bytes, LinkEnd> {
        std::future::poll_fn(|cx| self.poll_receive(cx)).await
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, LinkEnd>> {
        loop {
            self.poll_write(cx)?;
            match self.reader.next_frame().map_err(LinkEnd::Violation)? {
                Some(FromServer::Message(message)) => return Poll::Ready(Ok(message)),
                Some(FromServer::Ping(payload)) => {
                    let mut payload = payload.to_vec();
                    self.push(OpCode::Pong, &mut payload);
                }
                Some(FromServer::Close(refused)) => {
                    self.queue_close();
                    self.poll_write(cx)?;
                    return Poll::Ready(Err(LinkEnd::Closed(refused)));
                }
                None => {
                    self.reader.reserve();
                    let mut read = pin!(self.stream.read_buf(&mut self.reader.buffer));
                    match ready!(read.as_mut().poll(cx)) {
                        Ok(0) => return Poll::Ready(Err(LinkEnd::Broken("the server hung up".into()))),
                        Ok(_) => {}
                        Err(error) => return Poll::Ready(Err(LinkEnd::Broken(error.to_string()))),
                    }
                }
            }
        }
    }

    /// Writes as much as the stream takes. A full stream is no error: the context is woken when there is room.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), LinkEnd> {
        let broken = |error: std::io::Error| LinkEnd::Broken(error.to_string());
        while let Some(rest) = self.outbound.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(LinkEnd::Broken("the server hung up".into())),
                Poll::Ready(Ok(length)) => {
                    self.written += length;
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return Err(broken(error)),
                Poll::Pending => return Ok(()),
            }
        }
        self.outbound.clear();
        self.written = 0;
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Err(broken(error)),
                Poll::Pending => {}
            }
        }
        Ok(())
    }
}

/// What a server's frame says.
#[derive(Debug, PartialEq, Eq)]
enum FromServer {
    Message(Bytes),
    Ping(Bytes),
    Close(Refused),
}

/// Cuts a server's bytes into frames (RFC 6455 5.2): unmasked, binary; fragments are put together.
#[derive(Debug, Default)]
struct FrameReader {
    buffer: BytesMut,
    fragments: Option<BytesMut>,
}

impl FrameReader {
    /// Makes room for the next read. Once every message cut from the buffer is dropped, its memory is used again.
    fn reserve(&mut self) {
        if self.buffer.capacity() - self.buffer.len() < READ_ROOM / 4 {
            self.buffer.reserve(READ_ROOM);
        }
    }

    /// The next frame that says something, if it is there in whole.
    fn next_frame(&mut self) -> Result<Option<FromServer>, &'static str> {
        while let Some((fin, opcode, payload)) = self.cut_frame()? {
            match (opcode, fin) {
                (0x2, true) if self.fragments.is_none() => return Ok(Some(FromServer::Message(payload.freeze()))),
                (0x2, false) if self.fragments.is_none() => self.fragments = Some(payload),
                (0x0, _) => {
                    let Some(whole) = self.fragments.as_mut() else {
                        return Err("a continuation of nothing");
                    };
                    if whole.len() + payload.len() > MAX_MESSAGE {
                        return Err("a message that is too long");
                    }
                    whole.extend_from_slice(&payload);
                    if fin && let Some(whole) = self.fragments.take() {
                        return Ok(Some(FromServer::Message(whole.freeze())));
                    }
                }
                (0x8, true) => return Ok(Some(FromServer::Close(read_close(&payload)))),
                (0x9, true) => return Ok(Some(FromServer::Ping(payload.freeze()))),
                (0xA, true) => {}
                _ => return Err("a frame of a kind that is not spoken here"),
            }
        }
        Ok(None)
    }

    fn cut_frame(&mut self) -> Result<Option<(bool, u8, BytesMut)>, &'static str> {
        let Some(&[first, second]) = self.buffer.first_chunk::<2>() else {
            return Ok(None);
        };
        if first & 0x70 != 0 || second & 0x80 != 0 {
            return Err("a frame with reserved bits or a mask");
        }
        let control = first & 0x08 != 0;
        let (header, length) = match second {
            126 | 127 if control => return Err("a control frame that is too long"),
            126 => match self.buffer.first_chunk::<4>() {
                Some(&[_, _, a, b]) => (4, u64::from(u16::from_be_bytes([a, b]))),
                None => return Ok(None),
            },
            127 => match self.buffer.first_chunk::<10>() {
                Some(&[_, _, ref length @ ..]) => (10, u64::from_be_bytes(*length)),
                None => return Ok(None),
            },
            short => (2, u64::from(short)),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            return Err("a message that is too long");
        }
        if self.buffer.len() < header + length {
            self.buffer.reserve(header + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(header);
        Ok(Some((first & 0x80 != 0, first & 0x0F, self.buffer.split_to(length))))
    }
}

/// A close frame's code and slug; a frame without one counts as a normal end of the transport, not of the play.
fn read_close(payload: &[u8]) -> Refused {
    let (code, reason) = match payload {
        [a, b, reason @ ..] => (u16::from_be_bytes([*a, *b]), reason),
        _ => (Code::HeartbeatLost.number(), &b"closed-without-a-code"[..]),
    };
    Refused { code, slug: printable(&String::from_utf8_lossy(reason)), retry_after: None }
}

/// Room for one read. A snapshot fits several times; thousands of players share a process.
const READ_ROOM: usize = 4 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> FrameReader {
        FrameReader { buffer: bytes.into(), fragments: None }
    }

    fn message(bytes: &'static [u8]) -> Result<Option<FromServer>, &'static str> {
        Ok(Some(FromServer::Message(Bytes::from_static(bytes))))
    }

    #[test]
    fn the_answer_to_a_key_is_the_one_of_the_rfc() {
        assert_eq!(accept_for("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_are_read_however_they_are_cut() {
        let mut bytes = vec![0x82, 2, b'h', b'i', 0x89, 1, b'?', 0x02, 1, b'a', 0x8A, 0, 0x80, 1, b'b'];
        bytes.extend([0x82, 126, 0x01, 0x00]);
        bytes.extend([7; 256]);
        let mut reader = FrameReader::default();
        let mut seen = Vec::new();
        for byte in bytes {
            reader.buffer.extend_from_slice(&[byte]);
            while let Ok(Some(frame)) = reader.next_frame() {
                seen.push(frame);
            }
        }
        let expected = [
            FromServer::Message(Bytes::from_static(b"hi")),
            FromServer::Ping(Bytes::from_static(b"?")),
            FromServer::Message(Bytes::from_static(b"ab")),
            FromServer::Message(Bytes::from_static(&[7; 256])),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_a_server_may_not_send_is_refused() {
        for bad in [
            &[0xC2, 0][..],
            &[0x82, 0x80],
            &[0x81, 0],
            &[0x80, 0],
            &[0x89, 126],
            &[0x09, 0],
            &[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0],
            &[0x02, 0, 0x82, 0],
        ] {
            assert!(reader(bad).next_frame().is_err(), "{bad:?}");
        }
        assert_eq!(reader(&[0x82, 0]).next_frame(), message(b""));
    }

    #[test]
    fn a_close_frame_carries_its_code_and_slug() {
        let close = reader(&[0x88, 6, 0x0F, 0xA1, b'd', b'r', b'a', b'i']).next_frame();
        let refused = Refused { code: 4_001, slug: "drai".into(), retry_after: None };
        assert_eq!(close, Ok(Some(FromServer::Close(refused))));
        assert!(
            matches!(reader(&[0x88, 0]).next_frame(), Ok(Some(FromServer::Close(refused))) if refused.code == 4_009)
        );
    }
}
