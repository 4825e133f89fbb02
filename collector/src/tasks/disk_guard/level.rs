//! How full a disk is, in three steps.

use crate::config::LowDisk;

/// Below this much room logs are cut, unless the settings say otherwise.
const WARN_BYTES: u64 = 1 << 30;

/// Below this much room reports are refused, unless the settings say otherwise.
const STOP_BYTES: u64 = 256 << 20;

/// At most this part of a small disk is kept free in that way.
const WARN_PART: u64 = 10;
const STOP_PART: u64 = 40;

/// The part of `stop_bytes` that the disk itself must have, however much room there is in the
/// database's file: every write goes to the write-ahead log first.
const LOG_PART: u64 = 4;

/// A step is left only with this part of its bound more, so that nothing is taken and refused in turn.
const MARGIN_PART: u64 = 8;

/// A disk's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Enough,
    /// Logs give way.
    Low,
    /// Nothing more is taken.
    Full,
}

/// The space for writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// On the disk.
    pub free_bytes: u64,
    /// In the database's file: what is removed is written over, not given back.
    pub reusable_bytes: u64,
}

/// Bounds of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    warn_bytes: u64,
    stop_bytes: u64,
}

impl Bounds {
    /// As the settings say, else such that a small disk can be used, too.
    pub(super) fn new(settings: LowDisk, disk_bytes: u64) -> Self {
        Bounds {
            warn_bytes: settings.warn_bytes.unwrap_or(WARN_BYTES.min(disk_bytes / WARN_PART)),
            stop_bytes: settings.stop_bytes.unwrap_or(STOP_BYTES.min(disk_bytes / STOP_PART)),
        }
    }
}

impl Level {
    /// The state after this one.
    pub(super) fn next(self, room: Room, bounds: Bounds) -> Level {
        let bound = |bytes: u64, level| if self >= level { bytes.saturating_add(bytes / MARGIN_PART) } else { bytes };
        let (warn, stop) = (bound(bounds.warn_bytes, Level::Low), bound(bounds.stop_bytes, Level::Full));
        let all = room.free_bytes.saturating_add(room.reusable_bytes);
        if all < stop || room.free_bytes < stop / LOG_PART {
            Level::Full
        } else if all < warn {
            Level::Low
        } else {
            Level::Enough
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn bounds() -> Bounds {
        Bounds { warn_bytes: 800 * MIB, stop_bytes: 80 * MIB }
    }

    fn next(level: Level, free: u64, reusable: u64) -> Level {
        level.next(Room { free_bytes: free * MIB, reusable_bytes: reusable * MIB }, bounds())
    }

    #[test]
    fn reusable_pages_count_as_room_beside_the_wal() {
        assert_eq!(next(Level::Enough, 800, 0), Level::Enough);
        assert_eq!(next(Level::Enough, 799, 0), Level::Low);
        assert_eq!(next(Level::Enough, 79, 0), Level::Full);
        assert_eq!(next(Level::Enough, 20, 780), Level::Enough);
        assert_eq!(next(Level::Enough, 20, 60), Level::Low);
        assert_eq!(next(Level::Enough, 19, 9_000), Level::Full);
    }

    #[test]
    fn level_is_left_with_an_eighth_of_hysteresis() {
        assert_eq!(next(Level::Full, 89, 0), Level::Full);
        assert_eq!(next(Level::Full, 90, 0), Level::Low);
        assert_eq!(next(Level::Low, 80, 0), Level::Low);
        assert_eq!(next(Level::Low, 899, 0), Level::Low);
        assert_eq!(next(Level::Low, 900, 0), Level::Enough);
        assert_eq!(next(Level::Full, 900, 0), Level::Enough);
    }

    #[test]
    fn bounds_scale_on_small_disks() {
        let auto = LowDisk { warn_bytes: None, stop_bytes: None };
        assert_eq!(Bounds::new(auto, 500 << 30), Bounds { warn_bytes: 1 << 30, stop_bytes: 256 << 20 });
        assert_eq!(Bounds::new(auto, 80 * MIB), Bounds { warn_bytes: 8 * MIB, stop_bytes: 2 * MIB });
        let set = LowDisk { warn_bytes: Some(7), stop_bytes: Some(0) };
        assert_eq!(Bounds::new(set, 80 * MIB), Bounds { warn_bytes: 7, stop_bytes: 0 });
        let never = Bounds::new(LowDisk { warn_bytes: Some(0), stop_bytes: Some(0) }, 80 * MIB);
        assert_eq!(Level::Enough.next(Room::default(), never), Level::Enough);
    }
}
