//! The last minutes of every pipeline on a node, in memory, for alerts.
//!
//! They are filled with what is committed, under the same lock as the memtable, so that a minute can be replaced by
//! what the database and the memtable have of it without counting anything twice. A few minutes are kept whole; of two
//! hours it is kept which minutes had a sample, and which carried events.

use std::collections::VecDeque;

use foldhash::HashMap;

use crate::store::{MinuteBucket, NodeMinuteRow, PipelineMinuteRow};

/// Pipelines on nodes whose minutes are kept: 20 on each of 10,000 nodes, some 150 MB. Alerts know nothing of others.
const MAX_SERIES: usize = 200_000;

/// Minutes that are kept whole: the longest window of a rule, the minute that has just begun, and late reports.
pub(crate) const WHOLE_MINUTES: i64 = 12;

/// Minutes of which it is known whether they carried events.
pub(crate) const KNOWN_MINUTES: i64 = 128;

/// What a pipeline on a node did in one minute or more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WindowSums {
    pub events_in: i64,
    pub events_out: i64,
    pub errors: i64,
    pub discarded: i64,
    pub bytes_in: i64,
    pub bytes_out: i64,
    pub logs_dropped: i64,
    pub resets: i64,
    pub gaps: i64,
    /// Reports with a sample; 0: nothing is known.
    pub samples: i64,
    pub utilization: (f64, f64),
    pub latency: (f64, f64),
    /// How full the fullest buffer was, as last seen, 0 to 1.
    pub buffer_fill: Option<f32>,
}

impl WindowSums {
    fn add_row(&mut self, row: &PipelineMinuteRow) {
        self.add(&WindowSums {
            events_in: row.events_in,
            events_out: row.events_out,
            errors: row.errors,
            discarded: row.discarded,
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
            logs_dropped: row.logs_dropped,
            resets: row.resets,
            gaps: row.gaps,
            samples: row.samples,
            utilization: (row.utilization_sum, row.utilization_weight),
            latency: (row.latency_sum, row.latency_weight),
            buffer_fill: None,
        });
    }

    fn add(&mut self, later: &WindowSums) {
        for (sum, more) in [
            (&mut self.events_in, later.events_in),
            (&mut self.events_out, later.events_out),
            (&mut self.errors, later.errors),
            (&mut self.discarded, later.discarded),
            (&mut self.bytes_in, later.bytes_in),
            (&mut self.bytes_out, later.bytes_out),
            (&mut self.logs_dropped, later.logs_dropped),
            (&mut self.resets, later.resets),
            (&mut self.gaps, later.gaps),
            (&mut self.samples, later.samples),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.utilization = (self.utilization.0 + later.utilization.0, self.utilization.1 + later.utilization.1);
        self.latency = (self.latency.0 + later.latency.0, self.latency.1 + later.latency.1);
        self.buffer_fill = later.buffer_fill.or(self.buffer_fill);
    }
}

/// The minutes of one pipeline on a node.
#[derive(Clone, Debug)]
pub(crate) struct SeriesMinutes {
    /// By minute.
    whole: VecDeque<(i64, WindowSums)>,
    /// The newest minute with a report. Bit 0 of the masks stands for it, bit 1 for the minute before.
    newest: i64,
    sampled: u128,
    carried: u128,
    /// What was committed since this process began.
    total: WindowSums,
}

impl SeriesMinutes {
    fn new(minute: i64) -> Self {
        SeriesMinutes { whole: VecDeque::new(), newest: minute, sampled: 0, carried: 0, total: WindowSums::default() }
    }

    fn slot(&mut self, minute: i64) -> Option<&mut WindowSums> {
        if minute > self.newest {
            let passed = minute - self.newest;
            let shift = |mask: u128| u32::try_from(passed).ok().and_then(|by| mask.checked_shl(by)).unwrap_or(0);
            (self.sampled, self.carried, self.newest) = (shift(self.sampled), shift(self.carried), minute);
        }
        while self.whole.front().is_some_and(|(first, _)| *first <= self.newest - WHOLE_MINUTES) {
            self.whole.pop_front();
        }
        if minute <= self.newest - WHOLE_MINUTES {
            return None;
        }
        let place = self.whole.partition_point(|(known, _)| *known < minute);
        if self.whole.get(place).is_none_or(|(known, _)| *known != minute) {
            self.whole.insert(place, (minute, WindowSums::default()));
        }
        self.whole.get_mut(place).map(|(_, sums)| sums)
    }

    fn add(&mut self, minute: i64, row: &PipelineMinuteRow) {
        if let Some(sums) = self.slot(minute) {
            sums.add_row(row);
        }
        let bit = self.bit(minute);
        self.sampled |= if row.samples > 0 { bit } else { 0 };
        self.carried |= if row.events_in > 0 || row.events_out > 0 { bit } else { 0 };
    }

    fn bit(&self, minute: i64) -> u128 {
        u32::try_from(self.newest - minute).ok().and_then(|by| 1_u128.checked_shl(by)).unwrap_or(0)
    }

    fn clear(&mut self, minute: i64) {
        let bit = self.bit(minute);
        self.sampled &= !bit;
        self.carried &= !bit;
        // What is known of its buffers is in no row of a pipeline.
        for (_, sums) in self.whole.iter_mut().filter(|(known, _)| *known == minute) {
            *sums = WindowSums { buffer_fill: sums.buffer_fill, ..WindowSums::default() };
        }
    }

    /// The sums of the `over` minutes that end with `minute`. `None` when nothing is known of the last of them.
    pub(crate) fn window(&self, minute: i64, over: i64) -> Option<WindowSums> {
        let mut sums = WindowSums::default();
        let mut is_known = false;
        for (at, part) in &self.whole {
            if *at > minute - over && *at <= minute {
                sums.add(part);
                is_known = *at == minute && part.samples > 0;
            }
        }
        is_known.then_some(sums)
    }

    /// What was committed since this process began: it only grows.
    pub(crate) fn total(&self) -> &WindowSums {
        &self.total
    }

    /// Whether the pipeline had a sample in a minute.
    pub(crate) fn is_sampled(&self, minute: i64) -> bool {
        self.sampled & self.bit(minute) != 0
    }

    /// Whether it carried events in a minute.
    pub(crate) fn has_carried(&self, minute: i64) -> bool {
        self.carried & self.bit(minute) != 0
    }

    /// The last minute up to `minute` that carried events.
    pub(crate) fn last_carried(&self, minute: i64) -> Option<i64> {
        let first = self.newest - KNOWN_MINUTES + 1;
        (first..=minute.min(self.newest)).rev().find(|minute| self.has_carried(*minute))
    }
}

/// The last minutes of all pipelines on nodes.
#[derive(Debug, Default)]
pub(crate) struct MinuteWindows {
    series: HashMap<i64, SeriesMinutes>,
    /// The last minutes of hosts by node, if a rule needs them.
    hosts: Option<HashMap<i64, VecDeque<NodeMinuteRow>>>,
    /// Pipelines that are left out because there are too many.
    pub left_out: u64,
}

impl MinuteWindows {
    /// Also keeps minutes of hosts.
    pub(crate) fn keep_hosts(&mut self) {
        self.hosts.get_or_insert_default();
    }

    /// Adds what was just committed.
    pub(crate) fn add_committed(&mut self, bucket: &MinuteBucket) {
        self.add_bucket(bucket);
        for row in &bucket.pipelines {
            if let Some(series) = self.series.get_mut(&row.series) {
                series.total.add_row(row);
            }
        }
        for (series, fill) in &bucket.buffer_fills {
            if let Some(series) = self.series.get_mut(series) {
                series.total.buffer_fill = Some(*fill);
            }
        }
    }

    /// Adds what was committed at some time.
    pub(crate) fn add_bucket(&mut self, bucket: &MinuteBucket) {
        for row in &bucket.pipelines {
            self.add_row(bucket.minute, row);
        }
        for (series, fill) in &bucket.buffer_fills {
            self.set_fill(bucket.minute, *series, *fill);
        }
        if let Some(host) = &bucket.host {
            self.set_host(NodeMinuteRow { minute: bucket.minute, node: bucket.node, ..host.clone() });
        }
    }

    /// Adds a row of a minute.
    pub(crate) fn add_row(&mut self, minute: i64, row: &PipelineMinuteRow) {
        if let Some(series) = self.series_of(row.series, minute) {
            series.add(minute, row);
        }
    }

    /// How full the fullest buffer of a pipeline is, as last seen.
    pub(crate) fn set_fill(&mut self, minute: i64, series: i64, fill: f32) {
        if let Some(sums) = self.series_of(series, minute).and_then(|series| series.slot(minute)) {
            sums.buffer_fill = Some(fill);
        }
    }

    /// The host of a node, as last seen in a minute.
    pub(crate) fn set_host(&mut self, row: NodeMinuteRow) {
        let Some(hosts) = &mut self.hosts else { return };
        let rows = hosts.entry(row.node).or_default();
        let place = rows.partition_point(|known| known.minute < row.minute);
        match rows.get_mut(place).filter(|known| known.minute == row.minute) {
            Some(known) => *known = row,
            None => rows.insert(place, row),
        }
        while rows.len() as i64 > WHOLE_MINUTES {
            rows.pop_front();
        }
    }

    fn series_of(&mut self, series: i64, minute: i64) -> Option<&mut SeriesMinutes> {
        if self.series.len() >= MAX_SERIES && !self.series.contains_key(&series) {
            self.left_out += 1;
            return None;
        }
        Some(self.series.entry(series).or_insert_with(|| SeriesMinutes::new(minute)))
    }

    /// Forgets a minute, to be filled again.
    pub(crate) fn clear(&mut self, minute: i64) {
        self.series.values_mut().for_each(|series| series.clear(minute));
    }

    /// Forgets pipelines without a report since a minute.
    pub(crate) fn expire(&mut self, before: i64) {
        self.series.retain(|_, series| series.newest >= before);
        self.hosts.iter_mut().for_each(|hosts| {
            hosts.retain(|_, rows| rows.back().is_some_and(|row| row.minute >= before));
        });
    }

    /// The minutes of a pipeline on a node.
    pub(crate) fn get(&self, series: i64) -> Option<&SeriesMinutes> {
        self.series.get(&series)
    }

    /// The first and the last minute of a host in the `over` minutes that end with `minute`. `None` when nothing is
    /// known of the last of them.
    pub(crate) fn host(&self, node: i64, minute: i64, over: i64) -> Option<(&NodeMinuteRow, &NodeMinuteRow)> {
        let rows = self.hosts.as_ref()?.get(&node)?;
        let last = rows.iter().find(|row| row.minute == minute)?;
        // Counters of one minute are the difference to the minute before.
        let first = rows.iter().find(|row| row.minute >= minute - over)?;
        Some((first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(events: i64, errors: i64) -> PipelineMinuteRow {
        PipelineMinuteRow { series: 7, events_in: events, errors, samples: 1, ..PipelineMinuteRow::default() }
    }

    #[test]
    fn window_is_the_sum_of_its_minutes_and_unknown_without_the_last() {
        let mut windows = MinuteWindows::default();
        for minute in 100..105 {
            windows.add_row(minute, &row(10, minute - 100));
        }
        let series = windows.get(7).unwrap();
        let window = series.window(104, 3).unwrap();
        assert_eq!((window.events_in, window.errors, window.samples), (30, 9, 3));
        assert_eq!(series.window(105, 3), None);
        assert_eq!(series.window(104, 1).unwrap().errors, 4);
    }

    #[test]
    fn late_report_counts_in_its_own_minute() {
        let mut windows = MinuteWindows::default();
        windows.add_row(110, &row(1, 0));
        windows.add_row(108, &row(5, 0));
        windows.add_row(60, &row(5, 0));
        let series = windows.get(7).unwrap();
        assert_eq!(series.window(110, 3).unwrap().events_in, 6);
        assert!(series.has_carried(60) && series.is_sampled(108) && !series.has_carried(109));
        assert_eq!(series.last_carried(109), Some(108));
    }

    #[test]
    fn long_absence_forgets_what_was_carried() {
        let mut windows = MinuteWindows::default();
        windows.add_row(100, &row(1, 0));
        windows.add_row(100 + KNOWN_MINUTES, &row(0, 0));
        assert_eq!(windows.get(7).unwrap().last_carried(100 + KNOWN_MINUTES), None);
    }

    #[test]
    fn cleared_minute_can_be_filled_again_without_counting_twice() {
        let mut windows = MinuteWindows::default();
        windows.add_row(100, &row(10, 1));
        windows.set_fill(100, 7, 0.5);
        windows.clear(100);
        assert_eq!(windows.get(7).unwrap().window(100, 1), None);
        windows.add_row(100, &row(10, 1));
        let window = windows.get(7).unwrap().window(100, 1).unwrap();
        assert_eq!((window.events_in, window.buffer_fill), (10, Some(0.5)));
    }
}
