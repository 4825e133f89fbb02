//! Prints stored events before the stream: `-n` and `--since`.
//!
//! The stream is opened first, and its first id is the boundary: stored events up to it are queried, later ones come by the
//! stream. So each event is printed once, whatever is committed meanwhile.

use std::collections::VecDeque;

use chrono::DateTime;
use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use systole_shared::events::{Event, EventType, LogEntry, LogEntryLine, StatusChange};
use systole_shared::{NodeId, PipelineId, Token};

use super::super::remote::api::{Api, Fault};
use super::super::remote::under;
use super::TailArgs;
use crate::config::parse_duration;

/// Most events of `-n`: they are held in memory until the oldest of them is known.
pub(super) const MAX_LINES: u32 = 10_000;

/// Items of one page: the most that the collector returns.
const PAGE: &str = "1000";

/// A stored event.
#[derive(Debug)]
pub(super) struct Stored {
    pub seq: u64,
    pub event: Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    OldestFirst,
    NewestFirst,
}

/// Stored events of one type, and of one node and one pipeline if they are named, page by page.
#[derive(Debug)]
struct Source {
    kind: EventType,
    url: Url,
    cursor: Option<String>,
    items: VecDeque<Stored>,
    is_complete: bool,
}

/// Stored events of all sources in one order.
#[derive(Debug)]
pub(super) struct History {
    order: Order,
    sources: Vec<Source>,
    limit: Option<usize>,
    boundary: u64,
}

/// Reads the time of `--since` into a value of the query parameter `from`.
pub(in crate::cli) fn parse_since(text: &str) -> Result<String, String> {
    let ago = text.strip_prefix('-').unwrap_or(text);
    if let Some(ago) = parse_duration(ago) {
        return Ok(format!("-{}ms", ago.as_millis()));
    }
    match DateTime::parse_from_rfc3339(text) {
        Ok(at) => Ok(at.timestamp_millis().to_string()),
        Err(_) => Err("expected a duration like 30m or 1h, or RFC 3339 like 2026-11-29T16:00:00Z".to_owned()),
    }
}

impl History {
    /// Creates the query of the requested events up to `boundary`; empty if only live events are requested.
    pub(super) fn of(args: &TailArgs, nodes: &[NodeId], base: &Url, boundary: u64) -> Option<Self> {
        if args.lines.is_none() && args.since.is_none() {
            return None;
        }
        let order = if args.lines.is_some() { Order::NewestFirst } else { Order::OldestFirst };
        let mut sources = Vec::new();
        for kind in [EventType::LogEntry, EventType::StatusChange] {
            if !args.types.0.contains(&kind) {
                continue;
            }
            for node in each(nodes) {
                for pipeline in each(&args.pipeline) {
                    let url = query(args, base, kind, order, node, pipeline);
                    sources.push(Source { kind, url, cursor: None, items: VecDeque::new(), is_complete: false });
                }
            }
        }
        let limit = args.lines.map(|lines| lines as usize);
        Some(History { order, sources, limit, boundary })
    }

    /// Whether all of it must be read before the first one is printed.
    pub(super) fn is_newest_first(&self) -> bool {
        self.order == Order::NewestFirst
    }

    /// The next event in the order of the query.
    ///
    /// # Errors
    ///
    /// When the collector does not return a page.
    pub(super) async fn next(&mut self, api: &Api, token: &Token) -> Result<Option<Stored>, Fault> {
        if self.limit == Some(0) {
            return Ok(None);
        }
        for source in &mut self.sources {
            source.fill(api, token, self.boundary).await?;
        }
        let seq = |source: &Source| source.items.front().map(|item| item.seq);
        let with_items = self.sources.iter_mut().filter(|source| !source.items.is_empty());
        let source = match self.order {
            Order::OldestFirst => with_items.min_by_key(|source| seq(source)),
            Order::NewestFirst => with_items.max_by_key(|source| seq(source)),
        };
        let next = source.and_then(|source| source.items.pop_front());
        if let (Some(limit), Some(_)) = (&mut self.limit, &next) {
            *limit -= 1;
        }
        Ok(next)
    }
}

/// Each value, or none of them once when there is none.
fn each<T>(values: &[T]) -> Vec<Option<&T>> {
    if values.is_empty() { vec![None] } else { values.iter().map(Some).collect() }
}

fn query(
    args: &TailArgs,
    base: &Url,
    kind: EventType,
    order: Order,
    node: Option<&NodeId>,
    pipeline: Option<&PipelineId>,
) -> Url {
    let path = if kind == EventType::LogEntry { "api/v1/logs" } else { "api/v1/status-changes" };
    let level = args.level.filter(|_| kind == EventType::LogEntry);
    let mut url = under(base, path);
    url.query_pairs_mut()
        .append_pair("limit", PAGE)
        .append_pair("order", if order == Order::NewestFirst { "desc" } else { "asc" })
        .extend_pairs(args.environment.iter().map(|name| ("environment", name.as_str())))
        .extend_pairs(args.since.iter().map(|since| ("from", since.as_str())))
        .extend_pairs(args.label.iter().map(|label| ("label", label.as_str())))
        .extend_pairs(level.map(|level| ("level", level.as_str())))
        .extend_pairs(node.map(|node| ("node", node.to_string())))
        .extend_pairs(pipeline.map(|pipeline| ("pipeline", pipeline.as_str())));
    url
}

impl Source {
    /// Reads pages until there is an item up to the boundary, or no page is left.
    async fn fill(&mut self, api: &Api, token: &Token, boundary: u64) -> Result<(), Fault> {
        while self.items.is_empty() && !self.is_complete {
            let mut url = self.url.clone();
            url.query_pairs_mut().extend_pairs(self.cursor.iter().map(|cursor| ("cursor", cursor)));
            let page = match api.get(url, token).await {
                // A node or a pipeline that the collector does not know yet has no past.
                Err(Fault::Refused { status: StatusCode::NOT_FOUND, .. }) => Value::Null,
                page => page?,
            };
            let items = page["items"].as_array().into_iter().flatten();
            let stored = items.filter_map(|item| stored(self.kind, item));
            self.items.extend(stored.filter(|stored| stored.seq <= boundary));
            self.cursor = page["next"].as_str().map(str::to_owned);
            self.is_complete = self.cursor.is_none();
        }
        Ok(())
    }
}

/// An item of a list as the event that the feed sends. An item that this version cannot read is skipped.
fn stored(kind: EventType, item: &Value) -> Option<Stored> {
    fn read<T: DeserializeOwned>(item: &Value) -> Option<T> {
        T::deserialize(item).ok()
    }
    let event = match kind {
        EventType::LogEntry => Event::LogEntry(LogEntry {
            node_id: read(&item["nodeId"])?,
            pipeline_id: read(&item["pipelineId"])?,
            entries: vec![read::<LogEntryLine>(item)?],
        }),
        EventType::StatusChange => Event::StatusChange(read::<StatusChange>(item)?),
        EventType::FleetStatus
        | EventType::FleetTotals
        | EventType::MetricUpdate
        | EventType::Deployment
        | EventType::Alert => return None,
    };
    Some(Stored { seq: item["seq"].as_u64()?, event })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_duration_or_a_moment() {
        assert_eq!(parse_since("1h").unwrap(), "-3600000ms");
        assert_eq!(parse_since("-90s").unwrap(), "-90000ms");
        assert_eq!(parse_since("2026-09-21T14:13:20Z").unwrap(), "1790000000000");
        for text in ["", "yesterday", "1790000000000", "1y"] {
            assert!(parse_since(text).is_err(), "{text:?}");
        }
    }
}
