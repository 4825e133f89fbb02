//! `restart`, `sample` and `tap`: what an operator asks of a pipeline on a node at once.

use std::io::{Write, stderr, stdout};

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use systole_shared::action::{TapMessage, TappedEvent};
use systole_shared::sse::{Decoder, Item};

use super::pipelines::{checked, clean, with_remote};
use super::remote::{Remote, RemoteArgs};
use crate::config::Config;

#[derive(Args)]
#[command(after_help = "\
Example:
  systole-collector restart orders --node edge-7")]
pub(super) struct RestartArgs {
    /// Id of the pipeline
    pipeline: String,
    /// Name or id of the node
    #[arg(long, value_name = "NODE")]
    node: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args)]
#[command(after_help = "\
Prints one event per line, as JSON. The agent needs the API of Vector, and replaces values that it redacts.

Example:
  systole-collector sample orders parse --node edge-7 --limit 10")]
pub(super) struct SampleArgs {
    /// Id of the pipeline
    pipeline: String,
    /// Components whose events to collect, at most 16
    #[arg(required = true, value_name = "COMPONENT")]
    components: Vec<String>,
    /// Name or id of the node
    #[arg(long, value_name = "NODE")]
    node: String,
    /// Number of events in all
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Longest time, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=15))]
    seconds: u32,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args)]
#[command(after_help = "\
Prints one event per line, as JSON, until Ctrl-C or for 5 minutes. No other client sees them.

Example:
  systole-collector tap orders parse --node edge-7")]
pub(super) struct TapArgs {
    /// Id of the pipeline
    pipeline: String,
    /// Component whose events to print
    component: String,
    /// Name or id of the node
    #[arg(long, value_name = "NODE")]
    node: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs `restart`.
pub(super) async fn restart(args: RestartArgs, config: &Config) -> anyhow::Result<()> {
    with_remote(&args.remote, config, async |remote| {
        let body = json!({"node": node_id(remote, &args.node).await?});
        let path = ["pipelines", &args.pipeline, "actions", "restart"];
        checked(remote, remote.call(Method::POST, &path, &[], Some(&body)).await).await?;
        writeln!(stdout(), "{} was restarted on {}", clean(&args.pipeline), clean(&args.node))?;
        Ok(())
    })
    .await
}

/// Runs `sample`.
pub(super) async fn sample(args: SampleArgs, config: &Config) -> anyhow::Result<()> {
    with_remote(&args.remote, config, async |remote| {
        let body = json!({
            "node": node_id(remote, &args.node).await?, "components": args.components, "limit": args.limit,
            "durationMs": args.seconds * 1_000,
        });
        let path = ["pipelines", &args.pipeline, "actions", "sample"];
        let sampled = checked(remote, remote.call(Method::POST, &path, &[], Some(&body)).await).await?;
        let events: Vec<TappedEvent> = serde_json::from_value(sampled["events"].clone()).context("the answer")?;
        let several = args.components.len() > 1;
        events.iter().try_for_each(|event| print(event, several))?;
        if let Some(dropped) = sampled["dropped"].as_u64().filter(|dropped| *dropped > 0) {
            writeln!(stderr(), "{dropped} more events passed")?;
        }
        Ok(())
    })
    .await
}

/// Runs `tap`.
pub(super) async fn tap(args: TapArgs, config: &Config) -> anyhow::Result<()> {
    with_remote(&args.remote, config, async |remote| {
        let node = node_id(remote, &args.node).await?;
        let query = [("node", node.as_str()), ("component", args.component.as_str())];
        let mut stream = match remote.stream(&["pipelines", &args.pipeline, "tap"], &query).await {
            Ok(stream) => stream,
            Err(fault) => return Err(remote.explained(fault).await),
        };
        let mut decoder = Decoder::default();
        while let Some(chunk) = stream.chunk().await.context("the tap was cut off")? {
            let items = decoder.push(&chunk).map_err(|fault| anyhow::anyhow!("the answer is no stream: {fault:?}"))?;
            for item in items {
                let Item::Event { data, .. } = item else { continue };
                // Messages of a later version are skipped.
                match serde_json::from_str(&data) {
                    Ok(TapMessage::TapEvent(event)) => print(&event, false)?,
                    Ok(TapMessage::TapDropped { dropped }) => writeln!(stderr(), "{dropped} events were dropped")?,
                    Ok(TapMessage::TapStopped { reason }) => {
                        writeln!(stderr(), "the tap has ended: {}", clean(&reason))?;
                        return Ok(());
                    }
                    Ok(TapMessage::Ping { .. }) | Err(_) => {}
                }
            }
        }
        bail!("the collector has closed the tap")
    })
    .await
}

/// An event as a line; the component before it where there are several.
fn print(event: &TappedEvent, with_component: bool) -> std::io::Result<()> {
    let cut = if event.truncated { " …[cut]" } else { "" };
    let mut out = stdout().lock();
    if with_component {
        write!(out, "{}: ", clean(&event.component_id))?;
    }
    writeln!(out, "{}{cut}", clean(&event.event))?;
    out.flush()
}

/// The id of a node: an id, or the name of one node.
async fn node_id(remote: &Remote, named: &str) -> anyhow::Result<String> {
    if uuid::Uuid::try_parse(named).is_ok() {
        return Ok(named.to_owned());
    }
    let mut found: Vec<String> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("limit", "1000")];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page: Value = checked(remote, remote.get(&["nodes"], &query).await).await?;
        let items = page["items"].as_array().into_iter().flatten().filter(|item| item["name"] == named);
        found.extend(items.filter_map(|item| item["id"].as_str().map(str::to_owned)));
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => bail!("there is no node named {named:?}"),
        several => bail!("{} nodes are named {named:?}; use the id of one: {}", several.len(), several.join(", ")),
    }
}
