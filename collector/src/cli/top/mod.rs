//! `top`: the fleet in a terminal, on the public interface and the feed only.
//!
//! `model` is pure: it takes news and keys. `view` draws it, `sources` bring the news, and the loop here connects them.

mod model;
mod sources;
mod terminal;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::{FutureExt, StreamExt};
use systole_shared::{NodeId, PipelineId};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use self::model::{Command, Message, Model, View, Wanted};
use self::terminal::Screen;
use self::view::palette::Palette;
use super::remote::RemoteArgs;
use super::remote::color::{self, Colour};
use super::remote::connection::Connection;
use crate::clock::now_ms;
use crate::config::Config;

/// News that wait for the screen. It takes all of them between two frames.
const MAX_NEWS: usize = 1_024;

/// Time between two frames without a key.
const FRAME: Duration = Duration::from_millis(200);

/// Time between two queries while their answers are on the screen. The answers change with each report.
const QUERY_EVERY: Duration = Duration::from_secs(5);

/// Time between two queries of nodes for other views, which show names of them.
const QUERY_RARELY: Duration = Duration::from_secs(60);

/// A large fleet is queried less often: this many times the length of a query.
const QUERY_SHARE: u32 = 20;

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct TopArgs {
    /// Only this environment (name)
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Use colours; auto: unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Colour::Auto)]
    color: Colour,
    /// Address of the collector; several times for several collectors of a cluster [env: SYSTOLE_URL, SYSTOLE_URLS=A,B]
    /// [default: the collector that runs on DATA_DIR]
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// Viewer or admin token [env: SYSTOLE_TOKEN] [default: a temporary token, created in the database]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Certificates (PEM) to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

const HELP: &str = "\
Nodes, pipelines, components of a pipeline, and the log lines of what is selected. Enter goes in, Esc goes back, ? lists \
the keys. The screen follows the collector over restarts, and says how old it is meanwhile.

On the collector's host only --data-dir (or --config) is needed. From another host, give --url and a token; SYSTOLE_TOKEN \
keeps it out of the process list.

Examples:
  systole-collector top --data-dir /var/lib/systole
  SYSTOLE_TOKEN=… systole-collector top --url https://collector.example";

/// Shows the fleet until the user or the collector ends it.
pub(super) async fn run(args: TopArgs, config: &Config) -> anyhow::Result<()> {
    terminal::ensure_terminal()?;
    let palette = Palette { in_colour: color::wanted(args.color) };
    let remote =
        RemoteArgs { urls: args.urls, token: args.token, environment: args.environment, ca_file: args.ca_file };
    let connection = Arc::new(Connection::open(&remote, config).await?);
    let result = tokio::select! {
        result = show(&connection, palette) => result,
        () = terminal::ended() => Ok(()),
    };
    connection.close().await;
    result
}

async fn show(connection: &Arc<Connection>, palette: Palette) -> anyhow::Result<()> {
    let (sender, mut news) = mpsc::channel(MAX_NEWS);
    // Tasks end with this function, however it ends.
    let mut states = JoinSet::new();
    states.spawn(sources::follow_states(Arc::clone(connection), sender.clone()));
    let mut model = Model::new(connection.url()?.as_str().trim_end_matches('/').to_owned());
    // A collector that refuses at once is an error on the terminal as it is.
    tokio::select! {
        message = news.recv() => message.into_iter().for_each(|message| model.take(message)),
        ended = states.join_next() => return refused(ended),
    }
    let mut screen = Screen::enter()?;
    let mut keys = EventStream::new();
    let mut queries = Queries::new(Arc::clone(connection), sender);
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_new = true;
    loop {
        tokio::select! {
            Some(message) = news.recv() => {
                model.take(message);
                take_all(&mut news, &mut model);
                is_new = true;
                continue;
            }
            event = keys.next() => {
                let event = event.context("the terminal was closed")??;
                if let Event::Key(key) = event
                    && key.kind != KeyEventKind::Release
                    && model.press(key) == Command::Quit
                {
                    return Ok(());
                }
            }
            _ = frames.tick() => {
                queries.ask(&model);
                // Ages on the screen change without news.
                if !std::mem::take(&mut is_new) && now_ms() % 1_000 >= FRAME.as_millis() as i64 {
                    continue;
                }
            }
            ended = states.join_next() => return refused(ended),
        }
        model.resize(screen.lines());
        screen.draw(|frame| view::draw(frame, &model, palette, now_ms()))?;
    }
}

fn take_all(news: &mut Receiver<Message>, model: &mut Model) {
    for _ in 0..MAX_NEWS {
        let Ok(message) = news.try_recv() else { return };
        model.take(message);
    }
}

fn refused(ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>) -> anyhow::Result<()> {
    match ended {
        Some(ended) => ended.context("the stream of states failed")?,
        None => bail!("the stream of states has ended"),
    }
}

/// What is asked for beside states, as the screen needs it.
struct Queries {
    connection: Arc<Connection>,
    news: Sender<Message>,
    details: Running<Wanted>,
    wanted: Wanted,
    nodes: Running<()>,
    graph: Running<Option<(PipelineId, Option<NodeId>)>>,
}

/// A task that is aborted when it is dropped.
struct Running<Of> {
    of: Of,
    task: Option<JoinHandle<Duration>>,
    begun: Option<Instant>,
    /// Length of the last run that ended by itself.
    lasted: Duration,
}

impl<Of> Running<Of> {
    fn none(of: Of) -> Self {
        Running { of, task: None, begun: None, lasted: Duration::ZERO }
    }

    fn start(&mut self, of: Of, work: impl Future<Output = ()> + Send + 'static) {
        self.stop();
        let begun = Instant::now();
        (self.of, self.begun) = (of, Some(begun));
        self.task = Some(tokio::spawn(async move {
            work.await;
            begun.elapsed()
        }));
    }

    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Whether it has ended and began this long ago.
    fn is_due(&mut self, every: Duration) -> bool {
        if let Some(task) = &mut self.task {
            let Some(lasted) = task.now_or_never() else { return false };
            (self.lasted, self.task) = (lasted.unwrap_or_default(), None);
        }
        let every = every.max(self.lasted * QUERY_SHARE);
        self.begun.is_none_or(|begun| begun.elapsed() >= every)
    }
}

impl<Of> Drop for Running<Of> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Queries {
    fn new(connection: Arc<Connection>, news: Sender<Message>) -> Self {
        let details = Running::none(Wanted::Nothing);
        let (nodes, graph) = (Running::none(()), Running::none(None));
        Queries { connection, news, details, wanted: Wanted::Nothing, nodes, graph }
    }

    /// Asks for what the screen needs now.
    fn ask(&mut self, model: &Model) {
        let wanted = model.wanted();
        // A row that is passed by a key that is held down is not asked for: what is wanted for a frame is.
        let is_stable = self.wanted == wanted;
        if is_stable && self.details.of != wanted {
            let work = sources::follow_details(Arc::clone(&self.connection), wanted.clone(), self.news.clone());
            self.details.start(wanted.clone(), work);
        }
        self.wanted = wanted;

        let pace = match model.view() {
            _ if model.has_nameless() => Duration::from_secs(1),
            View::Nodes => QUERY_EVERY,
            View::Pipelines | View::Components | View::Logs => QUERY_RARELY,
        };
        if self.nodes.is_due(pace) {
            self.nodes.start((), sources::query_details(Arc::clone(&self.connection), self.news.clone()));
        }

        let graph = model.wanted_graph();
        if let Some((pipeline, node)) = graph.clone()
            && (self.graph.of != graph || self.graph.is_due(QUERY_EVERY))
        {
            let work = sources::query_graph(Arc::clone(&self.connection), pipeline, node, self.news.clone());
            self.graph.start(graph, work);
        } else if graph.is_none() {
            self.graph.of = None;
        }
    }
}
