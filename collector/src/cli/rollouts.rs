//! `rollout`: where a version is, and what becomes of it. `agent-update`: a version of agents, rolled out the same way.

use std::fmt::Write as _;
use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::pipelines::{checked, clean, with_remote};
use super::remote::{Remote, RemoteArgs};
use crate::clock::to_rfc3339;
use crate::config::Config;
use crate::model::definition::Batch;

/// How often `--watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(after_help = "\
A rollout brings a version to canaries first, then to one batch of nodes after the other. It halts when more nodes fail \
than its policy allows: those are back on the version before, and no other node gets the new one. `resume` tries again, \
`abort` takes the version back from every node.

Examples:
  systole-collector rollout orders              the latest rollout of a pipeline
  systole-collector rollout 17 --watch          until it is complete, halted or aborted
  systole-collector rollout 17 resume")]
pub(super) struct RolloutArgs {
    /// Number of the rollout, or id of a pipeline for its latest one
    id: String,
    /// What to do with it
    #[arg(value_enum)]
    action: Option<RolloutAction>,
    /// Print it again with every change, until it ends or halts
    #[arg(long)]
    watch: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RolloutAction {
    /// Let a halted rollout continue; nodes on which it failed try again
    Resume,
    /// Take the version back from every node
    Abort,
}

#[derive(Args)]
#[command(after_help = "\
Each agent checks the program before it changes to it: https, SHA-256, the signature if it has a key, and the version that \
the program answers. Its pipelines run on meanwhile. An agent that is not healthy with it goes back by itself.

Example:
  systole-collector agent-update --selector role=edge --version 0.2.0 \\
      --program https://example.org/systole-agent --sha256 5891b5b5… --canary canary=true")]
pub(super) struct AgentUpdateArgs {
    /// Condition on the labels of nodes, such as role=edge or !canary; can be repeated, all must hold. '*' for every node
    #[arg(long, value_name = "CONDITION", required = true)]
    selector: Vec<String>,
    /// Version that the program answers to --version
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// Where the program is: https
    #[arg(long, value_name = "URL")]
    program: String,
    /// SHA-256 of the program
    #[arg(long, value_name = "HEX")]
    sha256: String,
    /// Ed25519 signature of the program, base64
    #[arg(long, value_name = "BASE64")]
    signature: Option<String>,
    /// Condition on the labels of the nodes that get it first; can be repeated
    #[arg(long, value_name = "CONDITION")]
    canary: Vec<String>,
    /// Nodes that get it at once: a number, or a share
    #[arg(long, value_name = "N|N%", default_value = "10%")]
    batch: Batch,
    /// Nodes on which it may fail before the rollout halts
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_failed: u32,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs `rollout`.
pub(super) async fn rollout(args: RolloutArgs, config: &Config) -> anyhow::Result<()> {
    with_remote(&args.remote, config, async |remote| {
        let id = number(remote, &args.id).await?;
        let mut rollout = match args.action {
            Some(action) => {
                let verb = match action {
                    RolloutAction::Resume => "resume",
                    RolloutAction::Abort => "abort",
                };
                checked(remote, remote.call(Method::POST, &["rollouts", &id, verb], &[], None).await).await?
            }
            None => checked(remote, remote.get(&["rollouts", &id], &[]).await).await?,
        };
        if args.json {
            writeln!(stdout(), "{rollout}")?;
            return Ok(());
        }
        let mut shown = table(&rollout);
        write!(stdout(), "{shown}")?;
        while args.watch && rollout["state"] == "running" {
            tokio::time::sleep(WATCH_EVERY).await;
            rollout = checked(remote, remote.get(&["rollouts", &id], &[]).await).await?;
            let now = table(&rollout);
            if now != shown {
                write!(stdout(), "\n{now}")?;
                shown = now;
            }
        }
        Ok(())
    })
    .await
}

/// The number of a rollout: a number, or the latest one of a pipeline.
async fn number(remote: &Remote, id: &str) -> anyhow::Result<String> {
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(id.to_owned());
    }
    let page = checked(remote, remote.get(&["rollouts"], &[("pipeline", id), ("limit", "1")]).await).await?;
    match page["items"][0]["id"].as_i64() {
        Some(number) => Ok(number.to_string()),
        None => bail!("pipeline {id:?} has no rollout; `systole-collector apply` begins one"),
    }
}

/// Runs `agent-update`.
pub(super) async fn agent_update(args: AgentUpdateArgs, config: &Config) -> anyhow::Result<()> {
    let mut body = json!({
        "selector": args.selector, "version": args.version, "url": args.program, "sha256": args.sha256,
        "rollout": {"canary": args.canary, "batch": args.batch, "maxFailed": args.max_failed},
    });
    if let Some(signature) = &args.signature {
        body["signature"] = signature.as_str().into();
    }
    with_remote(&args.remote, config, async |remote| {
        let made = remote.call(Method::POST, &["agent-updates"], &[], Some(&body)).await;
        let id = checked(remote, made).await?["id"].as_i64().unwrap_or_default();
        writeln!(stdout(), "rollout {id} begins; see: systole-collector rollout {id} --watch")?;
        Ok(())
    })
    .await
}

/// A rollout with its nodes for people.
fn table(rollout: &Value) -> String {
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    let number = |value: &Value| value.as_i64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let mut out = String::new();
    let what = match rollout["pipelineId"].as_str() {
        Some(id) => {
            let from = rollout["fromVersion"].as_i64().map_or_else(String::new, |from| format!(" from {from}"));
            format!("{}{from} to version {}", clean(id), number(&rollout["version"]))
        }
        None => format!("agents to version {}", text(&rollout["agentUpdate"]["version"])),
    };
    let _ = writeln!(out, "rollout {}: {what}", number(&rollout["id"]));
    let reason = text(&rollout["reason"]);
    let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
    let _ = writeln!(out, "{}{reason}", text(&rollout["state"]));
    let began = to_rfc3339(rollout["startedAt"].as_i64().unwrap_or_default());
    let stage = match rollout["stage"].as_i64() {
        Some(0) | None => "canaries".to_owned(),
        Some(stage) => format!("batch {stage}"),
    };
    let _ = writeln!(out, "by {}, {began}, {stage}", text(&rollout["author"]));
    let nodes: Vec<&Value> = rollout["nodes"].as_array().into_iter().flatten().collect();
    let width = nodes.iter().map(|node| text(&node["nodeName"]).chars().count()).max().unwrap_or(0).max("NODE".len());
    let _ = writeln!(out, "\n{:<width$}  {:<9}  {:>5}  {:>7}  REASON", "NODE", "STATE", "STAGE", "RUNNING");
    for node in nodes {
        let stage = match (node["stage"].as_i64(), node["canary"].as_bool()) {
            (_, Some(true)) => "canary".to_owned(),
            (Some(stage), _) => stage.to_string(),
            (None, _) => "-".to_owned(),
        };
        let line = format!(
            "{:<width$}  {:<9}  {stage:>5}  {:>7}  {}",
            text(&node["nodeName"]),
            text(&node["state"]),
            number(&node["runningVersion"]),
            text(&node["reason"])
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_each_node_and_why_it_is_there() {
        let rollout = json!({
            "id": 17, "pipelineId": "orders", "version": 4, "fromVersion": 3, "state": "halted", "stage": 0,
            "reason": "1 node failed", "author": "ops", "startedAt": 0,
            "nodes": [
                {"nodeName": "edge-1", "state": "failed", "stage": 0, "canary": true, "runningVersion": 3,
                 "reason": "rejected: bad\u{1b}port"},
                {"nodeName": "edge-22", "state": "waiting", "stage": null, "canary": false, "runningVersion": null,
                 "reason": ""},
            ],
        });
        let expected = "rollout 17: orders from 3 to version 4\nhalted: 1 node failed\nby ops, 1970-01-01T00:00:00Z, canaries\n\
            \nNODE     STATE      STAGE  RUNNING  REASON\nedge-1   failed     canary        3  rejected: bad\u{fffd}port\n\
            edge-22  waiting        -        -\n";
        assert_eq!(table(&rollout), expected);
    }
}
