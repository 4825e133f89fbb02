//! The whole meter against a naive model that knows the truth: a process that counts, is restarted,
//! drops or expires series and takes them up again, and is scraped, or not, by one run of the agent
//! after another.

use proptest::prelude::*;

use super::*;
use crate::model::mapping::Mapping;

/// How the engine tells its age.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Age {
    Uptime,
    StartTime,
    Both,
}

/// What happens, one thing after another.
#[derive(Clone, Debug)]
enum Step {
    /// A series counts.
    Count { series: usize, more: u32 },
    /// The next page does not have a series, which counts on.
    Miss { series: usize },
    /// Nor this one, which starts again at zero.
    Vanish { series: usize },
    /// An idle series expires: the page shows it with a timestamp that stands still, and the next event
    /// counts from zero.
    Expire { series: usize },
    /// Time passes.
    Pass { seconds: i64 },
    /// The process is another one.
    Restart,
    /// The endpoint is asked.
    Scrape,
    /// It does not answer.
    Fail,
    /// A report is made.
    Report,
    /// The agent ends after a report and begins anew.
    RestartAgent,
    /// The agent is killed, with what it has not reported.
    KillAgent,
}

fn step() -> impl Strategy<Value = Step> {
    let series = 0..SERIES.len();
    prop_oneof![
        6 => (series.clone(), 0_u32..1_000_000).prop_map(|(series, more)| Step::Count { series, more }),
        1 => series.clone().prop_map(|series| Step::Miss { series }),
        1 => series.clone().prop_map(|series| Step::Vanish { series }),
        3 => series.prop_map(|series| Step::Expire { series }),
        3 => (1_i64..20).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Restart),
        9 => Just(Step::Scrape),
        2 => Just(Step::Fail),
        4 => Just(Step::Report),
        1 => Just(Step::RestartAgent),
        1 => Just(Step::KillAgent),
    ]
}

/// Metric and labels of each series, and which of events in, events out and errors it adds to.
const SERIES: [(&str, &str, usize); 6] = [
    ("component_received_events_total", r#"component_id="in",component_kind="source""#, 0),
    ("component_received_events_total", r#"component_id="in",component_kind="source",protocol="tcp""#, 0),
    ("component_errors_total", r#"component_id="in",component_kind="source""#, 2),
    ("component_errors_total", r#"component_id="mid",component_kind="transform",error_type="a""#, 2),
    ("component_sent_events_total", r#"component_id="out",component_kind="sink""#, 1),
    ("component_sent_events_total", r#"component_id="out2",component_kind="sink",output="x""#, 1),
];

/// One series as it truly is.
#[derive(Clone, Copy, Debug, Default)]
struct Series {
    total: u64,
    /// Which of its lives this is.
    life: u32,
    hidden: bool,
    /// The last page had it.
    on_page: bool,
    /// It started again, and only a value below this one shows it.
    below: Option<u64>,
    /// Since when it has expired, in milliseconds.
    frozen: Option<i64>,
    /// Later captures that this run of the agent has seen since; enough of them show the expiry.
    captures_since: u32,
}

/// Captures after which the agent must know that a series has expired.
const EXPIRY_IS_KNOWN: u32 = 3;

/// What the agent has seen: life and total of each series that the last scrape had.
type Seen = [Option<(u32, u64)>; SERIES.len()];

/// What the meter must know.
#[derive(Clone, Debug, Default)]
struct Known {
    /// `None` before the first answer of a process that ran before.
    seen: Option<Seen>,
    process: Option<u32>,
}

struct World {
    age: Age,
    /// Whether samples have timestamps; without them a series that stands still is idle.
    timestamps: bool,
    last_capture: i64,
    supervised: bool,
    now: i64,
    started: i64,
    process: u32,
    series: [Series; SERIES.len()],
    mapping: Mapping,
    tracker: DeltaTracker,
    known: Known,
    /// What the last report left behind.
    saved: Option<(SavedTracker, Known)>,
    /// Events in, events out and errors that the next report must show, if it must show any.
    owed: Option<[u64; 3]>,
    reset: bool,
}

impl World {
    fn new(age: Age, timestamps: bool, supervised: bool) -> Self {
        let mut tracker = if supervised { DeltaTracker::of_supervised() } else { DeltaTracker::of_watched() };
        let mut known = Known::default();
        if supervised {
            tracker.begin_process();
            known = Known { seen: Some(Seen::default()), process: Some(0) };
        }
        let started = 1_000_000;
        // Old enough to be told from its successor by its age alone.
        let now = if supervised { started } else { started + 100_000 };
        let mapping = crate::config::vector_mapping();
        let series = [Series::default(); SERIES.len()];
        World {
            age,
            timestamps,
            last_capture: 0,
            supervised,
            now,
            started,
            process: 0,
            series,
            mapping,
            tracker,
            known,
            saved: None,
            owed: None,
            reset: false,
        }
    }

    fn body(&self) -> String {
        let mut body = String::new();
        for ((name, labels, _), series) in SERIES.iter().zip(&self.series).filter(|(_, series)| !series.hidden) {
            let at = self.stamp(series.frozen);
            body.push_str(&format!("{name}{{{labels}}} {}{at}\n", series.total));
        }
        let at = self.stamp(None);
        if self.age != Age::StartTime {
            body.push_str(&format!("uptime_seconds {}{at}\n", self.now - self.started));
        }
        if self.age != Age::Uptime {
            body.push_str(&format!("process_start_time_seconds {}{at}\n", self.started));
        }
        body
    }

    fn stamp(&self, frozen: Option<i64>) -> String {
        if self.timestamps { format!(" {}", frozen.unwrap_or(self.now * 1_000)) } else { String::new() }
    }

    fn restart(&mut self) {
        let age = self.now - self.started;
        // By its age alone a process cannot be told from a successor that has grown as old.
        if !self.supervised && (age < 2 || (self.age == Age::Uptime && age < 50_000)) {
            return;
        }
        self.started = self.now;
        self.process += 1;
        for series in &mut self.series {
            *series = Series { life: series.life + 1, ..Series::default() };
        }
        if self.supervised {
            self.tracker.begin_process();
            self.known.seen = Some(Seen::default());
            self.known.process = Some(self.process);
            self.reset = true;
        }
    }

    fn scrape(&mut self) {
        self.tracker.record(&Scrape::of(self.body().as_bytes(), &self.mapping), self.now * 1_000);
        self.reset |= self.known.process.is_some_and(|known| known != self.process);
        let mut counted = [0; 3];
        let mut seen = Seen::default();
        let is_new_capture = self.now > self.last_capture;
        self.last_capture = self.now;
        for (at, series) in self.series.iter_mut().enumerate() {
            let before = self.known.seen.map(|seen| seen[at]);
            series.on_page = !series.hidden;
            if std::mem::take(&mut series.hidden) {
                // The agent keeps what it knows of it.
                seen[at] = before.flatten();
                continue;
            }
            series.below = None;
            if is_new_capture && series.frozen.is_some_and(|frozen| frozen < self.now * 1_000) {
                series.captures_since += 1;
            }
            counted[SERIES[at].2] += match before {
                None => 0,
                Some(Some((life, total))) if life == series.life => series.total - total,
                Some(_) => series.total,
            };
            seen[at] = Some((series.life, series.total));
        }
        if self.known.seen.is_some() || self.owed.is_some() {
            let owed = self.owed.get_or_insert([0; 3]);
            owed.iter_mut().zip(counted).for_each(|(owed, counted)| *owed += counted);
        }
        self.known = Known { seen: Some(seen), process: Some(self.process) };
    }

    fn report(&mut self) -> Result<(), TestCaseError> {
        let counted = self.tracker.take();
        let count = |count: systole_shared::Counter| u64::try_from(count.get().unwrap()).unwrap();
        let shown =
            counted.sample.as_ref().map(|sample| [sample.events_in, sample.events_out, sample.errors].map(count));
        prop_assert_eq!(shown, self.owed);
        if let Some(sample) = &counted.sample {
            prop_assert_eq!(sample.reset, std::mem::take(&mut self.reset));
            let errors: u64 = counted.components.iter().map(|component| count(component.errors)).sum();
            prop_assert_eq!(Some(errors), self.owed.map(|owed| owed[2]), "the parts are the whole");
        }
        self.owed = None;
        self.saved = self.tracker.save(&SourceHash::for_tests(1)).map(|saved| (saved, self.known.clone()));
        Ok(())
    }

    /// The next life of the agent, which knows what was saved.
    fn begin_agent_anew(&mut self) {
        if self.supervised {
            return;
        }
        self.tracker = DeltaTracker::of_watched();
        self.known = Known::default();
        self.last_capture = 0;
        self.series.iter_mut().for_each(|series| series.captures_since = 0);
        if let Some((saved, known)) = &self.saved {
            let json = serde_json::to_string(saved).unwrap();
            self.tracker.resume(&serde_json::from_str(&json).unwrap(), &SourceHash::for_tests(1));
            self.known = known.clone();
        }
        self.owed = None;
        self.reset = false;
    }

    fn has_returned_since_report(&self) -> bool {
        let Some((_, known)) = self.saved.as_ref().filter(|(_, known)| known.process == Some(self.process)) else {
            return false;
        };
        let seen = known.seen.into_iter().flatten();
        seen.zip(&self.series).any(|(seen, series)| seen.is_some_and(|(life, _)| life != series.life))
    }

    fn go(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Count { series, more } => {
                let series = &mut self.series[series];
                if series.frozen.is_some() {
                    // Before the agent knows, it would look as if it had only been idle.
                    if series.captures_since >= EXPIRY_IS_KNOWN {
                        *series = Series { life: series.life + 1, total: u64::from(more), ..Series::default() };
                    }
                } else {
                    let room = series.below.map_or(u64::MAX, |below| below.saturating_sub(1 + series.total));
                    series.total += u64::from(more).min(room);
                }
            }
            Step::Miss { series } if series > 0 => {
                self.series[series].hidden |= self.series[series].on_page;
            }
            // One component stays: an answer without any is a failed scrape.
            Step::Vanish { series: at } if at > 0 && self.series[at].on_page && self.series[at].frozen.is_none() => {
                // What no page showed is lost, and nothing is owed for it.
                let known = self.known.seen.and_then(|seen| seen[at]).map_or(u64::MAX, |(_, total)| total);
                let below = Some(if self.known.seen.is_some() { known } else { u64::MAX });
                self.series[at] = Series { life: self.series[at].life + 1, hidden: true, below, ..Series::default() };
            }
            Step::Expire { series: at } if at > 0 && self.timestamps => {
                let now = self.now * 1_000;
                let series = &mut self.series[at];
                if series.on_page && !series.hidden && series.frozen.is_none() {
                    (series.frozen, series.captures_since) = (Some(now), 0);
                }
            }
            Step::Miss { .. } | Step::Vanish { .. } | Step::Expire { .. } => {}
            Step::Pass { seconds } => self.now += seconds,
            Step::Restart => self.restart(),
            Step::Scrape => self.scrape(),
            Step::Fail => {
                self.tracker.fail("connection refused".to_owned());
            }
            Step::Report => self.report()?,
            Step::RestartAgent => {
                self.report()?;
                self.begin_agent_anew();
            }
            // The next life cannot know of a series that went and came back since the last report.
            Step::KillAgent if self.has_returned_since_report() => {}
            Step::KillAgent => self.begin_agent_anew(),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn reports_add_up_to_what_the_process_truly_counted(
        steps in prop::collection::vec(step(), 1..80),
        age in prop_oneof![Just(Age::Uptime), Just(Age::StartTime), Just(Age::Both)],
        timestamps in any::<bool>(),
        supervised in any::<bool>(),
    ) {
        let mut world = World::new(age, timestamps, supervised);
        for step in &steps {
            world.go(step)?;
        }
        world.go(&Step::Scrape)?;
        world.go(&Step::Report)?;
    }
}
