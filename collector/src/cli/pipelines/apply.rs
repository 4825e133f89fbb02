//! `apply`: makes pipelines what their files say, after it has shown what changes.

use std::path::PathBuf;

use anyhow::bail;
use clap::{ArgAction, Args};
use reqwest::Method;
use serde_json::{Value, json};

use super::files::{Loaded, load};
use super::output::Output;
use super::{Remote, RemoteArgs, checked, with_remote};
use crate::cli::remote::color::Colour;
use crate::config::Config;

#[derive(Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct ApplyArgs {
    /// File of a pipeline, or a directory with files that end with .toml; can be repeated
    #[arg(short = 'f', long = "file", value_name = "DIR|FILE", action = ArgAction::Append, required = true)]
    files: Vec<PathBuf>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Follow the rollouts until each is complete or halted
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Use colours; auto: in a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Colour::Auto)]
    color: Colour,
    #[command(flatten)]
    remote: RemoteArgs,
}

const HELP: &str = "\
An example, orders.toml:

  id = \"orders\"
  name = \"Orders\"
  selector = [\"role=edge\", \"!canary\"]      # labels of nodes; \"*\" for all
  engine = \"vector\"                        # as the nodes' own files name it
  config_file = \"orders.yaml\"              # beside this file; or config = \"\"\"…\"\"\"
  secrets = { DB_PASSWORD = \"prod/db\" }    # variable = name of a secret
  log_level = \"info\"

  [rollout]
  canary = \"canary=true\"                   # these nodes first
  batch = \"10%\"                            # then so many at a time: a share or a number
  healthy_for = \"30s\"                      # up for so long is healthy
  max_failed = 1                           # more failed nodes halt the rollout

The command checks all files first, and changes nothing when one of them has an error. It then shows what differs from \
the newest version, and makes a new version of what does. A pipeline without a difference stays as it is.

The exit code is 0 when everything was applied (with --wait: and each rollout is complete), and 1 otherwise.

Examples:
  systole-collector apply -f orders.toml --dry-run
  systole-collector apply -f pipelines/ --note 'new broker' --wait
  SYSTOLE_TOKEN=… systole-collector apply -f pipelines/ --url https://collector.example";

pub(super) async fn run(args: ApplyArgs, config: &Config) -> anyhow::Result<()> {
    let pipelines = match load(&args.files) {
        Ok(pipelines) => pipelines,
        Err(errors) => bail!("nothing was applied:\n  {}", errors.join("\n  ")),
    };
    let output = Output::new(args.color);
    with_remote(&args.remote, config, async |remote| {
        // The secrets of all of them exist, and nothing else is wrong, before the first of them changes.
        let mut planned = Vec::new();
        let mut faults = Vec::new();
        for pipeline in &pipelines {
            match put(remote, pipeline, &[("dryRun", "true")]).await {
                Ok(plan) => planned.push((pipeline, plan)),
                Err(error) => faults.push(format!("{}: {}", pipeline.id.as_str(), one_line(&error))),
            }
        }
        if !faults.is_empty() {
            bail!("nothing was applied:\n  {}", faults.join("\n  "));
        }
        let mut rollouts = Vec::new();
        for (pipeline, plan) in planned {
            let id = pipeline.id.as_str();
            if args.dry_run || plan["changed"] == false {
                output.applied(id, &plan, args.dry_run)?;
                continue;
            }
            // What was shown is what is applied: nothing came in between.
            let expected = plan["version"].to_string();
            let mut query = vec![("expectedVersion", expected.as_str())];
            query.extend(args.note.as_deref().map(|note| ("note", note)));
            let applied = put(remote, pipeline, &query).await?;
            output.applied(id, &applied, false)?;
            rollouts.extend(applied["rolloutId"].as_i64().map(|rollout| (id, rollout)));
        }
        if args.wait {
            let mut incomplete = Vec::new();
            for (id, rollout) in rollouts {
                if let Err(error) = output.follow(remote, id, rollout).await {
                    incomplete.push(format!("{id}: {}", one_line(&error)));
                }
            }
            if !incomplete.is_empty() {
                bail!("{}", incomplete.join("; "));
            }
        }
        Ok(())
    })
    .await
}

fn one_line(error: &anyhow::Error) -> String {
    error.chain().last().map(ToString::to_string).unwrap_or_default()
}

async fn put(remote: &Remote, pipeline: &Loaded, query: &[(&str, &str)]) -> anyhow::Result<Value> {
    let body = json!(pipeline.definition);
    let path = ["pipelines", pipeline.id.as_str(), "definition"];
    checked(remote, remote.call(Method::PUT, &path, query, Some(&body)).await).await
}
