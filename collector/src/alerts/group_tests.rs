use systole_shared::AlertState;

use super::*;
use crate::alerts::engine::Engine;
use crate::alerts::engine::Verdict;
use crate::alerts::engine::tests::{about, holds, rule};
use crate::alerts::subject::Subject;
use crate::model::NodeKey;

const SECOND: i64 = 1_000;
const PACE: Pace = Pace {
    group_wait: Duration::from_secs(30),
    update_every: Duration::from_secs(300),
    repeat_every: Duration::from_secs(14_400),
};

#[derive(Default)]
struct Bench {
    engine: Engine,
    groups: BTreeMap<String, GroupState>,
    muted: Vec<i64>,
}

impl Bench {
    fn see(&mut self, node: i64, at: i64, verdict: Verdict) {
        let rule = rule("down", 0, 0);
        self.engine.observe(&rule, &Subject::Node(NodeKey(node)), || about(node), verdict, at * SECOND);
    }

    fn fire(&mut self, nodes: impl IntoIterator<Item = i64>, at: i64) {
        nodes.into_iter().for_each(|node| self.see(node, at, holds()));
    }

    fn end(&mut self, nodes: impl IntoIterator<Item = i64>, at: i64) {
        nodes.into_iter().for_each(|node| self.see(node, at, Verdict::Clear { since: None }));
    }

    /// Kinds of the messages that are due, with the numbers of alerts that fire and that ended.
    fn look(&mut self, at: i64) -> Vec<(MessageKind, usize, usize)> {
        let muted = self.muted.clone();
        let is_muted = |alert: &Alert| {
            let node = alert.subject.node().unwrap().0;
            muted.contains(&node).then_some(Mute::Maintenance)
        };
        let (due, next) = plan(self.engine.alerts(), &self.groups, &is_muted, PACE, at * SECOND);
        assert!(next.is_none_or(|next| next > at * SECOND));
        let mut seen = Vec::new();
        for message in due {
            self.engine.mark_notified(&message.firing, at * SECOND);
            self.engine.mark_notified(&message.ended, at * SECOND);
            self.groups.insert(message.group.id(), message.state);
            seen.push((message.kind, message.firing.len(), message.ended.len()));
        }
        seen
    }
}

#[test]
fn many_at_once_are_one_message_and_their_recovery_is_one() {
    let mut bench = Bench::default();
    bench.fire(0..1_500, 100);
    bench.fire(1_500..3_000, 120);
    assert_eq!(bench.look(129), []);
    assert_eq!(bench.look(130), [(MessageKind::Firing, 3_000, 0)]);
    assert_eq!(bench.look(131), []);
    bench.end(0..3_000, 150);
    assert_eq!(bench.look(179), []);
    assert_eq!(bench.look(180), [(MessageKind::Recovery, 0, 3_000)]);
    assert_eq!(bench.look(90_000), []);
}

#[test]
fn changes_of_an_open_group_are_one_update_in_five_minutes() {
    let mut bench = Bench::default();
    bench.fire([1, 2], 0);
    assert_eq!(bench.look(30), [(MessageKind::Firing, 2, 0)]);
    bench.fire([3], 40);
    bench.end([1], 50);
    assert_eq!(bench.look(329), []);
    assert_eq!(bench.look(330), [(MessageKind::Update, 2, 1)]);
    bench.fire([4], 600);
    assert_eq!(bench.look(630), [(MessageKind::Update, 3, 0)], "the pause is over already");
}

#[test]
fn alerts_that_fire_on_are_repeated() {
    let mut bench = Bench::default();
    bench.fire([1], 0);
    bench.look(30);
    assert_eq!(bench.look(30 + 14_399), []);
    assert_eq!(bench.look(30 + 14_400), [(MessageKind::Repeat, 1, 0)]);
    bench.muted = vec![1];
    assert_eq!(bench.look(30 + 28_800), [], "a silence silences the repetition");
}

#[test]
fn alert_that_ends_before_it_was_reported_is_not() {
    let mut bench = Bench::default();
    bench.fire([1], 0);
    bench.end([1], 20);
    assert_eq!(bench.look(60), []);
    assert!(bench.engine.alerts().all(|alert| alert.state == AlertState::Resolved && !alert.is_notified));
}

#[test]
fn muted_alert_is_reported_once_the_reason_is_gone_and_its_end_always() {
    let mut bench = Bench { muted: vec![1], ..Bench::default() };
    bench.fire([1], 0);
    assert_eq!(bench.look(600), []);
    bench.muted.clear();
    assert_eq!(bench.look(601), [(MessageKind::Firing, 1, 0)]);
    bench.muted = vec![1];
    bench.end([1], 700);
    assert_eq!(bench.look(730), [(MessageKind::Recovery, 0, 1)]);
}

#[test]
fn alert_that_flaps_is_not_a_message_each_time() {
    let mut bench = Bench::default();
    let mut messages = 0;
    for round in 0..30 {
        bench.fire([1], round * 120);
        messages += bench.look(round * 120 + 31).len();
        bench.end([1], round * 120 + 40);
        messages += bench.look(round * 120 + 71).len();
    }
    assert!(messages >= 2, "it is reported all the same");
    assert!(messages <= 2 * 12, "{messages} in an hour");
}
