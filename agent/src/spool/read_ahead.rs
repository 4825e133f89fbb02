//! Reads reports that are not the oldest ones, without taking them out of the spool.

use systole_shared::BootId;

use super::{Queued, Spool};

impl Spool {
    /// The oldest reports that are `wanted`, of any run, at most `max_reports` and `max_bytes` of them, but at least
    /// one. They stay, and count as sent from here on.
    pub(crate) fn unread(
        &mut self,
        wanted: impl Fn(BootId, u64) -> bool,
        max_reports: usize,
        max_bytes: usize,
    ) -> Vec<Queued> {
        let mut taken: Vec<Queued> = Vec::new();
        let mut bytes = 0;
        let mut room = |length: usize, taken: &[Queued]| {
            bytes += length;
            taken.is_empty() || (taken.len() < max_reports.max(1) && bytes <= max_bytes)
        };
        'all: {
            for segment in &self.segments {
                for entry in segment.entries.iter().filter(|entry| wanted(segment.boot, entry.seq)) {
                    if !room(entry.length, &taken) {
                        break 'all;
                    }
                    // What the disk has lost is noticed when it is the oldest.
                    if let Some(body) = segment.read(entry) {
                        let (boot, seq, log_lines) = (segment.boot, entry.seq, entry.log_lines);
                        taken.push(Queued { boot, seq, body: body.into(), log_lines });
                    }
                }
            }
            for report in self.memory.iter().filter(|report| wanted(report.boot, report.seq)) {
                if !room(report.body.len(), &taken) {
                    break;
                }
                taken.push(report.clone());
            }
        }
        if let Some(last) = taken.last() {
            self.sent.raise(last.boot, last.seq);
        }
        taken
    }

    /// The newest report of this run, while it waits.
    pub(crate) fn newest(&self) -> Option<Queued> {
        if let Some(newest) = self.memory.back() {
            return Some(newest.clone());
        }
        let segment = self.segments.back().filter(|segment| segment.boot == self.boot)?;
        let entry = segment.entries.back()?;
        let body = segment.read(entry)?.into();
        Some(Queued { boot: segment.boot, seq: entry.seq, body, log_lines: entry.log_lines })
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::UnixMillis;
    use uuid::Uuid;

    use super::*;
    use crate::model::spool::Bounds;

    const NOW: UnixMillis = 1_790_000_000_000;

    fn boot(number: u128) -> BootId {
        BootId(Uuid::from_u128(number))
    }

    fn push(spool: &mut Spool, seq: u64) {
        let body = format!(r#"{{"seq":{seq},"start":{NOW},"end":{NOW}}}"#).into_bytes();
        assert_eq!(spool.push(seq, body.into(), 0, NOW).lost.reports, 0);
    }

    fn keys(reports: &[Queued]) -> Vec<(BootId, u64)> {
        reports.iter().map(|report| (report.boot, report.seq)).collect()
    }

    #[test]
    fn reports_of_all_runs_are_read_in_order_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut before = Spool::open(dir.path(), boot(1), Bounds::default());
        push(&mut before, 7);
        let mut spool = Spool::open(dir.path(), boot(2), Bounds::default());
        assert_eq!(spool.newest().map(|newest| newest.seq), None, "of this run there is none yet");
        push(&mut spool, 1);
        push(&mut spool, 2);
        let all = spool.unread(|_, _| true, 10, 1_000);
        assert_eq!(keys(&all), [(boot(1), 7), (boot(2), 1), (boot(2), 2)]);
        let rest = spool.unread(|boot_of, seq| (boot_of, seq) > (boot(2), 1), 10, 1_000);
        assert_eq!(keys(&rest), [(boot(2), 2)]);
        assert_eq!(keys(&spool.unread(|_, _| true, 2, 1_000)).len(), 2);
        assert_eq!(keys(&spool.unread(|_, _| true, 10, 1)).len(), 1, "at least one");
        assert_eq!(spool.newest().map(|newest| (newest.boot, newest.seq)), Some((boot(2), 2)));
        assert_eq!(spool.size().0, 3);
    }

    #[test]
    fn reports_that_were_read_are_not_merged_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), boot(1), Bounds::default());
        push(&mut spool, 1);
        push(&mut spool, 2);
        spool.unread(|_, seq| seq == 1, 10, 1_000);
        assert_eq!(spool.sent.upto(boot(1)), 1);
    }

    #[test]
    fn reports_in_memory_are_read_behind_those_on_the_disk() {
        // A directory in the place of which there is a file: the disk takes nothing.
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut spool = Spool::open(file.path(), boot(1), Bounds::default());
        push(&mut spool, 1);
        push(&mut spool, 2);
        assert!(spool.waits_in_memory());
        assert_eq!(keys(&spool.unread(|_, seq| seq > 1, 10, 1_000)), [(boot(1), 2)]);
        assert_eq!(spool.newest().map(|newest| newest.seq), Some(2));
    }
}
