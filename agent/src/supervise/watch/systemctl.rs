//! Queries systemd for units, through `systemctl`: a D-Bus library would be half the size of the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::supervise::process::orphans::OwnChild;
use crate::supervise::process::{SECRET_VARIABLES, SYSTEMD_VARIABLES};

/// Longest wait for the answer; it comes within milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked of each unit.
const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts,MainPID";

/// An error of systemctl. The text is the `reason` of pipelines whose units cannot be followed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum AskError {
    /// This host has no such program.
    #[error("cannot query systemd: cannot start systemctl: {0}")]
    NoProgram(#[source] Arc<std::io::Error>),
    /// It has no answer: systemd does not run, or denies access.
    #[error("cannot query systemd: {0}")]
    Refused(String),
    /// It takes too long.
    #[error("cannot query systemd: systemctl did not answer within {} s", TIMEOUT.as_secs())]
    TooSlow,
}

impl AskError {
    /// Whether it will hardly be another one in a moment.
    pub(super) fn is_lasting(&self) -> bool {
        !matches!(self, AskError::TooSlow)
    }
}

/// Properties of a unit, by name.
pub(super) type Properties = BTreeMap<String, String>;

/// How long a unit that was refused is left out: what systemd says of a name hardly changes.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// Properties of units, or the error of each.
pub(super) type Answers = BTreeMap<String, Result<Properties, AskError>>;

/// Asks systemd, for all units at once. One name that systemctl refuses makes it fail for all, so then
/// each is asked for alone, and those that are refused again are left out for a while.
#[derive(Debug, Default)]
pub(super) struct UnitReader {
    /// Not more than there are pipelines.
    refused: BTreeMap<String, (Instant, String)>,
}

impl UnitReader {
    /// Reads the properties of each of these units.
    pub(super) async fn read(&mut self, names: &BTreeSet<String>) -> Answers {
        let now = Instant::now();
        self.refused.retain(|name, (again, _)| names.contains(name) && *again > now);
        let asked = names.iter().filter(|name| !self.refused.contains_key(*name)).cloned().collect();
        let mut answers = self.ask(&asked).await;
        for (name, (_, reason)) in &self.refused {
            answers.entry(name.clone()).or_insert_with(|| Err(AskError::Refused(reason.clone())));
        }
        answers
    }

    async fn ask(&mut self, names: &BTreeSet<String>) -> Answers {
        match show(names).await {
            Ok(units) => units.into_iter().map(|(name, unit)| (name, Ok(unit))).collect(),
            Err(AskError::Refused(reason)) if names.len() > 1 => {
                let (answers, refused) = ask_one_by_one(names).await;
                // When no unit has an answer, no single name is to blame.
                if refused.len() < names.len() {
                    let again = Instant::now() + REFUSED_AGAIN;
                    self.refused.extend(refused.into_iter().map(|(name, reason)| (name, (again, reason))));
                } else {
                    tracing::debug!(reason, "systemd has no answer for any unit");
                }
                answers
            }
            Err(error) => names.iter().map(|name| (name.clone(), Err(error.clone()))).collect(),
        }
    }
}

/// Answers for each unit, and the reasons of those that systemctl refuses. Ends with the first unit for
/// which systemctl itself fails: the next one would wait as long.
async fn ask_one_by_one(names: &BTreeSet<String>) -> (Answers, BTreeMap<String, String>) {
    let mut answers = Answers::new();
    let mut refused = BTreeMap::new();
    let mut failed: Option<AskError> = None;
    for name in names {
        let answer = match &failed {
            Some(error) => Err(error.clone()),
            None => {
                show(&BTreeSet::from([name.clone()])).await.map(|units| units.into_values().next().unwrap_or_default())
            }
        };
        match &answer {
            Err(AskError::Refused(reason)) => drop(refused.insert(name.clone(), reason.clone())),
            Err(error) => failed = Some(error.clone()),
            Ok(_) => {}
        }
        answers.insert(name.clone(), answer);
    }
    (answers, refused)
}

/// Asks for all units in one call.
async fn show(names: &BTreeSet<String>) -> Result<BTreeMap<String, Properties>, AskError> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut command = Command::new("systemctl");
    command.args(["show", "--no-pager", "--property", PROPERTIES, "--"]).args(names);
    command.env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    for name in SECRET_VARIABLES.into_iter().chain(SYSTEMD_VARIABLES) {
        command.env_remove(name);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |error| AskError::NoProgram(Arc::new(error));
    let child = command.spawn().map_err(failed)?;
    let _own = OwnChild::new(child.id());
    let answer = timeout(TIMEOUT, child.wait_with_output()).await.map_err(|_| AskError::TooSlow)?.map_err(failed)?;
    let units = read(&String::from_utf8_lossy(&answer.stdout));
    // In the order in which they were asked for, an empty line between two.
    if units.len() != names.len() {
        let complaint = String::from_utf8_lossy(&answer.stderr);
        let complaint = complaint.lines().find(|line| !line.trim().is_empty());
        return Err(AskError::Refused(complaint.unwrap_or("systemctl has no answer").trim().to_owned()));
    }
    Ok(names.iter().cloned().zip(units).collect())
}

fn read(answer: &str) -> Vec<Properties> {
    let units = answer.split("\n\n").filter(|unit| !unit.trim().is_empty());
    let properties = |unit: &str| -> Properties {
        let lines = unit.lines().filter_map(|line| line.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    units.map(properties).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_parsed_in_order() {
        let units = read("MainPID=7\nResult=success\n\nMainPID=0\nLoadState=not-found\n");
        assert_eq!(units.len(), 2);
        assert_eq!((units[0]["MainPID"].as_str(), units[1]["LoadState"].as_str()), ("7", "not-found"));
    }
}
