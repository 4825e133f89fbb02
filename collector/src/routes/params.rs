//! Query parameters: every bad value is a 400 that names its parameter.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::Query;
use systole_shared::{NodeId, UnixMillis};

use crate::app::App;
use crate::auth::{Identity, Scope};
use crate::clock;
use crate::config::Retention;
use crate::error::ApiError;
use crate::store::{NodeKey, NodeQuery, NodeView, PipelineQuery, PipelineView, Step, StepRange};

/// Most rows that one answer has.
const MAX_LIMIT: i64 = 1_000;

/// Items that an answer has at most when it chooses the length of them itself.
const MAX_POINTS: i64 = 1_500;

/// The parameters of a request, as they came.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the query string.
    pub(crate) fn read(request: &HttpRequest) -> Result<Self, ApiError> {
        Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map(|query| Params(query.into_inner()))
            .map_err(|error| ApiError::bad_request(format!("the query string can not be read: {error}")))
    }

    /// Whether a parameter was given, be it empty.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// A parameter's text; empty counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may be repeated.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A parameter of some type.
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        self.text(name)
            .map(|text| text.parse().map_err(|fault| ApiError::bad_parameter(name, format!("{text:?}: {fault}"))))
            .transpose()
    }

    /// `limit`, from 1 to 1000.
    pub(crate) fn limit(&self, default: i64) -> Result<i64, ApiError> {
        match self.get("limit")?.unwrap_or(default) {
            limit @ 1..=MAX_LIMIT => Ok(limit),
            limit => Err(ApiError::bad_parameter("limit", format!("{limit} is not between 1 and {MAX_LIMIT}"))),
        }
    }

    /// `from` (inclusive) and `to` (exclusive), each open when it is not given.
    pub(crate) fn times(&self) -> Result<(Option<UnixMillis>, Option<UnixMillis>), ApiError> {
        match (self.get("from")?, self.get("to")?) {
            (Some(from), Some(to)) if from > to => Err(ApiError::bad_parameter("from", "is after to")),
            times => Ok(times),
        }
    }

    /// `from` and `to`, by default the last hour, in items of `step`. The one that `from` falls into is
    /// part of the range, and the one that `to` falls into.
    pub(crate) fn steps(&self, retention: &Retention) -> Result<StepRange, ApiError> {
        let (from, to) = self.times()?;
        let now = clock::now_ms();
        let to = to.unwrap_or(now);
        let from = from.unwrap_or(to.saturating_sub(3_600_000));
        if from > to {
            return Err(ApiError::bad_parameter("from", "is after to"));
        }
        let step = match self.text("step") {
            None => fitting_step(from, to, now, retention),
            Some(text) => Step::ALL
                .into_iter()
                .find(|step| step.as_str() == text)
                .ok_or_else(|| ApiError::bad_parameter("step", format!("{text:?} is none of minute, hour, day")))?,
        };
        let end = to.saturating_add(step.ms() - 1).div_euclid(step.ms());
        Ok(StepRange { step, from: from.div_euclid(step.ms()), to: end })
    }

    /// What the caller may see, narrowed to `environment` (a name or an id) when it is given.
    pub(crate) fn scope(&self, app: &App, identity: &Identity) -> Result<Scope, ApiError> {
        if self.all("environment").count() > 1 {
            return Err(ApiError::bad_parameter("environment", "can be named once; leave it out for every one"));
        }
        let Some(name) = self.text("environment") else { return Ok(identity.scope) };
        match app.auth.environment(name) {
            Some(environment) if identity.scope.includes(environment.key) => Ok(Scope::One(environment.key)),
            None if identity.scope == Scope::All => {
                Err(ApiError::bad_parameter("environment", format!("there is no environment {name:?}")))
            }
            // One answer for foreign and unknown names: it tells nothing of what exists.
            _ => Err(ApiError::forbidden(format!("environment: the token has no right to {name:?}"))),
        }
    }

    /// The node that `node` names, which must be in the scope.
    pub(crate) async fn node(&self, app: &App, scope: Scope) -> Result<Option<NodeKey>, ApiError> {
        match self.get::<NodeId>("node")? {
            Some(id) => Ok(Some(find_node(app, scope, id).await?.key)),
            None => Ok(None),
        }
    }

    /// The pipelines that `pipeline` names: one per environment in the scope.
    pub(crate) async fn pipelines(&self, app: &App, scope: Scope) -> Result<Option<Vec<i64>>, ApiError> {
        match self.text("pipeline") {
            Some(id) => {
                let found = pipelines_named(app, scope, id).await?;
                if found.is_empty() {
                    return Err(ApiError::not_found(format!("pipeline {id:?}")));
                }
                Ok(Some(found.into_iter().map(|pipeline| pipeline.key).collect()))
            }
            None => Ok(None),
        }
    }
}

/// The shortest step that makes no more than [`MAX_POINTS`] items and is still kept at `from`.
fn fitting_step(from: UnixMillis, to: UnixMillis, now: UnixMillis, retention: &Retention) -> Step {
    let age = u128::try_from(now.saturating_sub(from)).unwrap_or(0);
    let suits =
        |step: Step, kept: Duration| to.saturating_sub(from) <= step.ms() * MAX_POINTS && age <= kept.as_millis();
    if suits(Step::Minute, retention.minutes) {
        Step::Minute
    } else if suits(Step::Hour, retention.hours) {
        Step::Hour
    } else {
        Step::Day
    }
}

/// A node in the scope; what is outside does not exist.
pub(crate) async fn find_node(app: &App, scope: Scope, id: NodeId) -> Result<NodeView, ApiError> {
    let query = NodeQuery { environments: scope.environments(), id: Some(id), limit: 1, ..NodeQuery::default() };
    app.journal.list_nodes(query).await?.pop().ok_or_else(|| ApiError::not_found(format!("node {id}")))
}

/// A node by the text of its id.
pub(crate) async fn find_node_named(app: &App, scope: Scope, id: &str) -> Result<NodeView, ApiError> {
    let parsed = id.parse().map_err(|_| ApiError::not_found(format!("node {id:?}")))?;
    find_node(app, scope, parsed).await
}

async fn pipelines_named(app: &App, scope: Scope, id: &str) -> Result<Vec<PipelineView>, ApiError> {
    let query = PipelineQuery {
        environments: scope.environments(),
        id: Some(id.to_owned()),
        limit: MAX_LIMIT,
        ..PipelineQuery::default()
    };
    Ok(app.store.list_pipelines(query).await?)
}

/// The one pipeline of this id in the scope.
pub(crate) async fn find_pipeline(app: &App, scope: Scope, id: &str) -> Result<PipelineView, ApiError> {
    let mut found = pipelines_named(app, scope, id).await?;
    match (found.pop(), found.is_empty()) {
        (Some(pipeline), true) => Ok(pipeline),
        (Some(_), false) => {
            Err(ApiError::conflict(format!("several environments have a pipeline {id:?}: name one with environment=")))
        }
        (None, _) => Err(ApiError::not_found(format!("pipeline {id:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_fits_the_range_and_what_is_still_kept() {
        const HOUR: i64 = 3_600_000;
        let day = Duration::from_secs(86_400);
        let retention = Retention { minutes: day * 7, hours: day * 90, days: day * 730, logs: day, events: day };
        let now = 100_000 * HOUR;
        for (from, to, step) in [
            (now - 25 * HOUR, now, Step::Minute),
            (now - 25 * HOUR - 1, now, Step::Hour),
            (now - 1_500 * HOUR, now, Step::Hour),
            (now - 1_501 * HOUR, now, Step::Day),
            (now - 169 * HOUR, now - 168 * HOUR, Step::Hour),
            (now - 91 * 24 * HOUR, now - 90 * 24 * HOUR, Step::Day),
            (now + HOUR, now + 2 * HOUR, Step::Minute),
        ] {
            assert_eq!(
                fitting_step(from, to, now, &retention),
                step,
                "{} h to {} h",
                (from - now) / HOUR,
                (to - now) / HOUR
            );
        }
    }
}
