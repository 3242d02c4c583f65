//! A snapshot read where it lies: the state and the table of applied inputs share the bytes that came from the socket.
//!
//! Owns: the layout of the message `Snapshot` on the receiving side. Must not know: what the state means.
//! Invariant: a view exists only when all of its bytes decode.

use std::time::Duration;

use bytes::Bytes;

use crate::codec::{self, DecodeError};
use crate::ids::{InputSeq, SeatId, SessionTag, Tick};

/// The state of the session after a tick. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotView {
    /// The session's short number.
    pub tag: SessionTag,
    /// The tick this is the state after.
    pub tick: Tick,
    /// When the tick was due, on the server's clock in microseconds.
    pub time_us: u64,
    /// What the game wrote, in the game's own encoding.
    pub state: Bytes,
    /// The newest of one's own inputs that the state contains; 0 while there is none, and for spectators.
    pub applied: InputSeq,
    /// How old the state was when it arrived: the server's clock, as known here, less `time_us`.
    pub age: Duration,
    table: Bytes,
    entries: u64,
}

impl SnapshotView {
    /// Reads the message if it is a snapshot; `Ok(None)` when it is another one. Nothing is copied.
    ///
    /// # Errors
    /// [`DecodeError`] when it starts as a snapshot and is not exactly one.
    pub fn read(message: &Bytes, seat: Option<SeatId>) -> Result<Option<Self>, DecodeError> {
        let (kind, rest) = codec::decode_prefix::<u32>(message)?;
        if kind != SNAPSHOT_KIND {
            return Ok(None);
        }
        let (tag, rest) = codec::decode_prefix::<SessionTag>(rest)?;
        let (tick, rest) = codec::decode_prefix::<Tick>(rest)?;
        let (time_us, rest) = codec::decode_prefix::<u64>(rest)?;
        let (entries, rest) = codec::decode_prefix::<u64>(rest)?;
        let (mut after, mut applied) = (rest, InputSeq(0));
        for _ in 0..entries {
            let ((of, seq), next) = codec::decode_prefix::<(SeatId, InputSeq)>(after)?;
            if Some(of) == seat {
                applied = seq;
            }
            after = next;
        }
        let table = message.slice_ref(rest.get(..rest.len() - after.len()).unwrap_or_default());
        let (state, after) = codec::borrow_prefix::<&[u8]>(after)?;
        if !after.is_empty() {
            return Err(DecodeError::TrailingBytes);
        }
        let state = message.slice_ref(state);
        Ok(Some(Self { tag, tick, time_us, state, applied, age: Duration::ZERO, table, entries }))
    }

    /// For each seat with any, the newest input that the state contains.
    pub fn applied_inputs(&self) -> impl Iterator<Item = (SeatId, InputSeq)> + '_ {
        let mut rest: &[u8] = &self.table;
        (0..self.entries).map_while(move |_| {
            let (entry, after) = codec::decode_prefix(rest).ok()?;
            rest = after;
            Some(entry)
        })
    }
}

/// The number of the variant `ServerMessage::Snapshot`.
const SNAPSHOT_KIND: u32 = 3;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::wire::{ServerMessage, Snapshot};

    fn message() -> Bytes {
        let applied = vec![(SeatId(0), InputSeq(7)), (SeatId(3), InputSeq(90_000))];
        let snapshot = Snapshot { tag: SessionTag(9), tick: Tick(300), time_us: 5, applied, state: vec![1; 400] };
        codec::encode(&ServerMessage::Snapshot(snapshot)).into()
    }

    #[test]
    fn a_view_reads_what_the_server_encodes_and_shares_its_bytes() {
        let message = message();
        let view = SnapshotView::read(&message, Some(SeatId(3))).unwrap().unwrap();
        assert_eq!((view.tag, view.tick, view.time_us), (SessionTag(9), Tick(300), 5));
        assert_eq!(view.applied, InputSeq(90_000));
        assert_eq!(view.state, vec![1; 400]);
        assert!(message.as_ptr_range().contains(&view.state.as_ptr()), "the state is not a copy");
        let table: Vec<_> = view.applied_inputs().collect();
        assert_eq!(table, [(SeatId(0), InputSeq(7)), (SeatId(3), InputSeq(90_000))]);
        assert_eq!(SnapshotView::read(&message, None).unwrap().unwrap().applied, InputSeq(0));
    }

    #[test]
    fn a_snapshot_cut_short_or_with_bytes_left_over_is_refused() {
        let message = message();
        for end in 1..message.len() {
            assert!(SnapshotView::read(&message.slice(..end), None).is_err(), "{end}");
        }
        let longer: Bytes = [&message[..], &[0]].concat().into();
        assert_eq!(SnapshotView::read(&longer, None), Err(DecodeError::TrailingBytes));
        let other: Bytes = codec::encode(&ServerMessage::List(Vec::new())).into();
        assert_eq!(SnapshotView::read(&other, None), Ok(None));
        let lie: Bytes = vec![3, 9, 9, 5, 253, 255, 255, 255, 255, 255, 255, 255, 255].into();
        assert_eq!(SnapshotView::read(&lie, None), Err(DecodeError::Malformed));
    }
}
