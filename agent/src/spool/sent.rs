//! Up to where reports have been sent at least once.
//!
//! A report that was sent may be in the collector although no answer came; merged with one that was
//! not, it would be refused together with it, because a part of it would count twice. So the mark
//! outlives the agent, in a file beside the reports.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use systole_shared::BootId;

use super::segment::Segment;
use crate::files;

/// The mark, in memory and in its file.
#[derive(Debug)]
pub(super) struct SentMark {
    path: PathBuf,
    /// Life and number up to which was sent; everything of earlier runs was.
    mark: Option<(BootId, u64)>,
    /// The mark is a guess: there was no file, and to take too much for sent does no harm.
    is_assumed: bool,
}

impl SentMark {
    /// Reads the file. Without one, everything that was left may have been sent.
    pub(super) fn open(dir: &Path, left: &VecDeque<Segment>) -> Self {
        let path = dir.join("sent");
        let read = std::fs::read_to_string(&path).ok().and_then(|text| {
            let (boot, seq) = text.trim().split_once(' ')?;
            Some((boot.parse().ok()?, seq.parse().ok()?))
        });
        let last = left.back().map(|segment| (segment.boot, u64::MAX));
        SentMark { path, mark: read.or(last), is_assumed: read.is_none() }
    }

    /// Up to which number reports of a run may be in the collector.
    pub(super) fn upto(&self, boot: BootId) -> u64 {
        match self.mark {
            Some((marked, seq)) if marked == boot => seq,
            // Lives are sent in order, and a UUID v7 sorts by time.
            Some((marked, _)) if boot < marked => u64::MAX,
            _ => 0,
        }
    }

    /// Whether it is certain that a report was sent.
    pub(super) fn has_mark(&self, boot: BootId, seq: u64) -> bool {
        !self.is_assumed && self.mark.is_some_and(|(marked, highest)| marked == boot && highest >= seq)
    }

    /// Reports up to here are being sent.
    pub(super) fn raise(&mut self, boot: BootId, seq: u64) {
        let is_higher = self.mark.is_none_or(|(marked, highest)| boot > marked || (boot == marked && seq > highest));
        if is_higher {
            self.mark = Some((boot, seq));
            self.is_assumed = false;
            // Not to be had without a disk; then the mark in memory has to do.
            let _ = files::write(&self.path, format!("{boot} {seq}\n").as_bytes());
        }
    }
}
