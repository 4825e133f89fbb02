//! `alert`: what fires, by which rules, what a rule would have done, and a test message.

use std::fmt::Write as _;
use std::io::{Write, stdout};

use anyhow::bail;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::pipelines::{checked, clean, with_remote};
use super::remote::{Remote, RemoteArgs};
use super::tail::parse_since;
use crate::clock::to_rfc3339;
use crate::config::Config;

#[derive(Args)]
#[command(after_help = "\
Examples:
  systole-collector alert list                          what fires or is pending
  systole-collector alert preview errors --from -7d     what this rule would have done
  systole-collector alert test slack:hooks.slack.com    a test message to a target
  systole-collector silence add 'node=web-*' 2h 'kernel'")]
pub(super) struct AlertArgs {
    #[command(subcommand)]
    command: AlertCommand,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum AlertCommand {
    /// List alerts that fire or are pending
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the rules that are on
    Rules {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the targets of notifications with their last results
    Targets {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a rule would have done: it runs over what is stored
    Preview {
        /// Name of the rule
        rule: String,
        /// Begin: -7d, -1h or RFC 3339
        #[arg(long, value_name = "TIME", default_value = "-7d", value_parser = parse_since, allow_hyphen_values = true)]
        from: String,
        /// End; default: now
        #[arg(long, value_name = "TIME", value_parser = parse_since, allow_hyphen_values = true)]
        to: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send a test message to a target, or that of a rule to its targets
    Test {
        /// Name of a target or of a rule
        name: String,
    },
}

/// Runs `alert …`.
pub(super) async fn run(args: AlertArgs, config: &Config) -> anyhow::Result<()> {
    with_remote(&args.remote, config, async |remote| match args.command {
        AlertCommand::List { json } => {
            let items = all(remote, &["alerts"]).await?;
            print(&items, json, alerts)
        }
        AlertCommand::Rules { json } => {
            let items = all(remote, &["alerts", "rules"]).await?;
            print(&items, json, rules)
        }
        AlertCommand::Targets { json } => {
            let items = all(remote, &["alerts", "targets"]).await?;
            print(&items, json, targets)
        }
        AlertCommand::Preview { rule, from, to, json } => {
            let mut query = vec![("from", from.as_str())];
            query.extend(to.as_deref().map(|to| ("to", to)));
            let found = checked(remote, remote.get(&["alerts", "rules", &rule, "preview"], &query).await).await?;
            if json {
                writeln!(stdout(), "{found}")?;
                return Ok(());
            }
            write!(stdout(), "{}", preview(&found))?;
            Ok(())
        }
        AlertCommand::Test { name } => test(remote, &name).await,
    })
    .await
}

/// All items of a list, page after page.
pub(super) async fn all(remote: &Remote, path: &[&str]) -> anyhow::Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let query: Vec<(&str, &str)> = cursor.as_deref().map(|cursor| ("cursor", cursor)).into_iter().collect();
        let mut page = checked(remote, remote.get(path, &query).await).await?;
        if let Value::Array(more) = page["items"].take() {
            items.extend(more);
        }
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(items),
        }
    }
}

/// Prints a list.
pub(super) fn print(items: &[Value], json: bool, table: impl Fn(&[Value]) -> String) -> anyhow::Result<()> {
    if json {
        writeln!(stdout(), "{}", Value::Array(items.to_vec()))?;
    } else {
        write!(stdout(), "{}", table(items))?;
    }
    Ok(())
}

async fn test(remote: &Remote, name: &str) -> anyhow::Result<()> {
    let is_target = all(remote, &["alerts", "targets"]).await?.iter().any(|target| target["name"] == name);
    let kind = if is_target { "targets" } else { "rules" };
    let answer = remote.call(Method::POST, &["alerts", kind, name, "test"], &[], None).await;
    let answer = checked(remote, answer).await?;
    let results = if is_target { vec![answer] } else { answer.as_array().cloned().unwrap_or_default() };
    if results.is_empty() {
        bail!("there is no target; set `notify` in the configuration");
    }
    let mut failed = 0;
    for result in &results {
        match result["error"].as_str() {
            None => writeln!(stdout(), "{}: ok", text(result, "target"))?,
            Some(error) => {
                failed += 1;
                writeln!(stdout(), "{}: {}", text(result, "target"), clean(error))?;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} targets did not take the message", results.len());
    }
    Ok(())
}

/// A text of an item.
pub(super) fn text(item: &Value, key: &str) -> String {
    clean(item[key].as_str().unwrap_or_default())
}

/// A time of an item; `-` without one.
pub(super) fn time(item: &Value, key: &str) -> String {
    item[key].as_i64().map_or_else(|| "-".to_owned(), to_rfc3339)
}

/// Rows with columns as wide as they need to be. The last column has no width.
pub(super) fn columns(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(head[index].chars().count())
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

fn alerts(items: &[Value]) -> String {
    if items.is_empty() {
        return "no alert fires or is pending\n".to_owned();
    }
    let row = |item: &Value| {
        let muted = item["muted"].as_str().map_or_else(String::new, |why| format!(" ({why})"));
        let unknown = if item["unknown"] == true { " (unknown now)" } else { "" };
        vec![
            format!("{}{muted}", text(item, "state")),
            text(item, "severity"),
            text(item, "rule"),
            text(item, "subject"),
            time(item, "since"),
            format!("{}{unknown}", text(item, "text")),
        ]
    };
    columns(&["STATE", "SEVERITY", "RULE", "SUBJECT", "SINCE", "TEXT"], &items.iter().map(row).collect::<Vec<_>>())
}

fn rules(items: &[Value]) -> String {
    let row = |item: &Value| {
        let number = |key: &str| item[key].as_u64().unwrap_or_default();
        vec![
            text(item, "name"),
            text(item, "severity"),
            format!("{} s", number("forMs") / 1_000),
            number("firing").to_string(),
            number("pending").to_string(),
            text(item, "condition"),
        ]
    };
    columns(&["RULE", "SEVERITY", "FOR", "FIRING", "PENDING", "CONDITION"], &items.iter().map(row).collect::<Vec<_>>())
}

fn targets(items: &[Value]) -> String {
    if items.is_empty() {
        return "there is no target; set `notify` in the configuration\n".to_owned();
    }
    let row = |item: &Value| {
        let result = match (item["failingSince"].is_null(), item["lastSuccessAt"].is_null()) {
            (false, _) => format!("failing since {}: {}", time(item, "failingSince"), text(item, "lastError")),
            (true, false) => "ok".to_owned(),
            (true, true) => "not used yet".to_owned(),
        };
        vec![
            text(item, "name"),
            text(item, "kind"),
            item["sent"].to_string(),
            item["waiting"].to_string(),
            time(item, "lastSuccessAt"),
            result,
        ]
    };
    columns(
        &["TARGET", "KIND", "SENT", "WAITING", "LAST SUCCESS", "RESULT"],
        &items.iter().map(row).collect::<Vec<_>>(),
    )
}

fn preview(found: &Value) -> String {
    let items = found["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = format!("{}: {}\n", text(found, "rule"), text(found, "condition"));
    let count = found["fired"].as_u64().unwrap_or_default();
    let _ = writeln!(out, "from {} to {}: fired {count} times", time(found, "from"), time(found, "to"));
    if found["cut"] == true {
        let _ = writeln!(out, "it would have taken too long to look further; use a shorter time or one --environment");
    }
    if items.is_empty() {
        return out;
    }
    let row = |item: &Value| {
        let ended = if item["endedAt"].is_null() { "still".to_owned() } else { time(item, "endedAt") };
        vec![time(item, "firedAt"), ended, text(item, "subject"), text(item, "text")]
    };
    out.push('\n');
    out.push_str(&columns(&["FIRED", "ENDED", "SUBJECT", "TEXT"], &items.iter().map(row).collect::<Vec<_>>()));
    if (items.len() as u64) < count {
        let _ = writeln!(out, "and {} more", count - items.len() as u64);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_say_what_is_wrong_and_why_it_is_quiet() {
        let items = [
            json!({"state": "firing", "severity": "critical", "rule": "node-unreachable", "subject": "edge-7", "since": 0,
                "text": "no report for 15 s", "muted": "silence", "unknown": false}),
            json!({"state": "pending", "severity": "warning", "rule": "errors", "subject": "a/b", "since": 0,
                "text": "bad\u{1b}", "muted": null, "unknown": true}),
        ];
        let expected = "STATE             SEVERITY  RULE              SUBJECT  SINCE                 TEXT\n\
            firing (silence)  critical  node-unreachable  edge-7   1970-01-01T00:00:00Z  no report for 15 s\n\
            pending           warning   errors            a/b      1970-01-01T00:00:00Z  bad\u{fffd} (unknown now)\n";
        assert_eq!(alerts(&items), expected);
        assert_eq!(alerts(&[]), "no alert fires or is pending\n");
    }

    #[test]
    fn preview_counts_and_lists_what_would_have_fired() {
        let found = json!({"rule": "errors", "condition": "errors > 1 over 5m", "from": 0, "to": 60_000, "cut": true, "fired": 2,
            "items": [{"subject": "a/b", "firedAt": 1_000, "endedAt": null, "text": "x"}]});
        let shown = preview(&found);
        assert!(shown.contains("from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z: fired 2 times"), "{shown}");
        assert!(
            shown.contains("too long") && shown.contains("still  a/b") && shown.ends_with("and 1 more\n"),
            "{shown}"
        );
    }
}
