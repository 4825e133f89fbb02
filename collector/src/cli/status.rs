//! `status`: the collectors of a database, and which of them leads.

use std::io::{Write, stdout};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use systole_shared::UnixMillis;

use super::remote::credential::Purpose;
use super::remote::{Remote, RemoteArgs};
use crate::clock::now_ms;
use crate::config::Config;

#[derive(Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
struct Status {
    term: u64,
    leader: Option<String>,
    members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    url: String,
    version: String,
    role: String,
    head: u64,
    lag_ms: Option<u64>,
    streams: u64,
    started_at: UnixMillis,
}

/// Prints a line for each collector. Fails when none leads.
pub(super) async fn run(args: StatusArgs, config: &Config) -> anyhow::Result<()> {
    let remote = Remote::connect(&args.remote, config, Purpose::Follow).await?;
    let answered = match remote.get(&["cluster"], &[]).await {
        Ok(answer) => Ok(answer),
        Err(fault) => Err(remote.explained(fault).await),
    };
    remote.close().await;
    let answer: Value = answered?;
    let status: Status = serde_json::from_value(answer.clone())?;
    let text = if args.json { format!("{answer}\n") } else { table(&status, now_ms()) };
    stdout().write_all(text.as_bytes())?;
    if status.leader.is_none() {
        anyhow::bail!("no collector leads: reports are refused, and agents keep them; see the logs of the collectors");
    }
    Ok(())
}

fn table(status: &Status, now: UnixMillis) -> String {
    let header = ["COLLECTOR", "ROLE", "LAG", "HEAD", "STREAMS", "VERSION", "UP"].map(str::to_owned);
    let row = |member: &Member| {
        [
            member.url.clone(),
            member.role.clone(),
            member.lag_ms.map_or("-".to_owned(), |lag| format!("{lag} ms")),
            member.head.to_string(),
            member.streams.to_string(),
            member.version.clone(),
            duration((now - member.started_at).max(0) / 1_000),
        ]
    };
    let rows: Vec<_> = std::iter::once(header).chain(status.members.iter().map(row)).collect();
    let widths: [usize; 7] = std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let line: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text.push_str(&match (&status.leader, status.members.len()) {
        (Some(_), 1) => "\nThis collector is alone.\n".to_owned(),
        (Some(leader), _) => format!("\n{leader} leads in term {}.\n", status.term),
        (None, _) => String::new(),
    });
    text
}

/// In its two largest units.
fn duration(seconds: i64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_each_collector_and_the_leader() {
        let member = |url: &str, role: &str, lag_ms, started_at| Member {
            url: url.to_owned(),
            version: "0.1.0".to_owned(),
            role: role.to_owned(),
            head: 4_711,
            lag_ms,
            streams: 3,
            started_at,
        };
        let mut status = Status {
            term: 7,
            leader: Some("http://a:8080".to_owned()),
            members: vec![
                member("http://a:8080", "leader", Some(0), 0),
                member("http://collector-b:8080", "silent", None, 86_000_000),
            ],
        };
        let expected = "\
COLLECTOR                ROLE    LAG   HEAD  STREAMS  VERSION  UP
http://a:8080            leader  0 ms  4711  3        0.1.0    1d0h
http://collector-b:8080  silent  -     4711  3        0.1.0    6m40s

http://a:8080 leads in term 7.
";
        assert_eq!(table(&status, 86_400_000), expected);
        status.members.truncate(1);
        assert!(table(&status, 0).ends_with("\nThis collector is alone.\n"));
    }
}
