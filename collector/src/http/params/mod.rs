//! Query parameters: types that read and describe them.
//!
//! A handler names the same types in its `#[utoipa::path(params(…))]` and in [`read`], so the OpenAPI document says what the
//! collector accepts. Each bad value, and each unknown parameter, is a 400 that names it.

mod control;
mod filters;
mod history;
mod lists;
mod number;
mod page;
mod query_string;
mod stream;
mod time;

use systole_shared::{NodeId, UnixMillis};

pub(crate) use control::{ApplyOptions, BetweenVersions, RollBackTo};
pub(crate) use filters::{
    AlertFilter, AuditFilter, Between, Format, InEnvironment, InFormat, InOrder, LogFilter, MetricsOf, OfPipeline,
    OnNode, OrderName, SamplesOf, TapOf, WithLabels, ZeroOrOne,
};
pub(crate) use history::{HistoryOf, StepPage};
pub(crate) use lists::{FoundPage, GroupBy, NodeFilter, NodeOrder, PipelineFilter, PipelineOrder};
pub(crate) use page::{EventPagination, KeyPagination, Pagination};
pub(crate) use query_string::{QueryString, read, read_known};
pub(crate) use stream::{StreamHeaders, StreamOf};

use crate::app::App;
use crate::auth::{Identity, Scope};
use crate::http::error::ApiError;
use crate::model::selector::Selector;
use crate::model::{NodeKey, PipelineKey};
use crate::query::resolve::{self, NamedPipeline};
use crate::store::{NodeView, PipelineQuery, PipelineView};

impl InEnvironment {
    /// The environments that the caller may read, narrowed by `environment` when it is set.
    ///
    /// # Errors
    ///
    /// 400 for an unknown environment, 403 for one that the token has no right to.
    pub(crate) fn scope(&self, app: &App, identity: &Identity) -> Result<Scope, ApiError> {
        let Some(name) = &self.environment else { return Ok(identity.scope) };
        match app.auth.environment(name) {
            Some(environment) if identity.scope.includes(environment.key) => Ok(Scope::One(environment.key)),
            None if identity.scope == Scope::All => {
                Err(ApiError::bad_parameter("environment", format!("unknown environment {name:?}")))
            }
            // One answer for foreign and unknown names: it does not show what exists.
            _ => Err(ApiError::forbidden(format!("environment: the token has no access to {name:?}"))),
        }
    }
}

impl Between {
    /// `from` (inclusive) and `to` (exclusive) for a request that came at `now`; open where one is absent.
    ///
    /// # Errors
    ///
    /// A 400 problem when `from` is after `to`.
    pub(crate) fn times(&self, now: UnixMillis) -> Result<(Option<UnixMillis>, Option<UnixMillis>), ApiError> {
        match (self.from.map(|from| from.at(now)), self.to.map(|to| to.at(now))) {
            (Some(from), Some(to)) if from > to => Err(ApiError::bad_parameter("from", "is after to")),
            times => Ok(times),
        }
    }
}

impl OnNode {
    /// The key of the node, which must be in the scope.
    ///
    /// # Errors
    ///
    /// 404 when it does not exist there; errors of the store.
    pub(crate) async fn key(&self, app: &App, scope: Scope) -> Result<Option<NodeKey>, ApiError> {
        match self.node {
            Some(id) => Ok(Some(find_node(app, scope, id).await?.key)),
            None => Ok(None),
        }
    }
}

impl WithLabels {
    /// The conditions; `None` when there are none.
    ///
    /// # Errors
    ///
    /// A 400 problem when one of them is not a condition.
    pub(crate) fn selector(&self) -> Result<Option<Selector>, ApiError> {
        if self.label.is_empty() {
            return Ok(None);
        }
        Selector::parse(&self.label).map(Some).map_err(|fault| ApiError::bad_parameter("label", fault))
    }

    /// The nodes in the scope that match; `None` when there are no conditions.
    ///
    /// # Errors
    ///
    /// As [`Self::selector`].
    pub(crate) fn among(&self, app: &App, scope: Scope) -> Result<Option<Vec<NodeKey>>, ApiError> {
        let environments = scope.environments();
        let matching = |selector: Selector| app.directory.matching(environments.as_deref(), &selector);
        Ok(self.selector()?.map(matching))
    }
}

impl OfPipeline {
    /// The keys of the pipelines with this id: one per environment in the scope.
    ///
    /// # Errors
    ///
    /// 404 when there is none; errors of the store.
    pub(crate) async fn keys(&self, app: &App, scope: Scope) -> Result<Option<Vec<PipelineKey>>, ApiError> {
        let Some(id) = &self.pipeline else { return Ok(None) };
        let found = resolve::find_pipelines(&*app.store, scope, id.as_str()).await?;
        if found.is_empty() {
            return Err(ApiError::not_found(format!("pipeline {:?}", id.as_str())));
        }
        Ok(Some(found.into_iter().map(|pipeline| pipeline.key).collect()))
    }
}

/// A node in the scope. Nothing else exists for the caller.
///
/// # Errors
///
/// 404 when it does not exist there; errors of the store.
pub(crate) async fn find_node(app: &App, scope: Scope, id: NodeId) -> Result<NodeView, ApiError> {
    resolve::find_node(&app.timeseries, scope, id).await?.ok_or_else(|| ApiError::not_found(format!("node {id}")))
}

/// A node by the text of its id.
///
/// # Errors
///
/// As [`find_node`].
pub(crate) async fn find_node_named(app: &App, scope: Scope, id: &str) -> Result<NodeView, ApiError> {
    let parsed = id.parse().map_err(|_| ApiError::not_found(format!("node {id:?}")))?;
    find_node(app, scope, parsed).await
}

/// The key of the only pipeline with this id in the scope.
///
/// # Errors
///
/// 404 when there is none, 409 when several environments have one; errors of the store.
pub(crate) async fn find_pipeline(app: &App, scope: Scope, id: &str) -> Result<NamedPipeline, ApiError> {
    only(resolve::find_pipelines(&*app.store, scope, id).await?, id)
}

/// The only pipeline with this id in the scope, with its state on each node.
///
/// # Errors
///
/// As [`find_pipeline`].
pub(crate) async fn find_pipeline_view(app: &App, scope: Scope, id: &str) -> Result<PipelineView, ApiError> {
    let key = find_pipeline(app, scope, id).await?;
    let environments = Some(vec![key.environment]);
    let query = PipelineQuery { environments, id: Some(id.to_owned()), limit: 1, ..PipelineQuery::default() };
    only(app.store.list_pipelines(query).await?, id)
}

/// The only one of what was found for a pipeline's id.
///
/// # Errors
///
/// 404 when there is none, 409 when several environments have one.
pub(crate) fn only<T>(mut found: Vec<T>, id: &str) -> Result<T, ApiError> {
    match (found.pop(), found.is_empty()) {
        (Some(pipeline), true) => Ok(pipeline),
        (Some(_), false) => Err(ApiError::conflict(format!(
            "several environments have a pipeline {id:?}; select one with environment="
        ))),
        (None, _) => Err(ApiError::not_found(format!("pipeline {id:?}"))),
    }
}
