//! `secret`: sets, lists and removes secrets, and changes their key.

use std::io::{Read, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::pipelines::{checked, clean, with_remote};
use super::remote::RemoteArgs;
use crate::clock::to_rfc3339;
use crate::config::Config;
use crate::control::secrets::MAX_SECRET_BYTES;

#[derive(Subcommand)]
pub(super) enum SecretCommand {
    /// Set a secret; the value comes from standard input or from a file
    Set(SetSecret),
    /// List secrets and the pipelines that use them, without values
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Remove a secret that no pipeline uses
    Remove {
        /// Name of the secret
        name: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Encrypt all secrets again with a new key; the old key is then of no use
    RotateKey {
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

#[derive(Args)]
#[command(after_help = "\
A value is text of at most 64 KiB. One line break at its end is removed. The value is never an argument: other users of \
the host can read the arguments of a process, and a shell keeps them.

Each pipeline that uses the secret gets a new version and a rollout, which restarts it on each node.

Examples:
  systole-collector secret set prod/db < password.txt
  systole-collector secret set prod/tls-key --file key.pem
  pass show prod/db | systole-collector secret set prod/db")]
pub(super) struct SetSecret {
    /// Name of the secret, such as prod/db
    name: String,
    /// File with the value [default: standard input]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs `secret …`.
pub(super) async fn run(command: SecretCommand, config: &Config) -> anyhow::Result<()> {
    match command {
        SecretCommand::Set(args) => set(args, config).await,
        SecretCommand::List { json, remote } => list(json, &remote, config).await,
        SecretCommand::Remove { name, remote } => remove(&name, &remote, config).await,
        SecretCommand::RotateKey { remote } => rotate_key(&remote, config).await,
    }
}

async fn set(args: SetSecret, config: &Config) -> anyhow::Result<()> {
    let value = read_value(args.file.as_deref())?;
    with_remote(&args.remote, config, async |remote| {
        let body = json!({"value": *value});
        let answer = remote.call(Method::PUT, &["secrets", &args.name], &[], Some(&body)).await;
        let answer = checked(remote, answer).await?;
        writeln!(stdout(), "{}: value {} is set", args.name, answer["revision"])?;
        for version in answer["versions"].as_array().into_iter().flatten() {
            let id = clean(version["pipelineId"].as_str().unwrap_or_default());
            writeln!(stdout(), "{id}: version {}, rollout {}", version["version"], version["rolloutId"])?;
        }
        Ok(())
    })
    .await
}

fn read_value(file: Option<&Path>) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    // One byte more than a value and its line break shows that it is too long.
    let most = MAX_SECRET_BYTES as u64 + 3;
    let shown = file.map_or_else(|| "standard input".to_owned(), |file| file.display().to_string());
    let failed = || format!("cannot read {shown}");
    match file {
        Some(file) => std::fs::File::open(file).with_context(failed)?.take(most).read_to_end(&mut bytes),
        None => std::io::stdin().lock().take(most).read_to_end(&mut bytes),
    }
    .with_context(failed)?;
    let Ok(text) = std::str::from_utf8(&bytes) else { bail!("{shown} is not UTF-8 text") };
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        bail!("{shown} contains no value");
    }
    if text.len() > MAX_SECRET_BYTES {
        bail!("{shown} has more than {MAX_SECRET_BYTES} bytes");
    }
    Ok(Zeroizing::new(text.to_owned()))
}

async fn list(json: bool, remote: &RemoteArgs, config: &Config) -> anyhow::Result<()> {
    with_remote(remote, config, async |remote| {
        let page = checked(remote, remote.get(&["secrets"], &[]).await).await?;
        if json {
            writeln!(stdout(), "{page}")?;
            return Ok(());
        }
        writeln!(stdout(), "{:<32} {:<6} {:<20} {:<16} USED BY", "NAME", "VALUE", "SET AT", "ENVIRONMENT")?;
        for item in page["items"].as_array().into_iter().flatten() {
            let text = |key: &str| clean(item[key].as_str().unwrap_or_default());
            let users: Vec<_> =
                item["usedBy"].as_array().into_iter().flatten().filter_map(Value::as_str).map(clean).collect();
            let time = to_rfc3339(item["changedAt"].as_i64().unwrap_or_default());
            let (name, environment, revision) = (text("name"), text("environmentName"), item["revision"].to_string());
            writeln!(stdout(), "{name:<32} {revision:<6} {time:<20} {environment:<16} {}", users.join(", "))?;
        }
        Ok(())
    })
    .await
}

async fn remove(name: &str, remote: &RemoteArgs, config: &Config) -> anyhow::Result<()> {
    with_remote(remote, config, async |remote| {
        checked(remote, remote.call(Method::DELETE, &["secrets", name], &[], None).await).await?;
        writeln!(stdout(), "{name} is removed")?;
        Ok(())
    })
    .await
}

async fn rotate_key(remote: &RemoteArgs, config: &Config) -> anyhow::Result<()> {
    with_remote(remote, config, async |remote| {
        let answer = remote.call(Method::POST, &["secret-key", "rotate"], &[], None).await;
        let answer = checked(remote, answer).await?;
        let key = clean(answer["keyId"].as_str().unwrap_or_default());
        writeln!(
            stdout(),
            "{} values are encrypted with the new key {key}; keep a copy of the key file",
            answer["values"]
        )?;
        Ok(())
    })
    .await
}
