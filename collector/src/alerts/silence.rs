//! Silences: alerts that fit are not reported, until a time.

use std::sync::{Mutex, PoisonError};

use systole_shared::UnixMillis;

use super::subject::Properties;
use crate::config::alerts::matcher::Matcher;
use crate::model::EnvironmentKey;
use crate::store::SilenceRow;

/// Conditions of a silence.
const MAX_MATCHERS: usize = 16;

/// A silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Silence {
    pub id: i64,
    /// `None`: all environments.
    pub environment: Option<EnvironmentKey>,
    pub matchers: Vec<Matcher>,
    pub starts_at: UnixMillis,
    pub ends_at: UnixMillis,
    pub author: String,
    pub note: String,
    pub created_at: UnixMillis,
}

impl Silence {
    /// Reads a row. A condition that an other version wrote and this one cannot read fits nothing.
    pub(crate) fn read(row: SilenceRow) -> Self {
        let texts: Vec<String> = serde_json::from_str(&row.matchers).unwrap_or_default();
        let parsed: Result<Vec<_>, _> = texts.iter().map(|text| Matcher::parse(text)).collect();
        Silence {
            id: row.id,
            environment: row.environment.map(EnvironmentKey),
            matchers: parsed.unwrap_or_default(),
            starts_at: row.starts_at,
            ends_at: row.ends_at,
            author: row.author,
            note: row.note,
            created_at: row.created_at,
        }
    }

    /// Whether it holds now.
    pub(crate) fn is_active(&self, now: UnixMillis) -> bool {
        self.starts_at <= now && now < self.ends_at
    }

    /// Whether an alert fits. A silence without a condition fits none.
    pub(crate) fn covers(&self, environment: EnvironmentKey, alert: &Properties<'_>) -> bool {
        !self.matchers.is_empty()
            && self.environment.is_none_or(|own| own == environment)
            && alert.match_all(&self.matchers)
    }
}

/// Reads the conditions of a new silence.
///
/// # Errors
///
/// When there is none, there are too many, or one is no condition.
pub(crate) fn parse_matchers(texts: &[String]) -> Result<Vec<Matcher>, String> {
    if texts.is_empty() {
        return Err("a silence needs at least one condition; node=* is every node".to_owned());
    }
    if texts.len() > MAX_MATCHERS {
        return Err(format!("a silence has at most {MAX_MATCHERS} conditions"));
    }
    texts.iter().map(|text| Matcher::parse(text)).collect()
}

/// The silences that last, as last read.
#[derive(Debug, Default)]
pub(crate) struct SilenceBook(Mutex<Vec<Silence>>);

impl SilenceBook {
    /// Replaces all of them.
    pub(crate) fn set(&self, silences: Vec<Silence>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = silences;
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Silence> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::engine::tests::rule;
    use crate::model::node::Labels;

    fn silence(matchers: &str, environment: Option<i64>) -> Silence {
        Silence::read(SilenceRow {
            id: 1,
            environment,
            matchers: matchers.to_owned(),
            starts_at: 10,
            ends_at: 20,
            author: String::new(),
            note: String::new(),
            created_at: 0,
        })
    }

    #[test]
    fn silence_covers_what_fits_every_condition() {
        let labels: Labels = [("site".to_owned(), "lab".to_owned())].into();
        let rule = rule("node-unreachable", 0, 0);
        let alert = Properties {
            rule: &rule,
            environment: Some("default"),
            node: Some("web-1"),
            pipeline: None,
            labels: &labels,
        };
        let covers = |matchers: &str| silence(matchers, None).covers(EnvironmentKey(1), &alert);
        assert!(covers(r#"["node=web-*"]"#) && covers(r#"["site=lab", "rule=node-*"]"#));
        assert!(covers(r#"["severity=critical"]"#) && covers(r#"["environment=default", "pipeline="]"#));
        assert!(!covers(r#"["node=db-*"]"#) && !covers(r#"["site=lab", "node=db-1"]"#));
        assert!(!covers("[]") && !covers("not JSON"), "it fits nothing");
        assert!(!silence(r#"["node=web-*"]"#, Some(2)).covers(EnvironmentKey(1), &alert));
    }

    #[test]
    fn silence_lasts_from_its_start_to_before_its_end() {
        let silence = silence("[]", None);
        assert_eq!([9, 10, 19, 20].map(|now| silence.is_active(now)), [false, true, true, false]);
    }

    #[test]
    fn conditions_are_bounded() {
        assert!(parse_matchers(&[]).is_err());
        assert!(parse_matchers(&vec!["node=x".to_owned(); MAX_MATCHERS + 1]).is_err());
        assert!(parse_matchers(&["node".to_owned()]).unwrap_err().contains("node=web-*"));
    }
}
