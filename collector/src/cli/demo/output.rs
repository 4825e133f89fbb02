//! Prints the events of the feed in short lines.

#![expect(clippy::print_stdout, reason = "this is what people read")]

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use systole_shared::sse::{Decoder, Item};

use super::http_client;
use crate::clock::now_ms;

/// Pause before the feed is opened again after it has ended.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Reads the feed for ever and prints a line per event that a person wants to know of.
pub(super) async fn narrate(url: &str, token: &str) -> anyhow::Result<()> {
    let client = http_client()?;
    let mut last_id = None;
    loop {
        let mut request =
            client.get(format!("{url}/api/v1/events")).bearer_auth(token).header("X-Systole-Client", "demo");
        if let Some(id) = &last_id {
            request = request.header("Last-Event-ID", id);
        }
        let mut response = request.send().await?.error_for_status().context("the feed refused the demo")?;
        let mut decoder = Decoder::default();
        while let Ok(Some(bytes)) = response.chunk().await {
            for item in decoder.push(&bytes)? {
                match item {
                    Item::Event { kind, data, id } => {
                        last_id = id.or(last_id);
                        print_event(&kind, &serde_json::from_str(&data).context("the feed sent invalid JSON")?);
                    }
                    Item::IdOnly(id) => last_id = Some(id),
                    Item::Retry(_) | Item::Comment(_) => {}
                }
            }
        }
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

/// Age of an event that is not printed any more: the history of the simulated nodes would push the addresses off the screen.
const OLD_AFTER_MS: i64 = 60_000;

fn is_old(data: &Value) -> bool {
    let last_line = &data["entries"].as_array().and_then(|entries| entries.last()).unwrap_or(&Value::Null)["at"];
    let at = data["timestamp"].as_i64().or(last_line.as_i64());
    at.is_some_and(|at| at < now_ms() - OLD_AFTER_MS)
}

fn print_event(name: &str, data: &Value) {
    if is_old(data) {
        return;
    }
    let text = |key: &str| data[key].as_str().unwrap_or_default();
    let time = chrono::DateTime::from_timestamp_millis(now_ms())
        .map(|now| now.format("%H:%M:%S").to_string())
        .unwrap_or_default();
    match name {
        "hello" => println!("{time}  feed       open at event {} of epoch {}", data["head"], text("epoch")),
        "status_change" => {
            let subject = match data["pipelineId"].as_str() {
                Some(id) => format!("pipeline {id}"),
                None => "node".to_owned(),
            };
            let reason = match text("reason") {
                "" => String::new(),
                reason => format!(" ({reason})"),
            };
            println!("{time}  status     {subject}: {} → {}{reason}", text("fromStatus"), text("toStatus"));
        }
        "metric_update" => {
            let rate = |key: &str| data["sample"][key].as_f64().unwrap_or(0.0);
            println!(
                "{time}  {:9}  in {:.1}/s  out {:.1}/s  errors {}  discarded {:.1}/s",
                text("pipelineId"),
                rate("receivedEventsRate"),
                rate("sentEventsRate"),
                rate("errorCount"),
                rate("discardedRate"),
            );
        }
        "log_entry" => tell_log(&time, text("pipelineId"), &data["entries"]),
        "gap" | "reset" | "goodbye" => println!("{time}  feed       {name}: {}", text("reason")),
        _ => {}
    }
}

fn tell_log(time: &str, pipeline: &str, entries: &Value) {
    let lines: Vec<&str> =
        entries.as_array().into_iter().flatten().filter_map(|entry| entry["line"].as_str()).collect();
    let Some(last) = lines.last() else { return };
    let short: String = last.chars().take(90).collect();
    let cut = if short.len() < last.len() { "…" } else { "" };
    let more = if lines.len() > 1 { format!(" (and {} before)", lines.len() - 1) } else { String::new() };
    println!("{time}  log        {pipeline}: {short}{cut}{more}");
}
