//! The stub's command line: Vector's, and the stub's own flags.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Arguments of `vector`, as far as an agent uses them.
#[derive(Debug, Parser)]
#[command(name = "vector", about = "A stand-in for Vector")]
pub struct Cli {
    /// Print the version.
    #[arg(short = 'V', long)]
    pub version: bool,
    /// Configuration files; all together make the topology.
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Vec<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as the help of the whole command")]
    pub flags: Flags,
    /// Something else than running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The version of Vector that the stub is: `STUB_VERSION`, or the newest that it knows.
pub fn version() -> String {
    std::env::var("STUB_VERSION").unwrap_or_else(|_| "0.58.0".to_owned())
}

/// Something else than running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check configuration files and exit 0 or 78.
    Validate {
        /// Do not run the health checks.
        #[arg(long)]
        no_environment: bool,
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Print the events that pass a component.
    Tap(TapOptions),
}

/// What `vector tap` takes, as far as an agent uses it.
#[derive(Clone, Debug, Args)]
pub struct TapOptions {
    /// Where the API is.
    #[arg(short, long)]
    pub url: String,
    /// The component.
    #[arg(long)]
    pub outputs_of: String,
    /// Milliseconds between two samples, at least 100.
    #[arg(short, long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(100..))]
    pub interval: u64,
    /// The most events of a sample.
    #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// How long.
    #[arg(short, long)]
    pub duration_ms: Option<u64>,
    /// The form of events; only JSON here.
    #[arg(short, long, default_value = "json")]
    pub format: String,
    /// End when the connection does.
    #[arg(short, long)]
    pub no_reconnect: bool,
    /// No notices.
    #[arg(short, long)]
    pub quiet: bool,
}

/// The stub's own flags; each may also be set in a configuration file as `# stub: name=value`.
#[derive(Clone, Debug, Default, Args)]
pub struct Flags {
    /// Where /metrics and /control answer; port 0 takes a free one.
    #[arg(long, env = "STUB_METRICS_ADDRESS", value_name = "HOST:PORT")]
    pub metrics_address: Option<SocketAddr>,
    /// File for the true totals, over all lives of the process; beside it, with the extension
    /// `scrapes`, what each scrape was shown.
    #[arg(long, env = "STUB_TOTALS", value_name = "FILE")]
    pub totals: Option<PathBuf>,
    /// Milliseconds between two moves of the counters. Default 50; more where many stubs run at once.
    #[arg(long, value_name = "MS")]
    pub tick_ms: Option<u64>,
    /// Events that come with each scrape, right before its answer, on top of those by the clock.
    /// Default 0.
    #[arg(long, value_name = "EVENTS")]
    pub events_per_scrape: Option<u64>,
    /// Events per second. Default 50.
    #[arg(long, env = "STUB_RATE", value_name = "EVENTS_PER_SECOND")]
    pub rate: Option<f64>,
    /// Components: a source, transforms (the second one routes to three outputs), a sink. Default 4,
    /// at least 3.
    #[arg(long, value_name = "N")]
    pub components: Option<usize>,
    /// Every so many events one fails in the first transform. Default 0, never.
    #[arg(long, value_name = "EVENTS")]
    pub errors_every: Option<u64>,
    /// Every so many events one is discarded on purpose in the first transform. Default 0, never.
    #[arg(long, value_name = "EVENTS")]
    pub discard_every: Option<u64>,
    /// Form of the log: text on standard error, JSON on standard output. Default text.
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
    /// Numbered log lines per second. Default 0.2.
    #[arg(long, value_name = "LINES_PER_SECOND")]
    pub log_rate: Option<f64>,
    /// Milliseconds before the metrics port opens. Default 0.
    #[arg(long, value_name = "MS")]
    pub start_delay_ms: Option<u64>,
    /// Milliseconds for which it still works after SIGTERM, as Vector does with full buffers. Default 0.
    #[arg(long, value_name = "MS")]
    pub drain_ms: Option<u64>,
    /// Crash so many milliseconds after the start.
    #[arg(long, value_name = "MS")]
    pub crash_after_ms: Option<u64>,
    /// End when this process is gone, so that a killed test leaves nothing behind.
    #[arg(long, env = "STUB_LEASE_PID", value_name = "PID")]
    pub lease_pid: Option<u32>,
    /// Expose the pseudo component `_tap` as well.
    #[arg(long)]
    pub tap: bool,
    /// Expose a source of the process's own metrics and the exporter that it feeds as components of the
    /// user's own.
    #[arg(long)]
    pub internal_metrics: bool,
    /// Count nothing until `/control/resume`.
    #[arg(long)]
    pub paused: bool,
    /// Live on at SIGTERM.
    #[arg(long)]
    pub ignore_sigterm: bool,
}

impl Flags {
    /// These flags, and where one is not given, the other's.
    pub fn or(self, other: Flags) -> Flags {
        Flags {
            metrics_address: self.metrics_address.or(other.metrics_address),
            totals: self.totals.or(other.totals),
            tick_ms: self.tick_ms.or(other.tick_ms),
            events_per_scrape: self.events_per_scrape.or(other.events_per_scrape),
            rate: self.rate.or(other.rate),
            components: self.components.or(other.components),
            errors_every: self.errors_every.or(other.errors_every),
            discard_every: self.discard_every.or(other.discard_every),
            log_format: self.log_format.or(other.log_format),
            log_rate: self.log_rate.or(other.log_rate),
            start_delay_ms: self.start_delay_ms.or(other.start_delay_ms),
            drain_ms: self.drain_ms.or(other.drain_ms),
            crash_after_ms: self.crash_after_ms.or(other.crash_after_ms),
            lease_pid: self.lease_pid.or(other.lease_pid),
            tap: self.tap || other.tap,
            internal_metrics: self.internal_metrics || other.internal_metrics,
            paused: self.paused || other.paused,
            ignore_sigterm: self.ignore_sigterm || other.ignore_sigterm,
        }
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines on standard error.
    #[default]
    Text,
    /// Objects on standard output.
    Json,
}
