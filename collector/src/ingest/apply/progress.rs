//! The numbers of reports: per boot of the agent, the last one that was applied.
//!
//! A duplicate identity is detected when a boot returns after another one had reported, twice within a minute. Once can
//! be a late request of an agent that has ended. The state ends a minute after the last return.
//!
//! After a restore the next report of an agent is ahead of the expected number. It is applied, and the numbers in
//! between are a gap of the node.

use systole_shared::{BootId, SeqRange};

use super::Context;
use crate::ingest::changes::{Changes, signed};
use crate::ingest::state::NodeState;
use crate::store::NodeGapRow;

/// Two machines with one identity are detected by boots that alternate: this often within
/// [`DUPLICATE_WINDOW_MS`].
const DUPLICATE_RETURNS: usize = 2;
pub(super) const DUPLICATE_WINDOW_MS: i64 = 60_000;

/// Returns whether the boot is the one that reported last.
pub(super) fn move_progress(
    node: &mut NodeState,
    boot: BootId,
    seq: u64,
    missing: Option<SeqRange>,
    context: &Context,
    changes: &mut Changes,
) -> bool {
    if let Some(missing) = missing {
        changes.add_gap(NodeGapRow {
            node: node.key.0,
            boot: boot.to_string(),
            from_seq: signed(missing.from),
            to_seq: signed(missing.to),
            recorded_at: context.received_at,
        });
    }
    let is_latest = node.boots.last().is_none_or(|(known, _)| *known == boot);
    let is_return = !is_latest && node.progress(boot).is_some();
    if is_return {
        node.boot_returns.push(context.received_at);
    }
    node.boot_returns.retain(|at| context.received_at.saturating_sub(*at) <= DUPLICATE_WINDOW_MS);
    if let Some(forgotten) = node.advance(boot, seq) {
        changes.forget_boot(node.key, forgotten);
    }
    changes.advance(node.key, boot, seq, context.received_at);
    !is_return
}

/// Whether two agents report as this node.
pub(super) fn has_duplicate_identity(node: &NodeState) -> bool {
    node.boot_returns.len() >= DUPLICATE_RETURNS
}
