//! How much may wait for the collector.

use std::time::Duration;

/// Bytes that may wait on the disk: a day of ten pipelines, merged.
pub(crate) const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The longest time that a report waits; older ones are of no use.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(24 * 3_600);

/// Bounds of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// On the disk.
    pub(crate) bytes: u64,
    /// Of the oldest report.
    pub(crate) age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { bytes: MAX_BYTES, age: MAX_AGE }
    }
}
