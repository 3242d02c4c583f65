//! Reads a client's WebSocket frames: pure, strict (RFC 6455 5), and without copying a whole message that lies in one read.
//!
//! Owns: masks, lengths, fragments, control frames and their bounds. Must not know: sockets, what a message says.
//! fastwebsockets does the upgrade and the client's side; its reader bounds neither a fragmented message nor a missing
//! mask (`docs/decisions/0003-websocket-reader.md`), so the hostile side is read here.

use crate::wire::Code;

/// One thing a peer said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole binary message.
    Message(&'a [u8]),
    /// Asks for a Pong with the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// Answers a Ping.
    Pong,
    /// Begins or answers the closing handshake.
    Close,
}

/// Cuts a client's bytes into messages. Holds at most one unfinished frame and one unfinished message, together no more
/// than twice the message bound.
#[derive(Debug)]
pub struct FrameReader {
    max_message: u32,
    max_fragments: u32,
    /// The beginning of a frame that has not arrived whole, or nothing.
    partial: Vec<u8>,
    /// The fragments of a message so far; `None` when no message is open.
    fragments: Option<Box<Fragments>>,
}

#[derive(Debug, Default)]
struct Fragments {
    bytes: Vec<u8>,
    count: u32,
}

#[derive(Clone, Copy)]
struct Header {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    header_len: usize,
    payload_len: usize,
}

impl FrameReader {
    /// Refuses messages over `max_message` bytes or `max_fragments` fragments.
    pub fn new(max_message: usize, max_fragments: usize) -> Self {
        let bound = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            max_message: bound(max_message),
            max_fragments: bound(max_fragments),
            partial: Vec::new(),
            fragments: None,
        }
    }

    /// Takes what was read and tells `handle` everything that is whole, in order. The bytes are unmasked in place.
    ///
    /// # Errors
    /// The code to close with: the peer broke the protocol, or `handle` refused. No more bytes are to be handed in then.
    pub fn handle_bytes(
        &mut self,
        bytes: &mut [u8],
        mut handle: impl FnMut(Event<'_>) -> Result<(), Code>,
    ) -> Result<(), Code> {
        if self.partial.is_empty() {
            let used = self.read_frames(bytes, &mut handle)?;
            let rest = bytes.get(used..).unwrap_or_default();
            if !rest.is_empty() {
                self.partial = rest.to_vec();
            }
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        let used = self.read_frames(&mut joined, &mut handle)?;
        joined.drain(..used);
        if !joined.is_empty() {
            self.partial = joined;
        }
        Ok(())
    }

    /// Handles every whole frame at the front; returns how many bytes they were.
    fn read_frames(
        &mut self,
        bytes: &mut [u8],
        handle: &mut impl FnMut(Event<'_>) -> Result<(), Code>,
    ) -> Result<usize, Code> {
        let mut used = 0;
        while let Some(header) = self.read_header(bytes.get(used..).unwrap_or_default())? {
            let start = used + header.header_len;
            let Some(payload) = bytes.get_mut(start..start + header.payload_len) else { break };
            unmask(payload, header.mask);
            used = start + header.payload_len;
            self.handle_frame(header, payload, handle)?;
        }
        Ok(used)
    }

    /// Reads and checks a header as soon as enough of it is there, so that a lying length is refused before anything waits
    /// for it.
    fn read_header(&self, bytes: &[u8]) -> Result<Option<Header>, Code> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Code::ProtocolError);
        }
        let (length_len, payload_len) = match second & 0x7f {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (2, u64::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (8, u64::from_be_bytes(*length)),
                None => return Ok(None),
            },
            short => (0, u64::from(short)),
        };
        let open = self.fragments.is_some();
        match opcode {
            CONTINUATION if !open => return Err(Code::ProtocolError),
            BINARY if open => return Err(Code::ProtocolError),
            CONTINUATION | BINARY => {
                let before = self.fragments.as_ref().map_or(0, |fragments| fragments.bytes.len());
                if payload_len > u64::from(self.max_message).saturating_sub(before as u64) {
                    return Err(Code::FrameTooBig);
                }
            }
            TEXT => return Err(Code::TextFrame),
            CLOSE | PING | PONG if fin && payload_len <= MAX_CONTROL => {}
            _ => return Err(Code::ProtocolError),
        }
        let Some(mask) = rest.get(length_len..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
        let header_len = 2 + length_len + mask.len();
        Ok(Some(Header { fin, opcode, mask: *mask, header_len, payload_len: payload_len as usize }))
    }

    fn handle_frame(
        &mut self,
        header: Header,
        payload: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Result<(), Code>,
    ) -> Result<(), Code> {
        match header.opcode {
            PING => return handle(Event::Ping(payload)),
            PONG => return handle(Event::Pong),
            CLOSE => {
                check_close(payload)?;
                return handle(Event::Close);
            }
            BINARY if header.fin => return handle(Event::Message(payload)),
            _ => {}
        }
        let mut open = self.fragments.take().unwrap_or_default();
        open.count += 1;
        if open.count > self.max_fragments {
            return Err(Code::FrameTooBig);
        }
        open.bytes.extend_from_slice(payload);
        if header.fin {
            return handle(Event::Message(&open.bytes));
        }
        self.fragments = Some(open);
        Ok(())
    }
}

/// RFC 6455 5.5.1 and 7.4: empty, or a code that may stand on the wire and a reason in UTF-8.
fn check_close(payload: &[u8]) -> Result<(), Code> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(()) } else { Err(Code::ProtocolError) };
    };
    match u16::from_be_bytes(*code) {
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => return Err(Code::ProtocolError),
    }
    std::str::from_utf8(reason).map(|_| ()).map_err(|_| Code::BadUtf8)
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// RFC 6455 5.5: control frames carry at most this many bytes.
const MAX_CONTROL: u64 = 125;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            length @ 0..126 => out.push(0x80 | length as u8),
            length @ 126..65_536 => {
                out.push(0x80 | 126);
                out.extend((length as u16).to_be_bytes());
            }
            length => {
                out.push(0x80 | 127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        out.extend(MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// What a reader of 64-byte messages in at most 4 fragments makes of the bytes, handed in as cut.
    fn read(chunks: &[&[u8]]) -> Result<Vec<String>, Code> {
        let mut reader = FrameReader::new(64, 4);
        let mut said = Vec::new();
        for chunk in chunks {
            reader.handle_bytes(&mut chunk.to_vec(), |event| {
                said.push(match event {
                    Event::Message(bytes) => format!("message {}", String::from_utf8_lossy(bytes)),
                    Event::Ping(bytes) => format!("ping {}", String::from_utf8_lossy(bytes)),
                    Event::Pong => "pong".into(),
                    Event::Close => "close".into(),
                });
                Ok(())
            })?;
        }
        Ok(said)
    }

    #[test]
    fn fragments_become_one_message_with_a_ping_between_them() {
        let mut bytes = frame(0x02, b"one ");
        bytes.extend(frame(0x89, b"?"));
        bytes.extend(frame(0x00, b"two "));
        bytes.extend(frame(0x80, b"three"));
        bytes.extend(frame(0x82, b"next"));
        assert_eq!(read(&[&bytes]), Ok(vec!["ping ?".into(), "message one two three".into(), "message next".into()]));
    }

    #[test]
    fn what_rfc_6455_forbids_is_refused_with_its_code() {
        let long = vec![b'x'; 126];
        let table: &[(&str, Vec<u8>, Code)] = &[
            ("unmasked", vec![0x82, 0x01, b'x'], Code::ProtocolError),
            ("reserved bit 1", frame(0xc2, b""), Code::ProtocolError),
            ("reserved bit 2", frame(0xa2, b""), Code::ProtocolError),
            ("reserved bit 3", frame(0x92, b""), Code::ProtocolError),
            ("reserved data opcode", frame(0x83, b""), Code::ProtocolError),
            ("reserved control opcode", frame(0x8b, b""), Code::ProtocolError),
            ("text", frame(0x81, b"hi"), Code::TextFrame),
            ("continuation of nothing", frame(0x80, b""), Code::ProtocolError),
            ("new message inside one", [frame(0x02, b"a"), frame(0x82, b"b")].concat(), Code::ProtocolError),
            ("fragmented ping", frame(0x09, b""), Code::ProtocolError),
            ("long ping", frame(0x89, &long), Code::ProtocolError),
            ("long pong", frame(0x8a, &long), Code::ProtocolError),
            ("long close", frame(0x88, &long), Code::ProtocolError),
            ("close of one byte", frame(0x88, b"x"), Code::ProtocolError),
            ("close with 1005", frame(0x88, &1005u16.to_be_bytes()), Code::ProtocolError),
            ("close with 999", frame(0x88, &999u16.to_be_bytes()), Code::ProtocolError),
            ("close with bad UTF-8", frame(0x88, &[0x03, 0xe8, 0xff]), Code::BadUtf8),
            ("too long", frame(0x82, &[0; 65]), Code::FrameTooBig),
            ("too long by its header", vec![0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0], Code::FrameTooBig),
            ("too long in sum", [frame(0x02, &[0; 60]), frame(0x80, &[0; 5])].concat(), Code::FrameTooBig),
            (
                "too many fragments",
                [frame(0x02, b""), frame(0, b""), frame(0, b""), frame(0, b""), frame(0, b"")].concat(),
                Code::FrameTooBig,
            ),
        ];
        for (name, bytes, code) in table {
            assert_eq!(read(&[bytes]), Err(*code), "{name}");
        }
    }

    #[test]
    fn a_message_of_exactly_the_bound_passes_and_the_fragment_count_starts_anew() {
        let exact = frame(0x82, &[b'x'; 64]);
        assert_eq!(read(&[&exact]).map(|said| said.len()), Ok(1));
        let halves = [frame(0x02, b"a"), frame(0x00, b"b"), frame(0x80, b"c")].concat();
        assert_eq!(read(&[&halves, &halves, &halves]).map(|said| said.len()), Ok(3));
    }

    proptest! {
        #[test]
        fn bytes_cut_anywhere_say_the_same(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..6), cut in 1usize..40) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(0x82, payload)).collect();
            let chunks: Vec<&[u8]> = bytes.chunks(cut).collect();
            prop_assert_eq!(read(&chunks), read(&[&bytes]));
        }

        #[test]
        fn no_bytes_panic_and_little_is_held(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20)) {
            let mut reader = FrameReader::new(64, 4);
            for chunk in chunks {
                if reader.handle_bytes(&mut chunk.clone(), |_| Ok(())).is_err() {
                    break;
                }
                prop_assert!(reader.partial.len() <= 125 + 14, "the longest control frame and its header");
            }
        }
    }
}
