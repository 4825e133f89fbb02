//! The agent of Systole: runs the data pipelines of a node, or watches ones that run already, and
//! reports their health and that of the host every few seconds.
//!
//! The path of a report: [`supervise`] (states, lines) and [`scrape`] (counters) and [`host`] fill what
//! [`report`] puts together whenever the heartbeat asks; the [`spool`] keeps it until the
//! collector has committed it, which it answers to the [`uplink`].
//!
//! A library beside the binary, so that fuzzers reach the parts; its interface is one function.

#![forbid(unsafe_code)]

mod actions;
mod adopt;
mod app;
mod cli;
mod clock;
mod config;
mod data_dir_lock;
mod desired;
mod doctor;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod http_client;
#[cfg(test)]
mod layers_tests;
mod logging;
mod logs;
mod metrics;
mod model;
mod reload;
mod report;
mod scrape;
mod signals;
mod spool;
mod status;
mod supervise;
mod topology;
mod upgrade;
mod uplink;
mod version;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::config::Overrides;
use crate::upgrade::launch::Launch;

/// Exit code for an invalid configuration, from sysexits.h; systemd does not restart on it.
const BAD_CONFIGURATION: u8 = 78;

/// Runs the command of the command line.
#[expect(clippy::print_stderr, reason = "this is the command line's own answer")]
pub fn main(args: Vec<OsString>) -> ExitCode {
    if args.get(1).is_some_and(|arg| arg == supervise::process::exec::SUBCOMMAND) {
        return supervise::process::exec::run(args.into_iter().skip(2));
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(answer) => {
            let _ = answer.print();
            return if answer.use_stderr() { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::SUCCESS };
        }
    };
    if cli.version {
        return exit_code(cli::print_version(cli.json));
    }
    let overrides = Overrides::from(cli.options);
    let env = |name: &str| std::env::var(name).ok();
    let command = cli.command.unwrap_or(Command::Run);
    let load = || config::load(&overrides, &env);
    let data_dir = || config::find_data_dir(&overrides, &env);
    let mut launch = Launch::default();
    let config = match &command {
        Command::Run => {
            if let Ok(data_dir) = data_dir() {
                launch = Launch::begin(&data_dir);
            }
            // Pipelines must run even if the file is invalid at a restart.
            load().or_else(|errors| config::last_known_good(&overrides, &env, errors))
        }
        Command::CheckConfig { offline } if *offline => config::load_offline(&overrides, &env),
        Command::CheckConfig { .. } => load(),
        Command::Status { json } => match data_dir() {
            Ok(data_dir) => return status(&data_dir, *json),
            Err(errors) => Err(errors),
        },
        Command::Upgrade(request) => match data_dir() {
            Ok(data_dir) => return upgrade(&data_dir, request),
            Err(errors) => Err(errors),
        },
        Command::Doctor { json } => return examine(&overrides, *json),
        Command::ManPages { directory } => return exit_code(cli::write_man_pages(directory)),
        Command::Adopt { write } => return adopt(&overrides, write.as_deref()),
        Command::Completions { shell } => return exit_code(cli::print_completions(*shell)),
    };
    let config = match config {
        Ok(config) => config,
        Err(errors) => {
            if config::has_file(&overrides, &env) {
                eprintln!("systole-agent: {errors}");
            } else {
                eprintln!("systole-agent: {}", errors.on_one_line());
            }
            if let Ok(data_dir) = data_dir() {
                launch.give_up(&data_dir, &format!("the configuration is invalid for this version: {errors}"));
            }
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    if let Command::CheckConfig { offline } = command {
        if offline {
            return exit_code(writeln!(
                io::stdout(),
                "the configuration is valid: {} pipelines",
                config.pipelines.len()
            ));
        }
        return exit_code(write!(io::stdout(), "{config}"));
    }
    let log = match logging::begin(config.log) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("systole-agent: cannot start the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = app::run(config, overrides, launch, log.clone());
    if let Err(error) = &result {
        tracing::error!("systole-agent failed: {error:#}");
    }
    log.flush();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stderr, reason = "this is the command line's own answer")]
fn status(data_dir: &Path, as_json: bool) -> ExitCode {
    match status::cli::print(data_dir, as_json) {
        Ok(printed) => exit_code(printed),
        Err(error) => {
            eprintln!("systole-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is the command line's own answer")]
fn adopt(overrides: &Overrides, write: Option<&Path>) -> ExitCode {
    let known = config::known_units(overrides, &|name| std::env::var(name).ok());
    match adopt::run(&known, write, &mut io::stdout(), &mut io::stderr()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("systole-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is the command line's own answer")]
fn examine(overrides: &Overrides, as_json: bool) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("systole-agent: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let env = |name: &str| std::env::var(name).ok();
    let findings = runtime.block_on(doctor::examine(overrides, &env, Path::new(doctor::SERVICE_VARIABLES)));
    match doctor::print(&findings, as_json, &mut io::stdout()) {
        Ok(false) => ExitCode::FAILURE,
        printed => exit_code(printed.map(drop)),
    }
}

#[expect(clippy::print_stderr, reason = "this is the command line's own answer")]
fn upgrade(data_dir: &Path, request: &cli::UpgradeArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("systole-agent: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(upgrade::cli::run(data_dir, &request.request(), &mut io::stdout())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("systole-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The result of printing; the reader may close the pipe early: `systole-agent check-config | head -1`.
fn exit_code(printed: io::Result<()>) -> ExitCode {
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
