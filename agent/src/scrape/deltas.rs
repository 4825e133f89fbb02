//! Counters since a process's start become deltas since the last scrape, series by series.
//!
//! Per series and not per component, because a sum hides resets: one series that starts again can
//! be outweighed by its neighbours. Pure: no clock, no process; the caller says what is known.
//!
//! Two kinds of series that are not there for a while must be kept apart:
//!
//! - A page misses a series for a scrape or two, and the process counts on. The last value is kept
//!   for [`KEPT_SCRAPES`], and only a value below it is a reset.
//! - Vector expires an idle counter (`expire_metrics_secs`). Its `prometheus_exporter` continues to
//!   show the last value for `flush_period_secs` and longer, and the next event counts from zero,
//!   perhaps to more than the old value. The value cannot show this, the timestamp can: that of an
//!   expired series stands still while those of the others move. Only the reader of the page knows
//!   whether its timestamps mean this, and passes none where they do not.

use std::collections::HashMap;

use super::page::SeriesKey;

/// How many scrapes the value of a series is kept that a page does not have: a minute at the usual
/// interval. A page that loses a series for longer is rare, and what is kept costs memory.
pub(crate) const KEPT_SCRAPES: u16 = 12;

/// How many scrapes in a row a series with a timestamp may miss. Vector removes a series from the
/// page only after it expired; one scrape can fall between the removal and the next update.
const MISSES_OF_LIVE_SERIES: u16 = 1;

/// How many series are kept that the page does not have. A page whose labels differ at each scrape
/// must not fill the memory; this is some 400 KB for each pipeline.
const MAX_ABSENT: usize = 10_000;

/// The counts of each series of a process at the last scrape.
#[derive(Clone, Debug)]
pub(crate) struct Baselines {
    /// Whether what is not in `last` began at zero. False only before the first scrape of a process
    /// that ran before it was watched.
    from_zero: bool,
    last: HashMap<SeriesKey, Last>,
    round: u16,
    captures: Captures,
}

/// One series at the last scrape that had it.
#[derive(Clone, Copy, Debug)]
struct Last {
    total: u64,
    /// Its timestamp; only compared for equality.
    at: Stamp,
    round: u16,
    /// It stood still while the others moved: its next value counts from zero.
    is_expired: bool,
}

/// The low bits of a timestamp in milliseconds, zero for none: thousands of series are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp(u32);

impl Stamp {
    fn of(at: Option<i64>) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low bits are what is kept")]
        Stamp(at.map_or(0, |at| (at as u32).max(1)))
    }

    fn is_known(self) -> bool {
        self.0 != 0
    }
}

/// The times at which the process captured its counters, as far as scrapes have seen them.
#[derive(Clone, Copy, Debug, Default)]
struct Captures {
    newest: Option<i64>,
    /// The newest of an earlier scrape. Every live series was captured then or later: a page that
    /// is being updated shows some series of the capture before, and that is not older.
    earlier: Option<i64>,
}

impl Captures {
    fn see(&mut self, newest: Option<i64>) {
        match (self.newest, newest) {
            (Some(before), Some(now)) if now > before => self.earlier = Some(before),
            (Some(before), Some(now)) if now == before => {}
            // The first one, or the process's clock was set back.
            _ => self.earlier = None,
        }
        self.newest = newest;
    }
}

/// The state of baselines that is kept over the agent's end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SavedBaselines {
    /// Key and total of each series.
    pub(crate) totals: Vec<(u64, u64)>,
    /// Key and timestamp, see [`Stamp`], of those that have expired.
    pub(crate) expired: Vec<(u64, u32)>,
}

/// One scrape in progress; at its end the series that were missed for long lose their baselines.
pub(crate) struct Round<'b> {
    baselines: &'b mut Baselines,
}

impl Baselines {
    /// Of a process whose counters were at zero when the caller came to know it.
    pub(crate) fn of_new_process() -> Self {
        Baselines { from_zero: true, last: HashMap::new(), round: 0, captures: Captures::default() }
    }

    /// Of a process that ran before: its first scrape counts nothing.
    pub(crate) fn of_running_process() -> Self {
        Baselines { from_zero: false, ..Self::of_new_process() }
    }

    /// Whether the next scrape gives deltas, or only sets the baseline.
    pub(crate) fn counts(&self) -> bool {
        self.from_zero
    }

    /// Whether there is a baseline of anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// The last count of every series, to be kept.
    pub(crate) fn save(&self) -> SavedBaselines {
        let expired = self.last.iter().filter(|(_, last)| last.is_expired);
        SavedBaselines {
            totals: self.last.iter().map(|(series, last)| (series.0, last.total)).collect(),
            expired: expired.map(|(series, last)| (series.0, last.at.0)).collect(),
        }
    }

    /// Of a process that was known before, with what its series counted then.
    pub(crate) fn of_known_process(totals: &[(u64, u64)], expired: &[(u64, u32)]) -> Self {
        let start = |total| Last { total, at: Stamp::default(), round: 0, is_expired: false };
        let last = totals.iter().map(|(series, total)| (SeriesKey(*series), start(*total)));
        let mut last: HashMap<SeriesKey, Last> = last.collect();
        for (series, at) in expired {
            if let Some(last) = last.get_mut(&SeriesKey(*series)) {
                (last.at, last.is_expired) = (Stamp(*at), true);
            }
        }
        Baselines { last, ..Self::of_new_process() }
    }

    /// Begins a scrape of a page whose newest capture was at `captured_at`, where timestamps show
    /// which series have expired.
    pub(crate) fn begin(&mut self, captured_at: Option<i64>) -> Round<'_> {
        self.round = self.round.wrapping_add(1);
        self.captures.see(captured_at);
        Round { baselines: self }
    }
}

impl Round<'_> {
    /// Whether a scrape of late had the series.
    pub(crate) fn knows(&self, series: SeriesKey) -> bool {
        self.baselines.last.contains_key(&series)
    }

    /// The delta of a series that now counts `total`, with its timestamp where that shows its expiry.
    ///
    /// `None` is a series that is there without a value that could be counted: it keeps its
    /// baseline. A series that comes twice in one scrape counts once.
    pub(crate) fn delta(&mut self, series: SeriesKey, total: Option<u64>, at: Option<i64>) -> u64 {
        let Baselines { from_zero, last, round, captures } = &mut *self.baselines;
        let Some(total) = total else {
            if let Some(last) = last.get_mut(&series) {
                last.round = *round;
            }
            return 0;
        };
        let now = Last { total, at: Stamp::of(at), round: *round, is_expired: false };
        let Some(known) = last.get_mut(&series) else {
            last.insert(series, now);
            return if *from_zero { total } else { 0 };
        };
        let before = *known;
        if before.round == *round {
            return 0;
        }
        *known = now;
        let misses = round.wrapping_sub(before.round) - 1;
        if now.at.is_known() && now.at == before.at {
            let is_behind = at.zip(captures.earlier).is_some_and(|(at, earlier)| at < earlier);
            known.is_expired = before.is_expired || is_behind;
        } else if before.is_expired || (before.at.is_known() && misses > MISSES_OF_LIVE_SERIES) {
            return total;
        }
        // Below the last value: it started again, and what it has counted since is new.
        if total < before.total { total } else { total - before.total }
    }

    /// Ends the scrape. Returns how many series were forgotten before their time, for want of room.
    pub(crate) fn end(self) -> usize {
        let Baselines { from_zero, last, round, .. } = self.baselines;
        let mut absent = 0;
        let mut forgotten = 0;
        last.retain(|_, last| {
            let misses = round.wrapping_sub(last.round);
            if misses == 0 {
                return true;
            }
            let is_kept = misses <= KEPT_SCRAPES;
            absent += usize::from(is_kept);
            forgotten += usize::from(is_kept && absent > MAX_ABSENT);
            is_kept && absent <= MAX_ABSENT
        });
        *from_zero = true;
        forgotten
    }
}

#[cfg(test)]
#[path = "deltas_tests.rs"]
mod tests;
