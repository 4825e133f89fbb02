//! Which state is worse: what has crashed, what is not seen, what has a problem, what begins, what is not known, what is
//! stopped on purpose, what is well.

use systole_shared::{NodeStatus, PipelineStatus};

use crate::model::live::LiveNode;

/// A state's place among all, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Severity(pub i64);

const STOPPED: Severity = Severity(7);

impl From<PipelineStatus> for Severity {
    fn from(status: PipelineStatus) -> Self {
        match status {
            PipelineStatus::CrashLoop => Severity(0),
            PipelineStatus::Crashed => Severity(1),
            PipelineStatus::Degraded => Severity(3),
            PipelineStatus::Starting => Severity(4),
            PipelineStatus::Pending => Severity(5),
            PipelineStatus::Unknown => Severity(6),
            PipelineStatus::Stopped => STOPPED,
            PipelineStatus::Running => Severity(8),
        }
    }
}

impl From<NodeStatus> for Severity {
    fn from(status: NodeStatus) -> Self {
        match status {
            NodeStatus::Unreachable => Severity(2),
            NodeStatus::Degraded => Severity(3),
            NodeStatus::Unknown | NodeStatus::Unrecognized => Severity(6),
            NodeStatus::Offline => STOPPED,
            NodeStatus::Healthy => Severity(8),
        }
    }
}

impl Severity {
    /// Of a node and what runs on it. Pipelines of a silent node are unknown, which says nothing new; one that is stopped
    /// on purpose makes no node worse.
    pub(crate) fn of_node(node: &LiveNode) -> Self {
        let own = Severity::from(node.status);
        if node.status.is_silent() {
            return own;
        }
        let pipelines = node.present().map(|pipeline| Severity::from(pipeline.status));
        pipelines.filter(|severity| *severity < STOPPED).fold(own, Severity::min)
    }
}

/// The worst of the states of a node's pipelines.
pub(crate) fn worst_pipeline(node: &LiveNode) -> Option<PipelineStatus> {
    node.present().map(|pipeline| pipeline.status).min_by_key(|status| Severity::from(*status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PipelineKey;
    use crate::model::live::LivePipeline;

    #[test]
    fn node_is_as_bad_as_the_worst_that_is_seen_on_it() {
        let node = |status, pipelines: &[PipelineStatus]| {
            let pipeline = |status: &PipelineStatus| LivePipeline {
                key: PipelineKey(1),
                status: *status,
                is_present: true,
                sample: None,
            };
            let live = LiveNode { status, pipelines: pipelines.iter().map(pipeline).collect(), ..LiveNode::default() };
            Severity::of_node(&live).0
        };
        use PipelineStatus::*;
        assert_eq!(node(NodeStatus::Degraded, &[Running, Crashed]), 1);
        assert_eq!(node(NodeStatus::Unreachable, &[Unknown]), 2);
        assert_eq!(node(NodeStatus::Offline, &[Unknown]), 7, "its pipelines are not seen");
        assert_eq!(node(NodeStatus::Healthy, &[Stopped, Running]), 8, "stopped on purpose");
        assert_eq!(node(NodeStatus::Healthy, &[Starting]), 4);
    }
}
