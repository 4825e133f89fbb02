//! Simulated nodes, so that a first look at the fleet shows what happens in one: an hour of history with a hole, a pipeline
//! that crashes now and then, a node that is away and reports late, and rollouts.
//!
//! They send reports over HTTP as agents do, so the collector treats them like any node. `scenario` says what there is,
//! `traffic` makes up the numbers (pure), and `node` uses the protocol. Each node has the label `demo=simulated`.

mod lines;
mod node;
mod releases;
mod scenario;
mod traffic;

use anyhow::Context;

use self::node::{SimulatedNode, Tokens};
use super::http_client;
use crate::clock::now_ms;

/// The label of every simulated node.
pub(super) const MARK: &str = "demo=simulated";

/// The names of the nodes.
pub(super) fn names() -> Vec<&'static str> {
    scenario::NODES.iter().map(|node| node.name).collect()
}

/// Reports for all of them until it is dropped.
///
/// # Errors
///
/// When the collector refuses a node or a definition.
pub(super) async fn run(url: &str, enroll_token: &str, admin_token: &str) -> anyhow::Result<()> {
    let client = http_client()?;
    let begun_at = now_ms();
    let tokens = Tokens { enroll: enroll_token, admin: admin_token };
    let enrol = |spec| SimulatedNode::enrol(client.clone(), url, &tokens, spec, begun_at);
    let [mut first, mut second, mut third] = [
        enrol(&scenario::NODES[0]).await.context("a simulated node")?,
        enrol(&scenario::NODES[1]).await.context("a simulated node")?,
        enrol(&scenario::NODES[2]).await.context("a simulated node")?,
    ];
    tokio::try_join!(first.run(), second.run(), third.run(), releases::publish(&client, url, admin_token))?;
    Ok(())
}
