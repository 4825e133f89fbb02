//! Parts of histories: minutes, hours or days.
//!
//! A cursor of a history is the step and the beginning of the next page's first item, so the store knows
//! nothing about pages. The range is cut to what is kept (and two days, because expiry can lag), so that an
//! open `from` does not produce empty pages.

use std::time::Duration;

use serde::Deserialize;
use systole_shared::UnixMillis;
use utoipa::{IntoParams, ToSchema};

use super::number::Number;
use super::page::bad_cursor;
use super::time::Moment;
use crate::config::Retention;
use crate::http::error::ApiError;
use crate::model::{BucketRange, Resolution};

/// Most items of an answer that selects the step itself: about as many as a chart has pixels.
const MAX_POINTS: i64 = 1_500;

/// How long after its retention a minute may still be there: expiry takes whole days of hours, and only what is summed.
const EXPIRY_SLACK_MS: i64 = 2 * 86_400_000;

/// Reports from further in the future are refused; with an hour to spare.
const FUTURE_SLACK_MS: i64 = 2 * 3_600_000;

/// Which part of a history.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryOf {
    /// Begin, inclusive. Default: an hour before `to`. The step that contains it is part of the answer.
    #[param(inline)]
    from: Option<Moment>,
    /// End, exclusive. Default: now.
    #[param(inline)]
    to: Option<Moment>,
    /// Length of an item. `auto` selects the shortest one that makes at most 1500 items and is still kept at `from`.
    #[param(inline)]
    #[serde(default)]
    step: StepName,
    /// Steps of a page.
    #[param(inline)]
    #[serde(default)]
    limit: Number<1, 1_500, 1_500>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(default = "auto")]
enum StepName {
    #[default]
    Auto,
    Minute,
    Hour,
    Day,
}

impl StepName {
    fn step(self) -> Option<Resolution> {
        match self {
            StepName::Auto => None,
            StepName::Minute => Some(Resolution::Minute),
            StepName::Hour => Some(Resolution::Hour),
            StepName::Day => Some(Resolution::Day),
        }
    }
}

/// Part of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepPage {
    pub range: BucketRange,
    /// The cursor of the next page.
    pub next: Option<String>,
}

impl HistoryOf {
    /// The page that the parameters name, for a request that came at `now`. The steps that contain `from` and the last
    /// moment before `to` are part of it.
    ///
    /// # Errors
    ///
    /// A 400 problem that names the parameter.
    pub(crate) fn page(&self, retention: &Retention, now: UnixMillis) -> Result<StepPage, ApiError> {
        let to = self.to.map_or(now, |to| to.at(now));
        let from = self.from.map_or(to.saturating_sub(3_600_000), |from| from.at(now));
        if from > to {
            return Err(ApiError::bad_parameter("from", "is after to"));
        }
        let cursor = self.cursor.as_deref().map(read_step_cursor).transpose()?;
        let step = match (self.step.step(), cursor) {
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
        let page_end = first.saturating_add(self.limit.0);
        let next = (page_end < end).then(|| format!("{}.{}", step.as_str(), page_end.saturating_mul(step.ms())));
        Ok(StepPage { range: BucketRange { step, from: first, to: end.min(page_end) }, next })
    }
}

/// A cursor of a history is the step and the beginning of the page's first item.
fn read_step_cursor(text: &str) -> Result<(Resolution, i64), ApiError> {
    let parsed = text.split_once('.').and_then(|(step, at)| {
        let step = Resolution::ALL.into_iter().find(|known| known.as_str() == step)?;
        let at = at.parse::<i64>().ok()?;
        (at.rem_euclid(step.ms()) == 0).then_some((step, at / step.ms()))
    });
    parsed.ok_or_else(bad_cursor)
}

fn kept(step: Resolution, retention: &Retention) -> Duration {
    match step {
        Resolution::Minute => retention.minutes,
        Resolution::Hour => retention.hours,
        Resolution::Day => retention.days,
    }
}

/// The shortest step that makes at most [`MAX_POINTS`] items and is still kept at `from`.
fn fitting_step(from: UnixMillis, to: UnixMillis, now: UnixMillis, retention: &Retention) -> Resolution {
    let age = u128::try_from(now.saturating_sub(from)).unwrap_or(0);
    let suits = |step: &Resolution| {
        to.saturating_sub(from) <= step.ms() * MAX_POINTS && age <= kept(*step, retention).as_millis()
    };
    Resolution::ALL.into_iter().find(suits).unwrap_or(Resolution::Day)
}

#[cfg(test)]
mod tests {
    use super::super::query_string::read;
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: Duration = Duration::from_secs(86_400);
    const RETENTION: Retention = Retention {
        minutes: DAY.saturating_mul(7),
        hours: DAY.saturating_mul(90),
        days: DAY.saturating_mul(730),
        logs: DAY,
        events: DAY,
        audit: DAY,
    };

    fn page(query: &str, now: i64) -> Result<StepPage, ApiError> {
        let request = actix_web::test::TestRequest::with_uri(&format!("/?{query}")).to_http_request();
        let (history,) = read::<(HistoryOf,)>(&request)?;
        history.page(&RETENTION, now)
    }

    #[test]
    fn history_pages_follow_without_gap_or_double() {
        let now = 100_000 * HOUR;
        let query = format!("from={}&to={now}&limit=70", now - 3 * HOUR + 30_000);
        let mut cursor = String::new();
        let mut ranges = Vec::new();
        // Time passes between the pages.
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
    fn history_has_no_pages_before_what_is_kept() {
        let now = 100_000 * HOUR;
        let page = page(&format!("from=0&to={}&step=day", i64::MAX), now).unwrap();
        assert_eq!((page.range.to - page.range.from, page.next), (733, None), "730 days, with what is not expired yet");
    }

    #[test]
    fn cursor_of_another_list_is_refused() {
        for query in ["cursor=hour.3600001", "cursor=x.60000", "cursor=hour", "step=minute&cursor=hour.3600000"] {
            assert!(page(query, 100_000 * HOUR).unwrap_err().to_string().contains("cursor"), "{query}");
        }
    }

    #[test]
    fn range_may_be_relative_to_now() {
        let now = 100_000 * HOUR;
        let page = page("from=-2h&to=-1h&step=minute", now).unwrap();
        assert_eq!((page.range.from, page.range.to), ((now - 2 * HOUR) / 60_000, (now - HOUR) / 60_000));
    }

    #[test]
    fn step_fits_the_range_and_what_is_still_kept() {
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
