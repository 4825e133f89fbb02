//! A moment as a parameter: Unix milliseconds, RFC 3339, or relative to now.

use std::fmt;
use std::str::FromStr;

use chrono::DateTime;
use serde::{Deserialize, Deserializer, de::Error};
use systole_shared::UnixMillis;
use utoipa::PartialSchema;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};

/// A moment that may depend on the time of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    At(UnixMillis),
    /// Milliseconds before now.
    Ago(i64),
}

impl Moment {
    /// The moment, for a request that came at `now`.
    pub(crate) fn at(self, now: UnixMillis) -> UnixMillis {
        match self {
            Moment::At(at) => at,
            Moment::Ago(ms) => now.saturating_sub(ms),
        }
    }
}

/// A text that is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MomentFault;

impl fmt::Display for MomentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected Unix milliseconds, RFC 3339 (2026-11-29T16:00:00Z), now, or a duration ago (-90s, -15m, -1h, -7d)")
    }
}

impl std::error::Error for MomentFault {}

impl FromStr for Moment {
    type Err = MomentFault;

    fn from_str(text: &str) -> Result<Self, MomentFault> {
        if text == "now" {
            return Ok(Moment::Ago(0));
        }
        if let Ok(at) = text.parse() {
            return Ok(Moment::At(at));
        }
        if let Some(ago) = text.strip_prefix('-') {
            return ago_ms(ago).map(Moment::Ago).ok_or(MomentFault);
        }
        // An unencoded plus sign of a time zone arrives as a space.
        let text = text.replace(' ', "+");
        DateTime::parse_from_rfc3339(&text).map(|at| Moment::At(at.timestamp_millis())).map_err(|_| MomentFault)
    }
}

/// Milliseconds of a number with a unit.
fn ago_ms(text: &str) -> Option<i64> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let unit_ms = match &text[unit..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return None,
    };
    text[..unit].parse::<i64>().ok()?.checked_mul(unit_ms)
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|fault| D::Error::custom(format!("{text:?}: {fault}")))
    }
}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let millis =
            ObjectBuilder::new().schema_type(SchemaType::new(Type::Integer)).description(Some("Unix milliseconds"));
        let text = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .description(Some("RFC 3339, `now`, or a duration before now: a number with ms, s, m, h, d or w"))
            .examples(["2026-11-29T16:00:00Z", "-1h"]);
        OneOfBuilder::new().item(millis).item(text).into()
    }
}

impl utoipa::ToSchema for Moment {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_reads_each_form() {
        let now = 1_790_000_000_000;
        for (text, at) in [
            ("1789999999999", 1_789_999_999_999),
            ("0", 0),
            ("now", now),
            ("-500ms", now - 500),
            ("-90s", now - 90_000),
            ("-1h", now - 3_600_000),
            ("-2w", now - 14 * 86_400_000),
            ("2026-09-21T14:13:20Z", 1_790_000_000_000),
            ("2026-09-21T16:13:20.250+02:00", 1_790_000_000_250),
            ("2026-09-21T16:13:20 02:00", 1_790_000_000_000),
        ] {
            assert_eq!(text.parse::<Moment>().unwrap().at(now), at, "{text}");
        }
    }

    #[test]
    fn moment_refuses_other_texts() {
        for text in ["", "yesterday", "-h", "1h", "-1y", "2026-09-21", "-99999999999999999w", "--1h"] {
            assert_eq!(text.parse::<Moment>(), Err(MomentFault), "{text:?}");
        }
    }
}
