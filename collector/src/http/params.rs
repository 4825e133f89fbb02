//! Query parameters: every bad value is a 400 that names its parameter.
//!
//! A cursor of a history is the step and the beginning of the next page's first item, so the store knows
//! nothing about pages. The range is cut to what is kept (and two days, because expiry can lag), so that an
//! open `from` does not produce empty pages.

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
use crate::http::error::ApiError;
use crate::model::{BucketRange, NodeKey, PipelineKey, Resolution};
use crate::query::resolve;
use crate::store::{NodeView, PipelineView};

/// Most rows that one answer has.
const MAX_LIMIT: i64 = 1_000;

/// Items that an answer has at most when it chooses the length of them itself.
const MAX_POINTS: i64 = 1_500;

/// How long after its retention a minute may still be there: expiry takes whole days of hours, and
/// never what is not summed yet.
const EXPIRY_SLACK_MS: i64 = 2 * 86_400_000;

/// Reports from further in the future are refused; with an hour to spare.
const FUTURE_SLACK_MS: i64 = 2 * 3_600_000;

/// Part of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepPage {
    pub range: BucketRange,
    /// The cursor of what is behind it.
    pub next: Option<String>,
}

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

    /// Names and values as they came.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// `limit`, from 1 to 1000.
    pub(crate) fn limit(&self, default: i64) -> Result<i64, ApiError> {
        self.limit_up_to(MAX_LIMIT, default)
    }

    fn limit_up_to(&self, most: i64, default: i64) -> Result<i64, ApiError> {
        match self.get("limit")?.unwrap_or(default) {
            limit if (1..=most).contains(&limit) => Ok(limit),
            limit => Err(ApiError::bad_parameter("limit", format!("{limit} is not between 1 and {most}"))),
        }
    }

    /// `from` (inclusive) and `to` (exclusive), each open when it is not given.
    pub(crate) fn times(&self) -> Result<(Option<UnixMillis>, Option<UnixMillis>), ApiError> {
        match (self.get("from")?, self.get("to")?) {
            (Some(from), Some(to)) if from > to => Err(ApiError::bad_parameter("from", "is after to")),
            times => Ok(times),
        }
    }

    /// `from` and `to`, by default the last hour, in items of `step`: the page of `limit` steps that
    /// `cursor` names. The step that `from` falls into is part of the range, and the one that `to` falls
    /// into.
    pub(crate) fn steps(&self, retention: &Retention) -> Result<StepPage, ApiError> {
        self.steps_at(retention, clock::now_ms())
    }

    fn steps_at(&self, retention: &Retention, now: UnixMillis) -> Result<StepPage, ApiError> {
        let (from, to) = self.times()?;
        let limit = self.limit_up_to(MAX_POINTS, MAX_POINTS)?;
        let to = to.unwrap_or(now);
        let from = from.unwrap_or(to.saturating_sub(3_600_000));
        if from > to {
            return Err(ApiError::bad_parameter("from", "is after to"));
        }
        let cursor = self.text("cursor").map(read_step_cursor).transpose()?;
        let named = match self.text("step") {
            None | Some("auto") => None,
            Some(text) => Some(step_named(text).ok_or_else(|| {
                ApiError::bad_parameter("step", format!("{text:?} is none of auto, minute, hour, day"))
            })?),
        };
        let step = match (named, cursor) {
            (Some(step), Some((of_cursor, _))) if step != of_cursor => {
                return Err(ApiError::bad_parameter("cursor", format!("is of a list by {}", of_cursor.as_str())));
            }
            // As on the page before, whatever the time is now.
            (_, Some((step, _))) | (Some(step), None) => step,
            (None, None) => fitting_step(from, to, now, retention),
        };
        let kept = i64::try_from(kept(step, retention).as_millis()).unwrap_or(i64::MAX);
        // Nothing is further away, and pages of nothing would not end.
        let from = from.max(now.saturating_sub(kept).saturating_sub(EXPIRY_SLACK_MS));
        let to = to.min(now.saturating_add(FUTURE_SLACK_MS));
        let first = from.div_euclid(step.ms()).max(cursor.map_or(i64::MIN, |(_, first)| first));
        let end = to.saturating_add(step.ms() - 1).div_euclid(step.ms());
        let page_end = first.saturating_add(limit);
        let next = (page_end < end).then(|| format!("{}.{}", step.as_str(), page_end.saturating_mul(step.ms())));
        Ok(StepPage { range: BucketRange { step, from: first, to: end.min(page_end) }, next })
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
    pub(crate) async fn pipelines(&self, app: &App, scope: Scope) -> Result<Option<Vec<PipelineKey>>, ApiError> {
        match self.text("pipeline") {
            Some(id) => {
                let found = resolve::find_pipelines(&*app.store, scope, id).await?;
                if found.is_empty() {
                    return Err(ApiError::not_found(format!("pipeline {id:?}")));
                }
                Ok(Some(found.into_iter().map(|pipeline| pipeline.key).collect()))
            }
            None => Ok(None),
        }
    }
}

fn step_named(text: &str) -> Option<Resolution> {
    Resolution::ALL.into_iter().find(|step| step.as_str() == text)
}

/// A cursor of a history is the step and the beginning of the page's first item.
fn read_step_cursor(text: &str) -> Result<(Resolution, i64), ApiError> {
    let parsed = text.split_once('.').and_then(|(step, at)| {
        let (step, at) = (step_named(step)?, at.parse::<i64>().ok()?);
        (at.rem_euclid(step.ms()) == 0).then_some((step, at / step.ms()))
    });
    parsed.ok_or_else(|| ApiError::bad_parameter("cursor", "is none that a list has given"))
}

fn kept(step: Resolution, retention: &Retention) -> Duration {
    match step {
        Resolution::Minute => retention.minutes,
        Resolution::Hour => retention.hours,
        Resolution::Day => retention.days,
    }
}

/// The shortest step that makes no more than [`MAX_POINTS`] items and is still kept at `from`.
fn fitting_step(from: UnixMillis, to: UnixMillis, now: UnixMillis, retention: &Retention) -> Resolution {
    let age = u128::try_from(now.saturating_sub(from)).unwrap_or(0);
    let suits = |step: &Resolution| {
        to.saturating_sub(from) <= step.ms() * MAX_POINTS && age <= kept(*step, retention).as_millis()
    };
    Resolution::ALL.into_iter().find(suits).unwrap_or(Resolution::Day)
}

/// A node in the scope; what is outside does not exist.
pub(crate) async fn find_node(app: &App, scope: Scope, id: NodeId) -> Result<NodeView, ApiError> {
    resolve::find_node(&app.timeseries, scope, id).await?.ok_or_else(|| ApiError::not_found(format!("node {id}")))
}

/// A node by the text of its id.
pub(crate) async fn find_node_named(app: &App, scope: Scope, id: &str) -> Result<NodeView, ApiError> {
    let parsed = id.parse().map_err(|_| ApiError::not_found(format!("node {id:?}")))?;
    find_node(app, scope, parsed).await
}

/// The one pipeline of this id in the scope.
pub(crate) async fn find_pipeline(app: &App, scope: Scope, id: &str) -> Result<PipelineView, ApiError> {
    let mut found = resolve::find_pipelines(&*app.store, scope, id).await?;
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

    const HOUR: i64 = 3_600_000;
    const DAY: Duration = Duration::from_secs(86_400);
    const RETENTION: Retention = Retention {
        minutes: DAY.saturating_mul(7),
        hours: DAY.saturating_mul(90),
        days: DAY.saturating_mul(730),
        logs: DAY,
        events: DAY,
    };

    fn page(query: &str, now: i64) -> Result<StepPage, ApiError> {
        let request = actix_web::test::TestRequest::with_uri(&format!("/?{query}")).to_http_request();
        Params::read(&request).unwrap().steps_at(&RETENTION, now)
    }

    #[test]
    fn pages_of_a_history_follow_each_other_without_gap_or_double() {
        let now = 100_000 * HOUR;
        let query = format!("from={}&to={now}&limit=70", now - 3 * HOUR + 30_000);
        let mut cursor = String::new();
        let mut ranges = Vec::new();
        // Time goes on between the pages.
        for later in 0.. {
            let page = page(&format!("{query}{cursor}"), now + later * 24 * HOUR).unwrap();
            ranges.push((page.range.from - (now - 3 * HOUR) / 60_000, page.range.to - (now - 3 * HOUR) / 60_000));
            assert_eq!(page.range.step, Resolution::Minute);
            let Some(next) = page.next else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(ranges, [(0, 70), (70, 140), (140, 180)]);
    }

    #[test]
    fn a_history_has_no_pages_where_nothing_is_kept() {
        let now = 100_000 * HOUR;
        let page = page(&format!("from=0&to={}&step=day", i64::MAX), now).unwrap();
        assert_eq!((page.range.to - page.range.from, page.next), (733, None), "730 days, with what is not expired yet");
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        for query in ["cursor=hour.3600001", "cursor=x.60000", "cursor=hour", "step=minute&cursor=hour.3600000"] {
            assert!(page(query, 100_000 * HOUR).unwrap_err().to_string().contains("cursor"), "{query}");
        }
    }

    #[test]
    fn the_step_fits_the_range_and_what_is_still_kept() {
        let now = 100_000 * HOUR;
        for (from, to, step) in [
            (now - 25 * HOUR, now, Resolution::Minute),
            (now - 25 * HOUR - 1, now, Resolution::Hour),
            (now - 1_500 * HOUR, now, Resolution::Hour),
            (now - 1_501 * HOUR, now, Resolution::Day),
            (now - 169 * HOUR, now - 168 * HOUR, Resolution::Hour),
            (now - 91 * 24 * HOUR, now - 90 * 24 * HOUR, Resolution::Day),
            (now + HOUR, now + 2 * HOUR, Resolution::Minute),
        ] {
            assert_eq!(
                fitting_step(from, to, now, &RETENTION),
                step,
                "{} h to {} h",
                (from - now) / HOUR,
                (to - now) / HOUR
            );
        }
    }
}
