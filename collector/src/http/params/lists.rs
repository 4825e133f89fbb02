//! Parameters of sorted lists of nodes and pipelines.

use serde::{Deserialize, Deserializer, de::Error};
use systole_shared::{NodeStatus, PipelineStatus, UnixMillis};
use utoipa::{IntoParams, ToSchema};

use super::filters::search_text;
use super::{InEnvironment, OrderName, Pagination, WithLabels};
use crate::app::App;
use crate::auth::{Identity, Scope};
use crate::http::error::ApiError;
use crate::model::directory::ListedNode;
use crate::query::fleet::Among;
use crate::query::fleet::nodes::{self, NodeSort};
use crate::query::fleet::order::{Order, Place, Ranked};
use crate::query::fleet::pipelines::{self, ListedPipeline, PipelineSort};

/// Which nodes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeFilter {
    /// Only nodes in one of these states, separated by commas, in upper or lower case.
    #[param(style = Form, explode = false, min_items = 1, inline, value_type = Option<Vec<NodeStatus>>)]
    #[serde(default, deserialize_with = "node_statuses")]
    status: Vec<NodeStatus>,
    /// Only nodes with a pipeline in one of these states, separated by commas, in upper or lower case.
    #[param(style = Form, explode = false, min_items = 1, inline, value_type = Option<Vec<PipelineStatus>>)]
    #[serde(default, deserialize_with = "pipeline_statuses")]
    pipeline_status: Vec<PipelineStatus>,
    /// Part of the name, of the host's name or of a label (`site:lab`), in upper or lower case. At most 1024 bytes.
    #[param(max_length = 1024)]
    #[serde(default, deserialize_with = "search_text")]
    q: Option<String>,
}

/// In which order nodes are.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct NodeOrder {
    /// `state`: the worst first, of the node and its pipelines. `cpu`, `memory`, `eventsIn`, `eventsOut`, `errors`: by the last
    /// sample. Nodes that are equal, and those without a value, which come last, are in the order of their names.
    #[param(inline)]
    #[serde(default)]
    sort: NodeSortName,
    /// `desc`: the highest, newest or best first.
    #[param(inline)]
    #[serde(default)]
    order: OrderName,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(default = "name")]
enum NodeSortName {
    #[default]
    Name,
    State,
    Cpu,
    Memory,
    EventsIn,
    EventsOut,
    Errors,
    LastReport,
    Version,
}

/// Which pipelines.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PipelineFilter {
    /// Only pipelines that are in one of these states on a node, separated by commas, in upper or lower case.
    #[param(style = Form, explode = false, min_items = 1, inline, value_type = Option<Vec<PipelineStatus>>)]
    #[serde(default, deserialize_with = "pipeline_statuses")]
    status: Vec<PipelineStatus>,
    /// Part of the id or the name, in upper or lower case. At most 1024 bytes.
    #[param(max_length = 1024)]
    #[serde(default, deserialize_with = "search_text")]
    q: Option<String>,
}

/// In which order pipelines are.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PipelineOrder {
    /// `worst`: the worst state on a node first, and of equal ones that on the most nodes. `eventsIn`, `eventsOut`, `errors`,
    /// `discards`: by the last samples, summed over nodes. Pipelines that are equal, and those without a value, which come
    /// last, are in the order of their ids.
    #[param(inline)]
    #[serde(default)]
    sort: PipelineSortName,
    /// `desc`: the highest or best first.
    #[param(inline)]
    #[serde(default)]
    order: OrderName,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(default = "id")]
enum PipelineSortName {
    #[default]
    Id,
    Worst,
    EventsIn,
    EventsOut,
    Errors,
    Discards,
}

/// What the map is grouped by.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct GroupBy {
    /// The key of a label. Default: no groups.
    pub group: Option<String>,
}

/// What a list of the fleet is asked for with, and by which token.
pub(crate) type ListScope<'a> = (&'a InEnvironment, &'a WithLabels, &'a Identity);

fn among(app: &App, (environment, labels, identity): ListScope<'_>) -> Result<(Scope, Among), ApiError> {
    let scope = environment.scope(app, identity)?;
    Ok((scope, Among { scope, selector: labels.selector()? }))
}

/// A page with the cursor of the next one, and the scope that it was read in.
pub(crate) struct FoundPage<T> {
    pub scope: Scope,
    pub items: Vec<T>,
    pub next: Option<String>,
    pub total: usize,
}

impl<T> FoundPage<T> {
    fn new(scope: Scope, found: Ranked<T>, list: &str) -> Self {
        let next = found.last.map(|place| write_cursor(list, &place));
        FoundPage { scope, items: found.items, next, total: found.total }
    }
}

impl NodeFilter {
    fn read(&self, among: Among) -> nodes::NodeFilter {
        nodes::NodeFilter {
            among,
            statuses: self.status.clone(),
            pipeline_statuses: self.pipeline_status.clone(),
            text: self.q.as_ref().map(|text| text.to_lowercase()),
        }
    }

    /// A page of nodes.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter.
    pub(crate) fn page(
        &self,
        app: &App,
        asked: ListScope<'_>,
        order: &NodeOrder,
        pagination: &Pagination,
        now: UnixMillis,
    ) -> Result<FoundPage<ListedNode>, ApiError> {
        let (scope, among) = among(app, asked)?;
        let (sort, name) = match order.sort {
            NodeSortName::Name => (NodeSort::Name, "name"),
            NodeSortName::State => (NodeSort::State, "state"),
            NodeSortName::Cpu => (NodeSort::Cpu, "cpu"),
            NodeSortName::Memory => (NodeSort::Memory, "memory"),
            NodeSortName::EventsIn => (NodeSort::EventsIn, "eventsIn"),
            NodeSortName::EventsOut => (NodeSort::EventsOut, "eventsOut"),
            NodeSortName::Errors => (NodeSort::Errors, "errors"),
            NodeSortName::LastReport => (NodeSort::LastReport, "lastReport"),
            NodeSortName::Version => (NodeSort::Version, "version"),
        };
        let list = list_name(name, order.order);
        let after = pagination.place(&list)?;
        let direction = direction(order.order, sort == NodeSort::Name);
        let found = nodes::list(
            &app.directory,
            &self.read(among),
            (sort, direction),
            (after.as_ref(), pagination.items()),
            now,
        );
        Ok(FoundPage::new(scope, found, &list))
    }

    /// All nodes, by name.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter.
    pub(crate) fn all(&self, app: &App, asked: ListScope<'_>, now: UnixMillis) -> Result<Vec<ListedNode>, ApiError> {
        let (_, among) = among(app, asked)?;
        let by_name = (NodeSort::Name, direction(OrderName::Asc, true));
        Ok(nodes::list(&app.directory, &self.read(among), by_name, (None, usize::MAX), now).items)
    }
}

impl PipelineFilter {
    /// A page of pipelines.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter.
    pub(crate) fn page(
        &self,
        app: &App,
        asked: ListScope<'_>,
        order: &PipelineOrder,
        pagination: &Pagination,
        now: UnixMillis,
    ) -> Result<FoundPage<ListedPipeline>, ApiError> {
        let (scope, among) = among(app, asked)?;
        let (sort, name) = match order.sort {
            PipelineSortName::Id => (PipelineSort::Id, "id"),
            PipelineSortName::Worst => (PipelineSort::Worst, "worst"),
            PipelineSortName::EventsIn => (PipelineSort::EventsIn, "eventsIn"),
            PipelineSortName::EventsOut => (PipelineSort::EventsOut, "eventsOut"),
            PipelineSortName::Errors => (PipelineSort::Errors, "errors"),
            PipelineSortName::Discards => (PipelineSort::Discards, "discards"),
        };
        let list = list_name(name, order.order);
        let after = pagination.place(&list)?;
        let text = self.q.as_ref().map(|text| text.to_lowercase());
        let filter = pipelines::PipelineFilter { among, statuses: self.status.clone(), text };
        let direction = direction(order.order, sort == PipelineSort::Id);
        let found =
            pipelines::list(&app.directory, &filter, (sort, direction), (after.as_ref(), pagination.items()), now);
        Ok(FoundPage::new(scope, found, &list))
    }
}

fn direction(order: OrderName, by_name: bool) -> Order {
    Order { is_descending: order == OrderName::Desc, by_name }
}

/// The name of an order, which its cursors begin with.
fn list_name(sort: &str, order: OrderName) -> String {
    format!("{sort}{}", if order == OrderName::Desc { "-desc" } else { "" })
}

fn write_cursor(list: &str, place: &Place) -> String {
    let value = place.value.map_or_else(|| "null".to_owned(), |value| value.to_string());
    format!("{list}.{value}.{}.{}", place.key, place.name)
}

/// Reads what [`write_cursor`] wrote for the same list.
pub(super) fn read_cursor(list: &str, text: &str) -> Option<Place> {
    let rest = text.strip_prefix(list)?.strip_prefix('.')?;
    let (value, rest) = rest.split_once('.')?;
    let (key, name) = rest.split_once('.')?;
    let value = if value == "null" { None } else { Some(value.parse().ok()?) };
    Some(Place { value, key: key.parse().ok()?, name: name.to_owned() })
}

/// Names separated by commas, in any case.
fn listed<T: Copy>(texts: &[String], all: &[T], name: fn(T) -> &'static str) -> Result<Vec<T>, String> {
    let find = |text: &str| {
        let known = all.iter().find(|one| name(**one).eq_ignore_ascii_case(text));
        let names = || all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", ");
        known.copied().ok_or_else(|| format!("{text:?}, expected one of {}", names()))
    };
    let texts = texts.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|text| !text.is_empty());
    let found = texts.map(find).collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() { Err("is empty; leave it out for all states".to_owned()) } else { Ok(found) }
}

fn node_statuses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeStatus>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    listed(&texts, &NodeStatus::ALL, NodeStatus::as_str).map_err(D::Error::custom)
}

fn pipeline_statuses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PipelineStatus>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    listed(&texts, &PipelineStatus::ALL, PipelineStatus::as_str).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::super::query_string::read;
    use super::*;

    fn filter(query: &str) -> Result<NodeFilter, String> {
        let request = actix_web::test::TestRequest::with_uri(&format!("/?{query}")).to_http_request();
        read::<(NodeFilter,)>(&request).map(|(filter,)| filter).map_err(|error| error.to_string())
    }

    #[test]
    fn several_states_are_read_and_a_wrong_one_is_named() {
        let statuses = |query| filter(query).unwrap().status;
        assert_eq!(statuses("status=degraded"), [NodeStatus::Degraded]);
        assert_eq!(statuses("status=DEGRADED,offline"), [NodeStatus::Degraded, NodeStatus::Offline]);
        assert_eq!(filter("pipelineStatus=crash_loop").unwrap().pipeline_status, [PipelineStatus::CrashLoop]);
        for query in ["status=degraded,x", "status=,", "status="] {
            assert!(filter(query).unwrap_err().contains("status: "), "{query}");
        }
    }

    #[test]
    fn cursor_is_of_its_own_list_only() {
        for value in [None, Some(-5)] {
            let place = Place { value, name: "a.b.c".to_owned(), key: 7 };
            let text = write_cursor("cpu-desc", &place);
            assert_eq!(read_cursor("cpu-desc", &text), Some(place));
            assert_eq!(read_cursor("cpu", &text), None);
            assert_eq!(read_cursor("memory-desc", &text), None);
        }
        assert_eq!(read_cursor("cpu", "cpu.1.x.name"), None);
    }
}
