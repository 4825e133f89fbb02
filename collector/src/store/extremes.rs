//! The lowest and the highest minute of hours and days: what queries give, and what answers have.

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::{ComponentMinuteView, PipelineMinuteView};
use crate::model::counters::{component_counters, extreme_counters, pipeline_counters};

/// The lowest and the highest of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extremes<T> {
    pub min: T,
    pub max: T,
}

/// Makes the counts of one minute of which hours and days keep extremes.
macro_rules! minute_counts {
    ({ $(#[$about:meta])* $counts:ident, $row:ident, $view:ident } $([$kind:ident $column:ident $($rest:tt)*])*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct $counts {
            $(pub $column: i64,)*
        }

        /// The lowest or the highest counts of a step's minutes, as a query gives them.
        #[derive(Clone, Debug, QueryableByName)]
        pub(crate) struct $row {
            #[diesel(sql_type = BigInt)]
            at: i64,
            #[diesel(sql_type = Text)]
            component: String,
            #[diesel(sql_type = BigInt)]
            is_max: i64,
            $(
                #[diesel(sql_type = Nullable<BigInt>)]
                $column: Option<i64>,
            )*
        }

        impl $row {
            fn counts(&self) -> Option<$counts> {
                Some($counts { $($column: self.$column?,)* })
            }

            /// Extremes by step and component, of rows that are in order. What is not known is not there.
            pub(crate) fn extremes(rows: &[Self]) -> BTreeMap<(i64, String), Extremes<$counts>> {
                let pairs = rows.iter().zip(rows.iter().skip(1));
                let pairs = pairs.filter(|(min, max)| {
                    (min.is_max, max.is_max) == (0, 1) && (min.at, &min.component) == (max.at, &max.component)
                });
                let known = pairs.filter_map(|(min, max)| {
                    let extremes = Extremes { min: min.counts()?, max: max.counts()? };
                    Some(((min.at, min.component.clone()), extremes))
                });
                known.collect()
            }
        }

        impl From<&$view> for $counts {
            fn from(minute: &$view) -> Self {
                $counts { $($column: minute.$column,)* }
            }
        }
    };
}

/// Lets extremes be joined.
macro_rules! joined_counts {
    ({ $counts:ident } $([$kind:ident $column:ident $($rest:tt)*])*) => {
        impl Extremes<$counts> {
            /// Those of both.
            pub(crate) fn join(self, other: Self) -> Self {
                Extremes {
                    min: $counts { $($column: self.min.$column.min(other.min.$column),)* },
                    max: $counts { $($column: self.max.$column.max(other.max.$column),)* },
                }
            }
        }
    };
}

pipeline_counters!(extreme_counters { joined_counts { PipelineCounts } });

pipeline_counters!(extreme_counters {
    minute_counts {
        /// What a pipeline counted in a minute.
        PipelineCounts, PipelineExtremesRow, PipelineMinuteView
    }
});

component_counters!(extreme_counters {
    minute_counts {
        /// What a component counted in a minute.
        ComponentCounts, ComponentExtremesRow, ComponentMinuteView
    }
});
