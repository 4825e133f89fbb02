//! Aggregates the metrics of a host over a minute, an hour or a day.
//!
//! Gauges are as last seen. Counters since the host's boot are kept as first and as last seen, so
//! that their growth is known. A counter that fell in between has its highest value as the first one, so that its own
//! growth is unknown and that of the others is not. `resets` counts the falls.
//!
//! Memory and load are stored as the last value and as a mean over minutes. Extremes are those of minutes; the growth in a minute
//! is the difference to the minute before, also across the beginning of a span. Rates compare the ends of
//! neighbours. Idle time that goes down is not a reset: kernels correct it downwards by a little. Buffers
//! of components are kept at their maximum.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Double, Nullable};

use super::NodeMinuteRow;

/// Columns of gauges.
pub(super) const GAUGES: [&str; 9] = [
    "memory_total_bytes",
    "memory_used_bytes",
    "memory_free_bytes",
    "load_avg_1",
    "load_avg_5",
    "load_avg_15",
    "fs_total_bytes",
    "fs_used_bytes",
    "fs_free_bytes",
];
/// Columns of counters as last seen.
pub(super) const COUNTERS: [&str; 6] =
    ["cpu_seconds_total", "cpu_seconds_idle", "disk_read_bytes", "disk_written_bytes", "net_rx_bytes", "net_tx_bytes"];
/// Columns of counters as first seen.
pub(super) const FIRSTS: [&str; 6] = [
    "cpu_seconds_total_first",
    "cpu_seconds_idle_first",
    "disk_read_bytes_first",
    "disk_written_bytes_first",
    "net_rx_bytes_first",
    "net_tx_bytes_first",
];
/// Columns of means over minutes.
pub(super) const WEIGHTED: [&str; 4] = ["memory_used_sum", "memory_used_weight", "load_avg_1_sum", "load_avg_1_weight"];
/// Columns of extremes over minutes: of gauges, and of what counters grew by in a minute.
pub(super) const EXTREMES: [&str; 14] = [
    "memory_used_bytes_min",
    "memory_used_bytes_max",
    "load_avg_1_min",
    "load_avg_1_max",
    "cpu_utilization_min",
    "cpu_utilization_max",
    "disk_read_bytes_min",
    "disk_read_bytes_max",
    "disk_written_bytes_min",
    "disk_written_bytes_max",
    "net_rx_bytes_min",
    "net_rx_bytes_max",
    "net_tx_bytes_min",
    "net_tx_bytes_max",
];
/// Columns that are added up.
pub(super) const ADDED: [&str; 2] = ["resets", "samples"];

/// Rows of a step; see the module.
#[derive(Clone, Debug, Default, PartialEq, QueryableByName)]
pub(crate) struct HostAggregate {
    /// Number of the minute, hour or day.
    #[diesel(sql_type = BigInt)]
    pub at: i64,
    #[diesel(sql_type = BigInt)]
    pub first_minute: i64,
    #[diesel(sql_type = BigInt)]
    pub last_minute: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub memory_total_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub memory_used_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub memory_free_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub load_avg_1: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub load_avg_5: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub load_avg_15: Option<f64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub fs_total_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub fs_used_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub fs_free_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub cpu_seconds_total: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub cpu_seconds_idle: Option<f64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub disk_read_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub disk_written_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub net_rx_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub net_tx_bytes: Option<i64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub cpu_seconds_total_first: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub cpu_seconds_idle_first: Option<f64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub disk_read_bytes_first: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub disk_written_bytes_first: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub net_rx_bytes_first: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub net_tx_bytes_first: Option<i64>,
    #[diesel(sql_type = Double)]
    pub memory_used_sum: f64,
    #[diesel(sql_type = Double)]
    pub memory_used_weight: f64,
    #[diesel(sql_type = Double)]
    pub load_avg_1_sum: f64,
    #[diesel(sql_type = Double)]
    pub load_avg_1_weight: f64,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub memory_used_bytes_min: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub memory_used_bytes_max: Option<i64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub load_avg_1_min: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub load_avg_1_max: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub cpu_utilization_min: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub cpu_utilization_max: Option<f64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub disk_read_bytes_min: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub disk_read_bytes_max: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub disk_written_bytes_min: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub disk_written_bytes_max: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub net_rx_bytes_min: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub net_rx_bytes_max: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub net_tx_bytes_min: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub net_tx_bytes_max: Option<i64>,
    #[diesel(sql_type = BigInt)]
    pub resets: i64,
    #[diesel(sql_type = BigInt)]
    pub samples: i64,
}

/// A value of a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Int(Option<i64>),
    Float(Option<f64>),
}

impl HostAggregate {
    /// A minute that lies in step `at`.
    pub(crate) fn of_minute(at: i64, row: &NodeMinuteRow) -> Self {
        let weight = |is_known: bool| if is_known { 1.0 } else { 0.0 };
        HostAggregate {
            at,
            first_minute: row.minute,
            last_minute: row.minute,
            memory_total_bytes: row.memory_total_bytes,
            memory_used_bytes: row.memory_used_bytes,
            memory_free_bytes: row.memory_free_bytes,
            load_avg_1: row.load_avg_1,
            load_avg_5: row.load_avg_5,
            load_avg_15: row.load_avg_15,
            fs_total_bytes: row.fs_total_bytes,
            fs_used_bytes: row.fs_used_bytes,
            fs_free_bytes: row.fs_free_bytes,
            cpu_seconds_total: row.cpu_seconds_total,
            cpu_seconds_idle: row.cpu_seconds_idle,
            disk_read_bytes: row.disk_read_bytes,
            disk_written_bytes: row.disk_written_bytes,
            net_rx_bytes: row.net_rx_bytes,
            net_tx_bytes: row.net_tx_bytes,
            cpu_seconds_total_first: row.cpu_seconds_total,
            cpu_seconds_idle_first: row.cpu_seconds_idle,
            disk_read_bytes_first: row.disk_read_bytes,
            disk_written_bytes_first: row.disk_written_bytes,
            net_rx_bytes_first: row.net_rx_bytes,
            net_tx_bytes_first: row.net_tx_bytes,
            memory_used_sum: row.memory_used_bytes.unwrap_or(0) as f64,
            memory_used_weight: weight(row.memory_used_bytes.is_some()),
            load_avg_1_sum: row.load_avg_1.unwrap_or(0.0),
            load_avg_1_weight: weight(row.load_avg_1.is_some()),
            memory_used_bytes_min: row.memory_used_bytes,
            memory_used_bytes_max: row.memory_used_bytes,
            load_avg_1_min: row.load_avg_1,
            load_avg_1_max: row.load_avg_1,
            cpu_utilization_min: None,
            cpu_utilization_max: None,
            disk_read_bytes_min: None,
            disk_read_bytes_max: None,
            disk_written_bytes_min: None,
            disk_written_bytes_max: None,
            net_rx_bytes_min: None,
            net_rx_bytes_max: None,
            net_tx_bytes_min: None,
            net_tx_bytes_max: None,
            resets: 0,
            samples: row.samples,
        }
    }

    /// Continues with the next span.
    pub(super) fn extend(&mut self, later: &HostAggregate) {
        if self.lacks_extremes() || later.lacks_extremes() {
            self.forget_extremes();
        } else {
            let first_minute = later.growth_after(self);
            self.join_extremes(later);
            self.join_extremes(&first_minute);
        }
        self.resets = self.resets + later.resets + i64::from(self.is_reset_by(later));
        self.samples = self.samples.saturating_add(later.samples);
        self.last_minute = later.last_minute;
        self.memory_total_bytes = later.memory_total_bytes.or(self.memory_total_bytes);
        self.memory_used_bytes = later.memory_used_bytes.or(self.memory_used_bytes);
        self.memory_free_bytes = later.memory_free_bytes.or(self.memory_free_bytes);
        self.load_avg_1 = later.load_avg_1.or(self.load_avg_1);
        self.load_avg_5 = later.load_avg_5.or(self.load_avg_5);
        self.load_avg_15 = later.load_avg_15.or(self.load_avg_15);
        self.fs_total_bytes = later.fs_total_bytes.or(self.fs_total_bytes);
        self.fs_used_bytes = later.fs_used_bytes.or(self.fs_used_bytes);
        self.fs_free_bytes = later.fs_free_bytes.or(self.fs_free_bytes);
        self.cpu_seconds_total_first =
            first_of((self.cpu_seconds_total_first, self.cpu_seconds_total), later.cpu_seconds_total_first, f64::MAX);
        self.cpu_seconds_total = later.cpu_seconds_total.or(self.cpu_seconds_total);
        self.cpu_seconds_idle = later.cpu_seconds_idle.or(self.cpu_seconds_idle);
        self.cpu_seconds_idle_first = self.cpu_seconds_idle_first.or(later.cpu_seconds_idle_first);
        self.disk_read_bytes_first =
            first_of((self.disk_read_bytes_first, self.disk_read_bytes), later.disk_read_bytes_first, i64::MAX);
        self.disk_read_bytes = later.disk_read_bytes.or(self.disk_read_bytes);
        self.disk_written_bytes_first = first_of(
            (self.disk_written_bytes_first, self.disk_written_bytes),
            later.disk_written_bytes_first,
            i64::MAX,
        );
        self.disk_written_bytes = later.disk_written_bytes.or(self.disk_written_bytes);
        self.net_rx_bytes_first =
            first_of((self.net_rx_bytes_first, self.net_rx_bytes), later.net_rx_bytes_first, i64::MAX);
        self.net_rx_bytes = later.net_rx_bytes.or(self.net_rx_bytes);
        self.net_tx_bytes_first =
            first_of((self.net_tx_bytes_first, self.net_tx_bytes), later.net_tx_bytes_first, i64::MAX);
        self.net_tx_bytes = later.net_tx_bytes.or(self.net_tx_bytes);
        self.memory_used_sum += later.memory_used_sum;
        self.memory_used_weight += later.memory_used_weight;
        self.load_avg_1_sum += later.load_avg_1_sum;
        self.load_avg_1_weight += later.load_avg_1_weight;
    }

    /// Whether it was summed by a version that kept no extremes.
    fn lacks_extremes(&self) -> bool {
        let lacks = |weight: f64, extreme: bool| weight > 0.0 && !extreme;
        lacks(self.memory_used_weight, self.memory_used_bytes_min.is_some())
            || lacks(self.load_avg_1_weight, self.load_avg_1_min.is_some())
    }

    /// A span with nothing but what the counters grew by in this one's first minute, if the one before ends there.
    fn growth_after(&self, before: &HostAggregate) -> HostAggregate {
        let mut growth = HostAggregate { at: self.at, ..HostAggregate::default() };
        if before.last_minute + 1 != self.first_minute {
            return growth;
        }
        let grown = |last: Option<i64>, first: Option<i64>| {
            let grown = first.filter(|first| *first < i64::MAX)?.checked_sub(last?)?;
            (grown >= 0).then_some(grown)
        };
        let total = self.cpu_seconds_total_first.filter(|first| *first < f64::MAX);
        let total = total.zip(before.cpu_seconds_total).map(|(first, last)| first - last);
        let idle = self.cpu_seconds_idle_first.zip(before.cpu_seconds_idle);
        let busy = total.filter(|total| *total > 0.0).zip(idle);
        let busy = busy.map(|(total, (first, last))| (1.0 - (first - last).max(0.0) / total).clamp(0.0, 1.0));
        (growth.cpu_utilization_min, growth.cpu_utilization_max) = (busy, busy);
        let read = grown(before.disk_read_bytes, self.disk_read_bytes_first);
        (growth.disk_read_bytes_min, growth.disk_read_bytes_max) = (read, read);
        let written = grown(before.disk_written_bytes, self.disk_written_bytes_first);
        (growth.disk_written_bytes_min, growth.disk_written_bytes_max) = (written, written);
        let received = grown(before.net_rx_bytes, self.net_rx_bytes_first);
        (growth.net_rx_bytes_min, growth.net_rx_bytes_max) = (received, received);
        let sent = grown(before.net_tx_bytes, self.net_tx_bytes_first);
        (growth.net_tx_bytes_min, growth.net_tx_bytes_max) = (sent, sent);
        growth
    }

    /// Takes the extremes of another span, too.
    fn join_extremes(&mut self, other: &HostAggregate) {
        self.memory_used_bytes_min = lowest(self.memory_used_bytes_min, other.memory_used_bytes_min);
        self.memory_used_bytes_max = highest(self.memory_used_bytes_max, other.memory_used_bytes_max);
        self.load_avg_1_min = lowest(self.load_avg_1_min, other.load_avg_1_min);
        self.load_avg_1_max = highest(self.load_avg_1_max, other.load_avg_1_max);
        self.cpu_utilization_min = lowest(self.cpu_utilization_min, other.cpu_utilization_min);
        self.cpu_utilization_max = highest(self.cpu_utilization_max, other.cpu_utilization_max);
        self.disk_read_bytes_min = lowest(self.disk_read_bytes_min, other.disk_read_bytes_min);
        self.disk_read_bytes_max = highest(self.disk_read_bytes_max, other.disk_read_bytes_max);
        self.disk_written_bytes_min = lowest(self.disk_written_bytes_min, other.disk_written_bytes_min);
        self.disk_written_bytes_max = highest(self.disk_written_bytes_max, other.disk_written_bytes_max);
        self.net_rx_bytes_min = lowest(self.net_rx_bytes_min, other.net_rx_bytes_min);
        self.net_rx_bytes_max = highest(self.net_rx_bytes_max, other.net_rx_bytes_max);
        self.net_tx_bytes_min = lowest(self.net_tx_bytes_min, other.net_tx_bytes_min);
        self.net_tx_bytes_max = highest(self.net_tx_bytes_max, other.net_tx_bytes_max);
    }

    fn forget_extremes(&mut self) {
        (self.memory_used_bytes_min, self.memory_used_bytes_max) = (None, None);
        (self.load_avg_1_min, self.load_avg_1_max) = (None, None);
        (self.cpu_utilization_min, self.cpu_utilization_max) = (None, None);
        (self.disk_read_bytes_min, self.disk_read_bytes_max) = (None, None);
        (self.disk_written_bytes_min, self.disk_written_bytes_max) = (None, None);
        (self.net_rx_bytes_min, self.net_rx_bytes_max) = (None, None);
        (self.net_tx_bytes_min, self.net_tx_bytes_max) = (None, None);
    }

    /// Whether a counter was reset between this span and the next one. Idle time is ignored: kernels may
    /// decrease it a little.
    fn is_reset_by(&self, later: &HostAggregate) -> bool {
        fn fell<T: PartialOrd>(before: Option<T>, after: Option<T>) -> bool {
            before.zip(after).is_some_and(|(before, after)| after < before)
        }
        fell(self.cpu_seconds_total, later.cpu_seconds_total_first)
            || fell(self.disk_read_bytes, later.disk_read_bytes_first)
            || fell(self.disk_written_bytes, later.disk_written_bytes_first)
            || fell(self.net_rx_bytes, later.net_rx_bytes_first)
            || fell(self.net_tx_bytes, later.net_tx_bytes_first)
    }

    /// Whether it is known which counters fell: summed before, a span has only the number of falls.
    pub(crate) fn knows_what_fell(&self) -> bool {
        let marked = |first: Option<i64>| first == Some(i64::MAX);
        self.resets == 0
            || self.cpu_seconds_total_first.is_some_and(|first| first >= f64::MAX)
            || [self.disk_read_bytes_first, self.disk_written_bytes_first].into_iter().any(marked)
            || [self.net_rx_bytes_first, self.net_tx_bytes_first].into_iter().any(marked)
    }

    /// The columns without the key, in the order of [`HostAggregate::values`].
    pub(super) fn columns() -> Vec<&'static str> {
        let names =
            [["first_minute", "last_minute"].as_slice(), &GAUGES, &COUNTERS, &FIRSTS, &WEIGHTED, &EXTREMES, &ADDED];
        names.concat()
    }

    /// The values without the key.
    pub(super) fn values(&self) -> Vec<Value> {
        use Value::{Float, Int};
        vec![
            Int(Some(self.first_minute)),
            Int(Some(self.last_minute)),
            Int(self.memory_total_bytes),
            Int(self.memory_used_bytes),
            Int(self.memory_free_bytes),
            Float(self.load_avg_1),
            Float(self.load_avg_5),
            Float(self.load_avg_15),
            Int(self.fs_total_bytes),
            Int(self.fs_used_bytes),
            Int(self.fs_free_bytes),
            Float(self.cpu_seconds_total),
            Float(self.cpu_seconds_idle),
            Int(self.disk_read_bytes),
            Int(self.disk_written_bytes),
            Int(self.net_rx_bytes),
            Int(self.net_tx_bytes),
            Float(self.cpu_seconds_total_first),
            Float(self.cpu_seconds_idle_first),
            Int(self.disk_read_bytes_first),
            Int(self.disk_written_bytes_first),
            Int(self.net_rx_bytes_first),
            Int(self.net_tx_bytes_first),
            Float(Some(self.memory_used_sum)),
            Float(Some(self.memory_used_weight)),
            Float(Some(self.load_avg_1_sum)),
            Float(Some(self.load_avg_1_weight)),
            Int(self.memory_used_bytes_min),
            Int(self.memory_used_bytes_max),
            Float(self.load_avg_1_min),
            Float(self.load_avg_1_max),
            Float(self.cpu_utilization_min),
            Float(self.cpu_utilization_max),
            Int(self.disk_read_bytes_min),
            Int(self.disk_read_bytes_max),
            Int(self.disk_written_bytes_min),
            Int(self.disk_written_bytes_max),
            Int(self.net_rx_bytes_min),
            Int(self.net_rx_bytes_max),
            Int(self.net_tx_bytes_min),
            Int(self.net_tx_bytes_max),
            Int(Some(self.resets)),
            Int(Some(self.samples)),
        ]
    }
}

/// A counter's first value in a continued span: `mark`, which is above every last value, after the counter fell.
fn first_of<T: Copy + PartialOrd>((first, last): (Option<T>, Option<T>), later: Option<T>, mark: T) -> Option<T> {
    match (first, last, later) {
        (Some(_), Some(last), Some(later)) if later < last || later >= mark => Some(mark),
        (first, _, later) => first.or(later),
    }
}

fn lowest<T: PartialOrd>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other < one { other } else { one }),
        (one, other) => one.or(other),
    }
}

fn highest<T: PartialOrd>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other > one { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// Spans of equal `at`, which are in order, made one. The extremes of a span have what the counters grew by in its first
/// minute.
pub(crate) fn merge_host_aggregates(parts: Vec<HostAggregate>) -> Vec<HostAggregate> {
    let mut spans: Vec<HostAggregate> = Vec::new();
    for part in parts {
        match spans.last_mut().filter(|span| span.at == part.at) {
            Some(span) => span.extend(&part),
            None => {
                let mut span = part;
                if let Some(before) = spans.last().filter(|_| !span.lacks_extremes()) {
                    let first_minute = span.growth_after(before);
                    span.join_extremes(&first_minute);
                }
                spans.push(span);
            }
        }
    }
    spans
}
