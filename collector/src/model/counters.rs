//! The counters of a pipeline and of a component over a minute, an hour or a day: each is declared once, here.
//!
//! A list is a macro that hands its lines to another macro. Of these lines are made: the tables and rows of
//! minutes, their sums, the statements of both databases, the views of the history, the JSON and CSV of the API,
//! and what a report adds. A line has the kind, the name, the name in JSON, the type in Rust, the type in SQL, and
//! what the number means where its name does not say it.
//!
//! The order is that of the packed rows in the write-ahead log. A new counter needs a new form of its records.

/// The way to merge two values of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CounterKind {
    /// Growth that a sample reports; added, up to 2^63-1.
    Delta,
    /// The same; unknown only as long as nothing is known.
    KnownDelta,
    /// The sum or the weight of a mean; added.
    Mean,
    /// As last seen; an hour keeps the highest.
    Gauge,
    /// A number of reports; added.
    Tally,
    /// Reported beside the sample; added, up to 2^63-1.
    Total,
}

impl CounterKind {
    /// Whether hours and days keep the extremes of their minutes.
    pub(crate) fn has_extremes(self) -> bool {
        self == CounterKind::Delta
    }

    /// Whether an hour has the sum of its minutes, in whole numbers.
    pub(crate) fn is_counted(self) -> bool {
        !matches!(self, CounterKind::Mean | CounterKind::Gauge)
    }
}

/// The counters of a pipeline, for the macro `$make`, which takes `$head` first.
macro_rules! pipeline_counters {
    ($make:ident $head:tt) => {
        $make! {
            $head
            [Delta events_in "eventsIn" (i64) (BigInt)]
            [Delta events_out "eventsOut" (i64) (BigInt)]
            [Delta errors "errors" (i64) (BigInt)]
            [Delta discarded "discarded" (i64) (BigInt)]
            [Delta bytes_in "bytesIn" (i64) (BigInt)]
            [Delta bytes_out "bytesOut" (i64) (BigInt)]
            [Mean utilization_sum "" (f64) (Double) "Milliseconds that it was busy."]
            [Mean utilization_weight "" (f64) (Double) "Milliseconds that this is known of."]
            [Mean latency_sum "" (f64) (Double) "Microseconds, added over events."]
            [Mean latency_weight "" (f64) (Double) "Events that this is known of."]
            [Tally samples "samples" (i64) (BigInt) "Reports with a sample."]
            [Tally gaps "gaps" (i64) (BigInt) "Reports whose scrape failed."]
            [Tally resets "resets" (i64) (BigInt) "Process restarts."]
            [Total logs_dropped "logsDropped" (i64) (BigInt) "Lines that the agents' budgets dropped."]
            [Tally reports "reports" (i64) (BigInt) "Reports that came; one that was merged counts for those that it stands for."]
            [Tally late_reports "lateReports" (i64) (BigInt) "Those of them that came more than a minute after the end of their minute."]
            [Tally missing_reports "missingReports" (i64) (BigInt) "Reports that the agents made and that never came."]
        }
    };
}

/// The counters of a component, for the macro `$make`, which takes `$head` first.
macro_rules! component_counters {
    ($make:ident $head:tt) => {
        $make! {
            $head
            [Delta received_events "receivedEvents" (i64) (BigInt)]
            [Delta sent_events "sentEvents" (i64) (BigInt)]
            [Delta errors "errors" (i64) (BigInt)]
            [Delta discarded "discarded" (i64) (BigInt)]
            [KnownDelta received_bytes "receivedBytes" (Option<i64>) (Nullable<BigInt>)]
            [KnownDelta sent_bytes "sentBytes" (Option<i64>) (Nullable<BigInt>)]
            [Mean utilization_sum "" (f64) (Double) "Milliseconds that it was busy."]
            [Mean utilization_weight "" (f64) (Double) "Milliseconds that this is known of."]
            [Mean latency_sum "" (f64) (Double) "Microseconds, added over events."]
            [Mean latency_weight "" (f64) (Double) "Events that this is known of."]
            [Gauge buffer_events "" (Option<i64>) (Nullable<BigInt>)]
            [Gauge buffer_max_events "" (Option<i64>) (Nullable<BigInt>)]
            [Gauge buffer_bytes "" (Option<i64>) (Nullable<BigInt>)]
            [Gauge buffer_max_bytes "" (Option<i64>) (Nullable<BigInt>)]
            [Tally samples "samples" (i64) (BigInt)]
        }
    };
}

/// Hands on the lines of what a report brings: `pipeline_counters!(reported_counters { make { .. } })`.
macro_rules! reported_counters {
    ({ $make:ident $head:tt } $($line:tt)*) => { reported_counters! { @ $make $head () $($line)* } };
    (@ $make:ident $head:tt ($($kept:tt)*)) => { $make! { $head $($kept)* } };
    (@ $make:ident $head:tt $kept:tt [Mean $($rest:tt)*] $($line:tt)*) => {
        reported_counters! { @ $make $head $kept $($line)* }
    };
    (@ $make:ident $head:tt $kept:tt [Tally $($rest:tt)*] $($line:tt)*) => {
        reported_counters! { @ $make $head $kept $($line)* }
    };
    (@ $make:ident $head:tt $kept:tt [Total $($rest:tt)*] $($line:tt)*) => {
        reported_counters! { @ $make $head $kept $($line)* }
    };
    (@ $make:ident $head:tt ($($kept:tt)*) $next:tt $($line:tt)*) => {
        reported_counters! { @ $make $head ($($kept)* $next) $($line)* }
    };
}

/// Hands on the lines of what a history has: all but gauges.
macro_rules! history_counters {
    ({ $make:ident $head:tt } $($line:tt)*) => { history_counters! { @ $make $head () $($line)* } };
    (@ $make:ident $head:tt ($($kept:tt)*)) => { $make! { $head $($kept)* } };
    (@ $make:ident $head:tt $kept:tt [Gauge $($rest:tt)*] $($line:tt)*) => {
        history_counters! { @ $make $head $kept $($line)* }
    };
    (@ $make:ident $head:tt ($($kept:tt)*) $next:tt $($line:tt)*) => {
        history_counters! { @ $make $head ($($kept)* $next) $($line)* }
    };
}

/// Hands on the lines of which hours and days keep the extremes of their minutes: growth that is always known.
macro_rules! extreme_counters {
    ({ $make:ident $head:tt } $($line:tt)*) => { extreme_counters! { @ $make $head () $($line)* } };
    (@ $make:ident $head:tt ($($kept:tt)*)) => { $make! { $head $($kept)* } };
    (@ $make:ident $head:tt ($($kept:tt)*) [Delta $($rest:tt)*] $($line:tt)*) => {
        extreme_counters! { @ $make $head ($($kept)* [Delta $($rest)*]) $($line)* }
    };
    (@ $make:ident $head:tt $kept:tt $next:tt $($line:tt)*) => {
        extreme_counters! { @ $make $head $kept $($line)* }
    };
}

/// Hands on the lines that an answer shows as they are, before and after its means.
macro_rules! shown_counters {
    ({ $make:ident $head:tt } $($line:tt)*) => { shown_counters! { @ $make $head () () $($line)* } };
    (@ $make:ident $head:tt $before:tt $after:tt) => { $make! { $head $before $after } };
    (@ $make:ident $head:tt $before:tt $after:tt [Mean $($rest:tt)*] $($line:tt)*) => {
        shown_counters! { @ $make $head $before $after $($line)* }
    };
    (@ $make:ident $head:tt $before:tt $after:tt [Gauge $($rest:tt)*] $($line:tt)*) => {
        shown_counters! { @ $make $head $before $after $($line)* }
    };
    (@ $make:ident $head:tt ($($before:tt)*) $after:tt [Delta $($rest:tt)*] $($line:tt)*) => {
        shown_counters! { @ $make $head ($($before)* [Delta $($rest)*]) $after $($line)* }
    };
    (@ $make:ident $head:tt ($($before:tt)*) $after:tt [KnownDelta $($rest:tt)*] $($line:tt)*) => {
        shown_counters! { @ $make $head ($($before)* [KnownDelta $($rest)*]) $after $($line)* }
    };
    (@ $make:ident $head:tt $before:tt ($($after:tt)*) $next:tt $($line:tt)*) => {
        shown_counters! { @ $make $head $before ($($after)* $next) $($line)* }
    };
}

/// Adds `$more` to the counter `$sum` of a kind.
macro_rules! add_counter {
    (Delta, $sum:expr, $more:expr) => {
        $sum = $sum.saturating_add($more)
    };
    (KnownDelta, $sum:expr, $more:expr) => {
        $sum = $crate::model::add_known($sum, $more)
    };
    (Mean, $sum:expr, $more:expr) => {
        $sum += $more
    };
    (Gauge, $sum:expr, $more:expr) => {
        $sum = $more.or($sum)
    };
    (Tally, $sum:expr, $more:expr) => {
        $sum = $sum.saturating_add($more)
    };
    (Total, $sum:expr, $more:expr) => {
        $sum = $sum.saturating_add($more)
    };
}

pub(crate) use {
    add_counter, component_counters, extreme_counters, history_counters, pipeline_counters, reported_counters,
    shown_counters,
};

macro_rules! names {
    ({} $([$kind:ident $name:ident $($rest:tt)*])*) => {
        &[$((stringify!($name), CounterKind::$kind)),*]
    };
}

/// Columns of a pipeline's minutes, hours and days.
pub(crate) const PIPELINE_COUNTERS: &[(&str, CounterKind)] = pipeline_counters!(names {});

/// Columns of a component's minutes, hours and days.
pub(crate) const COMPONENT_COUNTERS: &[(&str, CounterKind)] = component_counters!(names {});

/// A sum is unknown only as long as nothing of it is known.
pub(crate) fn add_known(sum: Option<i64>, more: Option<i64>) -> Option<i64> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
        (known, None) | (None, known) => known,
    }
}
