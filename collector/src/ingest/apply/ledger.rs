//! The reports of a pipeline that came, came late, and never came: what its numbers of events are worth.
//!
//! Reports of one boot of an agent have numbers without holes, so the number of those that are missing is exact. A missing
//! report says nothing of its time: reports are made one after the other, so each is taken to have ended an interval before
//! the next one. It counts for the pipelines that the node had before the hole and has after it.

use systole_shared::UnixMillis;

use super::ReportWindow;
use crate::ingest::changes::Changes;
use crate::model::{NodeKey, SeriesKey};

/// A report that comes so long after the end of its minute is late: agents report every few seconds, and try again at once.
const LATE_AFTER_MS: i64 = 60_000;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

/// Whether a report that ended then came late.
pub(super) fn is_late(end: UnixMillis, received_at: UnixMillis) -> bool {
    let end_of_minute = end.div_euclid(MINUTE_MS).saturating_add(1).saturating_mul(MINUTE_MS);
    received_at.saturating_sub(end_of_minute) > LATE_AFTER_MS
}

/// Reports that never came before one that began then: a minute of each hour, and how many ended in that hour. Those from
/// before `oldest` count in the oldest hour.
pub(super) fn missing_by_hour(
    missing: i64,
    begin: UnixMillis,
    interval_ms: i64,
    oldest: UnixMillis,
) -> Vec<(i64, i64)> {
    let interval = interval_ms.max(1);
    let (mut left, mut end) = (missing, begin);
    let mut hours: Vec<(i64, i64)> = Vec::new();
    while left > 0 {
        match hours.last_mut() {
            Some((_, count)) if end < oldest => {
                *count += left;
                left = 0;
            }
            _ => {
                let count = left.min(end.rem_euclid(HOUR_MS) / interval + 1);
                hours.push((end.div_euclid(MINUTE_MS), count));
                left -= count;
                end = end.saturating_sub(count.saturating_mul(interval));
            }
        }
    }
    hours
}

/// Counts the report and those that are missing before it. `was_present`: whether the node had the pipeline before it.
pub(super) fn count_reports(
    node: NodeKey,
    series: SeriesKey,
    was_present: bool,
    at: &ReportWindow,
    changes: &mut Changes,
) {
    let row = changes.bucket(at.minute, node).pipeline(series);
    row.reports = row.reports.saturating_add(at.covered);
    if at.is_late {
        row.late_reports = row.late_reports.saturating_add(at.covered);
    }
    for (minute, count) in at.missing_reports.iter().filter(|_| was_present) {
        let row = changes.bucket(*minute, node).pipeline(series);
        row.missing_reports = row.missing_reports.saturating_add(*count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn report_is_late_a_minute_after_its_minute() {
        assert!(!is_late(59_999, 120_000), "its minute ended at 60 s");
        assert!(is_late(59_999, 120_001));
        assert!(!is_late(60_000, 180_000));
    }

    #[test]
    fn missing_reports_lie_before_the_one_after_them() {
        let hour = 10 * HOUR_MS;
        assert_eq!(missing_by_hour(0, hour, 5_000, 0), []);
        assert_eq!(missing_by_hour(2, hour + 5_000, 5_000, 0), [(600, 2)], "they ended at 5 s and at 0 s");
        assert_eq!(missing_by_hour(3, hour + 5_000, 5_000, 0), [(600, 2), (599, 1)]);
        assert_eq!(missing_by_hour(1_000, hour + 5_000, 5_000, hour), [(600, 1_000)], "none is before the oldest");
    }

    proptest! {
        #[test]
        fn each_missing_report_counts_once_in_its_hour(
            missing in 0_i64..5_000, begin in 0_i64..40_000_000, interval in 1_i64..20_000,
        ) {
            let hours = missing_by_hour(missing, begin, interval, i64::MIN);
            prop_assert_eq!(hours.iter().map(|(_, count)| count).sum::<i64>(), missing);
            for (minute, count) in hours {
                let hour = minute.div_euclid(60);
                let ends = (0..missing).map(|back| (begin - back * interval).div_euclid(HOUR_MS));
                prop_assert_eq!(ends.filter(|end| *end == hour).count() as i64, count);
            }
        }
    }
}
