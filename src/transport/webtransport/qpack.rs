//! Whether a header block is sound, before the protocol crate decodes it.
//!
//! Owns: the walk over integers and strings (RFC 9204 4.1). Must not know: what the headers say. Pure.
//!
//! The decoder of wtransport-proto 0.7.2 shifts by as much as a hostile integer asks, which panics in builds that check
//! for overflow. What passes here has no such integer, refers to no dynamic table, and ends where it says.

/// Whether every integer is short and every string lies within the block.
pub(super) fn is_sound(block: &[u8]) -> bool {
    walk(block).is_some()
}

fn walk(block: &[u8]) -> Option<()> {
    let (_required_insert_count, rest) = integer(8, block)?;
    let (_base, mut rest) = integer(7, rest)?;
    while let Some(first) = rest.first() {
        rest = match first {
            0x80.. => integer(6, rest)?.1,
            0x40..=0x7f => string(7, integer(4, rest)?.1)?,
            0x20..=0x3f => string(7, string(3, rest)?)?,
            // Entries of a dynamic table, which this server's SETTINGS rule out.
            _ => return None,
        };
    }
    Some(())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wtransport::proto::frame::Frame;
    use wtransport::proto::headers::Headers;

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
