use proptest::prelude::*;
use systole_shared::{AlertSeverity, NodeStatus};

use super::*;
use crate::config::alerts::rule::Condition;
use crate::model::EnvironmentKey;

const SECOND: i64 = 1_000;

/// A rule with a time to hold and to clear, in seconds.
pub(crate) fn rule(name: &str, hold: u64, clear: u64) -> Arc<Rule> {
    Arc::new(Rule {
        name: name.to_owned(),
        is_builtin: true,
        condition: Condition::NodeStatus(vec![NodeStatus::Unreachable]),
        matchers: Vec::new(),
        hold: Duration::from_secs(hold),
        clear: Duration::from_secs(clear),
        severity: AlertSeverity::Critical,
        notify: Vec::new(),
        summary: "UNREACHABLE".to_owned(),
    })
}

/// The names of a node.
pub(crate) fn about(node: i64) -> About {
    About {
        environment: EnvironmentKey(1),
        name: format!("n{node}"),
        node_id: None,
        node_name: Some(format!("n{node}")),
        pipeline_key: None,
        labels: Arc::default(),
    }
}

pub(crate) fn holds() -> Verdict {
    Verdict::Holds { since: None, value: None, text: "no report".to_owned() }
}

const CLEAR: Verdict = Verdict::Clear { since: None };

struct Bench {
    engine: Engine,
    rule: Arc<Rule>,
}

impl Bench {
    fn new(hold: u64, clear: u64) -> Self {
        Bench { engine: Engine::default(), rule: rule("down", hold, clear) }
    }

    fn see(&mut self, at: i64, verdict: Verdict) -> Option<AlertState> {
        let subject = Subject::Node(NodeKey(1));
        let changed = self.engine.observe(&self.rule, &subject, || about(1), verdict, at * SECOND);
        changed.map(|alert| alert.state)
    }

    fn tick(&mut self, at: i64) -> Vec<(AlertState, i64)> {
        let changed = self.engine.tick(at * SECOND);
        let time = |alert: &Alert| alert.ended_at.or(alert.fired_at).unwrap() / SECOND;
        changed.iter().map(|alert| (alert.state, time(alert))).collect()
    }

    fn notify(&mut self, at: i64) {
        let keys: Vec<_> = self.engine.alerts().map(Alert::key).collect();
        self.engine.mark_notified(&keys, at * SECOND);
    }
}

#[test]
fn alert_is_pending_then_fires_then_is_resolved() {
    let mut bench = Bench::new(60, 30);
    assert_eq!(bench.see(10, holds()), Some(AlertState::Pending));
    assert_eq!(bench.see(11, holds()), None);
    assert_eq!(bench.tick(69), []);
    assert_eq!(bench.tick(75), [(AlertState::Firing, 70)], "it has the time at which it was due");
    assert_eq!(bench.see(100, CLEAR), None);
    assert_eq!(bench.tick(129), []);
    assert_eq!(bench.see(129, holds()), None, "it holds again");
    assert_eq!(bench.tick(131), []);
    assert_eq!(bench.see(140, CLEAR), None);
    assert_eq!(bench.tick(170), [(AlertState::Resolved, 170)]);
    assert_eq!(bench.tick(500), []);
}

#[test]
fn condition_that_ends_early_is_cancelled() {
    let mut bench = Bench::new(60, 0);
    bench.see(10, holds());
    assert_eq!(bench.see(30, CLEAR), Some(AlertState::Cancelled));
    assert_eq!(bench.engine.alerts().count(), 0);
    assert_eq!(bench.tick(100), []);
}

#[test]
fn what_is_known_better_counts() {
    let mut bench = Bench::new(60, 30);
    let since = Verdict::Holds { since: Some(0), value: None, text: String::new() };
    assert_eq!(bench.see(61, since), Some(AlertState::Firing));
    assert_eq!(bench.see(100, Verdict::Clear { since: Some(65 * SECOND) }), Some(AlertState::Resolved));
}

#[test]
fn unknown_keeps_state_and_since() {
    let mut bench = Bench::new(60, 30);
    bench.see(10, holds());
    bench.see(20, Verdict::Unknown);
    assert_eq!(bench.tick(100), [], "nothing fires while nothing is known");
    assert_eq!(bench.see(110, holds()), Some(AlertState::Firing), "it has held since then");
    bench.see(120, CLEAR);
    bench.see(121, Verdict::Unknown);
    assert_eq!(bench.tick(200), []);
    assert_eq!(bench.see(210, CLEAR), Some(AlertState::Resolved));
    assert_eq!(bench.see(220, Verdict::Unknown), None);
}

#[test]
fn ended_alert_is_forgotten_only_once_its_end_was_reported() {
    let mut bench = Bench::new(0, 0);
    bench.see(10, holds());
    bench.notify(11);
    assert_eq!(bench.see(20, Verdict::Gone("removed")), Some(AlertState::Resolved));
    assert_eq!(bench.engine.forget_ended(9_999 * SECOND), []);
    bench.notify(30);
    assert_eq!(bench.engine.forget_ended(319 * SECOND), []);
    assert_eq!(bench.engine.forget_ended(320 * SECOND).len(), 1);
}

#[test]
fn alert_that_is_back_before_its_end_was_reported_is_no_new_one() {
    let mut bench = Bench::new(0, 0);
    bench.see(10, holds());
    bench.notify(11);
    bench.see(20, CLEAR);
    bench.see(21, holds());
    assert!(bench.engine.alerts().all(|alert| alert.is_notified && alert.state == AlertState::Firing));
}

proptest! {
    /// Whatever is seen: firing comes after pending has held for long enough, and ends once.
    #[test]
    fn states_follow_each_other(seen in prop::collection::vec((1_i64..40, 0_u8..4), 1..60)) {
        let mut bench = Bench::new(30, 10);
        let mut now = 0;
        let mut states = Vec::new();
        for (pause, what) in seen {
            now += pause;
            states.extend(bench.tick(now).into_iter().map(|(state, _)| state));
            let verdict = match what {
                0 => CLEAR,
                1 => Verdict::Unknown,
                2 => Verdict::Gone("gone"),
                _ => holds(),
            };
            states.extend(bench.see(now, verdict));
            let due: Vec<_> = bench.engine.alerts().filter_map(Alert::due).collect();
            prop_assert!(bench.engine.due.len() <= due.len());
        }
        for pair in states.windows(2) {
            let allowed = match pair[0] {
                AlertState::Pending => matches!(pair[1], AlertState::Firing | AlertState::Cancelled),
                AlertState::Firing => pair[1] == AlertState::Resolved,
                AlertState::Resolved | AlertState::Cancelled => pair[1] == AlertState::Pending,
            };
            prop_assert!(allowed, "{:?}", states);
        }
    }
}
