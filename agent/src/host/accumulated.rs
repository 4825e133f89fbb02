//! A total over devices that come and go: the sum of differences, not the difference of sums.
//!
//! The collector compares totals. When a disk is unmounted or an interface disappears, the plain sum
//! falls, and when one comes, it jumps; both would count as traffic that never was. So a total is the plain
//! sum plus an offset, which compensates for what comes and goes. Only the offset needs to be kept, and it
//! changes only when a device comes or goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Devices of which a last value is kept. Hosts have fewer; those beyond do not count.
const MAX_DEVICES: usize = 4_096;

/// A total.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accumulated {
    offset: i64,
    /// Last values; `None` before the first reading.
    last: Option<BTreeMap<String, u64>>,
}

impl Accumulated {
    /// Takes the devices' present values; returns the total, and whether something changed that a
    /// restarted agent has to know.
    pub(super) fn update(&mut self, now: impl Iterator<Item = (String, u64)>) -> (u64, bool) {
        let now: BTreeMap<String, u64> = now.take(MAX_DEVICES).collect();
        let sum = now.values().fold(0_i64, |sum, value| sum.saturating_add(signed(*value)));
        let Some(last) = self.last.replace(now) else { return (unsigned(sum), true) };
        let now = self.last.as_ref().expect("it was just set");
        let gone = last.iter().filter(|(name, _)| !now.contains_key(*name));
        let new = now.iter().filter(|(name, _)| !last.contains_key(*name));
        let before = self.offset;
        for (_, value) in gone {
            self.offset = self.offset.saturating_add(signed(*value));
        }
        for (_, value) in new {
            self.offset = self.offset.saturating_sub(signed(*value));
        }
        // A device began from zero: how much it counted is unknown, and the total begins again too, so
        // that the collector sees it.
        if now.iter().any(|(name, value)| last.get(name).is_some_and(|last| value < last)) {
            self.offset = sum.saturating_neg();
        }
        let is_changed = self.offset != before || !last.keys().eq(now.keys());
        (unsigned(sum.saturating_add(self.offset)), is_changed)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn update(total: &mut Accumulated, devices: &[(&str, u64)]) -> (u64, bool) {
        total.update(devices.iter().map(|(name, value)| ((*name).to_owned(), *value)))
    }

    #[test]
    fn total_grows_by_what_its_devices_count_whichever_come_and_go() {
        let mut total = Accumulated::default();
        assert_eq!(update(&mut total, &[("a", 100), ("b", 1_000)]), (1_100, true));
        assert_eq!(update(&mut total, &[("a", 110), ("b", 1_001)]), (1_111, false));
        assert_eq!(update(&mut total, &[("a", 115)]), (1_116, true), "b is gone");
        assert_eq!(update(&mut total, &[("a", 115), ("c", 9_000)]), (1_116, true), "c had counted before");
        assert_eq!(update(&mut total, &[("a", 120), ("c", 9_002)]), (1_123, false));
    }

    #[test]
    fn device_that_begins_from_zero_makes_the_total_fall() {
        let mut total = Accumulated::default();
        update(&mut total, &[("a", 100), ("b", 50)]);
        assert_eq!(update(&mut total, &[("a", 120), ("b", 7)]), (0, true));
        assert_eq!(update(&mut total, &[("a", 121), ("b", 9)]), (3, false));
    }

    #[test]
    fn total_that_was_kept_goes_on_where_it_was() {
        let mut total = Accumulated::default();
        update(&mut total, &[("a", 100), ("b", 1_000)]);
        update(&mut total, &[("a", 100)]);
        let mut kept: Accumulated = serde_json::from_str(&serde_json::to_string(&total).unwrap()).unwrap();
        assert_eq!(update(&mut total, &[("a", 130)]), (1_130, false));
        assert_eq!(update(&mut kept, &[("a", 150), ("b", 2_000)]), (1_150, true), "b came back meanwhile");
    }

    proptest! {
        /// Against a naive model: no total falls, and each grows by the sum of the devices' differences.
        #[test]
        fn total_is_the_sum_of_differences(rounds in prop::collection::vec(prop::collection::vec((0_u8..6, 0_u64..100), 0..6), 1..30)) {
            let mut total = Accumulated::default();
            let mut counters: BTreeMap<u8, u64> = (0..6).map(|device| (device, u64::from(device) * 1_000)).collect();
            let mut before: Option<BTreeMap<u8, u64>> = None;
            let mut expected = 0;
            for round in rounds {
                for (device, more) in &round {
                    *counters.get_mut(device).unwrap() += more;
                }
                let present: BTreeMap<u8, u64> = round.iter().map(|(device, _)| (*device, counters[device])).collect();
                expected += match &before {
                    None => present.values().sum::<u64>(),
                    Some(before) => present.iter().filter_map(|(device, value)| Some(value - before.get(device)?)).sum(),
                };
                let (found, _) = total.update(present.iter().map(|(device, value)| (device.to_string(), *value)));
                prop_assert_eq!(found, expected);
                before = Some(present);
            }
        }
    }
}
