use std::time::Duration;

use systole_shared::{NodeId, PipelineId};

use super::*;
use crate::config::alerts::expression::MetricOf;
use crate::model::node::Labels;
use crate::model::{EnvironmentKey, NodeKey, PipelineKey, SeriesKey};
use crate::store::PipelineMinuteRow;

const SERIES: i64 = 7;

fn live(status: NodeStatus) -> WatchedNode {
    WatchedNode {
        key: NodeKey(1),
        id: NodeId(uuid::Uuid::nil()),
        environment: EnvironmentKey(1),
        name: "n1".into(),
        labels: Labels::new(),
        maintenance_until: None,
        status,
        reason: "why".into(),
        since: 500,
        lost_reports_at: None,
        clock_skew_ms: None,
        pipelines: Vec::new(),
    }
}

fn orders(status: PipelineStatus) -> WatchedPipeline {
    WatchedPipeline {
        id: PipelineId::parse("orders").unwrap(),
        key: PipelineKey(1),
        series: SeriesKey(SERIES),
        status,
        reason: String::new(),
        since: 700,
    }
}

fn since(verdict: &Verdict) -> Option<i64> {
    match verdict {
        Verdict::Holds { since, .. } => *since,
        _ => None,
    }
}

fn row(events_in: i64, errors: i64) -> PipelineMinuteRow {
    PipelineMinuteRow { series: SERIES, events_in, errors, samples: 12, ..PipelineMinuteRow::default() }
}

#[test]
fn unreachable_is_not_offline_and_not_in_maintenance() {
    let rule = Condition::NodeStatus(vec![NodeStatus::Unreachable]);
    let judge = |node: &WatchedNode| super::node(&rule, node, 0, 1_000).unwrap();
    assert_eq!(since(&judge(&live(NodeStatus::Unreachable))), Some(500));
    assert_eq!(judge(&live(NodeStatus::Offline)), Verdict::Clear { since: Some(500) });
    assert_eq!(judge(&live(NodeStatus::Unknown)), Verdict::Unknown);
    let worked_on = WatchedNode { maintenance_until: Some(2_000), ..live(NodeStatus::Unreachable) };
    assert_eq!(judge(&worked_on), Verdict::Unknown);
    let back = WatchedNode { maintenance_until: Some(2_000), ..live(NodeStatus::Healthy) };
    assert_eq!(judge(&back), Verdict::Clear { since: Some(500) }, "what is fixed meanwhile is fixed");
}

#[test]
fn unobserved_pipeline_is_neither_well_nor_unwell() {
    let rule = Condition::PipelineStatus(vec![PipelineStatus::CrashLoop]);
    let node = live(NodeStatus::Healthy);
    let judge = |status| pipeline(&rule, &node, &orders(status), 1_000).unwrap();
    assert_eq!(since(&judge(PipelineStatus::CrashLoop)), Some(700));
    assert_eq!(judge(PipelineStatus::Unknown), Verdict::Unknown);
    assert_eq!(judge(PipelineStatus::Stopped), Verdict::Clear { since: Some(700) });
}

#[test]
fn lost_reports_are_unknown_to_a_process_that_has_just_started() {
    let mut node = live(NodeStatus::Healthy);
    let judge = |node: &WatchedNode, now| super::node(&Condition::LostReports, node, 1_000, now).unwrap();
    assert_eq!(judge(&node, 2_000), Verdict::Unknown);
    assert_eq!(judge(&node, 700_000), Verdict::Clear { since: None });
    node.lost_reports_at = Some(650_000);
    assert_eq!(since(&judge(&node, 700_000)), Some(650_000));
    assert_eq!(judge(&node, 1_250_000), Verdict::Clear { since: None });
}

#[test]
fn clock_may_be_off_either_way() {
    let rule = Condition::ClockSkew { skew: Duration::from_secs(30) };
    for (skew, is_off) in [(31_000, true), (-31_000, true), (30_000, false), (0, false)] {
        let node = WatchedNode { clock_skew_ms: Some(skew), ..live(NodeStatus::Healthy) };
        let verdict = super::node(&rule, &node, 0, 0).unwrap();
        assert_eq!(matches!(verdict, Verdict::Holds { .. }), is_off, "{skew}");
    }
    assert_eq!(node(&rule, &live(NodeStatus::Healthy), 0, 0), Some(Verdict::Unknown));
}

#[test]
fn rate_is_over_whole_minutes_and_unknown_without_the_last() {
    let expression = Expression::parse("errors / events_in > 0.01", MetricOf::Pipeline).unwrap();
    let rule = Condition::Rate { expression, over: Duration::from_secs(300) };
    let mut windows = MinuteWindows::default();
    for minute in 100..105 {
        windows.add_row(minute, &row(1_000, if minute == 102 { 60 } else { 0 }));
    }
    let judge = |minute| minutes(&rule, &live(NodeStatus::Healthy), windows.get(SERIES), minute, false).unwrap();
    let Verdict::Holds { since, value, text } = judge(104) else { panic!() };
    assert_eq!((since, value), (Some(105 * 60_000), Some(0.012)));
    assert_eq!(text, "errors / events_in > 0.01 over 5 min: 0.012");
    assert_eq!(judge(105), Verdict::Unknown);
    assert_eq!(judge(101), Verdict::Clear { since: Some(102 * 60_000) });
}

#[test]
fn gap_needs_an_hour_with_events_and_goes_on_until_events_come() {
    let rule = Condition::Gap { after: Duration::from_secs(3_600) };
    let mut windows = MinuteWindows::default();
    let judge = |windows: &MinuteWindows, minute, is_active| {
        minutes(&rule, &live(NodeStatus::Healthy), windows.get(SERIES), minute, is_active).unwrap()
    };
    for minute in 1_000..1_060 {
        windows.add_row(minute, &row(5, 0));
    }
    windows.add_row(1_060, &row(0, 0));
    assert_eq!(since(&judge(&windows, 1_060, false)), Some(1_060 * 60_000), "since its last events");
    assert_eq!(judge(&windows, 1_061, false), Verdict::Unknown, "no sample is not zero");
    windows.add_row(1_061, &row(1, 0));
    assert_eq!(judge(&windows, 1_061, true), Verdict::Clear { since: Some(1_062 * 60_000) });
    // Half an hour of silence later it is no longer a pipeline that carries events all the time.
    for minute in 1_062..1_100 {
        windows.add_row(minute, &row(i64::from(minute >= 1_090), 0));
    }
    windows.add_row(1_100, &row(0, 0));
    assert!(matches!(judge(&windows, 1_100, false), Verdict::Clear { .. }));
    assert!(matches!(judge(&windows, 1_100, true), Verdict::Holds { .. }), "one that has begun continues");
}

#[test]
fn host_metrics_are_parts_of_the_whole() {
    let rule = |text: &str| Condition::Host {
        expression: Expression::parse(text, MetricOf::Host).unwrap(),
        over: Duration::from_secs(60),
    };
    let mut windows = MinuteWindows::default();
    windows.keep_hosts();
    for (minute, idle) in [(100, 50.0), (101, 53.0)] {
        windows.set_host(NodeMinuteRow {
            minute,
            node: 1,
            cpu_seconds_total: Some((minute * 60) as f64),
            cpu_seconds_idle: Some(idle),
            memory_used_bytes: Some(3),
            memory_total_bytes: Some(4),
            ..NodeMinuteRow::default()
        });
    }
    let judge = |text: &str, minute| host(&rule(text), &live(NodeStatus::Healthy), &windows, minute).unwrap();
    let Verdict::Holds { value, .. } = judge("cpu > 90%", 101) else { panic!() };
    assert_eq!(value, Some(0.95));
    assert!(matches!(judge("memory > 0.7", 101), Verdict::Holds { .. }));
    assert_eq!(judge("disk > 0.1", 101), Verdict::Unknown);
    assert_eq!(judge("cpu > 0", 102), Verdict::Unknown);
}

#[test]
fn collector_has_parts() {
    let facts = CollectorFacts {
        is_disk_low: true,
        certificate_ends_at: Some(CERTIFICATE_ENDS_MS + 1_000),
        failing_targets: vec![("slack:x".into(), 5, "refused".into())],
        ..CollectorFacts::default()
    };
    let parts = |fault, now| collector(fault, &facts, now).0.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(parts(CollectorFault::DiskLow, 0), [""]);
    assert_eq!(parts(CollectorFault::WalFull, 0), Vec::<String>::new());
    assert_eq!(parts(CollectorFault::CertificateEnds, 0), Vec::<String>::new());
    assert_eq!(parts(CollectorFault::CertificateEnds, 1_001), [""]);
    assert_eq!(parts(CollectorFault::TargetFails, 0), ["slack:x"]);
}
