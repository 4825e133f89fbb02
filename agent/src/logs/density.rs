//! Estimates how many lines a number of bytes of a file has, by what was read of it.

/// Bytes that a judgement rests on; beyond, older ones count half, for programs change what they say.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The number of bytes and lines that were read of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Density {
    bytes: u64,
    lines: u64,
}

impl Density {
    /// So much was read.
    pub(super) fn saw(&mut self, bytes: u64, lines: u64) {
        self.bytes += bytes;
        self.lines += lines;
        while self.bytes > MAX_BYTES {
            self.bytes /= 2;
            self.lines /= 2;
        }
    }

    /// The estimated lines of `bytes` that were not read: at least one.
    pub(super) fn estimate(self, bytes: u64) -> u64 {
        let lines = u128::from(bytes) * u128::from(self.lines) / u128::from(self.bytes.max(1));
        u64::try_from(lines).unwrap_or(u64::MAX).max(1)
    }

    /// How much was read, as far as it counts.
    #[cfg(test)]
    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn density_follows_the_lines_read() {
        let mut density = Density::default();
        assert_eq!(density.estimate(1_000), 1, "nothing is known");
        density.saw(500, 10);
        assert_eq!(density.estimate(1_000_000_000_000), 20_000_000_000);
        assert_eq!(density.estimate(10), 1);
    }

    #[test]
    fn density_forgets_old_lines() {
        let mut density = Density::default();
        density.saw(MAX_BYTES, MAX_BYTES / 10);
        (0..10).for_each(|_| density.saw(MAX_BYTES, MAX_BYTES / 100));
        assert!((10_000..10_100).contains(&density.estimate(1_000_000)), "{}", density.estimate(1_000_000));
    }
}
