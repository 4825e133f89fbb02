//! The load generator's command line.

use std::path::PathBuf;

use clap::{ArgGroup, Parser, ValueEnum};

use crate::harness::node::Encoding;

/// Measures how many reports a collector takes, and how long it takes to acknowledge them.
#[derive(Clone, Debug, Parser)]
#[command(name = "systole-bench", version, group = ArgGroup::new("target").required(true).args(["url", "spawn"]))]
pub struct Args {
    /// The collector to send to.
    #[arg(long, requires = "enroll_token")]
    pub url: Option<String>,
    /// Token that makes the nodes.
    #[arg(long, env = "SYSTOLE_ENROLL_TOKEN", hide_env_values = true)]
    pub enroll_token: Option<String>,
    /// Start a collector with an empty database in a temporary directory, and end it afterwards. Its
    /// program is taken from beside this one, so build both with --release.
    #[arg(long)]
    pub spawn: bool,
    /// Nodes in the fleet.
    #[arg(long, default_value_t = 50)]
    pub nodes: usize,
    /// Pipelines of each node.
    #[arg(long, default_value_t = 10)]
    pub pipelines: usize,
    /// Components of each pipeline.
    #[arg(long, default_value_t = 5)]
    pub components: usize,
    /// Log lines of each pipeline in each report.
    #[arg(long, default_value_t = 0)]
    pub lines: usize,
    /// How the nodes set their pace.
    #[arg(long, value_enum, default_value_t = Loop::Closed)]
    pub mode: Loop,
    /// Pace of the open loop.
    #[arg(long, default_value_t = 5_000, value_name = "MS")]
    pub interval_ms: u64,
    /// How long to measure.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// How the bodies are packed.
    #[arg(long, value_enum, default_value_t = Packing::Zstd)]
    pub encoding: Packing,
    /// Write the outcome as JSON into this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw no progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// How the nodes set their pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Loop {
    /// The next report follows the acknowledgement of the last.
    Closed,
    /// A report every interval.
    Open,
}

/// How the bodies are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Packing {
    /// As agents do.
    Zstd,
    /// As other senders do.
    Gzip,
    /// Not at all.
    Plain,
}

impl From<Packing> for Encoding {
    fn from(packing: Packing) -> Self {
        match packing {
            Packing::Zstd => Encoding::Zstd,
            Packing::Gzip => Encoding::Gzip,
            Packing::Plain => Encoding::Plain,
        }
    }
}
