//! Packets as QUIC has them, as far as the kernel and the cipher see: a clear head, a sealed body, a tag of 16 bytes.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::fault::Fault;

/// Seals and opens every packet of a floor. All of them share one key: what is measured is the work, not the secrecy.
pub struct Sealer {
    key: LessSafeKey,
    next: u64,
}

/// Bytes before the sealed body: a first byte, a number where QUIC has the connection's, the packet's number.
pub const HEAD: usize = 1 + 8 + 8;

impl Sealer {
    /// One for a floor or for its players.
    ///
    /// # Errors
    /// Never in practice: the key has the right length.
    pub fn new() -> Result<Self, Fault> {
        let key = UnboundKey::new(&AES_128_GCM, &[0x6d; 16]).map_err(|error| Fault::local("a cipher", error))?;
        Ok(Self { key: LessSafeKey::new(key), next: 0 })
    }

    /// Writes a packet for or from a player.
    pub fn seal(&mut self, player: u64, body: &[u8], packet: &mut Vec<u8>) {
        self.next += 1;
        packet.clear();
        packet.push(0x40);
        packet.extend_from_slice(&player.to_be_bytes());
        packet.extend_from_slice(&self.next.to_be_bytes());
        packet.extend_from_slice(body);
        let Some((head, sealed)) = packet.split_at_mut_checked(HEAD) else { return };
        // A key of the right length seals anything as short as a datagram.
        if let Ok(tag) = self.key.seal_in_place_separate_tag(nonce(self.next), Aad::from(&*head), sealed) {
            packet.extend_from_slice(tag.as_ref());
        }
    }

    /// Opens a packet in place: whose it is, and its body. `None` when it is none.
    pub fn open<'a>(&self, packet: &'a mut [u8]) -> Option<(u64, &'a [u8])> {
        let (head, sealed) = packet.split_at_mut_checked(HEAD)?;
        let player = u64::from_be_bytes(*head.get(1..)?.first_chunk()?);
        let number = u64::from_be_bytes(*head.get(9..)?.first_chunk()?);
        let body = self.key.open_in_place(nonce(number), Aad::from(&*head), sealed).ok()?;
        Some((player, body))
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    for (to, from) in bytes.iter_mut().rev().zip(number.to_le_bytes()) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_sealed_opens_and_nothing_else_does() {
        let mut sealer = Sealer::new().unwrap();
        let mut packet = Vec::new();
        sealer.seal(7, b"hello", &mut packet);
        assert_eq!(packet.len(), HEAD + 5 + 16);
        assert_eq!(sealer.open(&mut packet.clone()), Some((7, &b"hello"[..])));
        packet[HEAD] ^= 1;
        assert_eq!(sealer.open(&mut packet), None);
        assert_eq!(sealer.open(&mut [0; 5]), None);
    }
}
