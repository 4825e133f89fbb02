//! Why an alert is not reported.

use systole_shared::UnixMillis;

use super::engine::Alert;
use super::evaluate::is_in_maintenance;
use super::silence::Silence;
use super::subject::Properties;
use crate::model::watched::WatchedNode;

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mute {
    /// A silence fits, by its id.
    Silence(i64),
    /// People work on the node.
    Maintenance,
    /// The node of the pipeline is down, which is an alert of its own.
    NodeDown,
}

impl Mute {
    /// The reason as it is printed.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Mute::Silence(_) => "silence",
            Mute::Maintenance => "maintenance",
            Mute::NodeDown => "node_down",
        }
    }
}

/// The reason why an alert is not reported now. `node`: its node as last committed.
pub(crate) fn reason(
    alert: &Alert,
    node: Option<&WatchedNode>,
    environment: Option<&str>,
    silences: &[Silence],
    now: UnixMillis,
) -> Option<Mute> {
    if let Some(node) = node {
        if is_in_maintenance(node, now) {
            return Some(Mute::Maintenance);
        }
        if alert.subject.pipeline().is_some() && node.status.is_silent() {
            return Some(Mute::NodeDown);
        }
    }
    let properties = Properties {
        rule: &alert.rule,
        environment,
        node: alert.about.node_name.as_deref(),
        pipeline: alert.subject.pipeline().map(|id| id.as_str()),
        labels: &alert.about.labels,
    };
    let covers = |silence: &&Silence| silence.is_active(now) && silence.covers(alert.about.environment, &properties);
    silences.iter().find(covers).map(|silence| Mute::Silence(silence.id))
}
