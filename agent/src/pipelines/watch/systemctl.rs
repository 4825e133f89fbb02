//! Asks systemd for units, through its own tool: a D-Bus library would be more than half an agent.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::super::process::SECRET_VARIABLES;
use crate::notify;

/// Longest wait for the answer; it comes within milliseconds.
const CEILING: Duration = Duration::from_secs(5);

/// What is asked of each unit.
const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts,MainPID";

/// Why there is no answer. The text is the `reason` of pipelines whose units cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// This host has no such program.
    #[error("systemd cannot be asked: systemctl cannot be started: {0}")]
    NoProgram(#[source] std::io::Error),
    /// It has no answer: systemd does not run, or lets nobody ask.
    #[error("systemd cannot be asked: {0}")]
    Refused(String),
    /// It takes too long.
    #[error("systemd cannot be asked: systemctl gave no answer within {} s", CEILING.as_secs())]
    TooSlow,
}

impl AskError {
    /// Whether it will hardly be another one in a moment.
    pub(super) fn is_lasting(&self) -> bool {
        !matches!(self, AskError::TooSlow)
    }
}

/// What systemd says of a unit, by the names of its properties.
pub(super) type Properties = BTreeMap<String, String>;

/// Asks for all units at once.
pub(super) async fn show(names: &BTreeSet<String>) -> Result<BTreeMap<String, Properties>, AskError> {
    let mut command = Command::new("systemctl");
    command.args(["show", "--no-pager", "--property", PROPERTIES, "--"]).args(names);
    command.env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    for name in SECRET_VARIABLES.into_iter().chain(notify::VARIABLES) {
        command.env_remove(name);
    }
    let answer = timeout(CEILING, command.output()).await.map_err(|_| AskError::TooSlow)?;
    let answer = answer.map_err(AskError::NoProgram)?;
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
    fn units_are_read_in_their_order() {
        let units = read("MainPID=7\nResult=success\n\nMainPID=0\nLoadState=not-found\n");
        assert_eq!(units.len(), 2);
        assert_eq!((units[0]["MainPID"].as_str(), units[1]["LoadState"].as_str()), ("7", "not-found"));
    }
}
