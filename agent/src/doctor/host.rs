//! The agent that runs on this host, its port, its pipelines and their programs.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use systole_shared::{Finding, PipelineStatus};

use crate::config::Config;
use crate::status::Status;
use crate::status::cli::{StatusError, fetch_status};
use crate::uplink::ConnectionState;
use crate::version::BUILD;

/// Pipelines that are listed one by one.
const MAX_LISTED: usize = 10;

/// The agent that runs on a data directory, and what it says of itself.
pub(super) fn check_running(data_dir: &Path) -> (Option<Status>, Vec<Finding>) {
    let status = match fetch_status(data_dir) {
        Ok(status) => status,
        Err(error @ StatusError::NotRunning(..)) => {
            let remedy = "systemctl start systole-agent; if it does not stay up: journalctl -u systole-agent";
            return (None, vec![Finding::warning("agent", error.to_string(), remedy)]);
        }
        Err(error @ StatusError::Denied(_)) => {
            return (None, vec![Finding::warning("agent", error.to_string(), "sudo systole-agent doctor")]);
        }
        Err(error) => {
            let remedy = "systemctl restart systole-agent";
            return (None, vec![Finding::problem("agent", error.to_string(), remedy)]);
        }
    };
    let mut findings = Vec::new();
    let (version, pid) = (&status.agent.version, status.agent.pid);
    findings.push(if version == BUILD.version {
        Finding::ok("agent", format!("version {version} runs with process id {pid}"))
    } else {
        let message = format!("the agent that runs is version {version}, this program is {}", BUILD.version);
        Finding::warning("agent", message, "systole-agent upgrade, or systemctl restart systole-agent")
    });
    if status.collector.state == ConnectionState::Refused {
        let message = "the collector refuses this node";
        findings.push(Finding::problem("connection", message, "`systole-agent status` shows the reason"));
    }
    (Some(status), findings)
}

/// Whether the agent's own port is its own.
pub(super) fn check_port(config: &Config, running: Option<&Status>) -> Option<Finding> {
    let wanted = config.metrics_listen?;
    if let Some(address) = running.and_then(|status| status.agent.metrics_address) {
        return Some(Finding::ok("metrics_port", format!("the agent listens on {address}")));
    }
    match TcpListener::bind(wanted) {
        Ok(_) => Some(Finding::ok("metrics_port", format!("{wanted} is free"))),
        Err(error) => {
            let remedy = format!(
                "set metrics_listen to a free port, or stop what listens there (ss -ltnp 'sport = :{}')",
                wanted.port()
            );
            Some(Finding::warning("metrics_port", format!("cannot listen on {wanted}: {error}"), remedy))
        }
    }
}

/// Programs of the configuration that this host does not have.
pub(super) fn check_commands(config: &Config) -> Vec<Finding> {
    let commands = config
        .pipelines
        .iter()
        .filter_map(|pipeline| Some((format!("pipeline {}", pipeline.id), pipeline.command.as_ref()?.program.clone())));
    let engines = config.centre.engines.iter();
    let engines = engines.map(|(name, engine)| (format!("engine {name}"), engine.command.program.clone()));
    let missing = commands.chain(engines).filter(|(_, program)| find(program).is_none());
    let finding = |(whose, program): (String, String)| {
        let message = format!("the program {program} of {whose} does not exist, or is not executable");
        Finding::problem("command", message, "install it, or write its absolute path in the configuration")
    };
    missing.map(finding).collect()
}

fn find(program: &str) -> Option<PathBuf> {
    let is_executable =
        |path: &Path| path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| is_executable(path));
    }
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories).map(|dir| dir.join(program)).find(|path| is_executable(path))
}

/// Pipelines that are not as they should be.
pub(super) fn check_pipelines(status: &Status) -> Vec<Finding> {
    let is_bad = |status: PipelineStatus| {
        matches!(status, PipelineStatus::Degraded | PipelineStatus::Crashed | PipelineStatus::CrashLoop)
    };
    let bad = status.pipelines.iter().filter(|pipeline| is_bad(pipeline.status));
    let mut findings: Vec<Finding> = bad
        .take(MAX_LISTED)
        .map(|pipeline| {
            let reason = pipeline.reason.as_deref().unwrap_or("no reason is known");
            let message = format!("{} is {}: {reason}", pipeline.id, pipeline.status.as_str());
            Finding::warning("pipeline", message, "`systole-agent status` shows it; its lines are in the collector")
        })
        .collect();
    if findings.is_empty() && !status.pipelines.is_empty() {
        findings.push(Finding::ok("pipelines", format!("none of {} has failed", status.pipelines.len())));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_found_by_path_or_name() {
        assert!(find("sh").is_some() && find("/bin/sh").is_some());
        assert_eq!((find("no-such-program"), find("/etc/passwd"), find("/bin")), (None, None, None));
    }
}
