//! The little of HTTP/3 that a server of one WebTransport session per connection speaks, as bytes.
//!
//! Owns: frame heads, SETTINGS, the request and its answer, the close capsule, the head of a datagram. Header blocks
//! and settings are read and written by `wtransport`'s protocol crate. Must not know: streams, links, tickets. Pure.

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use wtransport::VarInt;
use wtransport::proto::frame::Frame;
use wtransport::proto::headers::Headers;
use wtransport::proto::ids::StatusCode;
use wtransport::proto::session::{SessionRequest, SessionResponse};
use wtransport::proto::settings::Settings;

use super::qpack;

/// What a peer sent that is not HTTP/3, or not a request for a WebTransport session. The peer is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHttp {
    /// A frame where another is due.
    #[error("a frame that is not due here")]
    FrameUnexpected,
    /// A request head longer than [`REQUEST_BYTES`].
    #[error("a request head over {REQUEST_BYTES} bytes")]
    TooBig,
    /// A header block that does not decode.
    #[error("a header block that does not decode")]
    Headers,
    /// A field twice that may be there once.
    #[error("a field twice that may be there once")]
    Repeated,
    /// A request for something else than a WebTransport session.
    #[error("not a request for a WebTransport session")]
    NotWebTransport,
    /// A datagram without the head that all have.
    #[error("a datagram without a quarter stream id")]
    Datagram,
    /// A stream that ended before its head was whole, or belongs to another session.
    #[error("a stream without a whole head")]
    Stream,
}

impl BadHttp {
    /// The error code of RFC 9114 8.1 that the connection is closed with.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::FrameUnexpected => 0x0105,
            Self::TooBig => 0x0107,
            Self::Headers => 0x0200,
            Self::Repeated => 0x010e,
            Self::NotWebTransport => 0x010b,
            Self::Datagram => 0x33,
            Self::Stream => 0x0106,
        }
    }
}

/// What the server says on its own control stream, once: the stream's type and its SETTINGS.
pub(super) fn settings() -> Vec<u8> {
    let settings = Settings::builder()
        .qpack_max_table_capacity(VarInt::from_u32(0))
        .qpack_blocked_streams(VarInt::from_u32(0))
        .enable_connect_protocol()
        .enable_webtransport()
        .enable_h3_datagrams()
        .webtransport_max_sessions(VarInt::from_u32(1))
        .build();
    let mut out = vec![CONTROL_STREAM];
    put_frame(SETTINGS, settings.generate_frame().payload(), &mut out);
    out
}

/// Takes the request from the front of its stream once it is whole. Frames of unknown kinds before it are skipped
/// (RFC 9114 9).
///
/// # Errors
/// [`BadHttp`] when the front is not a request for a WebTransport session.
pub(super) fn take_request(buffer: &mut BytesMut) -> Result<Option<SessionRequest>, BadHttp> {
    loop {
        let Some((kind, length, head)) = frame_head(buffer) else {
            return if buffer.len() > FRAME_HEAD_BYTES { Err(BadHttp::TooBig) } else { Ok(None) };
        };
        if length > REQUEST_BYTES as u64 {
            return Err(BadHttp::TooBig);
        }
        if matches!(kind, DATA | SETTINGS | WEBTRANSPORT_STREAM) {
            return Err(BadHttp::FrameUnexpected);
        }
        let end = head + length as usize;
        if buffer.len() < end {
            return Ok(None);
        }
        let frame = buffer.split_to(end);
        if kind == HEADERS {
            let block = frame.get(head..).unwrap_or_default();
            if !qpack::is_sound(block) {
                return Err(BadHttp::Headers);
            }
            let headers =
                Headers::with_frame(&Frame::new_headers(Cow::Borrowed(block))).map_err(|_| BadHttp::Headers)?;
            if qpack::repeats(block, headers.as_ref().len()) {
                return Err(BadHttp::Repeated);
            }
            return SessionRequest::try_from(headers).map(Some).map_err(|_| BadHttp::NotWebTransport);
        }
    }
}

/// Takes the head of a stream that belongs to the session: its kind and the session's id, which is 0.
///
/// # Errors
/// [`BadHttp`] when the front is anything else.
pub(super) fn take_stream_head(buffer: &mut BytesMut) -> Result<Option<()>, BadHttp> {
    let Some((kind, session, head)) = frame_head(buffer) else {
        return if buffer.len() > FRAME_HEAD_BYTES { Err(BadHttp::Stream) } else { Ok(None) };
    };
    if kind != WEBTRANSPORT_STREAM || session != 0 {
        return Err(BadHttp::Stream);
    }
    buffer.advance(head);
    Ok(Some(()))
}

/// The answer to the request, with the protocol that was chosen if some were offered.
pub(super) fn answer(status: u16, protocol: Option<&str>) -> Vec<u8> {
    let status = StatusCode::try_from_u32(u32::from(status)).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = SessionResponse::with_status_code(status);
    if let Some(protocol) = protocol {
        response.add("wt-protocol", format!("\"{protocol}\""));
    }
    let mut out = Vec::with_capacity(64);
    put_frame(HEADERS, response.headers().generate_frame().payload(), &mut out);
    out
}

/// The capsule that ends a session with a code and a reason: the only way to tell a browser the code.
pub(super) fn close_capsule(code: u16, reason: &str) -> Vec<u8> {
    let mut capsule = Vec::with_capacity(16 + reason.len());
    put_varint(CLOSE_SESSION, &mut capsule);
    put_varint(4 + reason.len() as u64, &mut capsule);
    capsule.put_u32(u32::from(code));
    capsule.put_slice(reason.as_bytes());
    let mut out = Vec::with_capacity(capsule.len() + 4);
    put_frame(DATA, &capsule, &mut out);
    out
}

/// The payload of a datagram of the session; `None` when it belongs to no session here, and is to be dropped.
///
/// # Errors
/// [`BadHttp::Datagram`] when it has no quarter stream id.
pub(super) fn datagram_payload(datagram: &Bytes) -> Result<Option<&[u8]>, BadHttp> {
    match varint(datagram) {
        Some((0, head)) => Ok(datagram.get(head..)),
        Some(_) => Ok(None),
        None => Err(BadHttp::Datagram),
    }
}

/// The items of a structured-field list of strings (RFC 8941 3.1), without their quotes and parameters.
pub(super) fn string_list(field: &str) -> Vec<&str> {
    field.split(',').filter_map(|item| item.trim().strip_prefix('"')?.split('"').next()).collect()
}

/// The two varints that every frame and every session stream begins with, and their length together.
fn frame_head(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let (kind, first) = varint(bytes)?;
    let (second, more) = varint(bytes.get(first..)?)?;
    Some((kind, second, first + more))
}

/// A varint at the front (RFC 9000 16) and its length.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let value = bytes.get(1..length)?.iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, length))
}

fn put_varint(value: u64, out: &mut Vec<u8>) {
    match value {
        0..0x40 => out.put_u8(value as u8),
        0x40..0x4000 => out.put_u16(0x4000 | value as u16),
        0x4000..0x4000_0000 => out.put_u32(0x8000_0000 | value as u32),
        _ => out.put_u64(0xc000_0000_0000_0000 | value),
    }
}

fn put_frame(kind: u64, payload: &[u8], out: &mut Vec<u8>) {
    put_varint(kind, out);
    put_varint(payload.len() as u64, out);
    out.put_slice(payload);
}

/// The longest head of a request: path with ticket and wish, headers.
pub(super) const REQUEST_BYTES: usize = 8 * 1024;

const CONTROL_STREAM: u8 = 0x00;
const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
const SETTINGS: u64 = 0x04;
const WEBTRANSPORT_STREAM: u64 = 0x41;
const CLOSE_SESSION: u64 = 0x2843;
const FRAME_HEAD_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn request_bytes(url: &str) -> BytesMut {
        let request = SessionRequest::new(url).unwrap();
        let mut out = Vec::new();
        put_frame(HEADERS, request.headers().generate_frame().payload(), &mut out);
        BytesMut::from(&out[..])
    }

    #[test]
    fn a_request_is_taken_once_it_is_whole_and_unknown_frames_before_it_are_skipped() {
        let mut whole = vec![0x21, 2, 7, 7];
        whole.extend_from_slice(&request_bytes("https://host:1/v1/play?join=quick:arena"));
        let mut buffer = BytesMut::new();
        let (last, front) = whole.split_last().unwrap();
        for byte in front {
            buffer.put_u8(*byte);
            assert!(take_request(&mut buffer).unwrap().is_none());
        }
        buffer.put_u8(*last);
        let request = take_request(&mut buffer).unwrap().unwrap();
        assert_eq!(request.path(), "/v1/play?join=quick:arena");
        assert_eq!(request.authority(), "host:1");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let bad = |bytes: &[u8]| take_request(&mut BytesMut::from(bytes)).map(|request| request.is_some());
        assert_eq!(bad(&[0x00, 0x00]), Err(BadHttp::FrameUnexpected));
        assert_eq!(bad(&[0x40, 0x41, 0x00]), Err(BadHttp::FrameUnexpected));
        assert_eq!(bad(&[0x01, 0x80, 0x10, 0x00, 0x00]), Err(BadHttp::TooBig));
        assert_eq!(bad(&[0x01, 0x03, 0xff, 0xff, 0xff]), Err(BadHttp::Headers));
        let get: Headers = [(":method", "GET"), (":path", "/")].into_iter().collect();
        let mut out = Vec::new();
        put_frame(HEADERS, get.generate_frame().payload(), &mut out);
        assert_eq!(bad(&out), Err(BadHttp::NotWebTransport));
    }

    #[test]
    fn a_stream_head_names_the_one_session() {
        let mut buffer = BytesMut::from(&[0x40][..]);
        assert_eq!(take_stream_head(&mut buffer), Ok(None));
        buffer.put_slice(&[0x41, 0x00, 9]);
        assert_eq!(take_stream_head(&mut buffer), Ok(Some(())));
        assert_eq!(&buffer[..], [9]);
        assert_eq!(take_stream_head(&mut BytesMut::from(&[0x40, 0x41, 0x04][..])), Err(BadHttp::Stream));
        assert_eq!(take_stream_head(&mut BytesMut::from(&[0x01, 0x00][..])), Err(BadHttp::Stream));
    }

    #[test]
    fn a_datagram_shows_its_payload_whatever_the_width_of_its_head() {
        let payload =
            |bytes: &'static [u8]| datagram_payload(&Bytes::from_static(bytes)).map(|p| p.map(<[u8]>::to_vec));
        assert_eq!(payload(&[0x00, 1, 2]), Ok(Some(vec![1, 2])));
        assert_eq!(payload(&[0x40, 0x00, 1]), Ok(Some(vec![1])));
        assert_eq!(payload(&[0x04, 1]), Ok(None));
        assert_eq!(payload(&[0x00]), Ok(Some(vec![])));
        assert_eq!(payload(&[]), Err(BadHttp::Datagram));
        assert_eq!(payload(&[0xc0, 0, 0]), Err(BadHttp::Datagram));
    }

    #[test]
    fn a_close_capsule_is_one_that_the_protocol_crate_reads() {
        use wtransport::proto::capsule::{Capsule, capsules::CloseWebTransportSession};
        let bytes = close_capsule(4408, "ticket-timeout");
        let frame = Frame::read(&mut &bytes[..]).unwrap().unwrap();
        let close = CloseWebTransportSession::with_capsule(&Capsule::with_frame(&frame).unwrap()).unwrap();
        assert_eq!((close.error_code().into_inner(), close.reason()), (4408, "ticket-timeout"));
    }

    #[test]
    fn a_list_of_protocols_is_read_without_quotes_and_parameters() {
        assert_eq!(string_list(r#""muster.1", "ticket.a.b.c";q=1, token,,"x""#), ["muster.1", "ticket.a.b.c", "x"]);
        assert_eq!(string_list("\"open"), ["open"]);
        assert!(string_list("").is_empty());
    }
}
