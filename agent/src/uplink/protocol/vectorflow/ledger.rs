//! The totals of each pipeline, made of the deltas of reports.
//!
//! A VectorFlow server wants totals and computes deltas itself. It takes a total that went backwards for zero, and it
//! remembers an absent total as zero: the next one would count as a whole. So the totals are sent again and again, also
//! without a new sample, and they only grow, over restarts of processes and of the agent. The file has them together with the last report that
//! is in them, and it is written before a total is sent: a report is in the totals once, whenever the agent is killed,
//! and a heartbeat may be repeated.
//!
//! A server may know other totals of a pipeline, of VectorFlow's own agent or of an earlier time. So a total is
//! announced as zero first, and the counts come with the next heartbeat: the server's delta is exact then, whatever it
//! had before. For the same reason the totals of a removed pipeline can be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use systole_shared::{BootId, ComponentReport, Counter, PipelineReport, PipelineSample, Report};

use crate::files;

/// Boots whose progress is kept: reports of one or two wait at a time.
const REMEMBERED_BOOTS: usize = 8;

/// Components of one pipeline whose totals are kept; further ones are forgotten when they are not in a report.
const MAX_COMPONENTS: usize = 2_000;

/// The totals of all pipelines, and their file.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    book: Book,
    /// The file does not have the latest.
    is_changed: bool,
    is_failure_logged: bool,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Book {
    /// The last report that is in the totals, by boot, the newest boot last.
    progress: Vec<(BootId, u64)>,
    pipelines: BTreeMap<String, PipelineTotals>,
}

/// The totals of a pipeline.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct PipelineTotals {
    /// The server knows a total of ours.
    is_announced: bool,
    counts: PipelineCounts,
    /// Of these, what the server has.
    known: PipelineCounts,
    components: BTreeMap<String, ComponentTotals>,
}

/// What is counted of a pipeline.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct PipelineCounts {
    pub(super) events_in: u64,
    pub(super) events_out: u64,
    pub(super) errors: u64,
    pub(super) discarded: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// The totals of a component.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct ComponentTotals {
    is_announced: bool,
    counts: ComponentCounts,
    known: ComponentCounts,
}

/// What is counted of a component.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct ComponentCounts {
    pub(super) received_events: u64,
    pub(super) sent_events: u64,
    pub(super) received_bytes: Option<u64>,
    pub(super) sent_bytes: Option<u64>,
    pub(super) errors: u64,
    pub(super) discarded: u64,
}

impl Ledger {
    /// Reads the file of an earlier run.
    pub(super) fn open(path: PathBuf) -> Self {
        let book = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Ledger { path, book, is_changed: false, is_failure_logged: false }
    }

    /// Whether a report is in the totals.
    pub(super) fn has(&self, boot: BootId, seq: u64) -> bool {
        self.book.progress.iter().any(|(known, last)| *known == boot && seq <= *last)
    }

    /// Adds a report's deltas, once.
    pub(super) fn add(&mut self, boot: BootId, report: &Report<'_>) {
        if self.has(boot, report.seq) {
            return;
        }
        for pipeline in &report.pipelines {
            if let Some(sample) = &pipeline.sample {
                self.book.pipelines.entry(pipeline.id.as_str().to_owned()).or_default().add(sample, pipeline);
            }
        }
        self.skip(boot, report.seq);
    }

    /// A report is done, whether it was added or not.
    pub(super) fn skip(&mut self, boot: BootId, seq: u64) {
        let progress = &mut self.book.progress;
        progress.retain(|(known, _)| *known != boot);
        progress.push((boot, seq));
        let surplus = progress.len().saturating_sub(REMEMBERED_BOOTS);
        progress.drain(..surplus);
        self.is_changed = true;
    }

    /// Forgets the pipelines that the node does not have any more.
    pub(super) fn keep_only(&mut self, report: &Report<'_>) {
        let ids: BTreeSet<&str> = report.pipelines.iter().map(|pipeline| pipeline.id.as_str()).collect();
        let before = self.book.pipelines.len();
        self.book.pipelines.retain(|id, _| ids.contains(id.as_str()));
        self.is_changed |= self.book.pipelines.len() != before;
    }

    /// The totals of a pipeline, once it had a sample.
    pub(super) fn totals(&self, pipeline: &str) -> Option<&PipelineTotals> {
        self.book.pipelines.get(pipeline)
    }

    /// The server has taken a heartbeat with these pipelines of a report.
    pub(super) fn acknowledge<'r>(&mut self, pipelines: impl Iterator<Item = &'r PipelineReport<'r>>) {
        for pipeline in pipelines {
            if let Some(totals) = self.book.pipelines.get_mut(pipeline.id.as_str()) {
                totals.acknowledge(pipeline);
                self.is_changed = true;
            }
        }
    }

    /// The server has no totals any more, of another node or because it forgot the pipelines of a heartbeat that it did
    /// not see: only what it was not sent yet is counted from here on.
    pub(super) fn begin_again(&mut self) {
        self.book.pipelines.values_mut().for_each(PipelineTotals::begin_again);
        self.is_changed = true;
    }

    /// Writes the file, if it does not have the latest. On a disk that takes nothing the totals are in memory only.
    pub(super) fn save(&mut self) {
        if !self.is_changed {
            return;
        }
        let written = serde_json::to_vec(&self.book).map_err(io::Error::from).and_then(|json| {
            let unfinished = self.path.with_extension("unfinished");
            files::make_dir(self.path.parent().unwrap_or(&self.path))?;
            files::write(&unfinished, &json)?;
            std::fs::rename(unfinished, &self.path)
        });
        match written {
            Ok(()) => (self.is_changed, self.is_failure_logged) = (false, false),
            Err(error) if !std::mem::replace(&mut self.is_failure_logged, true) => {
                tracing::warn!(%error, path = %self.path.display(), "cannot save the totals for the server; after a restart of the agent it may miss counts");
            }
            Err(_) => {}
        }
    }
}

impl PipelineTotals {
    fn add(&mut self, sample: &PipelineSample, pipeline: &PipelineReport<'_>) {
        let counts = &mut self.counts;
        for (total, delta) in [
            (&mut counts.events_in, sample.events_in),
            (&mut counts.events_out, sample.events_out),
            (&mut counts.errors, sample.errors),
            (&mut counts.discarded, sample.discarded),
            (&mut counts.bytes_in, sample.bytes_in),
            (&mut counts.bytes_out, sample.bytes_out),
        ] {
            add(total, delta);
        }
        if self.components.len() > MAX_COMPONENTS {
            let ids: BTreeSet<&str> = pipeline.components.iter().map(|component| component.id.as_str()).collect();
            self.components.retain(|id, _| ids.contains(id.as_str()));
        }
        for component in &pipeline.components {
            self.components.entry(component.id.as_str().to_owned()).or_default().counts.add(component);
        }
    }

    fn acknowledge(&mut self, pipeline: &PipelineReport<'_>) {
        self.known = self.counts();
        self.is_announced = true;
        for component in &pipeline.components {
            if let Some(totals) = self.components.get_mut(component.id.as_str()) {
                totals.known = totals.counts();
                totals.is_announced = true;
            }
        }
    }

    fn begin_again(&mut self) {
        self.counts = self.counts.minus(self.known);
        (self.known, self.is_announced) = (PipelineCounts::default(), false);
        for component in self.components.values_mut() {
            component.counts = component.counts.minus(component.known);
            (component.known, component.is_announced) = (ComponentCounts::default(), false);
        }
    }

    /// As they are sent: zero first.
    pub(super) fn counts(&self) -> PipelineCounts {
        if self.is_announced { self.counts } else { PipelineCounts::default() }
    }

    /// Those of a component, as they are sent.
    pub(super) fn component(&self, id: &str) -> ComponentCounts {
        self.components.get(id).map(ComponentTotals::counts).unwrap_or_default()
    }
}

impl ComponentTotals {
    /// As they are sent: zero first.
    fn counts(&self) -> ComponentCounts {
        // Minus themselves, and not the default: an engine that counts no bytes has no zero of them.
        if self.is_announced { self.counts } else { self.counts.minus(self.counts) }
    }
}

impl PipelineCounts {
    fn minus(self, known: PipelineCounts) -> PipelineCounts {
        PipelineCounts {
            events_in: self.events_in.saturating_sub(known.events_in),
            events_out: self.events_out.saturating_sub(known.events_out),
            errors: self.errors.saturating_sub(known.errors),
            discarded: self.discarded.saturating_sub(known.discarded),
            bytes_in: self.bytes_in.saturating_sub(known.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(known.bytes_out),
        }
    }
}

impl ComponentCounts {
    fn minus(self, known: ComponentCounts) -> ComponentCounts {
        let optional = |count: Option<u64>, known: Option<u64>| Some(count?.saturating_sub(known.unwrap_or(0)));
        ComponentCounts {
            received_events: self.received_events.saturating_sub(known.received_events),
            sent_events: self.sent_events.saturating_sub(known.sent_events),
            received_bytes: optional(self.received_bytes, known.received_bytes),
            sent_bytes: optional(self.sent_bytes, known.sent_bytes),
            errors: self.errors.saturating_sub(known.errors),
            discarded: self.discarded.saturating_sub(known.discarded),
        }
    }

    fn add(&mut self, delta: &ComponentReport<'_>) {
        add(&mut self.received_events, delta.received_events);
        add(&mut self.sent_events, delta.sent_events);
        add(&mut self.errors, delta.errors);
        add(&mut self.discarded, delta.discarded);
        for (total, delta) in
            [(&mut self.received_bytes, delta.received_bytes), (&mut self.sent_bytes, delta.sent_bytes)]
        {
            if let Some(delta) = delta {
                add(total.get_or_insert(0), delta);
            }
        }
    }
}

/// A counter that the agent itself could not read counts nothing.
fn add(total: &mut u64, delta: Counter) {
    *total = total.saturating_add(delta.get().map_or(0, i64::unsigned_abs));
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
