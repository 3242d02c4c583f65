//! Values to bytes and back: the only room that touches bincode.
//!
//! Owns: the one configuration of the encoding (bincode 2 `standard()`: little endian, variable-length integers) and
//! the rule that decoding consumes every byte or refuses. Must not know: what the values mean.
//!
//! bincode is finished software: its last release is pinned, `tests/vectors` holds its bytes, and a successor is
//! swapped in here and proven there (`docs/decisions/0002-bincode.md`).

use bincode::config::{Configuration, Limit, LittleEndian, Varint};

#[doc(no_inline)]
pub use bincode;
pub use bincode::{BorrowDecode, Decode, Encode};

/// The most that one decoded value may claim, counted by bincode in sizes in memory, before decoding is refused. Fits
/// the longest message of a server: the view of a lobby of 1,000 with the longest names.
pub const DECODE_LIMIT: usize = 1024 * 1024;

/// The same for what a server decodes from its peers, whose messages are a few KiB: a length that lies takes no more
/// memory than this, for the moment until it is refused.
pub const PEER_LIMIT: usize = 32 * 1024;

const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODE_LIMIT>> =
    bincode::config::standard().with_limit::<DECODE_LIMIT>();

/// Bytes that are not exactly one value of the expected type. The sender is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Cut short, of unknown kind, over the limit, or not a value of the type.
    #[error("not a value of the expected kind")]
    Malformed,
    /// A whole value, and then more bytes.
    #[error("bytes left over after the value")]
    TrailingBytes,
}

/// Reads exactly one value.
///
/// # Errors
/// [`DecodeError`] when the bytes are not one value and nothing else.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, rest) = decode_prefix(bytes)?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::TrailingBytes) }
}

/// As [`decode`], for bytes of a server's peer: held to [`PEER_LIMIT`].
///
/// # Errors
/// As [`decode`].
pub fn decode_peer<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let config = bincode::config::standard().with_limit::<PEER_LIMIT>();
    let (value, used) = bincode::decode_from_slice(bytes, config).map_err(|_| DecodeError::Malformed)?;
    if used == bytes.len() { Ok(value) } else { Err(DecodeError::TrailingBytes) }
}

/// Reads one value from the front and returns the bytes after it.
///
/// # Errors
/// [`DecodeError::Malformed`] when the front is not such a value.
pub fn decode_prefix<T: Decode<()>>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let (value, used) = bincode::decode_from_slice(bytes, CONFIG).map_err(|_| DecodeError::Malformed)?;
    Ok((value, bytes.get(used..).unwrap_or_default()))
}

/// Reads one value that borrows from the front and returns the bytes after it. Nothing is copied.
///
/// # Errors
/// [`DecodeError::Malformed`] when the front is not such a value.
pub fn borrow_prefix<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    let (value, used) = bincode::borrow_decode_from_slice(bytes, CONFIG).map_err(|_| DecodeError::Malformed)?;
    Ok((value, bytes.get(used..).unwrap_or_default()))
}

/// Appends a value to a buffer. Encoding into memory cannot fail for the types this crate encodes; a hand-written
/// `Encode` that fails appends what it had written.
pub fn encode_into(value: &impl Encode, out: &mut Vec<u8>) {
    struct Appender<'a>(&'a mut Vec<u8>);
    impl bincode::enc::write::Writer for Appender<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    let outcome = bincode::encode_into_writer(value, Appender(out), CONFIG);
    debug_assert!(outcome.is_ok(), "a value that cannot be encoded: {outcome:?}");
}

/// Encodes one value into a buffer of its own.
pub fn encode(value: &impl Encode) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    encode_into(value, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let lie = [253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(decode::<Vec<u8>>(&lie), Err(DecodeError::Malformed));
        assert_eq!(decode::<String>(&lie), Err(DecodeError::Malformed));
        assert_eq!(decode::<Vec<u64>>(&lie), Err(DecodeError::Malformed));
    }

    #[test]
    fn bytes_left_over_are_refused() {
        assert_eq!(decode::<u32>(&[7]), Ok(7));
        assert_eq!(decode::<u32>(&[7, 0]), Err(DecodeError::TrailingBytes));
        assert_eq!(decode::<u32>(&[]), Err(DecodeError::Malformed));
    }
}
