//! Parameters that several routes share. A field's comment is its description in the OpenAPI document.

use serde::{Deserialize, Deserializer, de::Error};
use systole_shared::{AlertSeverity, AlertState, ComponentId, LogLevel, NodeId, PipelineId, TokenId};
use utoipa::{IntoParams, ToSchema};

use super::number::Number;
use super::time::Moment;
use crate::store::ListOrder;

/// Which environment.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InEnvironment {
    /// Name or id of one environment. Default: each environment that the token sees.
    pub environment: Option<String>,
}

/// How a list is written.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InFormat {
    /// Default: the Accept header decides, and JSON where that names neither.
    #[param(inline)]
    pub format: Option<Format>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Json,
    Csv,
}

/// From when to when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Between {
    /// Begin, inclusive.
    #[param(inline)]
    pub from: Option<Moment>,
    /// End, exclusive.
    #[param(inline)]
    pub to: Option<Moment>,
}

/// In which order.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InOrder {
    /// `asc`: oldest first. `desc`: newest first; `next` then leads to older items.
    #[param(inline)]
    #[serde(default)]
    pub order: OrderName,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(default = "asc")]
pub(crate) enum OrderName {
    #[default]
    Asc,
    Desc,
}

impl From<OrderName> for ListOrder {
    fn from(name: OrderName) -> Self {
        match name {
            OrderName::Asc => ListOrder::OldestFirst,
            OrderName::Desc => ListOrder::NewestFirst,
        }
    }
}

/// On which node.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OnNode {
    /// One node. Default: all nodes.
    #[param(inline)]
    pub node: Option<NodeId>,
}

/// Of which pipeline.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfPipeline {
    /// One pipeline. Default: all pipelines.
    #[param(inline)]
    pub pipeline: Option<PipelineId>,
}

/// Which labels.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WithLabels {
    /// Only nodes with a label: `site:lab` has this value, `role` has any, `!canary` and `!site:lab` have it not. Can be
    /// repeated: each condition must hold.
    #[param(style = Form, explode, inline)]
    #[serde(default)]
    pub label: Vec<String>,
}

/// Which actions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditFilter {
    /// One action, such as `node.rename`.
    pub action: Option<String>,
    /// The id of a token.
    #[param(value_type = Option<String>)]
    pub token: Option<TokenId>,
}

/// A switch of a query.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[schema(default = "0")]
pub(crate) enum ZeroOrOne {
    #[default]
    #[serde(rename = "0")]
    Zero,
    #[serde(rename = "1")]
    One,
}

/// Which metrics.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MetricsOf {
    /// 1: also states and counters of each node and pipeline.
    #[param(inline)]
    #[serde(default)]
    pub fleet: ZeroOrOne,
}

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AlertFilter {
    /// Only this state. Default: pending and firing.
    #[param(inline)]
    pub state: Option<AlertState>,
    /// Only of this rule.
    pub rule: Option<String>,
    /// Only of this severity.
    #[param(inline)]
    pub severity: Option<AlertSeverity>,
    /// Only about this node and its pipelines.
    #[param(value_type = Option<String>)]
    pub node: Option<NodeId>,
    /// Only about this pipeline.
    #[param(value_type = Option<String>)]
    pub pipeline: Option<PipelineId>,
}

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogFilter {
    /// This level and the more severe ones, in upper or lower case.
    #[param(inline)]
    #[serde(default, deserialize_with = "level_in_any_case")]
    pub level: Option<LogLevel>,
    /// Found anywhere in a line, ASCII letters in upper or lower case, without wildcards. At most 1024 bytes.
    #[param(max_length = 1024)]
    #[serde(default, deserialize_with = "search_text")]
    pub q: Option<String>,
}

/// Which recent samples.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SamplesOf {
    /// The node.
    #[param(inline)]
    pub node: NodeId,
    /// The pipeline.
    #[param(inline)]
    pub pipeline: PipelineId,
    /// A component. Default: the pipeline as a whole.
    #[param(inline)]
    pub component: Option<ComponentId>,
    /// Only samples after this moment.
    #[param(inline)]
    pub since: Option<Moment>,
    /// Milliseconds that an empty answer waits for a sample.
    #[param(inline)]
    #[serde(default)]
    pub wait: Number<0, 30_000, 0>,
}

/// What to tap.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TapOf {
    /// The node.
    #[param(inline)]
    pub node: NodeId,
    /// The component.
    #[param(inline)]
    pub component: ComponentId,
}

/// Most bytes of `q`: each line is searched for it, and databases bound their patterns.
const MAX_TEXT_BYTES: usize = 1_024;

fn level_in_any_case<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LogLevel>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = "trace, debug, info, warn, error";
    LogLevel::parse(&text).map(Some).ok_or_else(|| D::Error::custom(format!("{text:?}, expected one of {known}")))
}

pub(super) fn search_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > MAX_TEXT_BYTES {
        return Err(D::Error::custom(format!("is longer than {MAX_TEXT_BYTES} bytes")));
    }
    // PostgreSQL stores no NUL, and SQLite's comparison ends at one.
    if text.contains('\0') {
        return Err(D::Error::custom("contains a NUL"));
    }
    Ok(Some(text))
}
