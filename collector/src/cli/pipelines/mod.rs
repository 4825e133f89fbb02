//! Commands about pipelines of the centre: `apply`, `history`, `diff`, `rollback`, `pause`, `resume` and `remove`.
//!
//! They talk to a running collector, which checks everything again. Files are checked here first, so that an error has
//! its file, its line and its column.

mod apply;
mod files;
mod output;

use std::io::{Write, stdout};

use anyhow::bail;
use clap::Args;
use reqwest::Method;
use serde_json::Value;

pub(super) use self::apply::ApplyArgs;
use self::output::Output;
use super::remote::api::Fault;
use super::remote::color::Colour;
use super::remote::credential::Purpose;
use super::remote::{Remote, RemoteArgs};
use crate::clock::to_rfc3339;
use crate::config::Config;

/// Versions that `history` prints unless it is asked for more.
const HISTORY: u32 = 20;

#[derive(Args)]
#[command(after_help = "\
Examples:
  systole-collector history orders
  systole-collector history orders -n 100 --json")]
pub(super) struct HistoryArgs {
    /// Id of the pipeline
    id: String,
    /// Number of versions, newest first
    #[arg(short = 'n', long, value_name = "N", default_value_t = HISTORY, value_parser = clap::value_parser!(u32).range(1..=1000))]
    lines: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  systole-collector diff orders            the newest version against the one before
  systole-collector diff orders 3 7
  systole-collector diff orders 0 7        all of version 7")]
pub(super) struct DiffArgs {
    /// Id of the pipeline
    id: String,
    /// The older version [default: the one before]
    from: Option<i64>,
    /// The newer version [default: the newest one]
    to: Option<i64>,
    /// Use colours; auto: in a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Colour::Auto)]
    color: Colour,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args)]
#[command(after_help = "\
A rollback is a new version with the content of an earlier one. It gets to the nodes as every version does, through a \
rollout.

Examples:
  systole-collector rollback orders             to the stable version, or to the version before
  systole-collector rollback orders --to 3 --note 'timeouts since version 4'")]
pub(super) struct RollbackArgs {
    /// Id of the pipeline
    id: String,
    /// The version to go back to
    #[arg(long, value_name = "N")]
    to: Option<i64>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Follow the rollout until it is complete or halted
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Use colours; auto: in a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Colour::Auto)]
    color: Colour,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// A command that needs a pipeline and nothing more.
#[derive(Args)]
pub(super) struct OfPipeline {
    /// Id of the pipeline
    id: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs something with a collector, and takes the temporary token back whatever comes of it.
pub(super) async fn with_remote<T>(
    args: &RemoteArgs,
    config: &Config,
    work: impl AsyncFnOnce(&Remote) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let remote = Remote::connect(args, config, Purpose::Administer).await?;
    let result = tokio::select! {
        result = work(&remote) => result,
        () = super::files::interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    remote.close().await;
    result
}

/// The answer, or the fault with what to do about it.
pub(super) async fn checked(remote: &Remote, answer: Result<Value, Fault>) -> anyhow::Result<Value> {
    match answer {
        Ok(value) => Ok(value),
        Err(fault) => Err(remote.explained(fault).await),
    }
}

/// Runs `apply`.
pub(super) async fn apply(args: ApplyArgs, config: &Config) -> anyhow::Result<()> {
    apply::run(args, config).await
}

/// Runs `history`.
pub(super) async fn history(args: HistoryArgs, config: &Config) -> anyhow::Result<()> {
    with_remote(&args.remote, config, async |remote| {
        let limit = args.lines.to_string();
        let answer = remote.get(&["pipelines", &args.id, "versions"], &[("limit", &limit)]).await;
        let page = checked(remote, answer).await?;
        if args.json {
            writeln!(stdout(), "{page}")?;
            return Ok(());
        }
        let definition = remote.get(&["pipelines", &args.id, "definition"], &[]).await;
        let stable = checked(remote, definition).await?["stableVersion"].as_i64();
        writeln!(stdout(), "{:<8} {:<20} {:<24} NOTE", "VERSION", "TIME", "AUTHOR")?;
        for item in page["items"].as_array().into_iter().flatten() {
            let text = |key: &str| clean(item[key].as_str().unwrap_or_default());
            let version = item["version"].as_i64().unwrap_or_default();
            let mark = if Some(version) == stable { "*" } else { "" };
            let time = to_rfc3339(item["createdAt"].as_i64().unwrap_or_default());
            let version = format!("{version}{mark}");
            writeln!(stdout(), "{version:<8} {time:<20} {:<24} {}", text("author"), text("note"))?;
        }
        if stable.is_some() {
            writeln!(stdout(), "* the stable version: its rollout is complete")?;
        }
        Ok(())
    })
    .await
}

/// A text of others in one line of a terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Runs `diff`.
pub(super) async fn diff(args: DiffArgs, config: &Config) -> anyhow::Result<()> {
    let output = Output::new(args.color);
    with_remote(&args.remote, config, async |remote| {
        let numbers = [("from", args.from), ("to", args.to)];
        let numbers: Vec<_> =
            numbers.into_iter().filter_map(|(name, number)| Some((name, number?.to_string()))).collect();
        let query: Vec<_> = numbers.iter().map(|(name, number)| (*name, number.as_str())).collect();
        let answer = checked(remote, remote.get(&["pipelines", &args.id, "diff"], &query).await).await?;
        output.diff(answer["diff"].as_str().unwrap_or_default())
    })
    .await
}

/// Runs `rollback`.
pub(super) async fn rollback(args: RollbackArgs, config: &Config) -> anyhow::Result<()> {
    let output = Output::new(args.color);
    with_remote(&args.remote, config, async |remote| {
        let to = args.to.map(|to| to.to_string());
        let mut query = vec![("dryRun", if args.dry_run { "true" } else { "false" })];
        query.extend(to.as_deref().map(|to| ("to", to)));
        query.extend(args.note.as_deref().map(|note| ("note", note)));
        let answer = remote.call(Method::POST, &["pipelines", &args.id, "rollback"], &query, None).await;
        let applied = checked(remote, answer).await?;
        output.applied(&args.id, &applied, args.dry_run)?;
        match applied["rolloutId"].as_i64() {
            Some(rollout) if args.wait => output.follow(remote, &args.id, rollout).await,
            _ => Ok(()),
        }
    })
    .await
}

/// Runs `pause` or `resume`.
pub(super) async fn set_paused(args: OfPipeline, config: &Config, paused: bool) -> anyhow::Result<()> {
    with_remote(&args.remote, config, async |remote| {
        let action = if paused { "pause" } else { "resume" };
        let answer = remote.call(Method::POST, &["pipelines", &args.id, action], &[], None).await;
        checked(remote, answer).await?;
        let done = if paused { "is paused" } else { "is not paused" };
        writeln!(stdout(), "{} {done}", args.id)?;
        Ok(())
    })
    .await
}

/// Runs `remove`.
pub(super) async fn remove(args: OfPipeline, config: &Config) -> anyhow::Result<()> {
    if args.id.is_empty() {
        bail!("the id of the pipeline is empty");
    }
    with_remote(&args.remote, config, async |remote| {
        let answer = remote.call(Method::DELETE, &["pipelines", &args.id, "definition"], &[], None).await;
        checked(remote, answer).await?;
        writeln!(stdout(), "{} is removed; each node stops it when it hears of it", args.id)?;
        Ok(())
    })
    .await
}
