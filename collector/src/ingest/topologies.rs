//! Which graphs of configurations are stored.
//!
//! Ten thousand agents send the same graph after one change. It is stored once per pipeline and checksum. A pipeline
//! whose graphs change all the time has a few of them in an hour, and the oldest ones are removed by a task.

use std::collections::VecDeque;

use foldhash::HashMap;
use systole_shared::UnixMillis;

use super::changes::Changes;
use super::limits::HourlyCount;
use crate::model::PipelineKey;
use crate::store::{KEPT_TOPOLOGIES, TopologyRow};

/// New graphs of one pipeline within an hour: more changes of one configuration come from a fault or an attacker.
const NEW_PER_HOUR: usize = 2 * KEPT_TOPOLOGIES;

/// The graphs that this process has stored.
#[derive(Debug, Default)]
pub(crate) struct KnownTopologies(HashMap<PipelineKey, Known>);

#[derive(Debug, Default)]
struct Known {
    /// Checksums, the latest last.
    checksums: VecDeque<String>,
    new: HourlyCount,
}

impl KnownTopologies {
    /// Stores a graph that is not stored yet.
    pub(crate) fn add(
        &mut self,
        pipeline: PipelineKey,
        checksum: &str,
        topology: &str,
        now: UnixMillis,
        changes: &mut Changes,
    ) {
        let known = self.0.entry(pipeline).or_default();
        if known.checksums.iter().any(|stored| stored == checksum) || !known.new.has_room(now, NEW_PER_HOUR) {
            return;
        }
        known.new.add(now);
        known.checksums.push_back(checksum.to_owned());
        if known.checksums.len() > KEPT_TOPOLOGIES {
            known.checksums.pop_front();
        }
        changes.add_topology(TopologyRow {
            pipeline: pipeline.0,
            checksum: checksum.to_owned(),
            topology: topology.to_owned(),
            last_seen_at: now,
        });
    }

    /// Forgets a pipeline that no node has any more.
    pub(crate) fn forget(&mut self, pipeline: PipelineKey) {
        self.0.remove(&pipeline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = 1_790_000_000_000;

    #[test]
    fn graph_is_stored_once_and_few_are_new_in_an_hour() {
        let mut known = KnownTopologies::default();
        let mut changes = Changes::new(0);
        for _ in 0..3 {
            known.add(PipelineKey(1), "a", "{}", NOW, &mut changes);
        }
        assert_eq!(changes.take_batch().1.topologies.len(), 1);
        known.add(PipelineKey(1), "a", "{}", NOW, &mut changes);
        assert!(changes.take_batch().1.topologies.is_empty(), "it is stored");
        for number in 0..100 {
            known.add(PipelineKey(1), &number.to_string(), "{}", NOW, &mut changes);
        }
        assert_eq!(changes.take_batch().1.topologies.len(), NEW_PER_HOUR - 1);
        known.add(PipelineKey(2), "a", "{}", NOW, &mut changes);
        known.add(PipelineKey(1), "b", "{}", NOW + 3_600_000, &mut changes);
        assert_eq!(changes.take_batch().1.topologies.len(), 2, "another pipeline, and another hour");
    }
}
