//! Which process the totals of a pipeline are of. The agent says its age, and its id unless it does not know it.

use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;

use super::LATENESS_MS;

/// What a report says of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub pid: Option<u32>,
    pub uptime_seconds: Option<u64>,
    /// When the report came.
    pub at: UnixMillis,
}

impl Sighting {
    /// The start of the process, as late as the report.
    pub(super) fn started_at(&self) -> Option<UnixMillis> {
        Some(self.at.saturating_sub(milliseconds(self.uptime_seconds?)))
    }

    /// Whether it says anything of a process.
    pub(super) fn is_of_process(&self) -> bool {
        self.uptime_seconds.is_some()
    }
}

/// The process that was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pid: Option<u32>,
    uptime_seconds: Option<u64>,
    seen_at: UnixMillis,
    /// As first seen: later reports may be late by other times.
    pub started_at: Option<UnixMillis>,
    /// Processes after the first one.
    pub restarts: u64,
}

/// How a process that is seen relates to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    Same,
    /// Another one, which started later.
    Successor,
    /// The report is from before the last one.
    Overtaken,
}

impl Process {
    /// The first that is seen of a pipeline.
    pub(super) fn first(sighting: &Sighting) -> Self {
        let Sighting { pid, uptime_seconds, at } = *sighting;
        Process { pid, uptime_seconds, seen_at: at, started_at: sighting.started_at(), restarts: 0 }
    }

    /// Whether a report had it after this time.
    pub(super) fn was_seen_after(&self, time: UnixMillis) -> bool {
        self.seen_at > time
    }

    /// Compares what a report says with the last process, and remembers it unless it is overtaken.
    pub(super) fn meet(&mut self, sighting: &Sighting) -> Met {
        if !sighting.is_of_process() {
            return Met::Same;
        }
        let met = self.compare(sighting);
        match met {
            Met::Same => {
                self.pid = sighting.pid.or(self.pid);
                self.uptime_seconds = sighting.uptime_seconds.or(self.uptime_seconds);
                self.started_at = self.started_at.or(sighting.started_at());
                self.seen_at = sighting.at;
            }
            Met::Successor => *self = Process { restarts: self.restarts + 1, ..Process::first(sighting) },
            Met::Overtaken => {}
        }
        met
    }

    fn compare(&self, sighting: &Sighting) -> Met {
        let since_last_seen = sighting.at.saturating_sub(self.seen_at);
        let is_other = self.pid.zip(sighting.pid).is_some_and(|(last, pid)| last != pid);
        let Some((last_age, age)) = self.uptime_seconds.zip(sighting.uptime_seconds) else { return Met::Same };
        let (last_age, age) = (milliseconds(last_age), milliseconds(age));
        // The collector's clock went back: ages and times do not compare.
        let is_comparable = since_last_seen >= 0;
        if is_other {
            let is_older = age > last_age.saturating_add(since_last_seen).saturating_add(LATENESS_MS);
            return if is_comparable && is_older { Met::Overtaken } else { Met::Successor };
        }
        if age >= last_age {
            // Also when it is younger than the time since it was seen: a host that slept has a clock that stood still.
            return Met::Same;
        }
        let may_have_started_since = age <= since_last_seen.saturating_add(LATENESS_MS);
        if may_have_started_since || !is_comparable { Met::Successor } else { Met::Overtaken }
    }
}

fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(pid: u32, uptime_seconds: u64, at_seconds: i64) -> Sighting {
        Sighting { pid: Some(pid), uptime_seconds: Some(uptime_seconds), at: at_seconds * 1_000 }
    }

    /// The process of pid 7, 100 s old at second 1,000.
    fn process() -> Process {
        Process::first(&sighting(7, 100, 1_000))
    }

    #[test]
    fn process_is_the_same_while_its_id_is_and_its_age_grows() {
        let mut process = process();
        assert_eq!(process.meet(&sighting(7, 105, 1_009)), Met::Same);
        assert_eq!(process.started_at, Some(900_000), "a late report does not move the start");
        assert_eq!(process.meet(&sighting(7, 105, 1_011)), Met::Same, "the same report again");
        assert_eq!(process.meet(&sighting(7, 108, 9_000)), Met::Same, "the host slept");
        assert_eq!(process.meet(&Sighting { pid: None, uptime_seconds: None, at: 9_002_000 }), Met::Same);
    }

    #[test]
    fn process_with_another_id_or_a_lower_age_is_a_successor() {
        let mut by_pid = process();
        assert_eq!(by_pid.meet(&sighting(8, 200, 1_300)), Met::Successor);
        assert_eq!((by_pid.started_at, by_pid.restarts), (Some(1_100_000), 1));
        assert_eq!(process().meet(&sighting(7, 2, 1_005)), Met::Successor, "an id comes again in a container");
    }

    #[test]
    fn report_that_a_later_one_overtook_is_found() {
        let mut process = process();
        assert_eq!(process.meet(&sighting(7, 60, 1_001)), Met::Overtaken);
        assert_eq!(process.meet(&sighting(8, 3, 1_005)), Met::Successor);
        assert_eq!(process.meet(&sighting(7, 101, 1_006)), Met::Overtaken, "it ended before");
        assert_eq!(process.meet(&sighting(8, 9, 1_011)), Met::Same);
    }

    #[test]
    fn clock_that_went_back_stops_nothing() {
        let mut process = process();
        assert_eq!(process.meet(&sighting(8, 60, 500)), Met::Successor);
        assert_eq!(process.meet(&sighting(8, 65, 505)), Met::Same);
        assert_eq!(process.meet(&sighting(8, 1, 400)), Met::Successor);
    }
}
