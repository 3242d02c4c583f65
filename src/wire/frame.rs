//! How messages stand on the two transports: WebSocket frames, control-stream lengths, datagrams and their pieces.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::message::{ClientMessage, Inputs, ServerMessage, Snapshot};
use crate::codec::{self, DecodeError};
use crate::ids::{InputSeq, SeatId, SessionTag, Tick};

/// Room kept before a message for the longest header of an unmasked WebSocket frame (RFC 6455 5.2).
pub const WS_HEADROOM: usize = 10;

/// The most pieces a snapshot is cut into; a larger one goes on the control stream.
pub const MAX_PIECES: usize = 8;

/// The most of a message in one datagram: what fits the smallest path that QUIC allows (1,200 bytes, RFC 9000 14)
/// after packet, frame and piece headers.
pub const PIECE_BYTES: usize = 1_100;

/// What is kept to encode messages in.
const KEPT_ROOM: usize = 16 * 1_024;
const WHOLE: u8 = 0;
const PIECE: u8 = 1;
/// Kind, tag and tick (4 bytes each, little endian), index, count.
const PIECE_HEADER: usize = 11;
const INPUTS_KIND: u32 = 2;
const SNAPSHOT_KIND: u32 = 3;
const MAX_BATCH: u64 = 16;

/// What a client sent: inputs, read in place, or any other message.
#[derive(Debug)]
pub enum ClientFrame<'a> {
    /// The hot path: nothing was copied.
    Inputs(InputBatch<'a>),
    /// Everything else.
    Message(ClientMessage),
}

/// The inputs of one message, read where they lie. All of it is known to decode.
#[derive(Clone, Copy, Debug)]
pub struct InputBatch<'a> {
    /// The newest snapshot the client has seen.
    pub seen: Tick,
    left: u64,
    bytes: &'a [u8],
}

impl<'a> Iterator for InputBatch<'a> {
    type Item = (InputSeq, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (seq, rest) = codec::decode_prefix::<InputSeq>(self.bytes).ok()?;
        let (data, rest) = codec::borrow_prefix::<&[u8]>(rest).ok()?;
        self.bytes = rest;
        Some((seq, data))
    }
}

/// Reads one message of a client, all of it or not at all. Inputs are read in place.
///
/// # Errors
/// [`DecodeError`] when the bytes are not exactly one message.
pub fn decode_client(bytes: &[u8]) -> Result<ClientFrame<'_>, DecodeError> {
    let (kind, rest) = codec::decode_prefix::<u32>(bytes)?;
    if kind != INPUTS_KIND {
        return codec::decode_peer(bytes).map(ClientFrame::Message);
    }
    let (seen, rest) = codec::decode_prefix::<Tick>(rest)?;
    let (count, rest) = codec::decode_prefix::<u64>(rest)?;
    if count == 0 || count > MAX_BATCH {
        return Err(DecodeError::Malformed);
    }
    let mut after = rest;
    for _ in 0..count {
        (_, after) = codec::decode_prefix::<InputSeq>(after)?;
        (_, after) = codec::borrow_prefix::<&[u8]>(after)?;
    }
    if !after.is_empty() {
        return Err(DecodeError::TrailingBytes);
    }
    Ok(ClientFrame::Inputs(InputBatch { seen, left: count, bytes: rest }))
}

/// Encodes inputs as a whole client message.
pub fn encode_inputs(inputs: &Inputs, out: &mut Vec<u8>) {
    codec::encode_into(&INPUTS_KIND, out);
    codec::encode_into(inputs, out);
}

/// One snapshot, encoded once and framed once for each transport. Cloning shares the bytes.
#[derive(Clone, Debug, Default)]
pub struct SnapshotFrames(Arc<Frames>);

#[derive(Debug, Default)]
struct Frames {
    /// Room for the longest header, and the message.
    buffer: Vec<u8>,
    /// Where the header begins.
    header_at: usize,
    tag: SessionTag,
    tick: Tick,
    /// Built by the first WebTransport link that asks, shared by all others. `None` inside: too large for datagrams.
    datagrams: OnceLock<Option<Box<[Bytes]>>>,
}

impl SnapshotFrames {
    /// Encodes a snapshot message and the WebSocket header before it. The state is what the game wrote; the bytes are
    /// those of [`ServerMessage::Snapshot`] with the same fields.
    pub fn new(
        tag: SessionTag,
        tick: Tick,
        time_us: u64,
        applied: impl ExactSizeIterator<Item = (SeatId, InputSeq)>,
        state: &[u8],
    ) -> Self {
        let mut frames = Self::default();
        frames.renew(tag, tick, time_us, applied, state);
        frames
    }

    /// Makes this the frames of another snapshot, as [`Self::new`] does: in the same memory where nobody shares it any more.
    pub fn renew(
        &mut self,
        tag: SessionTag,
        tick: Tick,
        time_us: u64,
        applied: impl ExactSizeIterator<Item = (SeatId, InputSeq)>,
        state: &[u8],
    ) {
        if Arc::get_mut(&mut self.0).is_none() {
            *self = Self::default();
        }
        let Some(frames) = Arc::get_mut(&mut self.0) else { return };
        let buffer = &mut frames.buffer;
        buffer.clear();
        buffer.reserve(WS_HEADROOM + 32 + 8 * applied.len() + state.len());
        buffer.resize(WS_HEADROOM, 0);
        codec::encode_into(&SNAPSHOT_KIND, buffer);
        codec::encode_into(&(tag, tick, time_us, applied.len() as u64), buffer);
        applied.for_each(|entry| codec::encode_into(&entry, buffer));
        codec::encode_into(&state, buffer);
        let mut header = [0; WS_HEADROOM];
        let header = ws_header(buffer.len() - WS_HEADROOM, &mut header);
        frames.header_at = WS_HEADROOM - header.len();
        if let Some(room) = buffer.get_mut(frames.header_at..WS_HEADROOM) {
            room.copy_from_slice(header);
        }
        (frames.tag, frames.tick) = (tag, tick);
        frames.datagrams.take();
    }

    /// The whole WebSocket frame.
    pub fn websocket(&self) -> &[u8] {
        self.0.buffer.get(self.0.header_at..).unwrap_or_default()
    }

    /// The WebSocket frame from its `skip`-th byte on, for a link that cannot take it now.
    pub fn rest_of_websocket(&self, skip: usize) -> Bytes {
        Bytes::from_owner(self.clone()).slice(self.0.header_at + skip..)
    }

    /// The message alone.
    pub fn body(&self) -> Bytes {
        Bytes::from_owner(self.clone()).slice(WS_HEADROOM..)
    }

    /// The QUIC datagrams that carry it to every link whose WebTransport session is the first request of its connection
    /// (quarter stream id 0, RFC 9297 2.1): built once and shared. `None` as for [`Self::datagrams`].
    pub fn shared_datagrams(&self) -> Option<&[Bytes]> {
        self.0.datagrams.get_or_init(|| self.datagrams(&[0]).map(Vec::into_boxed_slice)).as_deref()
    }

    /// The payloads of the datagrams that carry it, each behind `prefix` (what the transport puts before a payload),
    /// or `None` when it needs more than [`MAX_PIECES`] and belongs on the control stream.
    pub fn datagrams(&self, prefix: &[u8]) -> Option<Vec<Bytes>> {
        let body = self.0.buffer.get(WS_HEADROOM..).unwrap_or_default();
        if body.len() < PIECE_BYTES {
            let mut whole = BytesMut::with_capacity(prefix.len() + 1 + body.len());
            whole.put_slice(prefix);
            whole.put_u8(WHOLE);
            whole.put_slice(body);
            return Some(vec![whole.freeze()]);
        }
        let room = PIECE_BYTES - PIECE_HEADER;
        let count = body.len().div_ceil(room);
        if count > MAX_PIECES {
            return None;
        }
        let pieces = body.chunks(room).enumerate().map(|(index, chunk)| {
            let mut piece = BytesMut::with_capacity(prefix.len() + PIECE_HEADER + chunk.len());
            piece.put_slice(prefix);
            piece.put_u8(PIECE);
            piece.put_u32_le(self.0.tag.0);
            piece.put_u32_le(self.0.tick.0);
            piece.put_u8(index as u8);
            piece.put_u8(count as u8);
            piece.put_slice(chunk);
            piece.freeze()
        });
        Some(pieces.collect())
    }
}

impl AsRef<[u8]> for SnapshotFrames {
    fn as_ref(&self) -> &[u8] {
        &self.0.buffer
    }
}

impl From<&Snapshot> for SnapshotFrames {
    fn from(snapshot: &Snapshot) -> Self {
        let Snapshot { tag, tick, time_us, applied, state } = snapshot;
        Self::new(*tag, *tick, *time_us, applied.iter().copied(), state)
    }
}

/// Puts a snapshot's pieces together again: the receiving end of [`SnapshotFrames::datagrams`].
///
/// Holds the pieces of one tick, the newest heard of: at most [`MAX_PIECES`] datagrams. A tick comes out once, however
/// often its pieces are doubled on the way.
#[derive(Debug, Default)]
pub struct Assembler {
    newest: (u32, u32),
    pieces: Vec<Option<Bytes>>,
    complete: bool,
}

impl Assembler {
    /// Takes a datagram's payload; returns a message once it is whole.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when it is neither a whole message nor a piece of one.
    pub fn handle_datagram(&mut self, payload: Bytes) -> Result<Option<Bytes>, DecodeError> {
        match payload.first() {
            Some(&WHOLE) => return Ok(Some(payload.slice(1..))),
            Some(&PIECE) if payload.len() > PIECE_HEADER => {}
            _ => return Err(DecodeError::Malformed),
        }
        let mut header = payload.get(1..PIECE_HEADER).ok_or(DecodeError::Malformed)?;
        let of = (header.get_u32_le(), header.get_u32_le());
        let (index, count) = (usize::from(header.get_u8()), usize::from(header.get_u8()));
        if !(2..=MAX_PIECES).contains(&count) || index >= count {
            return Err(DecodeError::Malformed);
        }
        if of.0 == self.newest.0 && of.1 < self.newest.1 {
            return Ok(None);
        }
        if of != self.newest || self.pieces.len() != count {
            self.newest = of;
            self.pieces.clear();
            self.pieces.resize(count, None);
            self.complete = false;
        }
        if self.complete {
            return Ok(None);
        }
        if let Some(place) = self.pieces.get_mut(index) {
            *place = Some(payload.slice(PIECE_HEADER..));
        }
        if self.pieces.iter().any(Option::is_none) {
            return Ok(None);
        }
        let mut whole = BytesMut::with_capacity(count * PIECE_BYTES);
        for piece in self.pieces.iter_mut().filter_map(Option::take) {
            whole.put_slice(&piece);
        }
        self.complete = true;
        Ok(Some(whole.freeze()))
    }
}

/// Writes the header of an unmasked, final, binary WebSocket frame (RFC 6455 5.2).
pub fn ws_header(length: usize, room: &mut [u8; WS_HEADROOM]) -> &[u8] {
    let [first, second, rest @ ..] = room;
    *first = 0x82;
    let used = match length {
        0..126 => {
            *second = length as u8;
            2
        }
        126..65_536 => {
            *second = 126;
            if let Some(field) = rest.first_chunk_mut() {
                *field = (length as u16).to_be_bytes();
            }
            4
        }
        _ => {
            *second = 127;
            *rest = (length as u64).to_be_bytes();
            10
        }
    };
    room.get(..used).unwrap_or_default()
}

/// Encodes a message of the server. It takes no more room than its bytes: some are kept until a player has them.
pub fn encode_server(message: &ServerMessage) -> Bytes {
    thread_local! {
        static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    ROOM.with_borrow_mut(|room| {
        room.clear();
        codec::encode_into(message, room);
        let encoded = Bytes::copy_from_slice(room);
        // The longest there has been is not worth its room for ever.
        room.shrink_to(KEPT_ROOM);
        encoded
    })
}

/// Appends a message to the control stream: its length as four bytes, little endian, then the message.
pub fn put_control(message: &[u8], out: &mut Vec<u8>) {
    out.put_u32_le(message.len() as u32);
    out.extend_from_slice(message);
}

/// Cuts the control stream into messages.
#[derive(Debug)]
pub struct ControlReader {
    buffer: BytesMut,
    max_message: usize,
}

/// A message on the control stream that is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes, over the limit of {max}")]
pub struct TooBig {
    /// What the peer announced.
    pub length: usize,
    /// What is allowed.
    pub max: usize,
}

impl ControlReader {
    /// Refuses messages longer than `max_message` as soon as their length is read.
    pub fn new(max_message: usize) -> Self {
        Self { buffer: BytesMut::new(), max_message }
    }

    /// Takes what was read from the stream.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if it is there. Call until `None` before handing in more, so that no more than one
    /// message and one read is ever held.
    ///
    /// # Errors
    /// [`TooBig`], after which the stream is of no use.
    pub fn poll_message(&mut self) -> Result<Option<Bytes>, TooBig> {
        let Some(head) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length > self.max_message {
            return Err(TooBig { length, max: self.max_message });
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        let mut message = self.buffer.split_to(4 + length);
        message.advance(4);
        Ok(Some(message.freeze()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn snapshot(tag: u32, tick: u32, size: usize) -> SnapshotFrames {
        let state = vec![tick as u8; size];
        SnapshotFrames::new(SessionTag(tag), Tick(tick), 0, std::iter::empty(), &state)
    }

    fn pieces(tag: u32, tick: u32) -> Vec<Bytes> {
        snapshot(tag, tick, 2_000).datagrams(&[]).unwrap()
    }

    #[test]
    fn a_websocket_header_takes_the_shortest_form() {
        let header = |length| {
            let mut room = [0; WS_HEADROOM];
            ws_header(length, &mut room).to_vec()
        };
        assert_eq!(header(0), [0x82, 0]);
        assert_eq!(header(125), [0x82, 125]);
        assert_eq!(header(126), [0x82, 126, 0, 126]);
        assert_eq!(header(65_535), [0x82, 126, 0xff, 0xff]);
        assert_eq!(header(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_snapshot_is_written_where_the_last_one_lay_unless_somebody_still_holds_that() {
        let (mut frames, fresh) = (snapshot(1, 1, 300), snapshot(1, 2, 300));
        assert!(frames.shared_datagrams().is_some());
        let place = frames.websocket().as_ptr();
        frames.renew(SessionTag(1), Tick(2), 0, std::iter::empty(), &[2; 300]);
        assert_eq!((frames.websocket(), frames.shared_datagrams()), (fresh.websocket(), fresh.shared_datagrams()));
        assert_eq!(frames.websocket().as_ptr(), place);
        let held = frames.rest_of_websocket(3);
        frames.renew(SessionTag(1), Tick(3), 0, std::iter::empty(), &[3; 300]);
        assert_eq!(held, &fresh.websocket()[3..]);
        assert_eq!(frames.websocket(), snapshot(1, 3, 300).websocket());
    }

    #[test]
    fn a_small_snapshot_is_one_datagram_behind_the_prefix() {
        let frames = snapshot(1, 1, 10);
        let datagrams = frames.datagrams(&[0xee]).unwrap();
        assert_eq!(datagrams, [[&[0xee, WHOLE], frames.body().as_ref()].concat()]);
    }

    #[test]
    fn a_piece_says_whose_it_is() {
        let sent = pieces(0x0102_0304, 0x0506_0708);
        assert_eq!(sent.len(), 2);
        assert!(sent[1].starts_with(&[PIECE, 4, 3, 2, 1, 8, 7, 6, 5, 1, 2]));
    }

    #[test]
    fn a_newer_tick_pushes_out_an_unfinished_one_and_an_older_piece_is_dropped() {
        let (old, new) = (pieces(1, 1), pieces(1, 2));
        let mut assembler = Assembler::default();
        let mut take = |payload: &Bytes| assembler.handle_datagram(payload.clone()).unwrap();
        assert_eq!(take(&old[0]), None);
        assert_eq!(take(&new[0]), None);
        assert_eq!(take(&old[1]), None);
        assert_eq!(take(&new[1]), Some(snapshot(1, 2, 2_000).body()));
        assert_eq!(take(&old[0]), None);
        assert_eq!(take(&old[1]), None);
    }

    #[test]
    fn a_tick_comes_out_once_though_its_pieces_are_doubled() {
        let sent = pieces(1, 1);
        let mut assembler = Assembler::default();
        let whole = sent.iter().chain(&sent).filter_map(|piece| assembler.handle_datagram(piece.clone()).unwrap());
        assert_eq!(whole.count(), 1);
    }

    #[test]
    fn the_next_session_begins_at_an_early_tick_again() {
        let mut assembler = Assembler::default();
        for piece in pieces(1, 900) {
            assembler.handle_datagram(piece).unwrap();
        }
        let next: Vec<_> =
            pieces(2, 1).into_iter().filter_map(|piece| assembler.handle_datagram(piece).unwrap()).collect();
        assert_eq!(next, [snapshot(2, 1, 2_000).body()]);
    }

    #[test]
    fn a_control_message_of_the_greatest_length_passes_and_one_more_byte_does_not() {
        let mut stream = Vec::new();
        put_control(&[7; 100], &mut stream);
        put_control(&[8; 101], &mut stream);
        let mut reader = ControlReader::new(100);
        reader.handle_bytes(&stream);
        assert_eq!(reader.poll_message(), Ok(Some(Bytes::from(vec![7; 100]))));
        assert_eq!(reader.poll_message(), Err(TooBig { length: 101, max: 100 }));
    }

    #[test]
    fn a_snapshot_that_is_written_in_place_reads_as_the_message() {
        for length in [0, 1, 100, 200, 1_000, 70_000] {
            let snapshot = Snapshot {
                tag: SessionTag(300),
                tick: Tick(70_000),
                time_us: 5_000_000_000,
                applied: vec![(SeatId(0), InputSeq(1)), (SeatId(400), InputSeq(80_000))],
                state: vec![7; length],
            };
            let frames = SnapshotFrames::from(&snapshot);
            let body = frames.body();
            assert_eq!(body, encode_server(&ServerMessage::Snapshot(snapshot.clone())));
            let mut room = [0; WS_HEADROOM];
            let header = ws_header(body.len(), &mut room);
            assert_eq!(frames.websocket().strip_prefix(header).unwrap(), &body[..]);
        }
    }
}
