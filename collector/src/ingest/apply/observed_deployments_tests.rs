use systole_shared::{LogStream, UnixMillis};

use super::*;
use crate::ingest::reason::PublishedReason;
use crate::model::report::ReportedLine;
use crate::store::DeploymentRow;

const NOW: UnixMillis = 1_790_000_000_000;
const HEALTHY_FOR_MS: u64 = 30_000;

fn at() -> ReportWindow {
    ReportWindow {
        end: NOW,
        seconds: 5.0,
        minute: NOW / 60_000,
        correction: 0,
        latest_line: NOW,
        received_at: NOW,
        is_news: true,
        seq: 1,
        is_latest_boot: true,
        covered: 1,
        is_late: false,
        missing_reports: Vec::new(),
    }
}

fn orders() -> PipelineId {
    PipelineId::parse("orders").unwrap()
}

fn given(given: Given) -> GivenVersion {
    GivenVersion { pipeline: orders(), version: 7, healthy_for_ms: HEALTHY_FOR_MS, given, given_at: NOW - 60_000 }
}

fn run() -> GivenVersion {
    given(Given::Run { checksum: "7c".to_owned() })
}

fn process(status: PipelineStatus, age_ms: i64) -> ReportedPipeline {
    ReportedPipeline {
        id: orders(),
        name: None,
        version: Some(7),
        status,
        status_text: None,
        reason: String::new(),
        pid: Some(1),
        started_at: Some(NOW - age_ms),
        restarts: 0,
        config_checksum: Some("7c".to_owned()),
        sample: None,
        scrape_error: None,
        components: Vec::new(),
        logs: Vec::new(),
        logs_dropped: 0,
        topology: None,
    }
}

fn known(version: i64, phase: DeploymentPhase, reason: &str) -> HashMap<PipelineId, DeploymentState> {
    let row = DeploymentRow {
        node: 1,
        slug: "orders".to_owned(),
        version,
        running_version: None,
        phase: phase.as_str().to_owned(),
        reason: reason.to_owned(),
        since: NOW,
    };
    [(orders(), DeploymentState { row, reason: PublishedReason::new(reason) })].into_iter().collect()
}

fn observed(
    given: GivenVersion,
    process: Option<ReportedPipeline>,
    known: &HashMap<PipelineId, DeploymentState>,
) -> (DeploymentPhase, Option<i64>, String) {
    let found = observe(&[given], &process.into_iter().collect::<Vec<_>>(), known, &at());
    assert_eq!((found.len(), found[0].version), (1, 7));
    (found[0].phase, found[0].running_version, found[0].reason.clone())
}

#[test]
fn version_is_healthy_after_its_time_without_interruption() {
    use PipelineStatus::{Pending, Running, Starting};
    let new = HashMap::default();
    let phase = |process| observed(run(), process, &new);
    assert_eq!(phase(None).0, DeploymentPhase::Pending);
    assert_eq!(phase(Some(process(Pending, 0))).0, DeploymentPhase::Pending);
    assert_eq!(phase(Some(process(Starting, 1_000))), (DeploymentPhase::Starting, Some(7), String::new()));
    assert_eq!(phase(Some(process(Running, 29_999))).0, DeploymentPhase::Starting);
    assert_eq!(phase(Some(process(Running, 30_000))), (DeploymentPhase::Healthy, Some(7), String::new()));
    let unknown_age = ReportedPipeline { started_at: None, ..process(Running, 0) };
    assert_eq!(phase(Some(unknown_age)).0, DeploymentPhase::Starting);
}

#[test]
fn process_of_another_version_or_checksum_says_nothing() {
    let new = HashMap::default();
    let old = ReportedPipeline { version: Some(6), ..process(PipelineStatus::Running, 90_000) };
    assert_eq!(observed(run(), Some(old), &new), (DeploymentPhase::Pending, Some(6), String::new()));
    let crashed = ReportedPipeline { version: Some(6), ..process(PipelineStatus::Crashed, 0) };
    assert_eq!(observed(run(), Some(crashed), &new), (DeploymentPhase::Pending, None, String::new()));
    let other = ReportedPipeline { config_checksum: Some("6c".into()), ..process(PipelineStatus::Running, 90_000) };
    assert_eq!(observed(run(), Some(other), &new).0, DeploymentPhase::Pending);
    let none = ReportedPipeline { config_checksum: None, ..process(PipelineStatus::Running, 90_000) };
    assert_eq!(observed(run(), Some(none), &new).0, DeploymentPhase::Healthy, "older agents report none");
}

#[test]
fn crash_fails_a_version_that_was_not_healthy_yet() {
    let line = ReportedLine { at: NOW, stream: LogStream::Stderr, level: None, line: "no such sink ".to_owned() };
    let crashed = ReportedPipeline { logs: vec![line], ..process(PipelineStatus::Crashed, 0) };
    for before in [HashMap::default(), known(7, DeploymentPhase::Starting, ""), known(6, DeploymentPhase::Healthy, "")]
    {
        let (phase, running, reason) = observed(run(), Some(crashed.clone()), &before);
        assert_eq!(
            (phase, running, reason.as_str()),
            (DeploymentPhase::RolledBack, None, "its process crashed: no such sink")
        );
    }
    let new = HashMap::default();
    assert_eq!(observed(run(), Some(process(PipelineStatus::CrashLoop, 0)), &new).0, DeploymentPhase::RolledBack);
    let (phase, _, reason) = observed(run(), Some(process(PipelineStatus::Stopped, 0)), &new);
    assert_eq!((phase, reason.as_str()), (DeploymentPhase::RolledBack, "its process ended by itself"));
    let proven = known(7, DeploymentPhase::Healthy, "");
    assert_eq!(observed(run(), Some(crashed), &proven).0, DeploymentPhase::Healthy, "it was healthy before");
}

#[test]
fn failure_stays_until_the_version_is_healthy_after_all() {
    let failed = known(7, DeploymentPhase::RolledBack, "its process crashed");
    let (phase, _, reason) = observed(run(), Some(process(PipelineStatus::Starting, 500)), &failed);
    assert_eq!((phase, reason.as_str()), (DeploymentPhase::RolledBack, "its process crashed"));
    assert_eq!(observed(run(), Some(process(PipelineStatus::Running, 60_000)), &failed).0, DeploymentPhase::Healthy);
    let again = || GivenVersion { given_at: NOW + 1, ..run() };
    let crashed = || Some(process(PipelineStatus::Crashed, 0));
    assert_eq!(observed(again(), crashed(), &failed).0, DeploymentPhase::Pending, "another attempt");
    let pending = known(7, DeploymentPhase::Pending, "");
    assert_eq!(observed(again(), crashed(), &pending).0, DeploymentPhase::RolledBack);
}

#[test]
fn paused_and_withheld_versions_do_not_run() {
    let new = HashMap::default();
    let withheld = given(Given::Withheld("the agent runs Vector only".to_owned()));
    let (phase, _, reason) = observed(withheld, None, &new);
    assert_eq!((phase, reason.as_str()), (DeploymentPhase::Rejected, "the agent runs Vector only"));
    let paused = |process| observed(given(Given::Paused), process, &new).0;
    assert_eq!(paused(Some(process(PipelineStatus::Running, 60_000))), DeploymentPhase::Pending);
    assert_eq!(paused(None), DeploymentPhase::Paused);
    // Its next process is to prove itself again.
    let resumed = known(7, DeploymentPhase::Paused, "");
    assert_eq!(observed(run(), None, &resumed).0, DeploymentPhase::Pending);
}
