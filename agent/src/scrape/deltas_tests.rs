//! Deltas against examples, and against a process that knows what it truly counted.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn scrape(baselines: &mut Baselines, series: &[(u64, u64)]) -> Vec<u64> {
    let mut round = baselines.begin(None);
    let deltas = series.iter().map(|(key, total)| round.delta(SeriesKey(*key), Some(*total), None)).collect();
    round.end();
    deltas
}

/// A scrape of a page with timestamps: key, total and timestamp of each series.
fn scrape_at(baselines: &mut Baselines, captured_at: i64, series: &[(u64, u64, i64)]) -> Vec<u64> {
    let mut round = baselines.begin(Some(captured_at));
    let deltas = series.iter().map(|(key, total, at)| round.delta(SeriesKey(*key), Some(*total), Some(*at))).collect();
    round.end();
    deltas
}

#[test]
fn new_process_counts_from_its_first_scrape() {
    let mut new = Baselines::of_new_process();
    assert_eq!(scrape(&mut new, &[(1, 10)]), [10]);
    let mut running = Baselines::of_running_process();
    assert_eq!(scrape(&mut running, &[(1, 10)]), [0]);
    assert_eq!(scrape(&mut running, &[(1, 15), (2, 7)]), [5, 7]);
}

#[test]
fn value_below_the_last_counts_whole() {
    let mut baselines = Baselines::of_new_process();
    assert_eq!(scrape(&mut baselines, &[(1, 10), (2, 10)]), [10, 10]);
    assert_eq!(scrape(&mut baselines, &[(1, 4), (2, 12)]), [4, 2]);
    assert_eq!(scrape(&mut baselines, &[(1, 6), (2, 12)]), [2, 0]);
}

#[test]
fn a_series_that_misses_scrapes_counts_what_it_has_more() {
    for misses in 1..=KEPT_SCRAPES {
        let mut baselines = Baselines::of_new_process();
        assert_eq!(scrape(&mut baselines, &[(1, 7_001_445), (2, 1)]), [7_001_445, 1]);
        for _ in 0..misses {
            assert_eq!(scrape(&mut baselines, &[(2, 1)]), [0]);
        }
        assert_eq!(scrape(&mut baselines, &[(1, 7_001_895), (2, 1)]), [450, 0], "after {misses}");
    }
}

#[test]
fn a_series_that_returns_below_its_last_value_counts_whole() {
    let mut baselines = Baselines::of_new_process();
    assert_eq!(scrape(&mut baselines, &[(1, 10)]), [10]);
    assert_eq!(scrape(&mut baselines, &[]), [0; 0]);
    assert_eq!(scrape(&mut baselines, &[(1, 3)]), [3]);
}

#[test]
fn a_series_that_was_away_for_long_counts_whole_when_it_returns() {
    let mut baselines = Baselines::of_new_process();
    assert_eq!(scrape(&mut baselines, &[(1, 10)]), [10]);
    for _ in 0..=KEPT_SCRAPES {
        assert_eq!(scrape(&mut baselines, &[]), [0; 0]);
    }
    assert!(baselines.is_empty(), "nothing is kept for ever");
    assert_eq!(scrape(&mut baselines, &[(1, 12)]), [12]);
}

#[test]
fn series_that_never_come_again_have_bounded_room() {
    let mut baselines = Baselines::of_new_process();
    let mut forgotten = 0;
    let each = MAX_ABSENT as u64 / 2;
    for page in 0..5 {
        let mut round = baselines.begin(None);
        (0..each).for_each(|key| assert_eq!(round.delta(SeriesKey(page * each + key), Some(1), None), 1));
        forgotten += round.end();
    }
    assert_eq!(baselines.last.len(), each as usize + MAX_ABSENT);
    assert_eq!(forgotten, 2 * each as usize);
}

#[test]
fn an_expired_series_counts_from_zero_when_its_timestamp_moves_again() {
    for (next, what) in [(99, "below"), (100, "the same"), (101, "above")] {
        let mut baselines = Baselines::of_new_process();
        assert_eq!(scrape_at(&mut baselines, 1_000, &[(1, 100, 1_000), (2, 1, 1_000)]), [100, 1]);
        for now in [2_000, 3_000, 4_000] {
            assert_eq!(scrape_at(&mut baselines, now, &[(1, 100, 1_000), (2, 1, now)]), [0, 0]);
        }
        assert_eq!(scrape_at(&mut baselines, 5_000, &[(1, next, 5_000), (2, 1, 5_000)]), [next, 0], "{what}");
        assert_eq!(scrape_at(&mut baselines, 6_000, &[(1, next + 1, 6_000), (2, 1, 6_000)]), [1, 0], "{what}");
    }
}

#[test]
fn a_page_that_is_half_updated_expires_nothing() {
    let mut baselines = Baselines::of_new_process();
    assert_eq!(scrape_at(&mut baselines, 1_000, &[(1, 100, 1_000)]), [100]);
    // The capture before: older than this page's newest, and not older than the last page's.
    assert_eq!(scrape_at(&mut baselines, 2_000, &[(1, 100, 1_000)]), [0]);
    assert_eq!(scrape_at(&mut baselines, 3_000, &[(1, 130, 3_000)]), [30]);
    // Captures may be rarer than scrapes.
    assert_eq!(scrape_at(&mut baselines, 3_000, &[(1, 130, 3_000)]), [0]);
    assert_eq!(scrape_at(&mut baselines, 18_000, &[(1, 150, 18_000)]), [20]);
}

#[test]
fn a_clock_that_is_set_back_expires_nothing() {
    let mut baselines = Baselines::of_new_process();
    for (now, total, delta) in [(9_000, 10, 10), (9_500, 20, 10), (1_000, 30, 10), (1_500, 40, 10), (2_000, 50, 10)] {
        assert_eq!(scrape_at(&mut baselines, now, &[(1, total, now)]), [delta]);
    }
}

#[test]
fn an_expired_series_that_left_the_page_counts_from_zero() {
    let mut baselines = Baselines::of_new_process();
    assert_eq!(scrape_at(&mut baselines, 1_000, &[(1, 100, 1_000), (2, 50, 1_000)]), [100, 50]);
    assert_eq!(scrape_at(&mut baselines, 2_000, &[(1, 100, 1_000)]), [0]);
    assert_eq!(scrape_at(&mut baselines, 3_000, &[(1, 100, 1_000)]), [0]);
    assert_eq!(scrape_at(&mut baselines, 4_000, &[]), [0; 0]);
    // The second one expired and left the page between two scrapes.
    assert_eq!(scrape_at(&mut baselines, 5_000, &[(1, 120, 5_000), (2, 60, 5_000)]), [120, 60]);
}

#[test]
fn a_live_series_may_miss_one_page_with_timestamps() {
    let mut baselines = Baselines::of_new_process();
    assert_eq!(scrape_at(&mut baselines, 1_000, &[(1, 100, 1_000)]), [100]);
    assert_eq!(scrape_at(&mut baselines, 2_000, &[]), [0; 0]);
    assert_eq!(scrape_at(&mut baselines, 3_000, &[(1, 120, 3_000)]), [20]);
}

#[test]
fn an_expired_series_stays_so_over_the_agents_end() {
    let mut baselines = Baselines::of_new_process();
    for now in [1_000, 2_000, 3_000] {
        scrape_at(&mut baselines, now, &[(1, 100, 1_000), (2, 1, now)]);
    }
    let SavedBaselines { totals, expired } = baselines.save();
    let mut next = Baselines::of_known_process(&totals, &expired);
    assert_eq!(scrape_at(&mut next, 4_000, &[(1, 100, 1_000), (2, 1, 4_000)]), [0, 0]);
    assert_eq!(scrape_at(&mut next, 5_000, &[(1, 150, 5_000), (2, 2, 5_000)]), [150, 1]);
}

#[test]
fn series_with_invalid_value_keeps_its_baseline() {
    let mut baselines = Baselines::of_new_process();
    assert_eq!(scrape(&mut baselines, &[(1, 10)]), [10]);
    let mut round = baselines.begin(None);
    assert_eq!(round.delta(SeriesKey(1), None, None), 0);
    round.end();
    assert_eq!(scrape(&mut baselines, &[(1, 12)]), [2]);
}

#[test]
fn repeated_series_counts_once() {
    let mut baselines = Baselines::of_new_process();
    assert_eq!(scrape(&mut baselines, &[(1, 10), (1, 3)]), [10, 0]);
    assert_eq!(scrape(&mut baselines, &[(1, 11)]), [1]);
}

/// What a series does between two scrapes.
#[derive(Clone, Debug)]
enum Step {
    Grow(u32),
    ResetBelow(u32),
    /// The page does not have it for so many scrapes; it counts on.
    Miss(u16),
    /// It is gone for longer than it is kept, and starts again at zero.
    Vanish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u32..1000).prop_map(Step::Grow),
        1 => (0_u32..1000).prop_map(Step::ResetBelow),
        1 => (1..=KEPT_SCRAPES).prop_map(Step::Miss),
        1 => Just(Step::Vanish),
    ]
}

/// A series as it truly is.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    total: u64,
    /// Counted, and on no page yet.
    unseen: u64,
    hidden_for: u16,
    /// Gone, and not only hidden.
    has_vanished: bool,
    /// The last page had it.
    on_page: bool,
}

impl Truth {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Grow(more) if !self.has_vanished => {
                self.total += u64::from(*more);
                self.unseen += u64::from(*more);
            }
            // Starts again and stays below what was seen, so that it can be noticed.
            Step::ResetBelow(share) if self.on_page && self.total > self.unseen => {
                self.total = u64::from(*share) % (self.total - self.unseen);
                self.unseen = self.total;
            }
            Step::Miss(scrapes) if self.on_page => self.hidden_for = *scrapes,
            Step::Vanish if self.on_page => {
                *self = Truth { hidden_for: KEPT_SCRAPES + 1, has_vanished: true, ..Truth::default() };
            }
            _ => {}
        }
    }
}

proptest! {
    /// The model is the process itself: it knows what it truly counted between two scrapes.
    #[test]
    fn deltas_equal_the_process_counts(
        rounds in prop::collection::vec(prop::collection::vec(step(), 4), 1..60), running in any::<bool>()) {
        let mut baselines =
            if running { Baselines::of_running_process() } else { Baselines::of_new_process() };
        let mut truths: BTreeMap<u64, Truth> = BTreeMap::new();
        for (number, steps) in rounds.iter().enumerate() {
            let mut round = baselines.begin(None);
            for (key, step) in (0_u64..).zip(steps) {
                let truth = truths.entry(key).or_default();
                // What the first page does not have cannot be distinguished from what begins later.
                if number > 0 || matches!(step, Step::Grow(_)) {
                    truth.take(step);
                }
                truth.on_page = truth.hidden_for == 0;
                if truth.hidden_for > 0 {
                    truth.hidden_for -= 1;
                    continue;
                }
                truth.has_vanished = false;
                let counted = std::mem::take(&mut truth.unseen);
                let delta = round.delta(SeriesKey(key), Some(truth.total), None);
                prop_assert_eq!(delta, if number == 0 && running { 0 } else { counted });
            }
            round.end();
        }
    }
}
