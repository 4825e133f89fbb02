//! What the fleet has counted, written and changed: the expected content of the collector at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use systole_shared::{NodeId, UnixMillis};

use crate::stub::totals::Counts;

/// A pipeline's minute (or hour, or day) over all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// The sums.
    pub counts: Counts,
    /// Reports with a sample.
    pub samples: u64,
    /// Reports with a failed scrape.
    pub gaps: u64,
}

impl Cell {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Cell) -> Cell {
        Cell {
            counts: [self.counts, other.counts].into_iter().sum(),
            samples: self.samples + other.samples,
            gaps: self.gaps + other.gaps,
        }
    }

    /// Whether nothing of this is more than in the other.
    pub fn is_within(self, other: Cell) -> bool {
        let fields = |cell: Cell| {
            let Counts { events_in, events_out, errors, discarded, bytes_in, bytes_out } = cell.counts;
            [events_in, events_out, errors, discarded, bytes_in, bytes_out, cell.samples, cell.gaps]
        };
        fields(self).iter().zip(fields(other)).all(|(own, other)| *own <= other)
    }
}

/// Cells by pipeline and the beginning of the minute, hour or day.
pub type Cells = BTreeMap<(String, UnixMillis), Cell>;

/// A pipeline's state on a node, changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Before.
    pub from: String,
    /// After.
    pub to: String,
    /// When.
    pub at: UnixMillis,
}

/// A pipeline on a node.
pub type Place = (NodeId, String);

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Counts that were put into reports.
    pub made: Cells,
    /// The acknowledged part of them.
    pub durable: Cells,
    /// Numbered lines that were put into reports.
    pub lines: BTreeMap<Place, u64>,
    /// Changes of state, in order.
    pub changes: BTreeMap<Place, Vec<Change>>,
    /// Reports made.
    pub reports: u64,
    /// Requests that had no good answer.
    pub failures: u64,
    /// Requests that were answered 5xx.
    pub put_off: u64,
    /// Boots of agents.
    pub boots: u64,
}

/// The ledger that all nodes write in.
#[derive(Clone, Debug, Default)]
pub struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    /// To read and write.
    pub fn open(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds to a cell.
pub fn add(cells: &mut Cells, key: &(String, UnixMillis), cell: Cell) {
    let sum = cells.entry(key.clone()).or_default();
    *sum = sum.plus(cell);
}

/// The same by a longer step.
pub fn summed(minutes: &Cells, step_ms: i64) -> Cells {
    let mut sums = Cells::new();
    for ((pipeline, at), cell) in minutes {
        add(&mut sums, &(pipeline.clone(), at - at.rem_euclid(step_ms)), *cell);
    }
    sums
}
