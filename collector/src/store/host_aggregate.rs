//! Aggregates the metrics of a host over a minute, an hour or a day.
//!
//! Gauges are as last seen. Counters since the host's boot are kept as first and as last seen, so
//! that their growth is known. A counter that fell in between has its highest value as the first one, so that its own
//! growth is unknown and that of the others is not. `resets` counts the falls.
//!
//! Memory and load are stored as the last value and as a mean over minutes. Rates compare the ends of
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
/// Columns that are added up.
pub(super) const ADDED: [&str; 2] = ["resets", "samples"];

/// Rows of a step; see the module.
#[derive(Clone, Debug, PartialEq, QueryableByName)]
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
            resets: 0,
            samples: row.samples,
        }
    }

    /// Continues with the next span.
    pub(super) fn extend(&mut self, later: &HostAggregate) {
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
        let names = [["first_minute", "last_minute"].as_slice(), &GAUGES, &COUNTERS, &FIRSTS, &WEIGHTED, &ADDED];
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

/// Spans of equal `at`, which are in order, made one.
pub(crate) fn merge_host_aggregates(parts: Vec<HostAggregate>) -> Vec<HostAggregate> {
    let mut spans: Vec<HostAggregate> = Vec::new();
    for part in parts {
        match spans.last_mut().filter(|span| span.at == part.at) {
            Some(span) => span.extend(&part),
            None => spans.push(part),
        }
    }
    spans
}
