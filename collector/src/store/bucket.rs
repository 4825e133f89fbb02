//! The sums of a node's reports in one minute: rows that are not written yet.

use serde::{Deserialize, Serialize};

use crate::model::SeriesKey;

use crate::store::{ComponentMinuteRow, NodeMinuteRow, PipelineMinuteRow};

/// Rows of one node and one minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct MinuteBucket {
    /// Unix minute.
    pub minute: i64,
    pub node: i64,
    pub host: Option<NodeMinuteRow>,
    /// By series.
    pub pipelines: Vec<PipelineMinuteRow>,
    /// By series.
    pub components: Vec<ComponentMinuteRow>,
    /// How full the fullest buffer of a pipeline is, 0 to 1, by the series of the pipeline. Only in memory.
    #[serde(skip)]
    pub buffer_fills: Vec<(i64, f32)>,
}

/// A row of one series in a minute.
trait SeriesRow {
    fn new(minute: i64, series: i64) -> Self;
    fn series(&self) -> i64;
    fn add(&mut self, later: &Self);
}

impl MinuteBucket {
    /// Nothing yet.
    pub(crate) fn new(minute: i64, node: i64) -> Self {
        MinuteBucket { minute, node, ..MinuteBucket::default() }
    }

    /// The row of a pipeline's series, to add to.
    pub(crate) fn pipeline(&mut self, series: SeriesKey) -> &mut PipelineMinuteRow {
        row_of(&mut self.pipelines, self.minute, series.0)
    }

    /// The row of a component's series, to add to.
    pub(crate) fn component(&mut self, series: SeriesKey) -> &mut ComponentMinuteRow {
        row_of(&mut self.components, self.minute, series.0)
    }

    /// The host as last seen: each figure replaces the one before, and the samples are counted. A figure
    /// that a report lacks, because it could not be read in time, stays as it was.
    pub(crate) fn set_host(&mut self, row: NodeMinuteRow) {
        self.host = Some(match self.host.take() {
            Some(known) => newest(&row, &known),
            None => row,
        });
    }

    /// Adds what came later.
    pub(crate) fn add(&mut self, later: MinuteBucket) {
        if let Some(host) = later.host {
            self.set_host(host);
        }
        add_rows(&mut self.pipelines, later.pipelines);
        add_rows(&mut self.components, later.components);
    }

    /// Rows that it becomes.
    pub(crate) fn row_count(&self) -> usize {
        self.pipelines.len() + self.components.len() + usize::from(self.host.is_some())
    }

    /// Gives its rows what they share, which is not written with each of them.
    pub(crate) fn restore_keys(&mut self) {
        self.pipelines.iter_mut().for_each(|row| row.minute = self.minute);
        self.components.iter_mut().for_each(|row| row.minute = self.minute);
        if let Some(host) = &mut self.host {
            (host.minute, host.node) = (self.minute, self.node);
        }
    }
}

fn row_of<R: SeriesRow>(rows: &mut Vec<R>, minute: i64, series: i64) -> &mut R {
    // Reports name their series in the same order each time, and new ones have the highest keys.
    let place = match rows.last() {
        Some(last) if last.series() >= series => rows.binary_search_by_key(&series, R::series),
        _ => Err(rows.len()),
    };
    let index = place.unwrap_or_else(|index| {
        rows.insert(index, R::new(minute, series));
        index
    });
    &mut rows[index]
}

fn add_rows<R: SeriesRow>(rows: &mut Vec<R>, later: Vec<R>) {
    if rows.is_empty() {
        *rows = later;
        return;
    }
    // Both are in order, and mostly of the same series.
    let mut next = 0;
    for row in later {
        let found = match rows.get(next) {
            Some(known) if known.series() == row.series() => Ok(next),
            _ => rows.binary_search_by_key(&row.series(), R::series),
        };
        match found {
            Ok(index) => {
                rows[index].add(&row);
                next = index + 1;
            }
            Err(index) => {
                rows.insert(index, row);
                next = index + 1;
            }
        }
    }
}

impl SeriesRow for PipelineMinuteRow {
    fn new(minute: i64, series: i64) -> Self {
        PipelineMinuteRow { minute, series, ..PipelineMinuteRow::default() }
    }

    fn series(&self) -> i64 {
        self.series
    }

    fn add(&mut self, later: &Self) {
        self.add(later);
    }
}

impl SeriesRow for ComponentMinuteRow {
    fn new(minute: i64, series: i64) -> Self {
        ComponentMinuteRow { minute, series, ..ComponentMinuteRow::default() }
    }

    fn series(&self) -> i64 {
        self.series
    }

    fn add(&mut self, later: &Self) {
        self.add(later);
    }
}

fn newest(row: &NodeMinuteRow, known: &NodeMinuteRow) -> NodeMinuteRow {
    NodeMinuteRow {
        memory_total_bytes: row.memory_total_bytes.or(known.memory_total_bytes),
        memory_used_bytes: row.memory_used_bytes.or(known.memory_used_bytes),
        memory_free_bytes: row.memory_free_bytes.or(known.memory_free_bytes),
        cpu_seconds_total: row.cpu_seconds_total.or(known.cpu_seconds_total),
        cpu_seconds_idle: row.cpu_seconds_idle.or(known.cpu_seconds_idle),
        load_avg_1: row.load_avg_1.or(known.load_avg_1),
        load_avg_5: row.load_avg_5.or(known.load_avg_5),
        load_avg_15: row.load_avg_15.or(known.load_avg_15),
        fs_total_bytes: row.fs_total_bytes.or(known.fs_total_bytes),
        fs_used_bytes: row.fs_used_bytes.or(known.fs_used_bytes),
        fs_free_bytes: row.fs_free_bytes.or(known.fs_free_bytes),
        disk_read_bytes: row.disk_read_bytes.or(known.disk_read_bytes),
        disk_written_bytes: row.disk_written_bytes.or(known.disk_written_bytes),
        net_rx_bytes: row.net_rx_bytes.or(known.net_rx_bytes),
        net_tx_bytes: row.net_tx_bytes.or(known.net_tx_bytes),
        samples: row.samples + known.samples,
        minute: row.minute,
        node: row.node,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::add_known;

    fn bucket(events: &[(i64, i64)]) -> MinuteBucket {
        let mut bucket = MinuteBucket::new(7, 1);
        for (series, events) in events {
            bucket.pipeline(SeriesKey(*series)).events_in += events;
            let component = bucket.component(SeriesKey(*series + 1_000));
            component.received_bytes = add_known(component.received_bytes, (events % 2 == 0).then_some(*events));
        }
        bucket
    }

    proptest! {
        #[test]
        fn buckets_add_up_by_series_in_any_order(
            parts in prop::collection::vec(prop::collection::vec((0_i64..20, 0_i64..100), 0..30), 1..6),
        ) {
            let mut sum = MinuteBucket::new(7, 1);
            let mut naive: BTreeMap<i64, (i64, Option<i64>)> = BTreeMap::new();
            for part in &parts {
                sum.add(bucket(part));
                for (series, events) in part {
                    let known = naive.entry(*series).or_default();
                    known.0 += events;
                    if events % 2 == 0 {
                        known.1 = Some(known.1.unwrap_or(0) + events);
                    }
                }
            }
            let pipelines: Vec<_> = sum.pipelines.iter().map(|row| (row.minute, row.series, row.events_in)).collect();
            let components: Vec<_> = sum.components.iter().map(|row| (row.series - 1_000, row.received_bytes)).collect();
            prop_assert_eq!(pipelines, naive.iter().map(|(series, sums)| (7, *series, sums.0)).collect::<Vec<_>>());
            prop_assert_eq!(components, naive.iter().map(|(series, sums)| (*series, sums.1)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn host_bucket_keeps_the_last_sample_and_counts_all() {
        let host = |used| NodeMinuteRow { memory_used_bytes: Some(used), samples: 1, ..NodeMinuteRow::default() };
        let mut bucket = MinuteBucket::new(7, 1);
        bucket.set_host(host(10));
        let mut later = MinuteBucket::new(7, 1);
        later.set_host(host(20));
        later.set_host(host(5));
        bucket.add(later);
        bucket.set_host(NodeMinuteRow { net_rx_bytes: Some(7), samples: 1, ..NodeMinuteRow::default() });
        let host = bucket.host.unwrap();
        assert_eq!((host.memory_used_bytes, host.net_rx_bytes, host.samples), (Some(5), Some(7), 4));
    }
}
