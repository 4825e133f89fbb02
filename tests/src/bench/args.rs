//! The load generator's command line.

use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};

use crate::harness::node::Encoding;
use crate::oracle::cluster::recovery::LeaderFault;

/// Measures how many reports a collector takes, and how long it takes to acknowledge them.
#[derive(Clone, Debug, Parser)]
#[command(name = "systole-bench", version, group = ArgGroup::new("target").required(true).args(["url", "spawn"]))]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Something else than a fleet.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The collector to send to.
    #[arg(long, requires = "enroll_token")]
    pub url: Option<String>,
    /// Token that enrols the nodes.
    #[arg(long, env = "SYSTOLE_ENROLL_TOKEN", hide_env_values = true)]
    pub enroll_token: Option<String>,
    /// Start a collector with an empty database in a temporary directory, and end it afterwards. Its
    /// program is in the directory of this one, so build both with --release.
    #[arg(long)]
    pub spawn: bool,
    /// With --spawn: use a separate PostgreSQL server, which writes to the disk at every commit.
    #[arg(long, requires = "spawn")]
    pub postgres: bool,
    /// Nodes in the fleet.
    #[arg(long, default_value_t = 50)]
    pub nodes: usize,
    /// Of these nodes, so many that speak VectorFlow's protocol: unpacked heartbeats with totals, without lines. In
    /// the open loop each is followed by a poll.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub vectorflow_nodes: usize,
    /// Pipelines of each node.
    #[arg(long, default_value_t = 10)]
    pub pipelines: usize,
    /// Components of each pipeline.
    #[arg(long, default_value_t = 5)]
    pub components: usize,
    /// Log lines of each pipeline in each report.
    #[arg(long, default_value_t = 0)]
    pub lines: usize,
    /// Of these nodes, so many whose first pipeline crashes and runs again with every other report.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub flapping: usize,
    /// Hold a push stream open for each node, as agents do.
    #[arg(long)]
    pub push: bool,
    /// Pacing of the nodes.
    #[arg(long, value_enum, default_value_t = Loop::Closed)]
    pub mode: Loop,
    /// Pace of the open loop.
    #[arg(long, default_value_t = 5_000, value_name = "MS")]
    pub interval_ms: u64,
    /// Time to measure.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Warm-up: time for which the fleet reports before the measurement.
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    pub warm_up: u64,
    /// Compression of the bodies.
    #[arg(long, value_enum, default_value_t = Packing::Zstd)]
    pub encoding: Packing,
    /// Write the outcome as JSON into this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print a table in Markdown.
    #[arg(long)]
    pub markdown: bool,
    /// Draw no progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// Something else than a fleet.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Measures what an agent costs: a real one with stub pipelines that it supervises.
    Agent(AgentArgs),
    /// Measures how fast a fleet is back after an outage of the collector.
    Return(ReturnArgs),
    /// Measures how long queries take while a fleet reports.
    Query(QueryArgs),
    /// Measures the feed: how long events take to many subscribers, and whether each gets all of them.
    Feed(FeedArgs),
    /// Kills a collector repeatedly under a fleet with known content, and checks whether
    /// anything was lost or repeated.
    Soak(SoakArgs),
    /// Lets the collectors of a cluster fail in every way under a fleet with known content, and checks whether anything
    /// was lost or repeated; or measures how long a cluster is away when its leader fails.
    Cluster(ClusterArgs),
    /// Attacks a collector, and measures what a good node loses meanwhile.
    Attack(AttackArgs),
    /// Brings versions to a fleet of real agents with stub pipelines: how long that takes, or with --crash
    /// whether a version that crashes is stopped in time.
    Rollout(RolloutArgs),
    /// Makes a table from the JSON of earlier runs.
    Report(ReportArgs),
}

/// Settings of an outage: the collector is killed and started again under a fleet.
#[derive(Clone, Debug, clap::Args)]
pub struct ReturnArgs {
    /// Nodes in the fleet.
    #[arg(long, default_value_t = 10_000)]
    pub nodes: usize,
    /// Pipelines of each node.
    #[arg(long, default_value_t = 10)]
    pub pipelines: usize,
    /// Components of each pipeline.
    #[arg(long, default_value_t = 5)]
    pub components: usize,
    /// How often each node reports.
    #[arg(long, default_value_t = 5_000, value_name = "MS")]
    pub interval_ms: u64,
    /// How long the fleet reports before the outage.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub warm_up: u64,
    /// How long the collector is away.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub outage: u64,
    /// How long to measure after the collector is back.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Write the outcome as JSON into this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw no progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// Settings of a run of queries, on a collector that is started for it with a day of history.
#[derive(Clone, Debug, clap::Args)]
pub struct QueryArgs {
    /// Use a separate PostgreSQL server.
    #[arg(long)]
    pub postgres: bool,
    /// Nodes that each pipeline is on.
    #[arg(long, default_value_t = 100)]
    pub nodes: usize,
    /// Pipelines of each node.
    #[arg(long, default_value_t = 10)]
    pub pipelines: usize,
    /// Components of each pipeline in the reports that come in meanwhile.
    #[arg(long, default_value_t = 5)]
    pub components: usize,
    /// Log lines of the day.
    #[arg(long, default_value_t = 1_000_000)]
    pub lines: u64,
    /// Interval of every node's reports meanwhile; 0: no reports.
    #[arg(long, default_value_t = 5_000, value_name = "MS")]
    pub interval_ms: u64,
    /// Time to measure.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// Write the outcome as JSON into this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw no progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// Settings of a run of the feed, on a collector that is started for it.
#[derive(Clone, Debug, clap::Args)]
pub struct FeedArgs {
    /// Use a separate PostgreSQL server.
    #[arg(long)]
    pub postgres: bool,
    /// The collector's configuration.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Subscribers, each on a separate connection.
    #[arg(long, default_value_t = 1_000)]
    pub subscribers: usize,
    /// Subscribers that share a token. Fewer than the limit, so that a reconnect does not wait
    /// until the collector notices the end of the old connection.
    #[arg(long, default_value_t = 25, value_name = "COUNT")]
    pub subscribers_per_token: usize,
    /// Events per second: log lines, each a separate event.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    pub events_per_second: usize,
    /// Reports that they are spread over.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    pub reports_per_second: usize,
    /// Nodes that send them in turn.
    #[arg(long, default_value_t = 50)]
    pub nodes: usize,
    /// Bytes of a line.
    #[arg(long, default_value_t = 100)]
    pub line_bytes: usize,
    /// Conflation period that the subscribers ask for.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub every_ms: u64,
    /// Types that they ask for.
    #[arg(long, default_value = "log_entry")]
    pub types: String,
    /// No events: what do subscribers cost that are only there?
    #[arg(long)]
    pub idle: bool,
    /// After the measurement all connections are cut at once, and each comes back with its own id.
    #[arg(long, conflicts_with = "idle")]
    pub storm: bool,
    /// After the measurement this many subscribers stop reading, until the collector has closed them.
    #[arg(long, default_value_t = 0, value_name = "COUNT", conflicts_with_all = ["idle", "storm"])]
    pub stalled: usize,
    /// After the measurement this many subscribers read slowly.
    #[arg(long, default_value_t = 0, value_name = "COUNT", conflicts_with_all = ["idle", "storm"])]
    pub slow: usize,
    /// How little that is.
    #[arg(long, default_value_t = 4_096, value_name = "BYTES")]
    pub slow_bytes_per_second: usize,
    /// Time to measure.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// Warm-up: time for which events flow before the measurement.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    pub warm_up: u64,
    /// Write the outcome as JSON into this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw no progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// Settings of the oracle.
#[derive(Clone, Debug, clap::Args)]
pub struct SoakArgs {
    /// Number of times that the collector is killed.
    #[arg(long, default_value_t = 100)]
    pub kills: usize,
    /// Decides everything but time; else a new one.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Use a separate PostgreSQL server that crashes now and then.
    #[arg(long)]
    pub postgres: bool,
    /// Run the oracle of the feed instead, with this many subscribers.
    #[arg(long, value_name = "SUBSCRIBERS")]
    pub feed: Option<usize>,
    /// Draw no progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// Settings of the oracle of a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArgs {
    /// Number of faults.
    #[arg(long, default_value_t = 100)]
    pub rounds: usize,
    /// Collectors.
    #[arg(long, default_value_t = 3)]
    pub members: usize,
    /// Subscribers, which move from one collector to another all the time.
    #[arg(long, default_value_t = 60)]
    pub subscribers: usize,
    /// Decides everything but time; else a new one.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Instead of faults: run this collector first, such as that of the commit before, and upgrade one after the other.
    #[arg(long, value_name = "PROGRAM")]
    pub previous: Option<PathBuf>,
    /// Run each collector on a host of its own (a network namespace), where a cut drops packets; as root only.
    #[arg(long)]
    pub on_hosts: bool,
    /// Only measure this fault of the leader, that many times: to the first acknowledged report, and to the first event
    /// at a subscriber that was connected to it.
    #[arg(long, value_enum, value_name = "FAULT")]
    pub recovery: Option<LeaderFault>,
    /// Draw no progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// Settings of an attack, on a collector that is started for it.
#[derive(Clone, Debug, clap::Args)]
pub struct AttackArgs {
    /// Kind of attack.
    #[arg(long, value_enum)]
    pub kind: AttackKind,
    /// Connections of the attacker at a time.
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
    /// Interval of the good node's reports.
    #[arg(long, default_value_t = 100, value_name = "MS")]
    pub interval_ms: u64,
    /// Duration of the attack.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Time for which the good node reports before the attack.
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    pub warm_up: u64,
    /// Write the outcome as JSON into this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Kinds of attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AttackKind {
    /// Bodies of some hundred bytes that open to millions of bad items.
    RefusedItems,
    /// Bodies of many gzip members without content.
    EmptyMembers,
    /// Names of pipelines that no report had before, 100,000 in a request.
    NewPipelines,
    /// Names of components that no report had before, 5,000 in a request.
    ComponentHistories,
    /// Bodies of 8 MiB that never end.
    HeldBodies,
    /// Enrolments of new nodes with one token.
    EnrolFlood,
    /// Requests with tokens that are none.
    UnknownTokens,
    /// As many log lines as fit into reports.
    LogFlood,
    /// Searches of one viewer through all lines, of which there are a million.
    Searches,
    /// Connections to a collector with TLS that never finish their handshake.
    HalfHandshakes,
}

/// Settings of rollouts, on a collector and agents that are started for them.
#[derive(Clone, Debug, clap::Args)]
pub struct RolloutArgs {
    /// Agents, each a process with a stub pipeline.
    #[arg(long, default_value_t = 200)]
    pub agents: usize,
    /// The agents hold no push stream, so a version comes with the answer to a report.
    #[arg(long)]
    pub no_push: bool,
    /// Bring a version that crashes, three times: undisturbed, with a killed collector, and with agents that are away.
    #[arg(long)]
    pub crash: bool,
    /// Write the outcome as JSON into this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw no progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// Settings of the table.
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// The directory with the JSON files; the columns have the order of their names.
    pub directory: PathBuf,
    /// Put the table between the marks in this Markdown file; else on standard output.
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
}

/// Settings of a run with an agent.
#[derive(Clone, Debug, clap::Args)]
pub struct AgentArgs {
    /// The agent's program; by default the one in the directory of this program.
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// Pipelines.
    #[arg(long, default_value_t = 10)]
    pub pipelines: usize,
    /// Components of each pipeline, at least 3.
    #[arg(long, default_value_t = 5)]
    pub components: usize,
    /// Log lines a second, over all pipelines.
    #[arg(long, default_value_t = 20.0)]
    pub lines: f64,
    /// Interval of the agent's reports.
    #[arg(long, default_value_t = 5_000, value_name = "MS")]
    pub interval_ms: u64,
    /// Time to measure, after the warm-up.
    #[arg(long, default_value_t = 300)]
    pub seconds: u64,
    /// Warm-up: time for which the agent runs before the measurement.
    #[arg(long, default_value_t = 10)]
    pub warm_up: u64,
    /// Write the outcome as JSON into this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print a table in Markdown.
    #[arg(long)]
    pub markdown: bool,
    /// Draw no progress bar.
    #[arg(long)]
    pub quiet: bool,
}

/// Pacing of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Loop {
    /// The next report follows the acknowledgement of the last.
    Closed,
    /// A report every interval.
    Open,
}

/// Compression of the bodies.
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
