//! A hash whose value is kept on the disk: SipHash-1-3 with zero keys, over bytes that are written down here.
//!
//! Not std's `DefaultHasher`: its algorithm may change with the compiler. Today it is the same one, so
//! checkpoints that were written with it are still read. Not a cryptographic hash: thousands of series are
//! hashed at each scrape.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Hashes texts and numbers one after the other.
#[derive(Clone, Default)]
pub(crate) struct StableHasher(SipHasher13);

impl StableHasher {
    /// Adds a text. A byte that no UTF-8 has ends it, so that `ab`, `c` and `a`, `bc` differ.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0.write(text.as_bytes());
        self.0.write(&[0xff]);
        self
    }

    /// Adds a number, as 8 bytes, the lowest first.
    pub(crate) fn number(mut self, number: u64) -> Self {
        self.0.write(&number.to_le_bytes());
        self
    }

    /// The hash of what was added.
    pub(crate) fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of version 0.1, which are in checkpoints.
    #[test]
    fn hash_keeps_its_values() {
        assert_eq!(StableHasher::default().finish(), 0xd1fb_a762_150c_532c);
        assert_eq!(StableHasher::default().text("a").text("").number(7).finish(), 0x753a_d654_6341_ce9b);
    }
}
