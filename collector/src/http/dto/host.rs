//! A host over time: gauges as last seen, counters since its boot, and what these grew by.

use serde::Serialize;
use systole_shared::UnixMillis;
use utoipa::ToSchema;

use crate::http::render::Row;
use crate::model::Resolution;
use crate::store::HostAggregate;

/// A host's minute, hour or day.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostMinute {
    /// Its beginning.
    at: UnixMillis,
    memory_total_bytes: Option<i64>,
    memory_used_bytes: Option<i64>,
    memory_free_bytes: Option<i64>,
    /// Over minutes.
    memory_used_bytes_mean: Option<f64>,
    cpu_seconds_total: Option<f64>,
    cpu_seconds_idle: Option<f64>,
    #[serde(rename = "loadAvg1")]
    load_avg_1: Option<f64>,
    #[serde(rename = "loadAvg1Mean")]
    load_avg_1_mean: Option<f64>,
    #[serde(rename = "loadAvg5")]
    load_avg_5: Option<f64>,
    #[serde(rename = "loadAvg15")]
    load_avg_15: Option<f64>,
    fs_total_bytes: Option<i64>,
    fs_used_bytes: Option<i64>,
    fs_free_bytes: Option<i64>,
    disk_read_bytes: Option<i64>,
    disk_written_bytes: Option<i64>,
    net_rx_bytes: Option<i64>,
    net_tx_bytes: Option<i64>,
    /// Reports that told of the host.
    samples: i64,
    /// The lowest of its minutes. Null in minutes, and where it is not known.
    min: Option<HostExtremes>,
    /// The highest of its minutes.
    max: Option<HostExtremes>,
    #[serde(flatten)]
    growth: Growth,
}

impl Row for HostMinute {
    const COLUMNS: &'static [&'static str] = &[
        "at",
        "memoryTotalBytes",
        "memoryUsedBytes",
        "memoryFreeBytes",
        "memoryUsedBytesMean",
        "cpuSecondsTotal",
        "cpuSecondsIdle",
        "loadAvg1",
        "loadAvg1Mean",
        "loadAvg5",
        "loadAvg15",
        "fsTotalBytes",
        "fsUsedBytes",
        "fsFreeBytes",
        "diskReadBytes",
        "diskWrittenBytes",
        "netRxBytes",
        "netTxBytes",
        "samples",
        "min",
        "max",
        "cpuUtilization",
        "diskReadBytesPerSecond",
        "diskWrittenBytesPerSecond",
        "netRxBytesPerSecond",
        "netTxBytesPerSecond",
    ];
}

/// Extremes of a host's minutes, each null where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostExtremes {
    memory_used_bytes: Option<i64>,
    #[serde(rename = "loadAvg1")]
    load_avg_1: Option<f64>,
    cpu_utilization: Option<f64>,
    disk_read_bytes_per_second: Option<f64>,
    disk_written_bytes_per_second: Option<f64>,
    net_rx_bytes_per_second: Option<f64>,
    net_tx_bytes_per_second: Option<f64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Which {
    Min,
    Max,
}

impl HostExtremes {
    /// The extremes of an hour or a day, if one is known.
    fn of(step: Resolution, span: &HostAggregate, which: Which) -> Option<Self> {
        fn pick<T>(which: Which, min: Option<T>, max: Option<T>) -> Option<T> {
            if which == Which::Min { min } else { max }
        }
        let rate = |min, max| pick(which, min, max).map(|bytes: i64| bytes as f64 / 60.0);
        let extremes = HostExtremes {
            memory_used_bytes: pick(which, span.memory_used_bytes_min, span.memory_used_bytes_max),
            load_avg_1: pick(which, span.load_avg_1_min, span.load_avg_1_max),
            cpu_utilization: pick(which, span.cpu_utilization_min, span.cpu_utilization_max),
            disk_read_bytes_per_second: rate(span.disk_read_bytes_min, span.disk_read_bytes_max),
            disk_written_bytes_per_second: rate(span.disk_written_bytes_min, span.disk_written_bytes_max),
            net_rx_bytes_per_second: rate(span.net_rx_bytes_min, span.net_rx_bytes_max),
            net_tx_bytes_per_second: rate(span.net_tx_bytes_min, span.net_tx_bytes_max),
        };
        (step != Resolution::Minute && extremes != HostExtremes::default()).then_some(extremes)
    }
}

/// What counters grew by since the item before, or, where that one is missing, since the first value
/// of this one. A counter that fell has no rate; the others do.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Growth {
    /// Share of all processors' time that was not idle, 0 to 1.
    cpu_utilization: Option<f64>,
    disk_read_bytes_per_second: Option<f64>,
    disk_written_bytes_per_second: Option<f64>,
    net_rx_bytes_per_second: Option<f64>,
    net_tx_bytes_per_second: Option<f64>,
}

impl HostMinute {
    /// Items of spans that are in order.
    pub(crate) fn all(step: Resolution, spans: &[HostAggregate]) -> impl Iterator<Item = HostMinute> {
        let before = std::iter::once(None).chain(spans.iter().map(Some));
        before.zip(spans).map(move |(before, span)| {
            let before = before.filter(|before| before.at + 1 == span.at);
            HostMinute::new(step, span, Growth::of(span, before))
        })
    }

    /// Its beginning.
    pub(crate) fn at(&self) -> UnixMillis {
        self.at
    }

    fn new(step: Resolution, span: &HostAggregate, growth: Growth) -> Self {
        let mean = |sum: f64, weight: f64| (weight > 0.0).then(|| sum / weight);
        HostMinute {
            at: span.at * step.ms(),
            memory_total_bytes: span.memory_total_bytes,
            memory_used_bytes: span.memory_used_bytes,
            memory_free_bytes: span.memory_free_bytes,
            memory_used_bytes_mean: mean(span.memory_used_sum, span.memory_used_weight),
            cpu_seconds_total: span.cpu_seconds_total,
            cpu_seconds_idle: span.cpu_seconds_idle,
            load_avg_1: span.load_avg_1,
            load_avg_1_mean: mean(span.load_avg_1_sum, span.load_avg_1_weight),
            load_avg_5: span.load_avg_5,
            load_avg_15: span.load_avg_15,
            fs_total_bytes: span.fs_total_bytes,
            fs_used_bytes: span.fs_used_bytes,
            fs_free_bytes: span.fs_free_bytes,
            disk_read_bytes: span.disk_read_bytes,
            disk_written_bytes: span.disk_written_bytes,
            net_rx_bytes: span.net_rx_bytes,
            net_tx_bytes: span.net_tx_bytes,
            samples: span.samples,
            min: HostExtremes::of(step, span, Which::Min),
            max: HostExtremes::of(step, span, Which::Max),
            growth,
        }
    }
}

impl Growth {
    fn of(span: &HostAggregate, before: Option<&HostAggregate>) -> Self {
        if !span.knows_what_fell() {
            return Growth::default();
        }
        let minutes = span.last_minute - before.map_or(span.first_minute, |before| before.last_minute);
        if minutes <= 0 {
            return Growth::default();
        }
        let seconds = minutes as f64 * 60.0;
        // What was last seen, and what it grew from.
        let rate = |last: fn(&HostAggregate) -> Option<i64>, first: Option<i64>| {
            let begin = unfallen(before.map_or(first, last), first, last(span))?;
            Some(last(span)?.saturating_sub(begin) as f64 / seconds)
        };
        let total = unfallen(
            before.map_or(span.cpu_seconds_total_first, |before| before.cpu_seconds_total),
            span.cpu_seconds_total_first,
            span.cpu_seconds_total,
        )
        .and_then(|begin| Some(span.cpu_seconds_total? - begin));
        // Kernels take a little of the idle time back: that is no fall.
        let idle = before
            .map_or(span.cpu_seconds_idle_first, |before| before.cpu_seconds_idle)
            .and_then(|begin| Some((span.cpu_seconds_idle? - begin).max(0.0)));
        let busy = |(total, idle): (f64, f64)| (total > 0.0).then(|| (1.0 - idle / total).clamp(0.0, 1.0));
        Growth {
            cpu_utilization: total.zip(idle).and_then(busy),
            disk_read_bytes_per_second: rate(|span| span.disk_read_bytes, span.disk_read_bytes_first),
            disk_written_bytes_per_second: rate(|span| span.disk_written_bytes, span.disk_written_bytes_first),
            net_rx_bytes_per_second: rate(|span| span.net_rx_bytes, span.net_rx_bytes_first),
            net_tx_bytes_per_second: rate(|span| span.net_tx_bytes, span.net_tx_bytes_first),
        }
    }
}

/// What a counter grew from, unless it fell: before the span or within it.
fn unfallen<T: Copy + PartialOrd>(begin: Option<T>, first: Option<T>, last: Option<T>) -> Option<T> {
    let (begin, first, last) = (begin?, first?, last?);
    (begin <= first && first <= last).then_some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A span with a processor that is busy for a quarter of the time, and a host that gets 10 bytes
    /// per second.
    fn span(at: i64, minutes: std::ops::Range<i64>) -> HostAggregate {
        let (first, last) = (minutes.start, minutes.end - 1);
        HostAggregate {
            at,
            first_minute: first,
            last_minute: last,
            memory_total_bytes: None,
            memory_used_bytes: Some(4),
            memory_free_bytes: None,
            load_avg_1: None,
            load_avg_5: None,
            load_avg_15: None,
            fs_total_bytes: None,
            fs_used_bytes: None,
            fs_free_bytes: None,
            cpu_seconds_total: Some(last as f64 * 60.0),
            cpu_seconds_idle: Some(last as f64 * 45.0),
            disk_read_bytes: None,
            disk_written_bytes: Some(7),
            net_rx_bytes: Some(last * 600),
            net_tx_bytes: Some(last * 60),
            cpu_seconds_total_first: Some(first as f64 * 60.0),
            cpu_seconds_idle_first: Some(first as f64 * 45.0),
            disk_read_bytes_first: None,
            disk_written_bytes_first: Some(7),
            net_rx_bytes_first: Some(first * 600),
            net_tx_bytes_first: Some(first * 60),
            memory_used_sum: 6.0,
            memory_used_weight: 2.0,
            load_avg_1_sum: 0.0,
            load_avg_1_weight: 0.0,
            resets: 0,
            samples: 2,
            ..HostAggregate::default()
        }
    }

    fn growth(step: Resolution, spans: &[HostAggregate]) -> Vec<Growth> {
        HostMinute::all(step, spans).map(|item| item.growth).collect()
    }

    fn known() -> Growth {
        Growth {
            cpu_utilization: Some(0.25),
            disk_read_bytes_per_second: None,
            disk_written_bytes_per_second: Some(0.0),
            net_rx_bytes_per_second: Some(10.0),
            net_tx_bytes_per_second: Some(1.0),
        }
    }

    #[test]
    fn counter_rates_use_the_previous_item() {
        let spans = [span(5, 5..6), span(6, 6..7), span(8, 8..9)];
        assert_eq!(growth(Resolution::Minute, &spans), [Growth::default(), known(), Growth::default()], "7 is missing");
        let hours = [span(0, 30..60), span(1, 61..120)];
        assert_eq!(
            growth(Resolution::Hour, &hours),
            [known(), known()],
            "an hour is compared with its own beginning, too"
        );
    }

    #[test]
    fn restarted_counter_has_no_rate() {
        let mut within = span(1, 60..120);
        within.resets = 1;
        within.net_rx_bytes_first = Some(i64::MAX);
        let mut after = span(2, 120..180);
        after.net_tx_bytes_first = Some(0);
        let spans = [span(0, 0..60), within, after];
        let no_received = Growth { net_rx_bytes_per_second: None, ..known() };
        let no_sent = Growth { net_tx_bytes_per_second: None, ..known() };
        assert_eq!(growth(Resolution::Hour, &spans), [known(), no_received, no_sent], "and all others are known");
    }

    #[test]
    fn span_of_an_earlier_version_with_a_fall_has_no_rates() {
        let mut within = span(1, 60..120);
        within.resets = 1;
        assert_eq!(growth(Resolution::Hour, &[within]), [Growth::default()]);
    }

    #[test]
    fn mean_without_weight_is_null() {
        let item = HostMinute::all(Resolution::Hour, &[span(1, 60..120)]).next().unwrap();
        assert_eq!((item.memory_used_bytes_mean, item.load_avg_1_mean, item.at()), (Some(3.0), None, 3_600_000));
    }
}
