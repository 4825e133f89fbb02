//! What `systole-agent doctor` and `systole-collector doctor` find: one line for people, one object for programs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a check ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// It works, and something should be done.
    Warning,
    /// It does not work.
    Problem,
}

impl Verdict {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "problem",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was checked, such as `clock`.
    pub check: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found.
    pub message: String,
    /// What an operator can do. Null when there is nothing to do.
    pub remedy: Option<String>,
}

impl Finding {
    /// Nothing is wrong.
    pub fn ok(check: &str, message: impl Into<String>) -> Self {
        Finding { check: check.to_owned(), verdict: Verdict::Ok, message: message.into(), remedy: None }
    }

    /// Something should be done.
    pub fn warning(check: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (message, remedy) = (message.into(), Some(remedy.into()));
        Finding { check: check.to_owned(), verdict: Verdict::Warning, message, remedy }
    }

    /// Something does not work.
    pub fn problem(check: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (message, remedy) = (message.into(), Some(remedy.into()));
        Finding { check: check.to_owned(), verdict: Verdict::Problem, message, remedy }
    }
}

impl fmt::Display for Finding {
    /// One line, whatever the message has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { check, verdict, message, remedy } = self;
        let on_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(f, "{:<8} {check:<13} {}", verdict.as_str(), on_one_line(message))?;
        match remedy {
            Some(remedy) => write!(f, ". Fix: {}", on_one_line(remedy)),
            None => Ok(()),
        }
    }
}

/// Whether one of them is a problem.
pub fn has_problem(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict == Verdict::Problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_is_one_line_with_its_remedy() {
        let finding = Finding::problem("dns", "cannot resolve\n collector.example", "check url in agent.toml");
        let line = "problem  dns           cannot resolve collector.example. Fix: check url in agent.toml";
        assert_eq!(finding.to_string(), line);
        assert_eq!(Finding::ok("disk", "3 GB are free").to_string(), "ok       disk          3 GB are free");
        assert!(has_problem(&[Finding::ok("a", "b"), finding]));
        assert!(!has_problem(&[Finding::warning("a", "b", "c")]));
    }

    #[test]
    fn finding_is_an_object_for_programs() {
        let json = serde_json::to_value(Finding::warning("clock", "it is 20 s ahead", "run chronyd")).unwrap();
        let wanted = serde_json::json!({
            "check": "clock", "verdict": "warning", "message": "it is 20 s ahead", "remedy": "run chronyd"
        });
        assert_eq!(json, wanted);
    }
}
