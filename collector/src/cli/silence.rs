//! `silence`: alerts that fit are not reported for a while.

use std::io::{Write, stdout};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::alert::{all, columns, print, text, time};
use super::pipelines::{checked, clean, with_remote};
use super::remote::RemoteArgs;
use crate::config::Config;

#[derive(Args)]
#[command(after_help = "\
Conditions are KEY=VALUE or KEY!=VALUE; a star stands for any characters. Keys: rule, severity, environment, node, pipeline, \
or a label of the node.

Examples:
  systole-collector silence add 'node=web-*' 2h 'new kernel'
  systole-collector silence add rule=errors pipeline=orders 30m
  systole-collector silence list
  systole-collector silence end 3")]
pub(super) struct SilenceArgs {
    #[command(subcommand)]
    command: SilenceCommand,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum SilenceCommand {
    /// Silence alerts: conditions, then how long, then why
    Add {
        /// Conditions that must all hold, the length (30m, 2h, 7d), and a note
        #[arg(required = true, value_name = "CONDITION… DURATION [NOTE]")]
        words: Vec<String>,
    },
    /// List silences that last or are still to begin
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a silence
    End {
        /// Number of the silence
        id: String,
    },
}

/// Runs `silence …`.
pub(super) async fn run(args: SilenceArgs, config: &Config) -> anyhow::Result<()> {
    let body = match &args.command {
        SilenceCommand::Add { words } => Some(body(words)?),
        _ => None,
    };
    with_remote(&args.remote, config, async |remote| match args.command {
        SilenceCommand::Add { .. } => {
            let made = remote.call(Method::POST, &["silences"], &[], body.as_ref()).await;
            let made = checked(remote, made).await?;
            writeln!(stdout(), "silence {} until {}", made["id"], time(&made, "endsAt"))?;
            Ok(())
        }
        SilenceCommand::List { json } => {
            let items = all(remote, &["silences"]).await?;
            print(&items, json, table)
        }
        SilenceCommand::End { id } => {
            checked(remote, remote.call(Method::DELETE, &["silences", &id], &[], None).await).await?;
            writeln!(stdout(), "silence {} has ended", clean(&id))?;
            Ok(())
        }
    })
    .await
}

/// The words before the length are conditions, those after it the note.
fn body(words: &[String]) -> anyhow::Result<Value> {
    let is_condition = |word: &&String| word.contains('=');
    let conditions: Vec<&String> = words.iter().take_while(is_condition).collect();
    let rest = &words[conditions.len()..];
    let Some((duration, note)) = rest.split_first() else {
        anyhow::bail!("the length is missing, e.g. silence add 'node=web-*' 2h");
    };
    if crate::config::parse_duration(duration).is_none() {
        anyhow::bail!("{duration:?} is neither a condition (KEY=VALUE) nor a length such as 30m, 2h or 7d");
    }
    Ok(json!({ "matchers": conditions, "duration": duration, "note": note.join(" ") }))
}

fn table(items: &[Value]) -> String {
    if items.is_empty() {
        return "nothing is silenced\n".to_owned();
    }
    let row = |item: &Value| {
        let matchers = item["matchers"].as_array().into_iter().flatten().filter_map(Value::as_str);
        vec![
            item["id"].to_string(),
            item["environmentName"].as_str().map_or_else(|| "all".to_owned(), clean),
            time(item, "endsAt"),
            text(item, "author"),
            matchers.map(clean).collect::<Vec<_>>().join(" "),
            text(item, "note"),
        ]
    };
    columns(&["ID", "ENVIRONMENT", "UNTIL", "AUTHOR", "CONDITIONS", "NOTE"], &items.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn conditions_come_before_the_length_and_the_note_after() {
        let made = body(&words("node=web-* site!=lab 2h new kernel x=1")).unwrap();
        let expected = json!({"matchers": ["node=web-*", "site!=lab"], "duration": "2h", "note": "new kernel x=1"});
        assert_eq!(made, expected);
        assert!(body(&words("node=web-*")).unwrap_err().to_string().contains("length is missing"));
        assert!(body(&words("node 2h")).unwrap_err().to_string().contains("neither a condition"));
    }
}
