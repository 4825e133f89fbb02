//! The state of the screen: what is known, what is selected, and what should be asked for. Pure: time is an argument.

pub(super) mod fleet;
mod keys;
pub(super) mod logs;
pub(super) mod rows;
#[cfg(test)]
pub(super) mod tests;

use systole_shared::events::{Event, FleetTotals, LogEntry, MetricUpdate, SnapshotNode, SnapshotPipeline};
use systole_shared::{ComponentId, NodeId, PipelineId, UnixMillis};

use self::fleet::{Fleet, NodeDetails};
use self::logs::{LogLine, Logs};
use self::rows::{ComponentRow, Graph, NodeRow, Order, PipelineRow, Sort};

/// Pipelines on nodes up to which all rates are asked for, as they fit in a terminal's time. Above it only those on the
/// screen are, or all of them less often while they decide the order.
const FEW_INSTANCES: usize = 200;

/// Milliseconds that rates on the screen may wait.
const EVERY_MS: u32 = 1_000;

/// Milliseconds that rates may wait that only decide the order.
const EVERY_MS_OF_ALL: u32 = 5_000;

/// Lines that are not rows: header, titles and footer.
pub(super) const OTHER_LINES: u16 = 6;

/// Places that Esc goes back to.
const MAX_PLACES: usize = 16;

/// What the screen shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Nodes,
    Pipelines,
    Components,
    Logs,
}

impl View {
    /// In the order of their keys, 1 to 4.
    pub(super) const ALL: [View; 4] = [View::Nodes, View::Pipelines, View::Components, View::Logs];

    /// Its name on the screen.
    pub(super) fn name(self) -> &'static str {
        match self {
            View::Nodes => "Nodes",
            View::Pipelines => "Pipelines",
            View::Components => "Components",
            View::Logs => "Logs",
        }
    }
}

/// The node and the pipeline that a view is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    pub node: Option<NodeId>,
    pub pipeline: Option<PipelineId>,
}

/// A row that stays selected wherever it moves.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RowKey {
    Node(NodeId),
    Pipeline(PipelineId),
    Component(ComponentId),
}

/// A view with its selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    view: View,
    scope: Scope,
    /// The first row while there is none.
    selected: Option<RowKey>,
    filter: String,
}

/// The state of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    #[default]
    Connecting,
    Live,
    /// What is shown is old. The next attempt is at this time.
    Lost {
        why: String,
        since: UnixMillis,
        retry_at: UnixMillis,
    },
}

/// What was received.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    pub fleet: Fleet,
    pub logs: Logs,
    pub graph: Graph,
}

/// News for the screen.
#[derive(Debug)]
pub(super) enum Message {
    Opened {
        address: String,
    },
    Lost {
        why: String,
        at: UnixMillis,
        retry_at: UnixMillis,
    },
    /// The collector's clock, when ours was `at`.
    Clock {
        collector: UnixMillis,
        at: UnixMillis,
    },
    Snapshot {
        nodes: Vec<SnapshotNode>,
        pipelines: Vec<SnapshotPipeline>,
        totals: Vec<FleetTotals>,
    },
    Samples(Vec<MetricUpdate>),
    Event(Event),
    /// Live lines of the selection with this number.
    LiveLogs(u64, LogEntry),
    /// Stored lines of the selection with this number, oldest first.
    StoredLogs(u64, Vec<LogLine>),
    Details(Vec<(NodeId, NodeDetails)>),
    Graph(PipelineId, Graph),
    /// What a query could not answer.
    Notice(String),
}

/// What the screen needs beside states: asked for only while it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    #[default]
    Nothing,
    Rates {
        nodes: Vec<NodeId>,
        pipelines: Vec<PipelineId>,
        every_ms: u32,
    },
    /// Lines of a selection. Each selection has another number.
    Logs {
        number: u64,
        scope: Scope,
    },
}

/// What a key asks of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Continue,
    Quit,
}

/// Everything that the screen shows.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub address: String,
    pub link: Link,
    live: Data,
    /// What is shown while the screen is paused.
    frozen: Option<Box<Data>>,
    place: Place,
    back: Vec<Place>,
    pub sort: Sort,
    pub is_reversed: bool,
    pub is_typing_filter: bool,
    pub shows_help: bool,
    pub notice: Option<String>,
    /// How far the collector's clock is ahead.
    clock_ahead_ms: i64,
    /// Rows that fit on the screen.
    height: usize,
    log_selection: u64,
}

impl Model {
    /// A screen that knows nothing yet.
    pub(super) fn new(address: String) -> Self {
        Model { address, height: 1, ..Model::default() }
    }

    /// Takes the size of the terminal.
    pub(super) fn resize(&mut self, lines: u16) {
        self.height = usize::from(lines.saturating_sub(OTHER_LINES)).max(1);
    }

    /// Takes news.
    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Opened { address } => (self.address, self.link, self.notice) = (address, Link::Live, None),
            Message::Lost { why, at, retry_at } => {
                let since = if let Link::Lost { since, .. } = self.link { since } else { at };
                self.link = Link::Lost { why, since, retry_at };
            }
            Message::Clock { collector, at } => self.clock_ahead_ms = collector.saturating_sub(at),
            Message::Snapshot { nodes, pipelines, totals } => self.live.fleet.replace(nodes, pipelines, totals),
            Message::Samples(samples) => samples.iter().for_each(|sample| self.live.fleet.take_rates(sample)),
            Message::Event(event) => self.live.fleet.take(&event),
            // Lines of a selection that was left come late.
            Message::LiveLogs(number, entry) if number == self.log_selection => self.live.logs.take(entry),
            Message::StoredLogs(number, lines) if number == self.log_selection => self.live.logs.prepend(lines),
            Message::LiveLogs(..) | Message::StoredLogs(..) => {}
            Message::Details(details) => self.live.fleet.take_details(details),
            Message::Graph(pipeline, graph) => {
                if self.place.scope.pipeline.as_ref() == Some(&pipeline) {
                    self.live.graph = graph;
                }
            }
            Message::Notice(text) => self.notice = Some(text),
        }
    }

    /// What is shown: what is known now, or what was known when the screen was paused.
    pub(super) fn data(&self) -> &Data {
        self.frozen.as_deref().unwrap_or(&self.live)
    }

    /// Whether the screen is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.frozen.is_some()
    }

    /// The view on the screen.
    pub(super) fn view(&self) -> View {
        self.place.view
    }

    /// What the view is limited to.
    pub(super) fn scope(&self) -> &Scope {
        &self.place.scope
    }

    /// The filter as it is typed.
    pub(super) fn filter(&self) -> &str {
        &self.place.filter
    }

    /// The collector's clock when ours is `now`.
    pub(super) fn collector_time(&self, now: UnixMillis) -> UnixMillis {
        now.saturating_add(self.clock_ahead_ms)
    }

    fn order(&self) -> Order<'_> {
        Order { sort: self.sort, is_reversed: self.is_reversed, filter: &self.place.filter }
    }

    /// Rows of the view of nodes.
    pub(super) fn node_rows(&self) -> Vec<NodeRow<'_>> {
        rows::nodes(&self.data().fleet, self.order())
    }

    /// Rows of the view of pipelines.
    pub(super) fn pipeline_rows(&self) -> Vec<PipelineRow> {
        rows::pipelines(&self.data().fleet, self.place.scope.node, self.order())
    }

    /// Rows of the view of components.
    pub(super) fn component_rows(&self) -> Vec<ComponentRow> {
        let Some(pipeline) = &self.place.scope.pipeline else { return Vec::new() };
        let data = self.data();
        rows::components(&data.fleet, pipeline, self.place.scope.node, &data.graph, self.order())
    }

    fn row_keys(&self) -> Vec<RowKey> {
        match self.place.view {
            View::Nodes => self.node_rows().into_iter().map(|row| RowKey::Node(row.id)).collect(),
            View::Pipelines => self.pipeline_rows().into_iter().map(|row| RowKey::Pipeline(row.id)).collect(),
            View::Components => self.component_rows().into_iter().map(|row| RowKey::Component(row.id)).collect(),
            View::Logs => Vec::new(),
        }
    }

    /// The selected row; the first one when none was selected, or it has gone.
    fn index_in(&self, keys: &[RowKey]) -> usize {
        let selected = self.place.selected.as_ref();
        keys.iter().position(|key| Some(key) == selected).unwrap_or(0)
    }

    /// The selected row, and the first row on the screen.
    pub(super) fn selection(&self) -> (usize, usize) {
        let index = self.index_in(&self.row_keys());
        (index, self.first_row(index))
    }

    fn first_row(&self, index: usize) -> usize {
        (index + 1).saturating_sub(self.height)
    }

    /// The pipeline whose graph is shown, with the node that it is limited to.
    pub(super) fn wanted_graph(&self) -> Option<(PipelineId, Option<NodeId>)> {
        let scope = &self.place.scope;
        let pipeline = scope.pipeline.clone().filter(|_| self.place.view == View::Components)?;
        Some((pipeline, scope.node))
    }

    /// Whether a node has no name yet.
    pub(super) fn has_nameless(&self) -> bool {
        self.live.fleet.has_nameless()
    }

    /// What the stream of details should contain.
    pub(super) fn wanted(&self) -> Wanted {
        let scope = &self.place.scope;
        let is_few = self.live.fleet.instances.len() <= FEW_INSTANCES;
        let all = |every_ms| Wanted::Rates { nodes: Vec::new(), pipelines: Vec::new(), every_ms };
        match self.place.view {
            View::Logs => Wanted::Logs { number: self.log_selection, scope: scope.clone() },
            View::Components => match &scope.pipeline {
                Some(pipeline) => Wanted::Rates {
                    nodes: scope.node.into_iter().collect(),
                    pipelines: vec![pipeline.clone()],
                    every_ms: EVERY_MS,
                },
                None => Wanted::Nothing,
            },
            View::Nodes | View::Pipelines if is_few => all(EVERY_MS),
            View::Nodes | View::Pipelines if self.sort.needs_all_rates() => all(EVERY_MS_OF_ALL),
            View::Nodes | View::Pipelines => {
                let (mut nodes, mut pipelines) = (Vec::from_iter(scope.node), Vec::new());
                let keys = self.row_keys();
                let first = self.first_row(self.index_in(&keys));
                for key in keys.into_iter().skip(first).take(self.height) {
                    match key {
                        RowKey::Node(node) => nodes.push(node),
                        RowKey::Pipeline(pipeline) => pipelines.push(pipeline),
                        RowKey::Component(_) => {}
                    }
                }
                // An order that changes does not change what is on the screen.
                nodes.sort_unstable();
                pipelines.sort_unstable();
                if nodes.is_empty() && pipelines.is_empty() {
                    return Wanted::Nothing;
                }
                Wanted::Rates { nodes, pipelines, every_ms: EVERY_MS }
            }
        }
    }
}
