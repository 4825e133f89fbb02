//! Prints the events of the feed in their order, each once.
//!
//! By default it shows status changes and log lines: the other types say with every report that nothing has changed.
//! `--level` applies to log lines and excludes those without a level, as the query does.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::{Context, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use reqwest::Url;
use systole_shared::events::{Control, Event, GapReason, ResetReason};
use systole_shared::{EventId, NodeId};
use tokio::io::AsyncWriteExt;

use super::super::remote::RemoteArgs;
use super::super::remote::api::Fault;
use super::super::remote::color;
use super::super::remote::connection::Connection;
use super::super::remote::feed::{FeedFollower, FeedQuery, Step};
use super::TailArgs;
use super::history::{History, Stored};
use super::line::{self, Lines};
use super::names::{self, Names};
use crate::clock::now_ms;
use crate::config::Config;

/// Follows the feed of one collector.
pub(super) struct Follower {
    args: TailArgs,
    connection: Arc<Connection>,
    nodes: Vec<NodeId>,
    names: Names,
    lines: Lines,
    out: tokio::io::Stdout,
    /// Whether stored events are still to be printed.
    wants_history: bool,
}

impl Follower {
    /// Finds the collector, a token and the nodes that are named.
    pub(super) async fn new(args: TailArgs, config: &Config) -> anyhow::Result<Self> {
        let remote = RemoteArgs {
            urls: args.urls.clone(),
            token: args.token.clone(),
            environment: args.environment.clone(),
            ca_file: args.ca_file.clone(),
        };
        let connection = Arc::new(Connection::open(&remote, config).await?);
        let mut follower = Follower {
            wants_history: args.lines.is_some() || args.since.is_some(),
            connection,
            nodes: Vec::new(),
            names: Names::default(),
            lines: Lines { in_colour: !args.json && color::wanted(args.color), ..Lines::default() },
            out: tokio::io::stdout(),
            args,
        };
        if let Err(error) = follower.find_nodes().await {
            follower.end().await;
            return Err(error);
        }
        Ok(follower)
    }

    async fn find_nodes(&mut self) -> anyhow::Result<()> {
        for named in self.args.node.clone() {
            if let Ok(id) = named.parse() {
                self.nodes.push(id);
                continue;
            }
            let found = match names::nodes_named(&self.connection, &named).await {
                Ok(found) => found,
                Err(error) => return Err(self.connection.explained(error.downcast::<Fault>()?).await),
            };
            if found.is_empty() {
                bail!("unknown node {named:?}");
            }
            self.nodes.extend(found);
        }
        Ok(())
    }

    /// Takes back what was made for this.
    pub(super) async fn end(&self) {
        self.connection.close().await;
    }

    /// Follows until nothing more can come.
    pub(super) async fn follow(&mut self) -> anyhow::Result<()> {
        let query = FeedQuery {
            types: self.args.types.0.clone(),
            nodes: self.nodes.clone(),
            labels: self.args.label.clone(),
            pipelines: self.args.pipeline.clone(),
            ..FeedQuery::default()
        };
        let mut feed = FeedFollower::new(Arc::clone(&self.connection), query, "tail", self.args.after.clone());
        loop {
            match feed.next().await? {
                Step::Opened { base, again } => {
                    let again = if again { "again " } else { "" };
                    self.report(&format!("following {again}{}", base.as_str().trim_end_matches('/')));
                }
                Step::Moved => {
                    if std::mem::take(&mut self.wants_history)
                        && let Some(begin) = feed.position().cloned()
                    {
                        self.print_history(begin).await?;
                    }
                }
                Step::Control(control, data) => self.take_control(control, &data).await?,
                Step::Event { name, data, id } => self.take_event(&name, &data, id.as_ref()).await?,
                Step::Lost { why, wait } => self.report(&format!("{why}; retrying in {:.1} s", wait.as_secs_f64())),
            }
        }
    }

    /// Prints stored events up to the place where the stream begins.
    async fn print_history(&mut self, begin: EventId) -> anyhow::Result<()> {
        let base: Url = self.connection.url()?;
        let Some(mut history) = History::of(&self.args, &self.nodes, &base, begin.seq) else { return Ok(()) };
        let mut newest_first = Vec::new();
        while let Some(stored) = self.next_stored(&mut history).await? {
            if history.is_newest_first() {
                newest_first.push(stored);
            } else {
                self.print_event(&stored.event, None, Some(&EventId { seq: stored.seq, ..begin.clone() })).await?;
            }
        }
        for stored in newest_first.into_iter().rev() {
            self.print_event(&stored.event, None, Some(&EventId { seq: stored.seq, ..begin.clone() })).await?;
        }
        Ok(())
    }

    async fn next_stored(&self, history: &mut History) -> anyhow::Result<Option<Stored>> {
        let next = history.next(self.connection.api(), &self.connection.token().await?).await;
        next.context("the collector did not return stored events")
    }

    /// Reports what a control event says.
    async fn take_control(&mut self, control: Control, data: &str) -> anyhow::Result<()> {
        match control {
            Control::Gap { from, to, types, reason } => {
                let types: Vec<&str> = types.into_iter().map(|kind| kind.as_str()).collect();
                let reason = match reason {
                    GapReason::Retention => "they are past their retention",
                    GapReason::Limit => "there are more than the feed replays",
                    GapReason::Slow => "they were read too slowly",
                    GapReason::Restart => "they could not be read",
                };
                self.report(&format!("gap: {} from {from} to {to} are missing, {reason}", types.join(" and ")));
                self.print_json(data, None).await?;
            }
            Control::Reset { reason } => {
                let reason = match reason {
                    ResetReason::Epoch => "the id belongs to another database",
                    ResetReason::Ahead => "the id is ahead of the last committed event",
                };
                self.report(&format!("reset: {reason}; continuing with new events"));
                self.print_json(data, None).await?;
            }
            // There may be nothing to print for hours; end when the reader has gone.
            Control::Ping { .. } if has_left() => return Err(std::io::Error::from(ErrorKind::BrokenPipe).into()),
            Control::Hello { .. } | Control::Goodbye { .. } | Control::Snapshot { .. } | Control::Ping { .. } => {}
        }
        Ok(())
    }

    async fn take_event(&mut self, name: &str, data: &str, id: Option<&EventId>) -> anyhow::Result<()> {
        // A type of a later version was not asked for.
        let Ok(event) = serde_json::from_str::<Event>(data) else {
            self.report(&format!("cannot read an event {name:?}, skipping it"));
            return Ok(());
        };
        let is_whole = self.args.level.is_none() || !matches!(event, Event::LogEntry(_));
        let Some(event) = line::filtered(event, self.args.level) else { return Ok(()) };
        self.print_event(&event, is_whole.then_some(data), id).await
    }

    /// Prints an event; `data` is its JSON if it is at hand.
    async fn print_event(&mut self, event: &Event, data: Option<&str>, id: Option<&EventId>) -> anyhow::Result<()> {
        if self.args.json {
            let own =
                if data.is_none() { serde_json::to_string(event).context("an event is JSON")? } else { String::new() };
            return self.print_json(data.unwrap_or(&own), id).await;
        }
        if let Some((node, pipeline)) = line::subject(event) {
            self.names.learn(&self.connection, node, pipeline).await;
        }
        let text = self.lines.in_terminal().of(event, &self.names, now_ms());
        self.print(&text).await
    }

    /// The JSON of the feed with its id before the rest, on one line.
    async fn print_json(&mut self, data: &str, id: Option<&EventId>) -> anyhow::Result<()> {
        if !self.args.json {
            return Ok(());
        }
        let Some(rest) = data.trim_start().strip_prefix('{') else { return Ok(()) };
        let id = id.map_or_else(|| "null".to_owned(), |id| format!("\"{id}\""));
        // JSON has line ends only between its parts.
        let text = format!("{{\"id\":{id},{}\n", rest.replace(['\n', '\r'], " "));
        self.print(&text).await
    }

    async fn print(&mut self, text: &str) -> anyhow::Result<()> {
        self.out.write_all(text.as_bytes()).await?;
        self.out.flush().await?;
        Ok(())
    }

    /// Prints a message for the user on standard error.
    fn report(&self, text: &str) {
        eprintln!("systole-collector: {} {text}", line::time_of_day(now_ms()));
    }
}

/// Whether the reader of the pipe that standard output is has gone.
fn has_left() -> bool {
    let out = std::io::stdout();
    let mut asked = [PollFd::new(out.as_fd(), PollFlags::empty())];
    let answered = poll(&mut asked, PollTimeout::ZERO);
    answered.is_ok() && asked[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}
