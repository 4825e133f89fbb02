//! What one subscriber asks for and may see, and so what it is to get.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use systole_shared::NodeId;

use super::record::Durable;
use crate::oracle::check::Stored;
use crate::oracle::ledger::Place;

/// Conflation periods, with which durable events have nothing to do.
const EVERY_MS: [u64; 4] = [0, 50, 250, 1_000];
const TYPES: [&str; 4] = ["log_entry", "status_change", "metric_update", "fleet_status"];

/// The places of nodes and pipelines.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Every node's environment.
    pub nodes: BTreeMap<NodeId, String>,
    /// Every environment's pipelines.
    pub pipelines: BTreeMap<String, Vec<String>>,
}

/// A filter.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The token's environment; none: all.
    pub token: Option<String>,
    types: BTreeSet<&'static str>,
    environment: Option<String>,
    nodes: Vec<NodeId>,
    pipelines: Vec<String>,
    every_ms: u64,
}

impl Filter {
    /// Any, with one durable type at least.
    pub fn any(world: &World, random: &mut StdRng) -> Self {
        let environments: Vec<&String> = world.pipelines.keys().collect();
        let mut one_of = |chance: f64| {
            let chosen = environments.choose(random).map(|name| (*name).clone());
            chosen.filter(|_| random.random_bool(chance))
        };
        let token = one_of(0.5);
        let environment = if token.is_some() { token.clone() } else { one_of(0.3) };
        let environment = environment.filter(|_| random.random_bool(0.7));
        let mut types: BTreeSet<_> = TYPES.into_iter().filter(|_| random.random_bool(0.5)).collect();
        types.insert(TYPES[random.random_range(0..2)]);
        // Some belong to another environment: they match nothing.
        let nodes: Vec<NodeId> = world.nodes.keys().copied().collect();
        let pipelines: Vec<String> = world.pipelines.values().flatten().cloned().collect();
        let (some_nodes, some_pipelines) = (random.random_range(2..=4), random.random_range(2..=5));
        let nodes =
            if random.random_bool(0.3) { nodes.sample(random, some_nodes).copied().collect() } else { Vec::new() };
        let pipelines = if random.random_bool(0.3) {
            pipelines.sample(random, some_pipelines).cloned().collect()
        } else {
            Vec::new()
        };
        let every_ms = EVERY_MS[random.random_range(0..EVERY_MS.len())];
        Filter { token, types, environment, nodes, pipelines, every_ms }
    }

    /// As a query.
    pub fn query(&self) -> String {
        let types: Vec<&str> = self.types.iter().copied().collect();
        let mut query = format!("types={}&every={}", types.join(","), self.every_ms);
        self.environment.iter().for_each(|name| query += &format!("&environment={name}"));
        self.nodes.iter().for_each(|node| query += &format!("&node={node}"));
        self.pipelines.iter().for_each(|pipeline| query += &format!("&pipeline={pipeline}"));
        query
    }

    /// Whether an event of this type, node and pipeline is asked for and may be seen.
    pub fn wants(&self, world: &World, kind: &str, node: NodeId, pipeline: Option<&str>) -> bool {
        let environment = world.nodes.get(&node);
        let is_own = |name: &Option<String>| name.is_none() || name.as_ref() == environment;
        self.types.contains(kind)
            && is_own(&self.token)
            && is_own(&self.environment)
            && (self.nodes.is_empty() || self.nodes.contains(&node))
            && (self.pipelines.is_empty() || pipeline.is_some_and(|id| self.pipelines.iter().any(|own| own == id)))
    }

    /// The durable events that must arrive after a position, in their order.
    pub fn expected(&self, world: &World, stored: &Stored, after: u64) -> Vec<(u64, Durable)> {
        let wanted = |kind: &str, (node, pipeline): &Place| self.wants(world, kind, *node, Some(pipeline));
        let lines =
            stored.lines.iter().filter(|(place, _)| wanted("log_entry", place)).flat_map(|(place, lines)| {
                lines.iter().map(|(seq, number)| (*seq, Durable::Line(place.clone(), *number)))
            });
        let changes = stored.changes.iter().filter(|(_, (place, _))| wanted("status_change", place));
        let changes = changes.map(|(seq, (place, change))| (*seq, Durable::Change(place.clone(), change.clone())));
        let mut expected: Vec<_> = lines.chain(changes).filter(|(seq, _)| *seq > after).collect();
        // A line's number is its order within an event.
        expected.sort();
        expected
    }
}
