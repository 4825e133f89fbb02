//! Counters as totals, and how they have grown.

use serde::{Deserialize, Serialize};
use systole_shared::ComponentKind;

use crate::model::counters::{component_counters, pipeline_counters, reported_counters};
use crate::model::report::{PipelineDeltas, ReportedComponent};

/// The growth of a counter. One below its last total has begun again.
fn grown(last: i64, total: i64) -> i64 {
    if total >= last { total - last } else { total }
}

/// Puts the growth of a counter in place of its total.
macro_rules! grow_counter {
    (Delta, $last:expr, $value:expr) => {
        $value = grown($last, $value)
    };
    // One that was absent was zero.
    (KnownDelta, $last:expr, $value:expr) => {
        $value = $value.map(|total| grown($last.unwrap_or(0), total))
    };
    (Gauge, $last:expr, $value:expr) => {};
}

macro_rules! totals {
    (
        { $(#[$about:meta])* $totals:ident, $reported:ty }
        $([$kind:ident $counter:ident $json:literal ($($type:tt)+) $($rest:tt)*])*
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub(super) struct $totals {
            $(pub $counter: $($type)+,)*
        }

        impl $totals {
            /// The counters of a sample.
            pub(super) fn of(sample: &$reported) -> Self {
                $totals { $($counter: sample.$counter,)* }
            }

            /// Puts the growth since these totals in place of the totals of a sample.
            pub(super) fn grow(&self, sample: &mut $reported) {
                $(grow_counter!($kind, self.$counter, sample.$counter);)*
            }
        }
    };
}

pipeline_counters!(reported_counters {
    totals {
        /// The counters of a pipeline.
        PipelineCounters,
        PipelineDeltas
    }
});
component_counters!(reported_counters {
    totals {
        /// The counters of a component, and its gauges, which do not grow.
        ComponentCounters,
        ReportedComponent
    }
});

macro_rules! prefer_where_equal {
    ({} $([$kind:ident $counter:ident $($rest:tt)*])*) => {
        impl PipelineCounters {
            /// Takes the growth of the components for each counter of which these totals are their sum.
            pub(super) fn prefer_where_equal(&self, totals: &Self, growth: &Self, sample: &mut PipelineDeltas) {
                $(if self.$counter == totals.$counter {
                    sample.$counter = growth.$counter;
                })*
            }
        }
    };
}

pipeline_counters!(reported_counters { prefer_where_equal {} });

/// Adds `values` of a component to what they are of its pipeline. A source that has received nothing counts by
/// what it sent.
pub(super) fn sums(
    kind: ComponentKind,
    totals: &ComponentCounters,
    values: &ComponentCounters,
    sum: &mut PipelineCounters,
) {
    let add = |sum: &mut i64, value: i64| *sum = sum.saturating_add(value);
    add(&mut sum.errors, values.errors);
    add(&mut sum.discarded, values.discarded);
    match kind {
        ComponentKind::Source => {
            let events = if totals.received_events > 0 { values.received_events } else { values.sent_events };
            let bytes = if totals.received_bytes > Some(0) { values.received_bytes } else { values.sent_bytes };
            add(&mut sum.events_in, events);
            add(&mut sum.bytes_in, bytes.unwrap_or(0));
        }
        ComponentKind::Sink => {
            add(&mut sum.events_out, values.sent_events);
            add(&mut sum.bytes_out, values.sent_bytes.unwrap_or(0));
        }
        _ => {}
    }
}
