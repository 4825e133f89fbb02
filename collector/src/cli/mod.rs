//! The command line: arguments, commands and their output.
//!
//! Exit codes: 0 ok, 1 failure, 78 (EX_CONFIG) bad configuration.

#![expect(clippy::print_stderr, reason = "this is what people read")]

mod access;
mod actions;
mod alert;
mod audit;
mod backup;
mod check_config;
mod demo;
mod doctor;
mod files;
mod ingest_bench;
mod local;
mod migrate_data;
mod no_database;
mod node;
mod pipelines;
mod remote;
mod restore;
mod rollouts;
mod secret;
mod silence;
mod status;
mod tail;
mod text;
mod top;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::app::open_store;
use crate::config::{Config, ConfigErrors, Sources};
use crate::server;
use crate::store::marker;
use crate::store::{Access, Store, private};
use crate::telemetry::logging;
use crate::telemetry::logging::chain;
use crate::version::BUILD;

/// EX_CONFIG of sysexits.h.
const EXIT_BAD_CONFIGURATION: u8 = 78;

/// Receives the reports of systole agents exactly once, stores them, and streams events to dashboards.
#[derive(Parser)]
#[command(
    name = "systole-collector",
    version,
    disable_version_flag = true,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
    /// Print the version
    #[arg(short = 'V', long)]
    version: bool,
    /// With --version: print JSON with commit, target and compiler
    #[arg(long, requires = "version")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  systole-collector serve --listen 0.0.0.0:8080 --data-dir /var/lib/systole
  systole-collector token create --kind enroll --expires 24h    for agents
  systole-collector token create --kind viewer                  for dashboards
  systole-collector top                                         the fleet, live
  systole-collector tail                                        live status changes and log lines
  systole-collector apply -f pipelines/ --dry-run               pipelines of the centre

Settings come from flags, environment variables (SYSTOLE_LISTEN, SYSTOLE_DATA_DIR, …) and the TOML
file of --config; flags have the highest precedence. The commands also work while the collector runs:
it applies changes of tokens and environments within 2 seconds.

SIGHUP makes a running collector read its certificate again; it also does when the files change.";

/// Settings of every command.
#[derive(Args)]
struct Settings {
    /// Configuration file (TOML) [env: SYSTOLE_CONFIG] [default: /etc/systole/collector.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory [env: SYSTOLE_DATA_DIR] [default: ./systole-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Database [env: SYSTOLE_DATABASE_URL] [default: sqlite://DATA_DIR/collector.db]
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the collector
    Serve {
        #[command(flatten)]
        settings: ServeArgs,
        /// Start with an empty database although the data directory belongs to another one
        #[arg(long)]
        init: bool,
    },
    /// Create, list and revoke tokens
    #[command(subcommand)]
    Token(access::TokenCommand),
    /// Create and list environments; a token of one environment cannot read the data of another
    #[command(subcommand)]
    Environment(access::EnvironmentCommand),
    /// List, rename, label and remove nodes, and set their maintenance
    Node(node::NodeArgs),
    /// List alerts, rules and targets, preview a rule, and send a test message
    Alert(alert::AlertArgs),
    /// Silence alerts for a while
    Silence(silence::SilenceArgs),
    /// Show what administrators, operators and commands did
    Audit(audit::AuditArgs),
    /// Check the configuration: report all errors at once and print the effective configuration
    CheckConfig(ServeArgs),
    /// Check what the collector needs on this host, and print what to do where something is wrong
    Doctor(doctor::DoctorArgs),
    /// Write a backup into one file while the collector runs, or verify one
    Backup(backup::BackupArgs),
    /// Replace the database by a backup
    Restore(restore::RestoreArgs),
    /// Copy all data from one database into another, e.g. from SQLite to PostgreSQL
    MigrateData(migrate_data::MigrateDataArgs),
    /// Show the collectors of the database, and which of them leads
    Status(status::StatusArgs),
    /// Follow status changes, log lines or other events in the terminal
    Tail(tail::TailArgs),
    /// Show the fleet live in the terminal: nodes, pipelines, components and logs
    Top(top::TopArgs),
    /// Make pipelines what their files say, after showing what changes
    Apply(pipelines::ApplyArgs),
    /// List the versions of a pipeline
    History(pipelines::HistoryArgs),
    /// Show the difference of two versions of a pipeline
    Diff(pipelines::DiffArgs),
    /// Go back to an earlier version of a pipeline
    Rollback(pipelines::RollbackArgs),
    /// Show the rollout of a version with its nodes; resume or abort it
    Rollout(rollouts::RolloutArgs),
    /// Update agents, in batches
    AgentUpdate(rollouts::AgentUpdateArgs),
    /// Restart a pipeline on a node
    Restart(actions::RestartArgs),
    /// Print some events that pass components of a pipeline on a node
    Sample(actions::SampleArgs),
    /// Print the events of a component as they pass
    Tap(actions::TapArgs),
    /// Stop a pipeline on every node, without removing it
    Pause(pipelines::OfPipeline),
    /// Let a paused pipeline run again
    Resume(pipelines::OfPipeline),
    /// Remove a pipeline of the centre from every node; its history stays
    Remove(pipelines::OfPipeline),
    /// Set, list and remove the secrets of pipelines
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// Run a demo on this host: a collector, an agent and two pipelines
    Demo(demo::DemoArgs),
    /// Measure the ingest path of a report without HTTP
    #[command(hide = true)]
    IngestBench(ingest_bench::IngestBenchArgs),
    /// Print the OpenAPI 3.1 document of the HTTP API, as in `/api/v1/openapi.json`
    #[command(hide = true)]
    Openapi,
    /// Write the man pages of all commands
    #[command(hide = true)]
    ManPages {
        /// The directory, which exists
        directory: PathBuf,
    },
    /// Print a shell completion script
    Completions {
        /// Shell to complete for
        shell: Shell,
    },
}

#[derive(Args)]
struct ServeArgs {
    /// Address to listen on; port 0 selects a free port [env: SYSTOLE_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of this collector for others on the same PostgreSQL [env: SYSTOLE_ADVERTISE_URL] [default: the listen address]
    #[arg(long, value_name = "URL")]
    advertise_url: Option<String>,
    /// Interval between two reports of an agent [env: SYSTOLE_INTERVAL] [default: 5s]
    #[arg(long, value_name = "DURATION")]
    interval: Option<String>,
    /// Log level: error, warn, info, debug or trace [env: SYSTOLE_LOG_LEVEL] [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Log format: text or json [env: SYSTOLE_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Settings {
    fn read(&self, more: [(&'static str, &Option<String>); 5]) -> Result<Config, ConfigErrors> {
        let more = more.into_iter().filter_map(|(key, value)| value.clone().map(|value| (key, value)));
        Config::read(&self.sources(more.collect())?)
    }

    /// With flags that not every command has.
    fn sources(&self, mut flags: BTreeMap<&'static str, String>) -> Result<Sources, ConfigErrors> {
        for (key, value) in [("data_dir", &self.data_dir), ("database_url", &self.database_url)] {
            flags.extend(value.clone().map(|value| (key, value)));
        }
        Sources::from_process(flags, self.config.as_deref())
    }
}

impl ServeArgs {
    fn flags(&self) -> [(&'static str, &Option<String>); 5] {
        [
            ("listen", &self.listen),
            ("advertise_url", &self.advertise_url),
            ("interval", &self.interval),
            ("log_level", &self.log_level),
            ("log_format", &self.log_format),
        ]
    }
}

/// Runs the command that was typed.
pub(crate) fn main() -> ExitCode {
    private::restrict_umask();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            let _ = answer.print();
            let is_error = answer.use_stderr();
            return if is_error { ExitCode::from(EXIT_BAD_CONFIGURATION) } else { ExitCode::SUCCESS };
        }
    };
    if cli.version {
        return finish(print_version(cli.json));
    }
    let Some(command) = cli.command else {
        let missing = Cli::command().error(ErrorKind::MissingSubcommand, "a command is missing; --help lists them");
        let _ = missing.print();
        return ExitCode::from(EXIT_BAD_CONFIGURATION);
    };
    if let Command::ManPages { directory } = &command {
        return finish(clap_mangen::generate_to(Cli::command(), directory).map_err(anyhow::Error::from));
    }
    if let Command::Completions { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "systole-collector", &mut script);
        return finish(std::io::stdout().write_all(&script).map_err(anyhow::Error::from));
    }
    if let Command::Openapi = command {
        return finish(writeln!(std::io::stdout(), "{}", crate::http::openapi_document()).map_err(anyhow::Error::from));
    }
    let none = None;
    let flags = match &command {
        Command::Serve { settings: args, .. } | Command::CheckConfig(args) => args.flags(),
        _ => [
            ("listen", &none),
            ("advertise_url", &none),
            ("interval", &none),
            ("log_level", &none),
            ("log_format", &none),
        ],
    };
    if let Command::Doctor(args) = &command {
        return doctor::run(args, &cli.settings);
    }
    let config = match cli.settings.read(flags) {
        Ok(config) => Config { accepts_empty_database: matches!(command, Command::Serve { init: true, .. }), ..config },
        Err(mistakes) => return refuse(&mistakes),
    };
    if let Command::CheckConfig(_) = command {
        return match check_config::run(&config) {
            Ok(printed) => finish(printed),
            Err(mistakes) => refuse(&mistakes),
        };
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let result = match command {
        Command::Serve { .. } => {
            logging::init(config.log);
            runtime.block_on(server::serve(config))
        }
        Command::Token(command) => runtime.block_on(access::run_token(command, &config)),
        Command::Environment(command) => runtime.block_on(access::run_environment(command, &config)),
        Command::Node(args) => runtime.block_on(node::run(args, &config)),
        Command::Alert(args) => runtime.block_on(alert::run(args, &config)),
        Command::Silence(args) => runtime.block_on(silence::run(args, &config)),
        Command::Audit(args) => runtime.block_on(audit::run(args, &config)),
        Command::Backup(args) => runtime.block_on(backup::run(args, &config)),
        Command::Restore(args) => runtime.block_on(restore::run(args, &config)),
        Command::MigrateData(args) => runtime.block_on(migrate_data::run(args)),
        Command::Tail(args) => runtime.block_on(tail::run(args, &config)),
        Command::Status(args) => runtime.block_on(status::run(args, &config)),
        Command::Top(args) => runtime.block_on(top::run(args, &config)),
        Command::Apply(args) => runtime.block_on(pipelines::apply(args, &config)),
        Command::History(args) => runtime.block_on(pipelines::history(args, &config)),
        Command::Diff(args) => runtime.block_on(pipelines::diff(args, &config)),
        Command::Rollback(args) => runtime.block_on(pipelines::rollback(args, &config)),
        Command::Rollout(args) => runtime.block_on(rollouts::rollout(args, &config)),
        Command::AgentUpdate(args) => runtime.block_on(rollouts::agent_update(args, &config)),
        Command::Restart(args) => runtime.block_on(actions::restart(args, &config)),
        Command::Sample(args) => runtime.block_on(actions::sample(args, &config)),
        Command::Tap(args) => runtime.block_on(actions::tap(args, &config)),
        Command::Pause(args) => runtime.block_on(pipelines::set_paused(args, &config, true)),
        Command::Resume(args) => runtime.block_on(pipelines::set_paused(args, &config, false)),
        Command::Remove(args) => runtime.block_on(pipelines::remove(args, &config)),
        Command::Secret(command) => runtime.block_on(secret::run(command, &config)),
        Command::Demo(args) => runtime.block_on(demo::run(args, config, cli.settings.data_dir.is_some())),
        Command::IngestBench(args) => runtime.block_on(ingest_bench::run(args, &config)),
        Command::CheckConfig(_)
        | Command::Doctor(_)
        | Command::Openapi
        | Command::ManPages { .. }
        | Command::Completions { .. } => Ok(()),
    };
    // A query that still runs on its own thread is past its deadline.
    runtime.shutdown_background();
    finish(result)
}

/// Prints the version as `<name> <version>`, or the build as JSON.
fn print_version(as_json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if as_json {
        writeln!(out, "{}", serde_json::to_string(&BUILD)?)?;
    } else {
        writeln!(out, "{} {}", BUILD.name, BUILD.version)?;
    }
    Ok(())
}

fn refuse(ConfigErrors(mistakes): &ConfigErrors) -> ExitCode {
    eprintln!("systole-collector: the configuration has {}:", count(mistakes.len(), "error"));
    mistakes.iter().for_each(|mistake| eprintln!("  {mistake}"));
    ExitCode::from(EXIT_BAD_CONFIGURATION)
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has closed the pipe: `token list | head`.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("systole-collector: {}", chain(error.as_ref()));
    ExitCode::FAILURE
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("one {noun}") } else { format!("{number} {noun}s") }
}

/// The same for a command that would make an empty database look used.
async fn open_shared_to_create(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let store = open_shared(config).await?;
    marker::check(&config.data_dir, &config.database.to_string(), &*store).await?;
    Ok(store)
}

/// Opens the store; a collector may be running on it.
async fn open_shared(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    if let Some(fault) = no_database::explain(config) {
        bail!(fault);
    }
    Ok(open_store(&config.database, Access::Shared).await?)
}
