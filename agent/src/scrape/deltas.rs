//! Counters since a process's start become deltas since the last scrape, series by series.
//!
//! Per series and not per component, because a sum hides resets: one series that begins anew can
//! be outweighed by its neighbours. Pure: no clock, no process; whoever calls says what is known.

use std::collections::HashMap;

use super::reading::SeriesKey;

/// What each series of a process counted at the last scrape.
#[derive(Clone, Debug)]
pub(crate) struct Baselines {
    /// Whether what is not in `last` began at zero. False only before the first scrape of a process
    /// that ran before it was watched.
    from_zero: bool,
    last: HashMap<SeriesKey, Last>,
    round: u32,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    total: u64,
    round: u32,
}

/// One scrape in progress; at its end the series that it did not have lose their baselines.
pub(crate) struct Round<'b> {
    baselines: &'b mut Baselines,
}

impl Baselines {
    /// Of a process whose counters were at zero when the caller came to know it.
    pub(crate) fn of_new_process() -> Self {
        Baselines { from_zero: true, last: HashMap::new(), round: 0 }
    }

    /// Of a process that ran before: its first scrape counts nothing.
    pub(crate) fn of_running_process() -> Self {
        Baselines { from_zero: false, ..Self::of_new_process() }
    }

    /// Whether the next scrape gives deltas, or only sets the baseline.
    pub(crate) fn counts(&self) -> bool {
        self.from_zero
    }

    /// Whether there is a baseline of anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// What every series counted last, to be kept.
    pub(crate) fn totals(&self) -> Vec<(u64, u64)> {
        self.last.iter().map(|(series, last)| (series.0, last.total)).collect()
    }

    /// Of a process that was known before, with what its series counted then.
    pub(crate) fn of_known_process(totals: &[(u64, u64)]) -> Self {
        let last = totals.iter().map(|(series, total)| (SeriesKey(*series), Last { total: *total, round: 0 }));
        Baselines { from_zero: true, last: last.collect(), round: 0 }
    }

    /// Begins a scrape.
    pub(crate) fn begin(&mut self) -> Round<'_> {
        self.round = self.round.wrapping_add(1);
        Round { baselines: self }
    }
}

impl Round<'_> {
    /// Whether the last scrape had the series.
    pub(crate) fn knows(&self, series: SeriesKey) -> bool {
        self.baselines.last.contains_key(&series)
    }

    /// The delta of a series that now counts `total`.
    ///
    /// `None` is a series that is there without a value that could be counted: it keeps its
    /// baseline. A series that comes twice in one scrape counts once.
    pub(crate) fn delta(&mut self, series: SeriesKey, total: Option<u64>) -> u64 {
        let Baselines { from_zero, last, round } = &mut *self.baselines;
        let Some(total) = total else {
            if let Some(last) = last.get_mut(&series) {
                last.round = *round;
            }
            return 0;
        };
        let previous = last.insert(series, Last { total, round: *round });
        match previous {
            Some(twice) if twice.round == *round => {
                last.insert(series, twice);
                0
            }
            // Below the last value: it began anew, and what it has counted since is new.
            Some(previous) if total < previous.total => total,
            Some(previous) => total - previous.total,
            None if *from_zero => total,
            None => 0,
        }
    }

    /// Ends the scrape.
    pub(crate) fn end(self) {
        let round = self.baselines.round;
        self.baselines.last.retain(|_, last| last.round == round);
        self.baselines.from_zero = true;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn scrape(baselines: &mut Baselines, series: &[(u64, u64)]) -> Vec<u64> {
        let mut round = baselines.begin();
        let deltas = series.iter().map(|(key, total)| round.delta(SeriesKey(*key), Some(*total))).collect();
        round.end();
        deltas
    }

    #[test]
    fn a_new_process_counts_from_its_first_scrape_and_a_running_one_from_its_second() {
        let mut new = Baselines::of_new_process();
        assert_eq!(scrape(&mut new, &[(1, 10)]), [10]);
        let mut running = Baselines::of_running_process();
        assert_eq!(scrape(&mut running, &[(1, 10)]), [0]);
        assert_eq!(scrape(&mut running, &[(1, 15), (2, 7)]), [5, 7]);
    }

    #[test]
    fn a_value_below_the_last_counts_whole() {
        let mut baselines = Baselines::of_new_process();
        assert_eq!(scrape(&mut baselines, &[(1, 10), (2, 10)]), [10, 10]);
        assert_eq!(scrape(&mut baselines, &[(1, 4), (2, 12)]), [4, 2]);
        assert_eq!(scrape(&mut baselines, &[(1, 6), (2, 12)]), [2, 0]);
    }

    #[test]
    fn a_series_that_was_away_counts_whole_when_it_returns() {
        let mut baselines = Baselines::of_new_process();
        assert_eq!(scrape(&mut baselines, &[(1, 10)]), [10]);
        assert_eq!(scrape(&mut baselines, &[]), [0; 0]);
        assert_eq!(scrape(&mut baselines, &[(1, 12)]), [12]);
    }

    #[test]
    fn a_series_without_a_countable_value_keeps_its_baseline() {
        let mut baselines = Baselines::of_new_process();
        assert_eq!(scrape(&mut baselines, &[(1, 10)]), [10]);
        let mut round = baselines.begin();
        assert_eq!(round.delta(SeriesKey(1), None), 0);
        round.end();
        assert_eq!(scrape(&mut baselines, &[(1, 12)]), [2]);
    }

    #[test]
    fn a_series_that_comes_twice_counts_once() {
        let mut baselines = Baselines::of_new_process();
        assert_eq!(scrape(&mut baselines, &[(1, 10), (1, 3)]), [10, 0]);
        assert_eq!(scrape(&mut baselines, &[(1, 11)]), [1]);
    }

    /// What a series does between two scrapes.
    #[derive(Clone, Debug)]
    enum Step {
        Grow(u32),
        ResetBelow(u32),
        Vanish,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0_u32..1000).prop_map(Step::Grow),
            1 => (0_u32..1000).prop_map(Step::ResetBelow),
            1 => Just(Step::Vanish),
        ]
    }

    proptest! {
        /// The model is the process itself: it knows what it truly counted between two scrapes.
        #[test]
        fn deltas_are_what_the_process_truly_counted(
            rounds in prop::collection::vec(prop::collection::vec(step(), 4), 1..30), running in any::<bool>()) {
            let mut baselines =
                if running { Baselines::of_running_process() } else { Baselines::of_new_process() };
            let mut totals: BTreeMap<u64, u64> = BTreeMap::new();
            for (number, steps) in rounds.iter().enumerate() {
                let mut truth = BTreeMap::new();
                for (key, step) in (0_u64..).zip(steps) {
                    let counted = match step {
                        Step::Grow(more) => {
                            *totals.entry(key).or_default() += u64::from(*more);
                            u64::from(*more)
                        }
                        Step::ResetBelow(share) => {
                            // Begins anew and stays below what it had, so that it can be noticed.
                            let old = totals.get(&key).copied().unwrap_or(0);
                            let new = if old == 0 { 0 } else { u64::from(*share) % old };
                            totals.insert(key, new);
                            new
                        }
                        Step::Vanish => { totals.remove(&key); continue; }
                    };
                    truth.insert(key, counted);
                }
                let mut round = baselines.begin();
                for (key, total) in &totals {
                    let delta = round.delta(SeriesKey(*key), Some(*total));
                    let expected = if number == 0 && running { 0 } else { truth[key] };
                    prop_assert_eq!(delta, expected);
                }
                round.end();
            }
        }
    }
}
