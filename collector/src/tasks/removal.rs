//! Removes what is left of removed nodes: their minutes, hours, days and lines, in steps that leave the writer to
//! reports.
//!
//! None of it is in any answer: the rows of a series are found by its key, which went with the node. After a restart
//! the task begins again with the series and nodes that are not done.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::driver::{Activation, Pacing, Task, TaskError};
use crate::model::NodeKey;
use crate::store::{Leftovers, StepKind, StepTable, Store, StoreError};
use crate::telemetry::Telemetry;

/// How often removed nodes are looked for.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Series and nodes that are worked on at once.
const AT_ONCE: u32 = 100;

/// Minutes, hours or days of one transaction: with 100 series 6,000 look-ups, some 10 ms.
const STEPS: i64 = 60;

const PACING: Pacing = Pacing {
    first: CHECK_INTERVAL,
    // For reports to be written.
    between: Duration::from_millis(20),
    retry: Duration::from_secs(5),
    max_retry: Duration::from_secs(60),
};

/// The task.
pub(crate) struct NodeRemovals {
    store: Arc<dyn Store>,
    telemetry: Arc<Telemetry>,
    work: Option<Work>,
}

/// What is removed in this round, and how far it is.
#[derive(Debug)]
struct Work {
    left: Leftovers,
    tables: Vec<StepTable>,
    /// The next step and the last one of the table that is worked on.
    steps: Option<(i64, i64)>,
    /// The next number of a line; `None` at the end.
    line: Option<i64>,
}

impl NodeRemovals {
    pub(crate) fn new(store: Arc<dyn Store>, telemetry: Arc<Telemetry>) -> Self {
        NodeRemovals { store, telemetry, work: None }
    }

    /// Removes the next rows. False at the end of the round.
    async fn step(&mut self) -> Result<bool, StoreError> {
        let Some(work) = &mut self.work else { return Ok(false) };
        if let Some((from, last)) = work.steps
            && let Some(table) = work.tables.last().copied()
        {
            let to = (from + STEPS - 1).min(last);
            let owners = work.owners(table);
            let removed = self.store.remove_steps(table, (from..=to).collect(), owners).await?;
            self.telemetry.rows_expired.inc_by(removed);
            work.steps = (to < last).then_some((to + 1, last));
            if work.steps.is_none() {
                work.tables.pop();
            }
            return Ok(true);
        }
        if let Some(table) = work.tables.last().copied() {
            let has_owners = !work.owners(table).is_empty();
            work.steps = if has_owners { self.store.step_ends(table).await? } else { None };
            if work.steps.is_none() {
                work.tables.pop();
            }
            return Ok(true);
        }
        if let Some(from) = work.line
            && !work.left.nodes.is_empty()
        {
            let removed = self.store.remove_lines(work.left.nodes.clone(), from).await?;
            self.telemetry.rows_expired.inc_by(removed.removed);
            work.line = removed.next;
            return Ok(true);
        }
        self.store.forget_series(work.left.series.clone()).await?;
        self.store.mark_clean(work.left.nodes.clone()).await?;
        self.work = None;
        Ok(false)
    }
}

impl Work {
    fn new(left: Leftovers) -> Self {
        Work { left, tables: StepTable::all().collect(), steps: None, line: Some(0) }
    }

    fn owners(&self, table: StepTable) -> Vec<i64> {
        match table.kind {
            StepKind::Node => self.left.nodes.iter().map(|NodeKey(key)| *key).collect(),
            StepKind::Pipeline | StepKind::Component => self.left.series.clone(),
        }
    }
}

#[async_trait]
impl Task for NodeRemovals {
    fn name(&self) -> &'static str {
        "node_removal"
    }

    fn pacing(&self) -> Pacing {
        PACING
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        if self.work.is_none() {
            let left = self.store.leftovers(AT_ONCE).await?;
            if left == Leftovers::default() {
                return Ok(Activation::IdleFor(CHECK_INTERVAL));
            }
            self.work = Some(Work::new(left));
        }
        self.step().await?;
        Ok(Activation::MoreToDo)
    }
}
