//! What a player reads and writes, as cheaply as it can be done: the tester must not be what is measured.
//!
//! Every layout here is one of `docs/protocol.md`; tests hold it against the library's own.

/// A snapshot's first fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// Number of the tick.
    pub tick: u32,
    /// When it was due, in microseconds of the server's clock.
    pub time_us: u64,
}

/// Reads the head of a message that is a snapshot.
pub fn snapshot_head(message: &[u8]) -> Option<SnapshotHead> {
    let (kind, rest) = message.split_first()?;
    if *kind != SNAPSHOT {
        return None;
    }
    let (_tag, rest) = varint(rest)?;
    let (tick, rest) = varint(rest)?;
    let (time_us, _) = varint(rest)?;
    Some(SnapshotHead { tick: tick as u32, time_us })
}

/// bincode's variable-length integers, little endian.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match first {
        251 => rest.split_first_chunk::<2>().map(|(value, rest)| (u64::from(u16::from_le_bytes(*value)), rest)),
        252 => rest.split_first_chunk::<4>().map(|(value, rest)| (u64::from(u32::from_le_bytes(*value)), rest)),
        253 => rest.split_first_chunk::<8>().map(|(value, rest)| (u64::from_le_bytes(*value), rest)),
        254.. => None,
        small => Some((u64::from(*small), rest)),
    }
}

fn put_varint(value: u64, out: &mut Vec<u8>) {
    match value {
        0..251 => out.push(value as u8),
        251..65_536 => {
            out.push(251);
            out.extend_from_slice(&(value as u16).to_le_bytes());
        }
        65_536..4_294_967_296 => {
            out.push(252);
            out.extend_from_slice(&(value as u32).to_le_bytes());
        }
        _ => {
            out.push(253);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Writes an input message: the newest snapshot seen, and one input.
pub fn put_input(seen: u32, seq: u32, data: &[u8], out: &mut Vec<u8>) {
    out.push(INPUTS);
    put_varint(u64::from(seen), out);
    out.push(1);
    put_varint(u64::from(seq), out);
    put_varint(data.len() as u64, out);
    out.extend_from_slice(data);
}

/// Writes a client's WebSocket frame around a message, masked in the copy.
pub fn put_masked(opcode: u8, message: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match message.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(message.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// A frame at the front of what was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// RFC 6455 5.2.
    pub opcode: u8,
    /// What it carries.
    pub payload: &'a [u8],
    /// Bytes of header and payload.
    pub length: usize,
}

/// Cuts the first whole frame off, if it is there: a server's, so unmasked.
pub fn first_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    let (header, length): (usize, usize) = match head[1] & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk::<2>()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*rest.first_chunk::<8>()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let end = header.checked_add(length)?;
    Some(Frame { opcode: head[0] & 0x0f, payload: bytes.get(header..end)?, length: end })
}

/// The number of a message's kind on the wire: Inputs.
pub const INPUTS: u8 = 2;
/// Snapshot.
pub const SNAPSHOT: u8 = 3;
/// Seated.
pub const SEATED: u8 = 9;
/// RFC 6455 5.2: a binary frame.
pub const BINARY: u8 = 2;
/// A closing frame.
pub const CLOSE: u8 = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use muster::ids::{InputSeq, SeatId, SessionTag, Tick};
    use muster::wire::{ClientFrame, SnapshotFrames, decode_client};

    use super::*;

    #[test]
    fn the_head_of_a_snapshot_is_what_the_server_wrote() {
        for (tick, time_us) in [(1, 2), (250, 251), (70_000, 5_000_000_000)] {
            let applied = [(SeatId(0), InputSeq(1))].into_iter();
            let frames = SnapshotFrames::new(SessionTag(300), Tick(tick), time_us, applied, &[7; 300]);
            let frame = first_frame(frames.websocket()).unwrap();
            assert_eq!((frame.opcode, frame.length), (BINARY, frames.websocket().len()));
            assert_eq!(snapshot_head(frame.payload), Some(SnapshotHead { tick, time_us }));
            assert!((0..frames.websocket().len()).all(|end| first_frame(&frames.websocket()[..end]).is_none()));
        }
        assert_eq!(snapshot_head(&[2, 0, 0]), None);
        assert_eq!(snapshot_head(&[3, 253, 0]), None);
    }

    #[test]
    fn an_input_is_what_the_server_reads() {
        for (seen, seq) in [(0, 1), (251, 250), (70_000, 65_536)] {
            let mut message = Vec::new();
            put_input(seen, seq, &[9; 24], &mut message);
            let Ok(ClientFrame::Inputs(batch)) = decode_client(&message) else { panic!("not inputs") };
            assert_eq!(batch.seen, Tick(seen));
            assert_eq!(batch.collect::<Vec<_>>(), [(InputSeq(seq), &[9; 24][..])]);
        }
    }

    #[test]
    fn a_masked_frame_reads_back() {
        let mut out = Vec::new();
        put_masked(BINARY, b"hello", [1, 2, 3, 4], &mut out);
        assert_eq!(out[..6], [0x82, 0x85, 1, 2, 3, 4]);
        let plain: Vec<u8> = out[6..].iter().zip([1u8, 2, 3, 4].iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(plain, b"hello");
    }
}
