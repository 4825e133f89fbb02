//! Limits of pipelines and series of nodes and environments: in all, and new ones within an hour.
//!
//! An item over a limit is refused alone, and its agent reports it again. So it is accepted once there is
//! room. Hours are those of the collector's clock: times of a report are the sender's.

use systole_shared::{RefusalCode, UnixMillis};

use crate::config::IngestLimits;

/// The number of new things within the current hour.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HourlyCount {
    hour: i64,
    used: usize,
}

impl HourlyCount {
    /// Whether one more is within the limit.
    pub(crate) fn has_room(&self, now: UnixMillis, max: usize) -> bool {
        max > 0 && (self.hour != hour_of(now) || self.used < max)
    }

    /// Counts one more.
    pub(crate) fn add(&mut self, now: UnixMillis) {
        let hour = hour_of(now);
        if self.hour != hour {
            *self = HourlyCount { hour, used: 0 };
        }
        self.used += 1;
    }
}

/// The hour that a time is in.
pub(crate) fn hour_of(at: UnixMillis) -> i64 {
    at.div_euclid(3_600_000)
}

/// Items over a limit, counted until the committer publishes the counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OverLimit {
    pub node_pipelines: u64,
    pub environment_pipelines: u64,
    /// Samples of components that have no history.
    pub components: u64,
}

/// The reason of a refusal, for the agent's log.
pub(crate) fn describe(code: RefusalCode, limits: &IngestLimits) -> String {
    let (of, all, new) = match code {
        RefusalCode::EnvironmentPipelineLimit => {
            ("environment", limits.pipelines_per_environment, limits.new_pipelines_per_environment)
        }
        _ => ("node", limits.pipelines_per_node, limits.new_pipelines_per_node),
    };
    format!("the {of} has {all} pipelines, or {new} new ones in this hour; it is accepted once there is room")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_its_limit_and_the_next_one_starts_at_zero() {
        let now = 1_790_000_000_000;
        let mut count = HourlyCount::default();
        for _ in 0..2 {
            assert!(count.has_room(now, 2));
            count.add(now);
        }
        assert!(!count.has_room(now, 2));
        assert!(count.has_room(now + 3_600_000, 2));
        count.add(now + 3_600_000);
        assert!(count.has_room(now + 3_600_000, 2));
        assert!(!count.has_room(now + 3_600_000, 0), "none at all");
    }
}
