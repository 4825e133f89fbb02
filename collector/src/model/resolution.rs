//! Minutes, and the hours and days that they are summed into. All of them are of UTC.

/// The length of an item of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resolution {
    Minute,
    Hour,
    Day,
}

impl Resolution {
    /// All of them, the shortest first.
    pub(crate) const ALL: [Resolution; 3] = [Resolution::Minute, Resolution::Hour, Resolution::Day];

    /// Its name, which is also that of the key of its tables.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Resolution::Minute => "minute",
            Resolution::Hour => "hour",
            Resolution::Day => "day",
        }
    }

    /// Its length in minutes.
    pub(crate) fn minutes(self) -> i64 {
        match self {
            Resolution::Minute => 1,
            Resolution::Hour => 60,
            Resolution::Day => 1_440,
        }
    }

    /// Its length in milliseconds.
    pub(crate) fn ms(self) -> i64 {
        self.minutes() * 60_000
    }
}

/// From (inclusive) to (exclusive), counted in steps since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BucketRange {
    pub step: Resolution,
    pub from: i64,
    pub to: i64,
}
