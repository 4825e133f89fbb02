//! The levels of rollups, and the tables that mark the pending ones.

use crate::model::Resolution;

/// A level of rollups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Minutes into hours.
    Hours,
    /// Hours into days.
    Days,
}

impl Level {
    pub(super) fn source(self) -> Resolution {
        match self {
            Level::Hours => Resolution::Minute,
            Level::Days => Resolution::Hour,
        }
    }

    pub(super) fn target(self) -> Resolution {
        match self {
            Level::Hours => Resolution::Hour,
            Level::Days => Resolution::Day,
        }
    }

    /// The number of source items in one target item.
    pub(super) fn factor(self) -> i64 {
        self.target().minutes() / self.source().minutes()
    }

    /// The table that marks the hours or days to sum.
    pub(super) fn marks(self) -> &'static str {
        match self {
            Level::Hours => "dirty_hours",
            Level::Days => "dirty_days",
        }
    }

    /// The column of `meta` with the time from which on all of the source is kept.
    pub(super) fn oldest(self) -> &'static str {
        match self {
            Level::Hours => "oldest_hour",
            Level::Days => "oldest_day",
        }
    }
}
