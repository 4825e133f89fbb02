//! Tests of the spool as a whole, on a real directory.

use std::collections::BTreeMap;

use proptest::prelude::*;
use systole_shared::{Counter, LogLine, LogStream, PipelineReport, PipelineSample, Report, Text};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::model::spool::{MAX_AGE, MAX_BYTES};

const NOW: UnixMillis = 1_790_000_000_000;
const EVERYTHING: (usize, usize) = (usize::MAX, usize::MAX);

fn boot(number: u128) -> BootId {
    BootId(Uuid::from_u128(number))
}

fn report(seq: u64, status: &str, events: u64, lines: u64) -> Report<'static> {
    let end = NOW + i64::try_from(seq).unwrap() * 5_000;
    let line = |number| LogLine {
        at: end,
        stream: LogStream::Stdout,
        level: None,
        line: format!("line {seq}.{number}").into(),
    };
    Report {
        seq,
        start: end - 5_000,
        end,
        agent: None,
        host: None,
        pipelines: vec![PipelineReport {
            id: "p".into(),
            name: None,
            version: None,
            status: Text::from(status.to_owned()),
            reason: None,
            pid: None,
            started_at: None,
            restarts: 0,
            config_checksum: None,
            sample: Some(PipelineSample { events_in: Counter::new(events), ..PipelineSample::default() }),
            scrape_error: None,
            components: Vec::new(),
            logs: (0..lines).map(line).collect(),
            logs_dropped: 0,
            topology: None,
        }],
        covers: None,
        deployments: Vec::new(),
    }
}

fn push(spool: &mut Spool, report: &Report<'_>) -> Pushed {
    let lines = report.pipelines[0].logs.len() as u64;
    spool.push(report.seq, serde_json::to_vec(report).unwrap().into(), lines, report.end)
}

fn seqs(reports: &[Queued]) -> Vec<u64> {
    reports.iter().map(|report| report.seq).collect()
}

fn open(dir: &TempDir, boot_number: u128, bytes: u64) -> Spool {
    Spool::open(&dir.path().join("spool"), boot(boot_number), Bounds { bytes, ..Bounds::default() })
}

/// What is stored of the reports: events by minute, lines in order, and the reports that are missing.
#[derive(Debug, Default, PartialEq)]
struct Stored {
    events: BTreeMap<i64, i64>,
    lines: Vec<String>,
    holes: u64,
}

/// Takes everything out as a collector would: in order, each report once.
fn drain(spool: &mut Spool, last_seq: u64) -> Stored {
    let (mut stored, mut progress) = (Stored::default(), 0);
    loop {
        let batch = spool.oldest(7, 100_000);
        let Some(last) = batch.last().cloned() else { break };
        for queued in &batch {
            let report: Report<'_> = serde_json::from_slice(&queued.body).unwrap();
            let from = report.covers.map_or(report.seq, |covers| covers.from);
            assert!(from > progress, "{from} was there before: {progress}");
            stored.holes += from - progress - 1;
            progress = report.seq;
            let minute = report.end.div_euclid(60_000);
            for pipeline in report.pipelines {
                *stored.events.entry(minute).or_default() += pipeline.sample.unwrap().events_in.get().unwrap();
                stored.lines.extend(pipeline.logs.into_iter().map(|line| line.line.0.into_owned()));
            }
        }
        assert_eq!(spool.forget(last.boot, last.seq), batch.len());
    }
    stored.holes += last_seq - progress;
    stored
}

#[test]
fn reports_of_earlier_runs_are_sent_first_and_separately() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = open(&dir, 1, MAX_BYTES);
    (1..=3).for_each(|seq| assert_eq!(push(&mut first, &report(seq, "RUNNING", 1, 0)), Pushed::default()));
    first.forget(boot(1), 1);
    drop(first);
    let mut second = open(&dir, 2, MAX_BYTES);
    push(&mut second, &report(1, "RUNNING", 1, 0));
    let of_first = second.oldest(EVERYTHING.0, EVERYTHING.1);
    // What was acknowledged last may come again: the collector knows it by its number.
    assert_eq!((of_first[0].boot, seqs(&of_first)), (boot(1), vec![1, 2, 3]));
    assert_eq!(second.forget(boot(1), 3), 3);
    let own = second.oldest(EVERYTHING.0, EVERYTHING.1);
    assert_eq!((own[0].boot, seqs(&own)), (boot(2), vec![1]));
}

#[test]
fn empty_spool_uses_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1, MAX_BYTES);
    for seq in 1..=50 {
        push(&mut spool, &report(seq, "RUNNING", 1, 3));
        let sent = spool.oldest(EVERYTHING.0, EVERYTHING.1);
        assert_eq!(seqs(&sent), [seq]);
        spool.forget(boot(1), seq);
    }
    assert_eq!(spool.size(), (0, 0));
    let files = Segment::find(&dir.path().join("spool")).unwrap();
    assert!(files.iter().all(|path| path.metadata().unwrap().len() == 0), "{files:?}");
}

#[test]
fn torn_tail_loses_one_report() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1, MAX_BYTES);
    (1..=5).for_each(|seq| assert_eq!(push(&mut spool, &report(seq, "RUNNING", 1, 0)).lost.reports, 0));
    drop(spool);
    let path = Segment::find(&dir.path().join("spool")).unwrap().remove(0);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let mut spool = open(&dir, 2, MAX_BYTES);
    assert_eq!(seqs(&spool.oldest(EVERYTHING.0, EVERYTHING.1)), [1, 2, 3, 4]);
}

#[test]
fn merging_keeps_sums_lines_and_changes_within_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, bound) = (open(&dir, 1, 256 * 1024), 256 * 1024);
    let (mut expected, mut lost, mut most) = (Stored::default(), 0, 0);
    let count = 1_500;
    for seq in 1..=count {
        let status = if seq % 100 == 50 { "CRASHED" } else { "RUNNING" };
        let lines = u64::from(seq % 10 == 0);
        let report = report(seq, status, seq, lines);
        *expected.events.entry(report.end.div_euclid(60_000)).or_default() += seq as i64;
        expected.lines.extend(report.pipelines[0].logs.iter().map(|line| line.line.as_str().to_owned()));
        lost += push(&mut spool, &report).lost.reports;
        most = most.max(spool.segments.iter().map(|segment| segment.bytes).sum::<u64>());
    }
    assert!(most <= bound, "{most}");
    assert_eq!(lost, 0, "merging is enough for this outage");
    assert!(spool.size().0 < count / 2, "{:?}", spool.size());
    let changes = spool.oldest(EVERYTHING.0, EVERYTHING.1);
    let crashed = changes.iter().filter(|queued| String::from_utf8_lossy(&queued.body).contains("CRASHED"));
    assert_eq!(crashed.count(), 15);
    assert_eq!(drain(&mut spool, count), expected);
}

/// A report of a node with many pipelines: larger than a file of a small spool.
fn large_report(seq: u64) -> Report<'static> {
    let mut report = report(seq, "RUNNING", seq, 0);
    report.pipelines[0].reason = Some(Text::from("x".repeat(10_000)));
    report
}

#[test]
fn reports_are_merged_across_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1, 256 * 1024);
    let count = 150;
    let mut expected = Stored::default();
    for seq in 1..=count {
        *expected.events.entry(large_report(seq).end.div_euclid(60_000)).or_default() += seq as i64;
        assert_eq!(push(&mut spool, &large_report(seq)).lost.reports, 0, "{seq}");
    }
    // A minute each, and those that came since the spool was half full.
    assert!(spool.size().0 < 26, "{:?}", spool.size());
    assert_eq!(drain(&mut spool, count), expected);
}

#[test]
fn merge_interrupted_by_a_kill_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1, 256 * 1024);
    (1..=40).for_each(|seq| assert_eq!(push(&mut spool, &large_report(seq)).lost.reports, 0));
    let index = spool.segments.iter().position(|segment| !segment.is_merged).unwrap();
    let before = Segment::find(&dir.path().join("spool")).unwrap().remove(index - 1);
    let kept = std::fs::read(&before).unwrap();
    spool.merge(index).unwrap();
    let left = std::fs::metadata(&before).map_or(0, |file| file.len());
    assert!(left < kept.len() as u64, "its last report went to the next file");
    std::fs::write(&before, kept).unwrap();
    drop(spool);
    let mut spool = open(&dir, 2, 256 * 1024);
    assert_eq!(drain(&mut spool, 40).events.values().sum::<i64>(), (1..=40).sum::<i64>());
}

#[test]
fn lost_reports_equal_the_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1, 64 * 1024);
    let count = 5_000;
    let losses: Vec<Lost> = (1..=count).map(|seq| push(&mut spool, &report(seq, "RUNNING", 1, 2)).lost).collect();
    let lost: u64 = losses.iter().map(|lost| lost.reports).sum();
    let lost_lines: u64 = losses.iter().map(|lost| lost.log_lines).sum();
    assert!(lost > 0);
    let stored = drain(&mut spool, count);
    assert_eq!(stored.holes, lost);
    assert_eq!(stored.events.values().sum::<i64>() as u64 + lost, count);
    assert_eq!(stored.lines.len() as u64 + lost_lines, 2 * count);
}

#[test]
fn reports_in_flight_are_not_merged() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1, 256 * 1024);
    push(&mut spool, &report(1, "RUNNING", 1, 0));
    (2..=9).for_each(|seq| assert_eq!(push(&mut spool, &report(seq, "RUNNING", 1, 0)).lost.reports, 0));
    assert_eq!(spool.oldest(5, usize::MAX).len(), 5);
    drop(spool);
    let mut spool = open(&dir, 2, 256 * 1024);
    (1..=900).for_each(|seq| assert_eq!(push(&mut spool, &report(seq, "RUNNING", 1, 0)).lost.reports, 0));
    let first: Vec<_> = seqs(&spool.oldest(5, usize::MAX));
    assert_eq!(first, [1, 2, 3, 4, 5]);
}

#[test]
fn flipped_bit_while_the_agent_was_down_costs_one_report_and_is_counted() {
    for is_version_1 in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(&dir, 1, MAX_BYTES);
        (1..=60).for_each(|seq| assert_eq!(push(&mut spool, &report(seq, "RUNNING", 1, 0)), Pushed::default()));
        drop(spool);
        let path = Segment::find(&dir.path().join("spool")).unwrap().remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        if is_version_1 {
            let records = record::scan(&bytes).records;
            let without = records.iter().map(|found| bytes[found.start + 4..found.body.end].to_vec());
            bytes = without.collect::<Vec<_>>().concat();
        }
        let damaged = record::scan(&bytes).records[30].body.start + 20;
        bytes[damaged] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let mut spool = open(&dir, 2, MAX_BYTES);
        let next = push(&mut spool, &report(1, "RUNNING", 1, 0));
        assert_eq!((next.damaged.reports, next.lost), (1, Lost::default()));
        let left: Vec<u64> = (1..=60).filter(|seq| *seq != 31).collect();
        assert_eq!(seqs(&spool.oldest(EVERYTHING.0, EVERYTHING.1)), left, "all others are there");
    }
}

#[test]
fn file_of_a_later_version_is_left_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, 1, MAX_BYTES));
    let path = dir.path().join("spool").join(format!("{}-{:020}.reports", boot(1), 1));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, b"systole\x03and more").unwrap();
    assert_eq!(open(&dir, 2, MAX_BYTES).size(), (0, 0));
    assert_eq!(std::fs::read(&path).unwrap(), b"systole\x03and more");
}

#[test]
fn corrupt_report_is_counted_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1, MAX_BYTES);
    (1..=3).for_each(|seq| assert_eq!(push(&mut spool, &report(seq, "RUNNING", 1, 4)).lost.reports, 0));
    let path = Segment::find(&dir.path().join("spool")).unwrap().remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(seqs(&spool.oldest(EVERYTHING.0, EVERYTHING.1)), [1, 3]);
    assert_eq!(push(&mut spool, &report(4, "RUNNING", 1, 0)).damaged, Lost { reports: 1, log_lines: 4 });
}

#[test]
fn merging_counts_corrupt_reports_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1, 256 * 1024);
    (1..=40).for_each(|seq| assert_eq!(push(&mut spool, &report(seq, "RUNNING", 1, 1)).lost.reports, 0));
    let path = Segment::find(&dir.path().join("spool")).unwrap().remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    let count = 900;
    (41..=count).for_each(|seq| assert_eq!(push(&mut spool, &report(seq, "RUNNING", 1, 1)).lost.reports, 0));
    let stored = drain(&mut spool, count);
    assert_eq!((stored.holes, stored.lines.len() as u64), (1, count - 1));
    assert_eq!(push(&mut spool, &report(count + 1, "RUNNING", 1, 0)).damaged, Lost { reports: 1, log_lines: 1 });
}

#[test]
fn half_merged_file_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, 1, MAX_BYTES));
    let left = dir.path().join("spool").join(format!("{}-1.merging", boot(1)));
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, "half").unwrap();
    open(&dir, 2, MAX_BYTES);
    assert!(!left.exists());
}

#[test]
fn old_reports_are_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(&dir, 1, MAX_BYTES);
    (1..=3).for_each(|seq| assert_eq!(push(&mut spool, &report(seq, "RUNNING", 1, 0)).lost.reports, 0));
    let day = i64::try_from(MAX_AGE.as_millis()).unwrap();
    let late = report(4, "RUNNING", 1, 0);
    let body: Arc<[u8]> = serde_json::to_vec(&late).unwrap().into();
    assert_eq!(spool.push(4, body, 0, NOW + 2 * 5_000 + day + 1).lost.reports, 2);
    assert_eq!(seqs(&spool.oldest(EVERYTHING.0, EVERYTHING.1)), [3, 4]);
}

#[test]
fn spool_continues_in_memory_without_a_disk() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("spool");
    // A file in place of the directory: not even root can write there.
    std::fs::write(&blocked, "").unwrap();
    let mut spool = open(&dir, 1, MAX_BYTES);
    let lost = push(&mut spool, &report(1, "RUNNING", 1, 0));
    assert!(
        matches!(lost, Pushed { lost: Lost { reports: 0, log_lines: 0 }, disk: DiskNews::Lost(_), .. }),
        "{lost:?}"
    );
    assert_eq!(push(&mut spool, &report(2, "RUNNING", 1, 0)), Pushed::default(), "reported once");
    assert_eq!(seqs(&spool.oldest(EVERYTHING.0, EVERYTHING.1)), [1, 2]);
    std::fs::remove_file(&blocked).unwrap();
    assert_eq!(push(&mut spool, &report(3, "RUNNING", 1, 0)).disk, DiskNews::Back);
    drop(spool);
    let mut again = open(&dir, 2, MAX_BYTES);
    assert_eq!(seqs(&again.oldest(EVERYTHING.0, EVERYTHING.1)), [1, 2, 3]);
}

#[test]
fn memory_is_bounded_without_a_disk() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("spool"), "").unwrap();
    let mut spool = open(&dir, 1, MAX_BYTES);
    let lost: u64 = (1..=40).map(|seq| push(&mut spool, &report(seq, "RUNNING", 1, 5_000)).lost.reports).sum();
    let kept = spool.oldest(EVERYTHING.0, EVERYTHING.1);
    assert!(spool.size().1 <= MAX_MEMORY_BYTES as u64);
    assert_eq!(lost + kept.len() as u64, 40);
    assert_eq!(kept.last().unwrap().seq, 40, "the newest stay");
}

#[derive(Clone, Debug)]
enum Step {
    Push { events: u64, lines: u64 },
    Send { acknowledge: bool },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u64..100, 0_u64..3).prop_map(|(events, lines)| Step::Push { events, lines }),
        2 => any::<bool>().prop_map(|acknowledge| Step::Send { acknowledge }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Against a collector that applies each (boot, seq) once: whether it is sent again, merged, or
    /// interrupted by a kill, every event and line is stored once, in order.
    #[test]
    fn events_arrive_once_over_kills_and_lost_responses(steps in prop::collection::vec(step(), 1..250)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut life, mut seq, mut total) = (1, 0, 0);
        let mut spool = open(&dir, life, 24 * 1024 * 64);
        let mut progress: BTreeMap<BootId, u64> = BTreeMap::new();
        let (mut stored, mut lines, mut expected_lines) = (0, Vec::new(), Vec::new());
        let mut collect = |queued: &Queued, progress: &mut BTreeMap<BootId, u64>| {
            let report: Report<'_> = serde_json::from_slice(&queued.body).unwrap();
            let applied = progress.entry(queued.boot).or_default();
            if report.seq > *applied {
                let from = report.covers.map_or(report.seq, |covers| covers.from);
                assert!(from > *applied, "a merged report with a part that was applied");
                *applied = report.seq;
                stored += report.pipelines[0].sample.unwrap().events_in.get().unwrap();
                lines.extend(report.pipelines[0].logs.iter().map(|line| line.line.as_str().to_owned()));
            }
        };
        for step in steps.into_iter().chain([Step::Restart]) {
            match step {
                Step::Push { events, lines } => {
                    seq += 1;
                    total += events as i64;
                    let mut report = report(seq, "RUNNING", events, lines);
                    for line in &mut report.pipelines[0].logs {
                        line.line = format!("{life}/{}", line.line.as_str()).into();
                        expected_lines.push(line.line.as_str().to_owned());
                    }
                    prop_assert_eq!(push(&mut spool, &report).lost.reports, 0);
                }
                Step::Send { acknowledge } => {
                    let batch = spool.oldest(5, 4_000);
                    batch.iter().for_each(|queued| collect(queued, &mut progress));
                    if let Some(last) = batch.last().filter(|_| acknowledge) {
                        spool.forget(last.boot, last.seq);
                    }
                }
                Step::Restart => {
                    life += 1;
                    seq = 0;
                    spool = open(&dir, life, 24 * 1024 * 64);
                }
            }
        }
        loop {
            let batch = spool.oldest(5, 4_000);
            batch.iter().for_each(|queued| collect(queued, &mut progress));
            let Some(last) = batch.last() else { break };
            spool.forget(last.boot, last.seq);
        }
        prop_assert_eq!(stored, total);
        prop_assert_eq!(lines, expected_lines);
    }
}

#[test]
fn reports_with_different_reasons_are_not_merged() {
    let with = |seq, reason: &str| {
        let mut report = report(seq, "DEGRADED", 1, 0);
        report.pipelines[0].reason = Some(Text::from(reason.to_owned()));
        report
    };
    assert!(merge::can_merge(&with(1, "one"), &with(2, "one"), usize::MAX));
    assert!(!merge::can_merge(&with(1, "one"), &with(2, "two"), usize::MAX));
}
