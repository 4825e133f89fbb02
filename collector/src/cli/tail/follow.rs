//! Opens one stream after the other, each after the last printed event.
//!
//! A collector that is absent at the start is an error. After the first connection `tail` waits for it
//! to return. By default it shows status changes and log lines: the other types say with every report that
//! nothing has changed. `--level` applies to log lines and excludes those without a level, as the query
//! does.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rand::RngExt;
use reqwest::{StatusCode, Url};
use systole_shared::backoff::{Backoff, BackoffPolicy, Jitter};
use systole_shared::events::{Control, Event, GapReason, GoodbyeReason, ResetReason};
use systole_shared::sse::{Decoder, Item};
use systole_shared::{EventId, NodeId};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::super::remote::api::{Api, Fault, innermost};
use super::super::remote::color;
use super::super::remote::credential::{Credential, Place, Purpose};
use super::TailArgs;
use super::history::{History, Stored};
use super::line::{self, Lines};
use super::names::{self, Names};
use crate::clock::now_ms;
use crate::config::Config;
use crate::telemetry::logging::chain;

/// Silence after which a stream counts as dead before it has told how often it pings.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// Waits before the stream is opened again. Half of a wait is random, so that clients that lost a collector together
/// do not return together; the collector may ask for up to 5 minutes.
const RECONNECT: BackoffPolicy = BackoffPolicy {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    longest_asked: Duration::from_secs(300),
    jitter: Jitter::Half,
};

/// A stream that lasted this long was healthy: the next wait is short again.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Follows the feed of one collector.
pub(super) struct Follower {
    args: TailArgs,
    config: Config,
    api: Api,
    place: Place,
    credential: Credential,
    nodes: Vec<NodeId>,
    names: Names,
    lines: Lines,
    out: tokio::io::Stdout,
    /// The last event that was printed, or a later place where nothing was to print.
    position: Option<EventId>,
    /// Whether stored events are still to be printed.
    wants_history: bool,
    is_connected: bool,
    was_connected: bool,
}

/// The end of a stream.
struct Ended {
    why: String,
    asked: Option<Duration>,
}

impl Follower {
    /// Finds the collector, a token and the nodes that are named.
    pub(super) async fn new(args: TailArgs, config: &Config) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let place = Place::find(args.url.clone().or_else(|| variable("SYSTOLE_URL")).as_deref(), config)?;
        // Before a token is made for a collector that does not run.
        let base = place.url()?;
        let api = Api::new(args.ca_file.as_deref())?;
        let given = args.token.clone().or_else(|| variable("SYSTOLE_TOKEN"));
        let credential = match given {
            Some(text) => Credential::Given(systole_shared::Token::new(&text)),
            None => Credential::make(config, args.environment.as_deref(), Purpose::Follow).await?,
        };
        let lines = Lines { in_colour: !args.json && color::wanted(args.color) };
        let mut follower = Follower {
            position: args.after.clone(),
            wants_history: args.lines.is_some() || args.since.is_some(),
            config: config.clone(),
            api,
            place,
            credential,
            nodes: Vec::new(),
            names: Names::default(),
            lines,
            out: tokio::io::stdout(),
            is_connected: false,
            was_connected: false,
            args,
        };
        if let Err(error) = follower.find_nodes(&base).await {
            follower.end().await;
            return Err(error);
        }
        Ok(follower)
    }

    async fn find_nodes(&mut self, base: &Url) -> anyhow::Result<()> {
        for named in self.args.node.clone() {
            if let Ok(id) = named.parse() {
                self.nodes.push(id);
                continue;
            }
            let (token, environment) = (self.credential.token(), self.args.environment.as_deref());
            let found = names::nodes_named(&self.api, base, token, environment, &named).await;
            let found = match found {
                Ok(found) => found,
                Err(fault) => return Err(self.explained(fault, base).await),
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
        self.credential.give_back(&self.config).await;
    }

    /// Follows until nothing more can come.
    pub(super) async fn follow(&mut self) -> anyhow::Result<()> {
        let mut backoff = Backoff::new(RECONNECT);
        loop {
            let begun = Instant::now();
            self.is_connected = false;
            let ended = self.stream().await?;
            if self.is_connected && begun.elapsed() >= STABLE_AFTER {
                backoff.reset();
            }
            let wait = backoff.next(rand::rng().random_range(0.0..=1.0), ended.asked);
            self.report(&format!("{}; retrying in {:.1} s", ended.why, wait.as_secs_f64()));
            tokio::time::sleep(wait).await;
        }
    }

    /// One stream from its opening to its end. An error is the end of everything.
    async fn stream(&mut self) -> anyhow::Result<Ended> {
        let base = match self.place.url() {
            Ok(base) => base,
            Err(_) if self.was_connected => {
                return Ok(Ended { why: "the collector does not run".to_owned(), asked: None });
            }
            Err(error) => return Err(error),
        };
        if self.credential.has_ended(now_ms()) {
            self.credential = Credential::make(&self.config, self.args.environment.as_deref(), Purpose::Follow).await?;
        }
        let last_id = self.position.as_ref().map(EventId::to_string);
        let opened = self.api.open(self.feed_url(&base), self.credential.token(), last_id.as_deref()).await;
        let mut response = match opened {
            Ok(response) => response,
            Err(fault) if fault.is_final() || !self.was_connected => return Err(self.explained(fault, &base).await),
            Err(fault) => return Ok(Ended { asked: fault.retry_after(), why: chain(&fault) }),
        };
        let mut decoder = Decoder::default();
        let mut patience = FIRST_PATIENCE;
        let mut retry = None;
        loop {
            let bytes = match tokio::time::timeout(patience, response.chunk()).await {
                Err(_) => {
                    return Ok(Ended { why: format!("nothing received for {} s", patience.as_secs()), asked: retry });
                }
                Ok(Err(error)) => {
                    return Ok(Ended { why: format!("the connection was lost: {}", innermost(&error)), asked: retry });
                }
                Ok(Ok(None)) => return Ok(Ended { why: "the stream has ended".to_owned(), asked: retry }),
                Ok(Ok(Some(bytes))) => bytes,
            };
            for item in decoder.push(&bytes)? {
                match item {
                    Item::Comment(_) => {}
                    Item::Retry(ms) => retry = Some(Duration::from_millis(ms)),
                    Item::IdOnly(id) => {
                        self.moved_to(id.parse().ok());
                        if std::mem::take(&mut self.wants_history) {
                            self.print_history(&base).await?;
                        }
                    }
                    Item::Event { kind, data, id } => {
                        let id = id.and_then(|id| id.parse::<EventId>().ok());
                        match serde_json::from_str::<Control>(&data) {
                            Ok(control) => {
                                if let Control::Hello { ping_ms, .. } = control {
                                    patience = Duration::from_millis(ping_ms.saturating_mul(5) / 2)
                                        .max(Duration::from_secs(1));
                                    self.greeted(&base);
                                }
                                if let Some(ended) = self.take_control(control, &data).await? {
                                    return Ok(ended);
                                }
                            }
                            Err(_) => self.take_event(&kind, &data, id.as_ref()).await?,
                        }
                        self.moved_to(id);
                    }
                }
            }
        }
    }

    /// Prints stored events up to the place where the stream begins.
    async fn print_history(&mut self, base: &Url) -> anyhow::Result<()> {
        let Some(begin) = self.position.clone() else { return Ok(()) };
        let Some(mut history) = History::of(&self.args, &self.nodes, base, begin.seq) else { return Ok(()) };
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
        let next = history.next(&self.api, self.credential.token()).await;
        next.context("the collector did not return stored events")
    }

    fn feed_url(&self, base: &Url) -> Url {
        let mut url = names::under(base, "api/v1/events");
        let types: Vec<&str> = self.args.types.0.iter().map(|kind| kind.as_str()).collect();
        url.query_pairs_mut()
            .append_pair("types", &types.join(","))
            .extend_pairs(self.args.environment.iter().map(|name| ("environment", name.as_str())))
            .extend_pairs(self.nodes.iter().map(|node| ("node", node.to_string())))
            .extend_pairs(self.args.pipeline.iter().map(|pipeline| ("pipeline", pipeline.as_str())));
        url
    }

    fn greeted(&mut self, base: &Url) {
        let again = if self.was_connected { "again " } else { "" };
        (self.is_connected, self.was_connected) = (true, true);
        self.report(&format!("following {again}{}", base.as_str().trim_end_matches('/')));
    }

    fn moved_to(&mut self, id: Option<EventId>) {
        self.position = id.or(self.position.take());
    }

    /// Handles a control event. Returns the reason if it ends the stream.
    async fn take_control(&mut self, control: Control, data: &str) -> anyhow::Result<Option<Ended>> {
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
            Control::Goodbye { reason, retry_ms } => {
                let why = match reason {
                    GoodbyeReason::Shutdown => "the collector is stopping",
                    GoodbyeReason::Overloaded => "the collector is overloaded",
                    GoodbyeReason::Slow => "the stream was read too slowly",
                    GoodbyeReason::Revoked if self.credential.has_ended(now_ms()) => "the token has expired",
                    GoodbyeReason::Revoked => bail!("the token was revoked or has expired"),
                };
                let asked = Some(Duration::from_millis(retry_ms));
                return Ok(Some(Ended { why: format!("goodbye: {why}"), asked }));
            }
            // There may be nothing to print for hours; end when the reader has gone.
            Control::Ping { .. } if has_left() => return Err(std::io::Error::from(ErrorKind::BrokenPipe).into()),
            Control::Hello { .. } | Control::Snapshot { .. } | Control::Ping { .. } => {}
        }
        Ok(None)
    }

    async fn take_event(&mut self, name: &str, data: &str, id: Option<&EventId>) -> anyhow::Result<()> {
        // Each once, whatever is sent again.
        let is_old = |position: &EventId| id.is_some_and(|id| id.epoch == position.epoch && id.seq <= position.seq);
        if self.position.as_ref().is_some_and(is_old) {
            return Ok(());
        }
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
        if let (Some((node, pipeline)), Ok(base)) = (line::subject(event), self.place.url()) {
            self.names.learn(&self.api, &base, self.credential.token(), node, pipeline).await;
        }
        let text = self.lines.of(event, &self.names, now_ms());
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

    /// A fault with what to do about it.
    async fn explained(&self, fault: Fault, base: &Url) -> anyhow::Error {
        let is_unauthorized = fault.is_unauthorized();
        let is_wrong_path = matches!(fault, Fault::NoFeed(_) | Fault::Refused { status: StatusCode::NOT_FOUND, .. });
        if matches!(fault, Fault::Network(_) | Fault::Late)
            && let Some(scheme) = self.api.other_scheme(base).await
        {
            let (host, port) = (base.host_str().unwrap_or_default(), base.port_or_known_default().unwrap_or_default());
            return anyhow::Error::from(fault)
                .context(format!("{host}:{port} speaks {scheme}: use {scheme}://{host}:{port}"));
        }
        let error = anyhow::Error::from(fault);
        match &self.credential {
            Credential::Own { .. } if is_unauthorized => error.context(format!(
                "the collector does not know the token that was made in {}; name its data directory, or a --token",
                self.config.database
            )),
            _ if is_wrong_path => error.context(format!(
                "there is no feed of a collector under {base}; the address has a path only when a proxy adds one"
            )),
            _ => error.context("the collector refused the feed"),
        }
    }
}

/// Whether the reader of the pipe that standard output is has gone.
fn has_left() -> bool {
    let out = std::io::stdout();
    let mut asked = [PollFd::new(out.as_fd(), PollFlags::empty())];
    let answered = poll(&mut asked, PollTimeout::ZERO);
    answered.is_ok() && asked[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}
