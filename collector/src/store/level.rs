//! What is summed into what, and where the database notes what is still to be summed.

use crate::model::Resolution;

/// What is summed into what.
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

    /// How many of the source make one of the target.
    pub(super) fn factor(self) -> i64 {
        self.target().minutes() / self.source().minutes()
    }

    /// Where hours or days are marked that are still to be summed.
    pub(super) fn marks(self) -> &'static str {
        match self {
            Level::Hours => "dirty_hours",
            Level::Days => "dirty_days",
        }
    }

    /// The column of `meta` that tells from where on all of the source is kept.
    pub(super) fn oldest(self) -> &'static str {
        match self {
            Level::Hours => "oldest_hour",
            Level::Days => "oldest_day",
        }
    }
}
