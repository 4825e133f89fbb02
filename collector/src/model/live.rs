//! What changes of a node with every report, as last committed: lists are sorted by it without a query.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use systole_shared::{HostMetrics, NodeStatus, PipelineStatus, UnixMillis};

use super::{PipelineKey, Throughput};

/// A sample that is older than this says nothing about now: several reports in a row are missing.
pub(crate) const FRESH_MS: i64 = 5 * 60_000;

/// The last values of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LiveNode {
    pub status: NodeStatus,
    /// Why the node has this state.
    pub reason: Arc<str>,
    /// When its last report came; `None` before the first.
    pub last_seen_at: Option<UnixMillis>,
    /// `None` while the node is silent.
    pub host: Option<HostSample>,
    /// In the order of their keys, also those that its reports no longer have.
    pub pipelines: Arc<[LivePipeline]>,
}

impl Default for LiveNode {
    fn default() -> Self {
        LiveNode {
            status: NodeStatus::Unknown,
            reason: Arc::default(),
            last_seen_at: None,
            host: None,
            pipelines: Arc::default(),
        }
    }
}

impl LiveNode {
    /// Pipelines that its reports have.
    pub(crate) fn present(&self) -> impl Iterator<Item = &LivePipeline> {
        self.pipelines.iter().filter(|pipeline| pipeline.is_present)
    }

    /// What flows through all its pipelines; `None` when no pipeline has a fresh sample.
    pub(crate) fn throughput(&self, now: UnixMillis) -> Option<Throughput> {
        self.present().filter_map(|pipeline| pipeline.throughput(now)).reduce(Throughput::plus)
    }
}

/// The last values of a pipeline on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LivePipeline {
    pub key: PipelineKey,
    pub status: PipelineStatus,
    /// Whether the node's reports still have it.
    pub is_present: bool,
    pub sample: Option<LiveSample>,
}

impl LivePipeline {
    /// What flows through it, unless that is too long ago.
    pub(crate) fn throughput(&self, now: UnixMillis) -> Option<Throughput> {
        let sample = self.sample.filter(|sample| now.saturating_sub(sample.at) <= FRESH_MS)?;
        Some(sample.throughput)
    }
}

/// The last sample of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LiveSample {
    /// End of the report's interval.
    pub at: UnixMillis,
    pub throughput: Throughput,
}

/// The last sample of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostSample {
    /// Millionths of all processors' time that was not idle since the sample before; `None` before the second one.
    pub cpu: Option<i64>,
    pub memory_used_bytes: Option<i64>,
    pub memory_total_bytes: Option<i64>,
}

/// The sample of a host, and what the next one is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct HostReading {
    pub sample: HostSample,
    /// Seconds of all processors since the boot, and those that were idle.
    cpu_seconds: Option<(f64, f64)>,
}

impl HostReading {
    /// The reading after this one.
    #[must_use]
    pub(crate) fn next(before: Option<&Self>, host: &HostMetrics) -> Self {
        let bytes = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        let cpu_seconds = finite(host.cpu_seconds_total).zip(finite(host.cpu_seconds_idle));
        let cpu = before.and_then(|before| before.cpu_seconds).zip(cpu_seconds).and_then(|(before, after)| {
            let total = after.0 - before.0;
            // Kernels take a little of the idle time back.
            let idle = (after.1 - before.1).max(0.0);
            (total > 0.0).then(|| ((1.0 - idle / total).clamp(0.0, 1.0) * 1e6).round() as i64)
        });
        HostReading {
            sample: HostSample {
                cpu,
                memory_used_bytes: bytes(host.memory_used_bytes),
                memory_total_bytes: bytes(host.memory_total_bytes),
            },
            cpu_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(total: f64, idle: f64) -> HostMetrics {
        HostMetrics { cpu_seconds_total: Some(total), cpu_seconds_idle: Some(idle), ..HostMetrics::default() }
    }

    #[test]
    fn processors_are_compared_with_the_reading_before() {
        let first = HostReading::next(None, &host(100.0, 50.0));
        assert_eq!(first.sample.cpu, None, "one reading says nothing");
        let second = HostReading::next(Some(&first), &host(120.0, 65.0));
        assert_eq!(second.sample.cpu, Some(250_000));
        let booted = HostReading::next(Some(&second), &host(1.0, 0.5));
        assert_eq!(booted.sample.cpu, None, "a counter that fell has no growth");
        let corrected = HostReading::next(Some(&second), &host(130.0, 64.9));
        assert_eq!(corrected.sample.cpu, Some(1_000_000));
    }

    #[test]
    fn node_without_a_fresh_sample_has_no_throughput() {
        let pipeline = |at: Option<i64>, is_present| LivePipeline {
            key: PipelineKey(1),
            status: PipelineStatus::Running,
            is_present,
            sample: at.map(|at| LiveSample { at, throughput: Throughput { events_in: 5, ..Throughput::default() } }),
        };
        let node = |pipelines: &[LivePipeline]| LiveNode { pipelines: pipelines.into(), ..LiveNode::default() };
        let events_in = |node: LiveNode| node.throughput(FRESH_MS + 10).map(|sum| sum.events_in);
        assert_eq!(events_in(node(&[pipeline(None, true)])), None, "absent is not zero");
        assert_eq!(events_in(node(&[pipeline(Some(9), true), pipeline(Some(10), false)])), None);
        assert_eq!(events_in(node(&[pipeline(Some(10), true), pipeline(Some(11), true)])), Some(10));
    }
}
