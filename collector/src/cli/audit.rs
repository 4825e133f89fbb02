//! `audit`: the actions of people and commands, read from the database.

use std::io::{Write, stdout};

use anyhow::bail;
use chrono::DateTime;
use clap::Args;
use serde_json::json;
use systole_shared::UnixMillis;

use super::access::{environments, find_environment};
use super::open_shared;
use crate::clock::{now_ms, to_rfc3339};
use crate::config::{Config, parse_duration};
use crate::store::{AuditQuery, AuditRow};

#[derive(Args)]
pub(super) struct AuditArgs {
    /// Only actions since this time: 30m, 24h, 7d, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<UnixMillis>,
    /// Only one action, such as node.rename
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only actions with the token of this id
    #[arg(long, value_name = "ID")]
    token: Option<String>,
    /// Only actions in one environment
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Most actions, the newest of them
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn parse_since(text: &str) -> Result<UnixMillis, String> {
    let ago = text.strip_prefix('-').unwrap_or(text);
    if let Some(ago) = parse_duration(ago) {
        return Ok(now_ms().saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)));
    }
    match DateTime::parse_from_rfc3339(text) {
        Ok(at) => Ok(at.timestamp_millis()),
        Err(_) => Err("expected a duration like 30m or 24h, or RFC 3339 like 2026-11-29T16:00:00Z".to_owned()),
    }
}

/// Prints actions, the oldest first, as a log reads.
pub(super) async fn run(args: AuditArgs, config: &Config) -> anyhow::Result<()> {
    let store = open_shared(config).await?;
    let environments_of = match &args.environment {
        Some(name) => Some(vec![find_environment(&*store, name).await?.key]),
        None => None,
    };
    let query = AuditQuery {
        environments: environments_of,
        from: args.since,
        action: args.action,
        token: args.token,
        limit: i64::from(args.limit),
        ..AuditQuery::default()
    };
    let mut rows = store.list_audit(query).await?;
    rows.reverse();
    let known = environments(&*store).await?;
    store.close().await;
    let name_of = |row: &AuditRow| {
        let key = row.environment?;
        known.iter().find(|environment| environment.key.0 == key).map(|environment| environment.name.clone())
    };
    if args.json {
        for row in &rows {
            let item = json!({
                "id": row.id,
                "at": row.at,
                "environmentName": name_of(row),
                "tokenId": row.token,
                "actor": row.actor,
                "action": row.action,
                "subject": row.subject,
                "result": row.result,
            });
            writeln!(stdout(), "{item}")?;
        }
        return Ok(());
    }
    if rows.is_empty() {
        bail!("no action matches; `audit` without filters shows the newest ones");
    }
    let width = |of: fn(&AuditRow) -> &str, least| {
        rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0).clamp(least, 48)
    };
    let (actors, actions, subjects) =
        (width(|row| &row.actor, 5), width(|row| &row.action, 6), width(|row| &row.subject, 7));
    writeln!(stdout(), "{:20}  {:actors$}  {:actions$}  {:subjects$}  RESULT", "TIME", "ACTOR", "ACTION", "SUBJECT")?;
    for row in rows {
        let AuditRow { actor, action, subject, result, .. } = &row;
        let at = to_rfc3339(row.at);
        writeln!(stdout(), "{at:20}  {actor:actors$}  {action:actions$}  {subject:subjects$}  {result}")?;
    }
    Ok(())
}
