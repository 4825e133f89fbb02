//! `doctor`: checks what the collector needs on this host, and says what to do where something is wrong.
//!
//! It changes nothing, and works whether the collector runs or not. It reads the settings as the service does:
//! variables of [`SERVICE_VARIABLES`] count where the environment has none.

mod database;
mod files;
mod network;

use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use systole_shared::finding::has_problem;
use systole_shared::{Finding, env_file};

use super::{Settings, finish};
use crate::clock;
use crate::config::{Config, ConfigErrors, Sources};

/// What the systemd unit reads variables from.
const SERVICE_VARIABLES: &str = "/etc/systole/collector.env";

#[derive(Args)]
#[command(after_help = "\
One line for each check: ok, warning or problem, and what to do. The exit code is 1 when there is a problem. Run it as \
root or as the collector's user, with the settings of the service.")]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the checks.
pub(super) fn run(args: &DoctorArgs, settings: &Settings) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return finish(Err(error.into())),
    };
    let findings = runtime.block_on(examine(settings.sources(Default::default()), Path::new(SERVICE_VARIABLES)));
    runtime.shutdown_background();
    let printed = print(&findings, args.json);
    if printed.is_ok() && has_problem(&findings) { ExitCode::FAILURE } else { finish(printed) }
}

/// All findings, in the order of what depends on what.
async fn examine(sources: Result<Sources, ConfigErrors>, service_variables: &Path) -> Vec<Finding> {
    let config = sources.and_then(|mut sources| {
        let variables = std::fs::read_to_string(service_variables).unwrap_or_default();
        for (name, value) in env_file::parse(&variables).into_iter().filter(|(name, _)| name.starts_with("SYSTOLE_")) {
            sources.environment.entry(name).or_insert(value);
        }
        Config::read(&sources)
    });
    let config = match config {
        Ok(config) => config,
        Err(ConfigErrors(errors)) => {
            let remedy = "correct the setting; `systole-collector check-config` checks all of them";
            return errors.into_iter().map(|error| Finding::problem("configuration", error, remedy)).collect();
        }
    };
    let now = clock::now_ms();
    let mut findings = vec![Finding::ok("configuration", "the settings are valid")];
    findings.extend(files::check_data_dir(&config.data_dir));
    findings.extend(files::check_certificate(&config, now));
    findings.push(network::check_port(&config).await);
    findings.extend(network::check_dns(&config).await);
    findings.extend(database::check(&config, now).await);
    findings.push(files::check_backup(&config.data_dir, now));
    findings
}

fn print(findings: &[Finding], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        writeln!(stdout(), "{}", serde_json::to_string_pretty(&serde_json::json!({ "findings": findings }))?)?;
    } else {
        findings.iter().try_for_each(|finding| writeln!(stdout(), "{finding}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
