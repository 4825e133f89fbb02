//! Minutes, and the hours and days that they are summed into. All of them are of UTC.

/// How long an item of a history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Minute,
    Hour,
    Day,
}

impl Step {
    /// All of them, the shortest first.
    pub(crate) const ALL: [Step; 3] = [Step::Minute, Step::Hour, Step::Day];

    /// Its name, which is also that of the key of its tables.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Step::Minute => "minute",
            Step::Hour => "hour",
            Step::Day => "day",
        }
    }

    /// Its length in minutes.
    pub(crate) fn minutes(self) -> i64 {
        match self {
            Step::Minute => 1,
            Step::Hour => 60,
            Step::Day => 1_440,
        }
    }

    /// Its length in milliseconds.
    pub(crate) fn ms(self) -> i64 {
        self.minutes() * 60_000
    }
}

/// From (inclusive) to (exclusive), counted in steps since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepRange {
    pub step: Step,
    pub from: i64,
    pub to: i64,
}
