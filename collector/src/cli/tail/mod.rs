//! `tail`: prints the feed in a terminal, a line per event, until the reader ends it.
//!
//! After a lost connection a new stream begins after the last printed event. So every line comes once, also
//! over restarts of the collector. Missing events are reported as gaps.

mod follow;
mod history;
mod line;
mod names;

use std::path::PathBuf;

use clap::{ArgAction, Args};
use systole_shared::events::EventType;
use systole_shared::{EventId, LogLevel, PipelineId};

use self::follow::Follower;
use self::history::MAX_LINES;
pub(super) use self::history::parse_since;
use super::files::interrupted;
use super::remote::color::Colour;
use crate::config::Config;

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct TailArgs {
    /// Event types, separated by commas: status_change, log_entry, deployment, alert, metric_update, fleet_status, fleet_totals, or all
    #[arg(long, value_name = "TYPES", default_value = "status_change,log_entry", value_parser = parse_types)]
    types: Types,
    /// Only this node (name or id); can be repeated
    #[arg(long, value_name = "NODE", action = ArgAction::Append)]
    node: Vec<String>,
    /// Only nodes with a label, like site:lab, role or !canary; can be repeated, and each must hold
    #[arg(long, value_name = "LABEL", action = ArgAction::Append)]
    label: Vec<String>,
    /// Only this pipeline (id); can be repeated. Events of nodes are then skipped
    #[arg(long, value_name = "ID", action = ArgAction::Append, value_parser = |text: &str| PipelineId::parse(text))]
    pipeline: Vec<PipelineId>,
    /// Only this environment (name)
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Only log lines of this level and above: trace, debug, info, warn or error
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    level: Option<LogLevel>,
    /// Start after the event with this id instead of now; --json prints ids
    #[arg(long, value_name = "ID")]
    after: Option<EventId>,
    /// First print the last N stored log lines and status changes, then follow
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LINES)), conflicts_with = "after")]
    lines: Option<u32>,
    /// First print the log lines and status changes that are stored since this time: 30m, 1h, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_since, allow_hyphen_values = true, conflicts_with = "after")]
    since: Option<String>,
    /// Print each event as a JSON object, with its id
    #[arg(long)]
    json: bool,
    /// Use colours; auto: in a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Colour::Auto)]
    color: Colour,
    /// Address of the collector; several times for several collectors of a cluster [env: SYSTOLE_URL, SYSTOLE_URLS=A,B]
    /// [default: the collector that runs on DATA_DIR]
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// Viewer or admin token [env: SYSTOLE_TOKEN] [default: a temporary token, created in the database]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Certificates (PEM) to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

const HELP: &str = "\
On the collector's host only --data-dir (or --config) is needed. The address is read from the data directory, and a \
temporary token for all environments (or --environment) is created in the database. It is revoked at the end, and \
expires after 12 hours. From another host, give --url and a token; SYSTOLE_TOKEN keeps it out of the process list. For \
a collector with a certificate, use its host name: --url https://….

-n and --since print stored log lines and status changes first, with the same filters, and each event once: with both, the last N since that time. The other types are not stored as events.

After a lost connection or a restart of the collector, the stream continues after the last printed event. Missing \
events (a gap), a replaced database (a reset), lost connections and goodbyes are reported on standard error. With \
--json, gap and reset are also printed on standard output.

The exit code is 0 after Ctrl-C or a closed pipe. It is 1 if the collector cannot be reached at first, or if it \
refuses the token or a parameter.

Examples:
  systole-collector tail --data-dir /var/lib/systole
  systole-collector tail --types all --pipeline orders
  systole-collector tail -n 100 --level error
  systole-collector tail --since 1h --node web-1
  systole-collector tail --label site:lab --label '!canary'
  systole-collector tail --level warn --json | jq .entries[].line
  SYSTOLE_TOKEN=… systole-collector tail --url https://collector.example --node web-1";

/// The event types to print.
#[derive(Clone, Debug)]
struct Types(Vec<EventType>);

fn parse_types(text: &str) -> Result<Types, String> {
    if text == "all" {
        return Ok(Types(EventType::ALL.into()));
    }
    let known = || EventType::ALL.map(EventType::as_str).join(", ");
    let parse = |name: &str| {
        EventType::from_wire(name)
            .ok_or_else(|| format!("invalid event type {name:?}, expected one of {}, all", known()))
    };
    text.split(',').map(str::trim).map(parse).collect::<Result<_, _>>().map(Types)
}

fn parse_level(text: &str) -> Result<LogLevel, String> {
    LogLevel::parse(text)
        .ok_or_else(|| format!("invalid level {text:?}, expected one of trace, debug, info, warn, error"))
}

/// Follows the feed until the user or the collector ends it.
pub(super) async fn run(args: TailArgs, config: &Config) -> anyhow::Result<()> {
    let mut follower = Follower::new(args, config).await?;
    // What was printed is printed whole: it is only ever cut between events.
    let result = tokio::select! {
        ended = follower.follow() => ended,
        () = interrupted() => Ok(()),
    };
    follower.end().await;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_parsed_or_all() {
        assert_eq!(parse_types("log_entry, fleet_status").unwrap().0, [EventType::LogEntry, EventType::FleetStatus]);
        assert_eq!(parse_types("all").unwrap().0, EventType::ALL);
        assert!(parse_types("log_entry,").is_err() && parse_types("logs").unwrap_err().contains("metric_update"));
    }
}
