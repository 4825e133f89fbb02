//! `doctor`: checks what an agent needs on this host, and says what to do where something is wrong.
//!
//! It changes nothing, and works whether an agent runs or not. It reads the settings as the service does: variables of
//! [`SERVICE_VARIABLES`] count where the environment has none.

mod certificate;
mod collector;
mod files;
mod host;

use std::io::{self, Write};
use std::path::Path;

use systole_shared::Finding;
use systole_shared::env_file;
use systole_shared::finding::has_problem;

use crate::config::{self, Config, Overrides};
use crate::model::node::node_token;

/// What the systemd unit reads variables from.
pub(crate) const SERVICE_VARIABLES: &str = "/etc/systole/agent.env";

/// All findings, in the order of what depends on what.
pub(crate) async fn examine(
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
    service_variables: &Path,
) -> Vec<Finding> {
    let variables = env_file::parse(&std::fs::read_to_string(service_variables).unwrap_or_default());
    let env = |name: &str| env(name).or_else(|| variables.get(name).cloned());
    let mut findings = Vec::new();
    let data_dir = config::find_data_dir(overrides, &env);
    if let Ok(data_dir) = &data_dir {
        findings.extend(files::check_data_dir(data_dir));
    }
    match config::load(overrides, &env) {
        Ok(config) => examine_with(&config, &mut findings).await,
        Err(errors) => {
            findings.extend(errors.iter().map(|error| {
                let message = format!("{}: {}", error.key, error.what);
                Finding::problem("configuration", message, "correct the file; `systole-agent check-config` checks it")
            }));
            if let Ok(data_dir) = &data_dir {
                findings.extend(host::check_running(data_dir).1);
            }
        }
    }
    findings
}

async fn examine_with(config: &Config, findings: &mut Vec<Finding>) {
    let source = config.file.as_ref().map_or_else(|| "variables".to_owned(), |file| file.display().to_string());
    findings.push(Finding::ok("configuration", format!("{source} is valid, {} pipelines", config.pipelines.len())));
    findings.push(files::check_disk(&config.data_dir, config.spool.bytes));
    findings.extend(certificate::check_client(config, crate::clock::unix_millis()));
    findings.extend(host::check_commands(config));
    let token = node_token::read(&config.data_dir);
    findings.extend(collector::check(config, token.as_ref()).await);
    let (status, running) = host::check_running(&config.data_dir);
    findings.extend(running);
    findings.extend(host::check_port(config, status.as_ref()));
    findings.extend(status.iter().flat_map(host::check_pipelines));
}

/// Prints them. Returns whether there is no problem.
///
/// # Errors
///
/// When they cannot be written.
pub(crate) fn print(findings: &[Finding], as_json: bool, out: &mut dyn Write) -> io::Result<bool> {
    if as_json {
        writeln!(out, "{}", serde_json::to_string_pretty(&serde_json::json!({ "findings": findings }))?)?;
    } else {
        findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
    }
    Ok(!has_problem(findings))
}

#[cfg(test)]
mod tests;
