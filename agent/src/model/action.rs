//! What the centre asks a node to do at once, whatever protocol it came by, and the answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use systole_shared::PipelineId;
use systole_shared::action::TappedEvent;

/// Components of a sample that are read at once: each is a process of some 30 MB.
pub(crate) const SAMPLED_AT_ONCE: usize = 4;

/// The name of an action in its answers, as the centre gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ActionId(Arc<str>);

impl ActionId {
    /// The id of this text.
    pub(crate) fn new(text: &str) -> Self {
        ActionId(Arc::from(text))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeAction {
    /// Its name in its answers.
    pub(crate) id: ActionId,
    /// The pipeline.
    pub(crate) pipeline: PipelineId,
    /// What to do.
    pub(crate) request: NodeRequest,
}

/// What a node can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeRequest {
    /// Stop the process and start it again.
    Restart,
    /// Collect events of components and answer once.
    Sample(SampleRequest),
    /// Send the events of a component as they come.
    Tap {
        /// The component.
        component: String,
        /// Until then.
        time: Duration,
    },
    /// End the tap that has this action's id.
    StopTap,
}

impl NodeRequest {
    /// For the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            NodeRequest::Restart => "restart",
            NodeRequest::Sample(_) => "sample",
            NodeRequest::Tap { .. } => "tap",
            NodeRequest::StopTap => "stop_tap",
        }
    }
}

/// Events that are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SampleRequest {
    /// The components.
    pub(crate) components: Vec<String>,
    /// The most events of one component.
    pub(crate) limit_each: usize,
    /// The most events of all.
    pub(crate) limit: usize,
    /// How long one component is read.
    pub(crate) time_each: Duration,
}

/// What one component of a sample had.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ComponentSample {
    /// The component.
    pub(crate) component: String,
    /// Its events, in order.
    pub(crate) events: Vec<TappedEvent>,
    /// Why there are none.
    pub(crate) error: Option<String>,
}

/// An answer to an action.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ActionAnswer {
    /// It is done.
    Done,
    /// It failed, or ended early.
    Failed(String),
    /// The whole sample.
    Sample {
        /// Each component, in the order of the request.
        components: Vec<ComponentSample>,
        /// Events that were read and not kept.
        dropped: u64,
    },
    /// Events of a tap; more may come.
    Events(TapBatch),
    /// The last answer to a tap.
    TapEnded {
        /// Events that wait.
        rest: TapBatch,
        /// Why it ended early.
        error: Option<String>,
    },
}

/// Events of a tap that go out together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TapBatch {
    /// In order.
    pub(crate) events: Vec<TappedEvent>,
    /// Events since the last batch that are not sent.
    pub(crate) dropped: u64,
}

/// How the centre wants the events of taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TapPace {
    /// A batch goes out after this time.
    pub(crate) batch_time: Duration,
    /// Or when it has so many events.
    pub(crate) batch_events: usize,
    /// Least time between two batches of all taps of the node.
    pub(crate) gap: Duration,
    /// After this time without events an empty batch asks whether a consumer still waits; none for a centre that does not say.
    pub(crate) sign_of_life: Option<Duration>,
}
