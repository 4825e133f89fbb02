//! `node`: lists nodes, and changes what is set of them.
//!
//! Each command is a request to the collector. On a data directory on which none runs, the command runs one itself on the
//! loopback for the time of the request: a removal is the committer's work, and there is no second way to do it.

use std::io::{Write, stdout};

use anyhow::{Context, bail};
use chrono::DateTime;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use systole_shared::UnixMillis;

use super::local::Local;
use super::remote::api::Fault;
use super::remote::credential::Purpose;
use super::remote::{Remote, RemoteArgs};
use crate::clock::{now_ms, to_rfc3339};
use crate::config::{Config, parse_duration};

#[derive(Args)]
pub(super) struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum NodeCommand {
    /// List nodes with their state, labels and maintenance
    List {
        /// Only nodes with a label: site:lab, role, !canary; can be repeated, each must hold
        #[arg(long, value_name = "CONDITION")]
        label: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a node
    Show {
        /// Name or id of the node, or the first characters of either
        node: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Rename a node; the name wins over the one that its agent reports
    Rename {
        /// Name or id of the node, or the first characters of either
        node: String,
        /// The new name, 1 to 64 characters
        #[arg(required_unless_present = "reset", conflicts_with = "reset")]
        name: Option<String>,
        /// Show the name that the agent reports again
        #[arg(long)]
        reset: bool,
    },
    /// Set labels of a node, or remove labels that are set; the agent's own labels stay below
    Label {
        /// Name or id of the node, or the first characters of either
        node: String,
        /// site=lab sets a label, site- removes it
        #[arg(required_unless_present = "clear", conflicts_with = "clear", value_name = "KEY=VALUE|KEY-")]
        labels: Vec<String>,
        /// Remove all labels that are set
        #[arg(long)]
        clear: bool,
    },
    /// Begin or end the maintenance of a node: rollouts leave it out
    Maintenance {
        /// Name or id of the node, or the first characters of either
        node: String,
        /// Length, e.g. 30m, 2h or 7d
        #[arg(long = "for", value_name = "DURATION", conflicts_with_all = ["until", "end"])]
        duration: Option<String>,
        /// End, RFC 3339
        #[arg(long, value_name = "TIME", conflicts_with = "end")]
        until: Option<String>,
        /// Note for people, at most 1024 bytes
        #[arg(long, value_name = "TEXT", conflicts_with = "end")]
        note: Option<String>,
        /// End it now
        #[arg(long)]
        end: bool,
    },
    /// Remove a node with all its data, and revoke its token
    Remove {
        /// Name or id of the node, or the first characters of either
        node: String,
        /// Do it: what is removed cannot be brought back
        #[arg(long)]
        yes: bool,
    },
}

/// Number of nodes in a message about an ambiguous name.
const LISTED_NODES: usize = 5;

/// Runs `node …`.
pub(super) async fn run(args: NodeArgs, config: &Config) -> anyhow::Result<()> {
    let mut local = None;
    let (remote_args, config) = match Local::needed(&args.remote, config).await? {
        Some(started) => {
            let config = started.config().clone();
            local = Some(started);
            (args.remote.clone(), config)
        }
        None => (args.remote.clone(), config.clone()),
    };
    let result = match Remote::connect(&remote_args, &config, Purpose::Administer).await {
        Ok(remote) => {
            let result = execute(args.command, &remote).await;
            remote.close().await;
            result
        }
        Err(error) => Err(error),
    };
    match local {
        Some(local) => result.and(local.stop().await),
        None => result,
    }
}

async fn execute(command: NodeCommand, remote: &Remote) -> anyhow::Result<()> {
    match command {
        NodeCommand::List { label, json } => list(remote, &label, json).await,
        NodeCommand::Show { node, json } => {
            let node = find(remote, &node).await?;
            let node = answer(remote, remote.get(&["nodes", id_of(&node)], &[]).await).await?;
            show(&node, json)
        }
        NodeCommand::Rename { node, name, .. } => change(remote, &node, json!({ "name": name })).await,
        NodeCommand::Label { node, labels, clear } => {
            let labels = if clear { Value::Null } else { parse_labels(&labels)? };
            change(remote, &node, json!({ "labels": labels })).await
        }
        NodeCommand::Maintenance { node, duration, until, note, end } => {
            let maintenance =
                if end { Value::Null } else { json!({ "until": end_of(duration, until)?, "note": note }) };
            change(remote, &node, json!({ "maintenance": maintenance })).await
        }
        NodeCommand::Remove { node, yes } => {
            let node = find(remote, &node).await?;
            let (name, id) = (text(&node, "name"), id_of(&node));
            if !yes {
                bail!("this removes node {name} ({id}) with all its data; repeat the command with --yes to do it");
            }
            answer(remote, remote.call(Method::DELETE, &["nodes", id], &[], None).await).await?;
            writeln!(stdout(), "removed node {name} ({id})")?;
            Ok(())
        }
    }
}

async fn change(remote: &Remote, node: &str, body: Value) -> anyhow::Result<()> {
    let node = find(remote, node).await?;
    let changed = remote.call(Method::PATCH, &["nodes", id_of(&node)], &[], Some(&body)).await;
    show(&answer(remote, changed).await?, false)
}

async fn answer(remote: &Remote, answered: Result<Value, Fault>) -> anyhow::Result<Value> {
    match answered {
        Ok(value) => Ok(value),
        Err(fault) => Err(remote.explained(fault).await),
    }
}

/// All nodes that match, page by page.
async fn all(remote: &Remote, labels: &[String]) -> anyhow::Result<Vec<Value>> {
    let mut nodes = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query: Vec<(&str, &str)> = vec![("limit", "1000")];
        query.extend(labels.iter().map(|label| ("label", label.as_str())));
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let mut page = answer(remote, remote.get(&["nodes"], &query).await).await?;
        if let Value::Array(items) = page["items"].take() {
            nodes.extend(items);
        }
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(nodes),
        }
    }
}

/// The only node with this id or name, or the only one whose id or name begins so.
async fn find(remote: &Remote, wanted: &str) -> anyhow::Result<Value> {
    let nodes = all(remote, &[]).await?;
    pick(nodes, wanted.trim())
}

fn pick(nodes: Vec<Value>, wanted: &str) -> anyhow::Result<Value> {
    if wanted.is_empty() {
        bail!("the node is empty, expected its name or id");
    }
    let lower = wanted.to_ascii_lowercase();
    let exact = |node: &Value| text(node, "name") == wanted || id_of(node) == lower;
    let prefix = |node: &Value| text(node, "name").starts_with(wanted) || id_of(node).starts_with(&lower);
    let mut found: Vec<Value> = nodes.iter().filter(|node| exact(node)).cloned().collect();
    if found.is_empty() {
        found = nodes.into_iter().filter(prefix).collect();
    }
    if found.len() > 1 {
        let shown = found.iter().take(LISTED_NODES).map(|node| format!("\n  {} {}", id_of(node), text(node, "name")));
        let more = found.len().saturating_sub(LISTED_NODES);
        let rest = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        bail!("{} nodes match {wanted:?}; use an id:{}{rest}", found.len(), shown.collect::<String>());
    }
    found.pop().with_context(|| format!("no node matches {wanted:?}; `node list` lists all nodes"))
}

fn text<'a>(node: &'a Value, key: &str) -> &'a str {
    node[key].as_str().unwrap_or_default()
}

fn id_of(node: &Value) -> &str {
    text(node, "id")
}

/// `site=lab` sets a label, `site-` removes it.
fn parse_labels(labels: &[String]) -> anyhow::Result<Value> {
    let mut changes = serde_json::Map::new();
    for label in labels {
        let (key, value) = match (label.split_once('='), label.strip_suffix('-')) {
            (Some((key, value)), _) => (key, Value::from(value)),
            (None, Some(key)) => (key, Value::Null),
            (None, None) => bail!("{label:?} is no label, expected KEY=VALUE to set it or KEY- to remove it"),
        };
        changes.insert(key.trim().to_owned(), value);
    }
    Ok(Value::Object(changes))
}

fn end_of(duration: Option<String>, until: Option<String>) -> anyhow::Result<UnixMillis> {
    match (duration, until) {
        (Some(text), _) => {
            let length = parse_duration(&text).filter(|length| !length.is_zero());
            let length =
                length.with_context(|| format!("--for: invalid duration {text:?}, expected e.g. 30m, 2h or 7d"))?;
            Ok(now_ms().saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
        }
        (None, Some(text)) => {
            let at = DateTime::parse_from_rfc3339(&text);
            Ok(at.with_context(|| format!("--until: {text:?}, expected e.g. 2026-11-29T18:00:00Z"))?.timestamp_millis())
        }
        (None, None) => bail!("expected --for, --until or --end"),
    }
}

async fn list(remote: &Remote, labels: &[String], as_json: bool) -> anyhow::Result<()> {
    let nodes = all(remote, labels).await?;
    if as_json {
        writeln!(stdout(), "{}", json!({ "items": nodes }))?;
        return Ok(());
    }
    let names = nodes.iter().map(|node| text(node, "name").chars().count());
    let width = names.max().unwrap_or(0).clamp(4, 64);
    writeln!(stdout(), "{:36}  {:width$}  {:11}  {:20}  LABELS", "ID", "NAME", "STATE", "LAST SEEN")?;
    for node in &nodes {
        let seen = node["lastSeenAt"].as_i64().map_or_else(|| "never".to_owned(), to_rfc3339);
        let (id, name, state) = (id_of(node), text(node, "name"), text(node, "status"));
        writeln!(
            stdout(),
            "{id:36}  {name:width$}  {state:11}  {seen:20}  {}{}",
            labels_of(node),
            maintenance_of(node)
        )?;
    }
    Ok(())
}

fn labels_of(node: &Value) -> String {
    let labels = node["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

/// The program that reports for the node, and what follows from it.
fn agent_of(node: &Value) -> String {
    let version = node["agentVersion"].as_str().unwrap_or("-");
    match node["agentKind"].as_str() {
        Some("vf-agent") => format!("vf-agent {version} (VectorFlow's protocol, version 1; not updated from here)"),
        kind => format!("{} {version}", kind.unwrap_or("-")),
    }
}

fn maintenance_of(node: &Value) -> String {
    let Some(until) = node["maintenance"]["until"].as_i64() else { return String::new() };
    let note = node["maintenance"]["note"].as_str().map(|note| format!(": {note}")).unwrap_or_default();
    format!("  maintenance until {}{note}", to_rfc3339(until))
}

fn show(node: &Value, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        writeln!(stdout(), "{node}")?;
        return Ok(());
    }
    let seen = node["lastSeenAt"].as_i64().map_or_else(|| "never".to_owned(), to_rfc3339);
    writeln!(stdout(), "{} ({})", text(node, "name"), id_of(node))?;
    writeln!(stdout(), "  state        {}: {}", text(node, "status"), text(node, "statusReason"))?;
    writeln!(stdout(), "  last seen    {seen} from {}", node["lastAddress"].as_str().unwrap_or("-"))?;
    writeln!(stdout(), "  agent        {}", agent_of(node))?;
    writeln!(stdout(), "  labels       {}", labels_of(node))?;
    if let Some(name) = node["setName"].as_str() {
        writeln!(stdout(), "  name set     {name}")?;
    }
    if !maintenance_of(node).is_empty() {
        writeln!(stdout(), "  maintenance  {}", maintenance_of(node).trim().trim_start_matches("maintenance "))?;
    }
    for pipeline in node["pipelines"].as_array().into_iter().flatten() {
        let (id, state) = (text(pipeline, "pipelineId"), text(pipeline, "status"));
        writeln!(stdout(), "  pipeline     {id} {state} {}", text(pipeline, "reason"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<Value> {
        [("018f-a1", "web-1"), ("018f-b2", "web-10"), ("018f-b3", "db")]
            .map(|(id, name)| json!({"id": id, "name": name}))
            .into()
    }

    #[test]
    fn node_is_found_by_name_id_or_unambiguous_prefix() {
        let found = |wanted: &str| pick(nodes(), wanted).map(|node| text(&node, "name").to_owned());
        for (wanted, expected) in
            [("web-1", "web-1"), ("web-10", "web-10"), ("d", "db"), ("018F-A1", "web-1"), ("018f-a", "web-1")]
        {
            assert_eq!(found(wanted).unwrap(), expected, "{wanted}");
        }
        for (wanted, fault) in [("", "empty"), ("web", "2 nodes match"), ("018f", "3 nodes match"), ("x", "no node")] {
            let error = found(wanted).unwrap_err().to_string();
            assert!(error.contains(fault), "{wanted}: {error}");
        }
        assert!(found("web").unwrap_err().to_string().contains("018f-b2 web-10"));
    }

    #[test]
    fn labels_are_set_and_removed() {
        let parse = |labels: &[&str]| parse_labels(&labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>());
        assert_eq!(parse(&["site=lab", "old-", "x=a-b"]).unwrap(), json!({"site": "lab", "old": null, "x": "a-b"}));
        assert!(parse(&["site"]).is_err());
    }
}
