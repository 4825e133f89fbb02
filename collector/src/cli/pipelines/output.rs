//! What the commands about pipelines print.

use std::io::{Write, stdout};
use std::time::Duration;

use anstyle::Style;
use anyhow::bail;
use serde_json::Value;

use super::{Remote, checked, clean};
use crate::cli::remote::color::{BAD, Colour, DIM, GOOD, PLAIN, wanted};

/// How often a rollout is read: its steps take seconds.
const POLL: Duration = Duration::from_secs(1);

/// Nodes that are listed with their reasons: `rollout ID` lists all.
const MAX_LISTED: usize = 20;

/// Prints for people.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    in_colour: bool,
}

impl Output {
    /// With colours as they are wanted.
    pub(super) fn new(choice: Colour) -> Self {
        Output { in_colour: wanted(choice) }
    }

    fn line(self, style: Style, text: &str) -> std::io::Result<()> {
        if self.in_colour { writeln!(stdout(), "{style}{text}{style:#}") } else { writeln!(stdout(), "{text}") }
    }

    /// A unified diff. Control characters of a configuration do not reach the terminal.
    pub(super) fn diff(self, diff: &str) -> anyhow::Result<()> {
        for line in diff.lines() {
            let text: String = line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
            self.line(style_of(line), &text)?;
        }
        Ok(())
    }

    /// What was applied, or would be.
    pub(super) fn applied(self, id: &str, applied: &Value, is_dry_run: bool) -> anyhow::Result<()> {
        let version = applied["version"].as_i64().unwrap_or_default();
        if applied["changed"] == false {
            self.line(DIM, &format!("{id}: unchanged, version {version}"))?;
            return Ok(());
        }
        self.diff(applied["diff"].as_str().unwrap_or_default())?;
        let line = match (is_dry_run, applied["rolloutId"].as_i64()) {
            (true, _) if version == 0 => format!("{id}: would be new"),
            (true, _) => format!("{id}: would be version {}", version + 1),
            (false, Some(rollout)) => format!("{id}: version {version}, rollout {rollout}"),
            (false, None) => format!("{id}: version {version}"),
        };
        self.line(if is_dry_run { PLAIN } else { GOOD }, &line)?;
        Ok(())
    }

    /// Prints the steps of a rollout until it ends.
    pub(super) async fn follow(self, remote: &Remote, id: &str, rollout: i64) -> anyhow::Result<()> {
        let number = rollout.to_string();
        let mut last = String::new();
        loop {
            let answer = checked(remote, remote.get(&["rollouts", &number], &[]).await).await?;
            let state = clean(answer["state"].as_str().unwrap_or_default());
            let reason = clean(answer["reason"].as_str().unwrap_or_default());
            let line = progress(id, rollout, &state, &answer);
            if line != last {
                self.line(if state == "halted" { BAD } else { PLAIN }, &line)?;
                last = line;
            }
            match state.as_str() {
                "complete" => {
                    for line in reasons_of(&answer, "unfit") {
                        self.line(DIM, &line)?;
                    }
                    return Ok(());
                }
                "halted" | "aborted" => {
                    for line in reasons_of(&answer, "failed") {
                        self.line(BAD, &line)?;
                    }
                    bail!("rollout {rollout} is {state}: {reason}");
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }
}

/// A rollout in one line, with its nodes by state.
fn progress(id: &str, rollout: i64, state: &str, answer: &Value) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for node in answer["nodes"].as_array().into_iter().flatten() {
        let state = clean(node["state"].as_str().unwrap_or_default());
        match counts.iter_mut().find(|(known, _)| *known == state) {
            Some((_, count)) => *count += 1,
            None => counts.push((state, 1)),
        }
    }
    counts.sort();
    let nodes: Vec<_> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let nodes = if nodes.is_empty() { String::new() } else { format!(", nodes: {}", nodes.join(", ")) };
    format!("{id}: rollout {rollout} is {state}{nodes}")
}

/// The nodes in a state, and why.
fn reasons_of(answer: &Value, state: &str) -> Vec<String> {
    let nodes = answer["nodes"].as_array().into_iter().flatten().filter(|node| node["state"] == state);
    let text = |node: &Value, key: &str| clean(node[key].as_str().unwrap_or_default());
    let mut lines: Vec<_> = nodes
        .clone()
        .take(MAX_LISTED)
        .map(|node| format!("  {}: {}", text(node, "nodeName"), text(node, "reason")))
        .collect();
    let more = nodes.count().saturating_sub(MAX_LISTED);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines
}

fn style_of(line: &str) -> Style {
    match line.as_bytes().first() {
        Some(b'+') if !line.starts_with("+++ ") => GOOD,
        Some(b'-') if !line.starts_with("--- ") => BAD,
        Some(b'@') => DIM,
        Some(b'+' | b'-') => PLAIN.bold(),
        _ => PLAIN,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn progress_counts_nodes_by_state() {
        let answer = json!({"nodes": [{"state": "healthy"}, {"state": "waiting"}, {"state": "healthy"}]});
        assert_eq!(
            progress("orders", 7, "running", &answer),
            "orders: rollout 7 is running, nodes: 2 healthy, 1 waiting"
        );
        assert_eq!(progress("orders", 7, "complete", &json!({})), "orders: rollout 7 is complete");
        let failed =
            json!({"nodes": [{"nodeName": "n1", "state": "failed", "reason": "no\ninput"}, {"state": "healthy"}]});
        assert_eq!(reasons_of(&failed, "failed"), ["  n1: no\u{fffd}input"]);
        let unfit = json!({"nodeName": "n", "state": "unfit", "reason": "has no engine vector"});
        let many = reasons_of(&json!({"nodes": vec![unfit; MAX_LISTED + 2]}), "unfit");
        assert_eq!((many.len(), many[0].as_str()), (MAX_LISTED + 1, "  n: has no engine vector"));
        assert_eq!(many[MAX_LISTED], "  and 2 more");
    }

    #[test]
    fn lines_of_a_diff_have_their_colour() {
        assert_eq!((style_of("+a"), style_of("-a")), (GOOD, BAD));
        assert_eq!((style_of("--- a"), style_of(" a"), style_of("@@ -1 +1 @@")), (PLAIN.bold(), PLAIN, DIM));
    }
}
