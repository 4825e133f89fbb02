//! Parameters that several operations have, as the document tells of them. The handlers read them
//! with [`super::super::params::Params`]; that both mean the same is tested on a real collector.

#![expect(dead_code, reason = "they describe, and hold nothing")]

use systole_shared::events::EventType;
use systole_shared::{ComponentId, EventId, LogLevel, NodeId, NodeStatus, PipelineId, UnixMillis};
use utoipa::{IntoParams, ToSchema};

/// Which environment.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InEnvironment {
    /// Name or id of one environment; every one that the token sees without it.
    environment: Option<String>,
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Pagination {
    /// Items of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Which page of a long list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventPagination {
    /// Items of a page.
    #[param(minimum = 1, maximum = 1000, default = 500)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// In which form.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InFormat {
    /// Without it the Accept header decides, and JSON where that names none.
    #[param(inline)]
    format: Option<Format>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Format {
    Json,
    Csv,
}

/// Which part of a history.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryOf {
    /// Begin, inclusive: an hour before `to` without it. The step that it falls into is part of the answer.
    from: Option<UnixMillis>,
    /// End, exclusive; now without it.
    to: Option<UnixMillis>,
    /// Length of an item. `auto` takes the shortest one that makes at most 1500 items and is still kept at `from`.
    #[param(inline)]
    step: Option<StepName>,
    /// Steps of a page.
    #[param(minimum = 1, maximum = 1500, default = 1500)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "auto")]
enum StepName {
    Auto,
    Minute,
    Hour,
    Day,
}

/// From when to when.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Between {
    /// Begin, inclusive.
    from: Option<UnixMillis>,
    /// End, exclusive.
    to: Option<UnixMillis>,
}

/// On which node.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OnNode {
    /// One node; all of them without it.
    #[param(inline)]
    node: Option<NodeId>,
}

/// Of which pipeline.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfPipeline {
    /// One pipeline; all of them without it.
    #[param(inline)]
    pipeline: Option<PipelineId>,
}

/// Which nodes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct NodeFilter {
    /// Only nodes in this state, in any case of letters.
    #[param(inline)]
    status: Option<NodeStatus>,
}

/// Which lines.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogFilter {
    /// This level and those above it, in any case of letters.
    #[param(inline)]
    level: Option<LogLevel>,
    /// Found anywhere in a line, in any case of ASCII letters; no wildcards. At most 1024 bytes.
    #[param(max_length = 1024)]
    q: Option<String>,
}

/// Of which ring.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SamplesOf {
    /// The node.
    #[param(inline)]
    node: NodeId,
    /// The pipeline.
    #[param(inline)]
    pipeline: PipelineId,
    /// A component; the pipeline as a whole without it.
    #[param(inline)]
    component: Option<ComponentId>,
    /// Only samples after this one.
    #[param(default = 0)]
    since: Option<UnixMillis>,
    /// Milliseconds that an empty answer waits for a sample to come.
    #[param(minimum = 0, maximum = 30000, default = 0)]
    wait: Option<u64>,
}

/// What a stream has.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamOf {
    /// Types of events, separated by commas; all of them without it.
    #[param(style = Form, explode = false, min_items = 1, inline)]
    types: Option<Vec<EventType>>,
    /// Name or id of one environment; every one that the token sees without it.
    environment: Option<String>,
    /// Nodes; can be repeated. All of them without it.
    #[param(style = Form, explode, inline)]
    node: Option<Vec<NodeId>>,
    /// Pipelines; can be repeated. With it, events of nodes are left out.
    #[param(style = Form, explode, inline)]
    pipeline: Option<Vec<PipelineId>>,
    /// 1: the state first, then what happens. A stream that resumes gets none: it has the state.
    #[param(inline)]
    snapshot: Option<ZeroOrOne>,
    /// Go on behind this id; the header Last-Event-ID wins.
    #[param(pattern = "^[a-z0-9]{1,32}-[0-9]+$", value_type = Option<String>)]
    after: Option<EventId>,
    /// Milliseconds that fleet_status and metric_update may wait for a newer one of their kind; 0: each as it comes.
    #[param(minimum = 0, maximum = 60000, default = 250)]
    every: Option<u64>,
}

#[derive(ToSchema)]
#[schema(default = "0")]
enum ZeroOrOne {
    #[schema(rename = "0")]
    Zero,
    #[schema(rename = "1")]
    One,
}

/// What a client says of itself and its stream.
#[derive(IntoParams)]
#[into_params(parameter_in = Header, names("Last-Event-ID", "X-Systole-Client"))]
pub(crate) struct StreamHeaders(
    /// The id of the last event that was seen. Wins over `after`; one that is unreadable is answered by a `reset`.
    #[param(value_type = Option<String>, nullable = false)]
    Option<EventId>,
    /// Name of a client that understands a 503 with Retry-After. A browser's EventSource, which does not, gets a
    /// `goodbye` with status 200 instead.
    #[param(nullable = false)]
    Option<String>,
);
