//! Whether a header block is sound, before the protocol crate decodes it, and whether it says a thing twice.
//!
//! Owns: the walk over integers and strings (RFC 9204 4.1). Must not know: what the headers say. Pure.
//!
//! The decoder of wtransport-proto 0.7.2 shifts by as much as a hostile integer asks, which panics in builds that check
//! for overflow. What passes here has no such integer, refers to no dynamic table, and ends where it says.

use wtransport::proto::frame::Frame;
use wtransport::proto::headers::Headers;

/// Whether every integer is short and every string lies within the block.
pub(super) fn is_sound(block: &[u8]) -> bool {
    walk(block).is_some()
}

/// Whether a field that may be there once is there again. The decoder keeps the last of several in silence: of two
/// Origins only one would be judged. To be asked of sound blocks; `fields` is how many names were decoded.
pub(super) fn repeats(block: &[u8], fields: usize) -> bool {
    let Some(lines) = walk(block).filter(|lines| lines.len() > fields) else { return false };
    let mut seen = Vec::with_capacity(lines.len());
    lines.into_iter().any(|line| {
        // A line is a block of its own once it has a prefix without a dynamic table.
        let alone = Headers::with_frame(&Frame::new_headers([&[0, 0], line].concat().into()));
        let Some(name) = alone.ok().and_then(|headers| headers.as_ref().keys().next().cloned()) else { return false };
        let once = name.starts_with(':') || ONCE.contains(&name.as_str());
        once && if seen.contains(&name) {
            true
        } else {
            seen.push(name);
            false
        }
    })
}

/// The field lines of a sound block.
fn walk(block: &[u8]) -> Option<Vec<&[u8]>> {
    let (_required_insert_count, rest) = integer(8, block)?;
    let (_base, mut rest) = integer(7, rest)?;
    let mut lines = Vec::new();
    while let Some(first) = rest.first() {
        let before = rest;
        rest = match first {
            0x80.. => integer(6, rest)?.1,
            0x40..=0x7f => string(7, integer(4, rest)?.1)?,
            0x20..=0x3f => string(7, string(3, rest)?)?,
            // Entries of a dynamic table, which this server's SETTINGS rule out.
            _ => return None,
        };
        lines.push(before.get(..before.len() - rest.len())?);
    }
    Some(lines)
}

/// An integer whose first byte leaves it `bits` (RFC 7541 5.1), and what follows it.
fn integer(bits: u32, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let mask = (1_usize << bits) - 1;
    let mut value = usize::from(*first) & mask;
    if value < mask {
        return Some((value, rest));
    }
    // Three bytes more reach far past the longest request.
    for shift in [0, 7, 14] {
        let (byte, after) = rest.split_first()?;
        rest = after;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

/// What follows a string whose length's first byte leaves it `bits`.
fn string(bits: u32, bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = integer(bits, bytes)?;
    rest.get(length..)
}

/// Besides the pseudo-headers: fields that say who is asking.
const ONCE: [&str; 2] = ["origin", "authorization"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn decodes(block: &[u8]) -> bool {
        Headers::with_frame(&Frame::new_headers(block.into())).is_ok()
    }

    #[test]
    fn endless_integers_and_strings_past_the_end_are_unsound() {
        let mut endless = vec![0, 0];
        endless.extend_from_slice(&[0xff; 16]);
        for block in [&[][..], &[0], &endless, &[0, 0, 0x2f, 0x80], &[0, 0, 0x51, 5, b'a'], &[0, 0, 0x10]] {
            assert!(!is_sound(block), "{block:?}");
        }
        assert!(is_sound(&[0, 0, 0xd1, 0x51, 1, b'/', 0x21, b'a', 0]));
    }

    #[test]
    fn a_field_that_is_there_twice_is_seen_whatever_its_spelling() {
        let block = |pairs: &[(&str, &str)]| {
            let lines = pairs.iter().flat_map(|(name, value)| {
                let one: Headers = [(name, value)].into_iter().collect();
                one.generate_frame().payload()[2..].to_vec()
            });
            [0, 0].into_iter().chain(lines).collect::<Vec<u8>>()
        };
        let repeats = |pairs: &[(&str, &str)]| {
            let block = block(pairs);
            assert!(is_sound(&block), "{pairs:?}");
            let decoded = Headers::with_frame(&Frame::new_headers(block.clone().into())).unwrap();
            super::repeats(&block, decoded.as_ref().len())
        };
        let once = [(":method", "CONNECT"), ("origin", "https://a"), ("cookie", "a=1"), ("cookie", "b=2"), ("x", "1")];
        assert!(!repeats(&once), "crumbs of a cookie are no repetition");
        for twice in [("origin", "https://b"), ("origin", "https://a"), (":method", "GET"), (":path", "/")] {
            assert_eq!(repeats(&[&once[..], &[twice]].concat()), twice.0 != ":path", "{twice:?}");
        }
        assert!(repeats(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]));
    }

    proptest! {
        #[test]
        fn what_the_encoder_writes_is_sound(pairs in proptest::collection::vec(("[a-z:-]{1,300}", ".{0,300}"), 0..8)) {
            let headers: Headers = pairs.into_iter().collect();
            prop_assert!(is_sound(headers.generate_frame().payload()));
        }

        #[test]
        fn what_is_sound_is_decoded_without_a_panic(block in proptest::collection::vec(any::<u8>(), 0..64)) {
            if is_sound(&block) {
                decodes(&block);
            }
        }
    }
}
