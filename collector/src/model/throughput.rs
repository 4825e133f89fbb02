//! What flows through pipelines, in whole numbers: sums of fractions would drift, and lists are sorted by them.

use serde::{Deserialize, Serialize};

use super::report::{PipelineDeltas, ReportedPipeline};

/// Thousandths of an event per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Throughput {
    pub events_in: i64,
    pub events_out: i64,
    pub errors: i64,
    pub discarded: i64,
}

impl Throughput {
    /// The rates of a sample over the interval of its report.
    pub(crate) fn of_sample(sample: &PipelineDeltas, seconds: f64) -> Self {
        Throughput {
            events_in: per_second(sample.events_in, seconds),
            events_out: per_second(sample.events_out, seconds),
            errors: per_second(sample.errors, seconds),
            discarded: per_second(sample.discarded, seconds),
        }
    }

    /// The rates of pipelines over the interval of a report.
    pub(crate) fn of(pipelines: &[ReportedPipeline], seconds: f64) -> Self {
        let samples = pipelines.iter().filter_map(|pipeline| pipeline.sample.as_ref());
        samples.fold(Throughput::default(), |sum, sample| sum.plus(Self::of_sample(sample, seconds)))
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Throughput {
            events_in: self.events_in.saturating_add(other.events_in),
            events_out: self.events_out.saturating_add(other.events_out),
            errors: self.errors.saturating_add(other.errors),
            discarded: self.discarded.saturating_add(other.discarded),
        }
    }
}

/// The largest rate: as many as this can be added up.
const MAX_RATE: f64 = (1_i64 << 40) as f64;

fn per_second(count: i64, seconds: f64) -> i64 {
    // A cast of a float saturates.
    (count as f64 * 1_000.0 / seconds).clamp(0.0, MAX_RATE).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bounded_and_rounded_to_thousandths() {
        assert_eq!(per_second(10, 3.0), 3_333);
        assert_eq!(per_second(i64::MAX, 0.001), 1 << 40);
        assert_eq!(per_second(5, 5.0), 1_000);
    }
}
