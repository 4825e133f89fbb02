use std::io::Write;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::logs::read_offsets::SavedLogs;

/// A pipeline's output over lives of the process and of the agent.
struct Fixture {
    dir: TempDir,
    capture: Capture,
    logs: Mutex<LogBuffer>,
    /// What a killed agent would find.
    kept: SavedLogs,
    lives: UnixMillis,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let capture = Capture::new(dir.path().join("output"));
        let logs = Mutex::new(LogBuffer::new(Instant::now()));
        Fixture { dir, capture, logs, kept: SavedLogs::default(), lives: 0 }
    }

    fn begin(&mut self) -> Writers {
        self.lives += 1;
        self.capture.begin(&self.logs, self.lives).unwrap()
    }

    fn poll(&mut self) {
        let (scratch, amount) = (&mut Vec::new(), Amount::WithinBudget { spared: 0 });
        self.capture
            .poll(&self.logs, &mut Round { rule: None, amount, at: 0, now: Instant::now(), until: None, scratch });
    }

    fn finish(&mut self) -> bool {
        let (scratch, amount) = (&mut Vec::new(), Amount::Everything);
        self.capture
            .finish(&self.logs, &mut Round { rule: None, amount, at: 0, now: Instant::now(), until: None, scratch })
    }

    /// Puts at most so many lines into a report that reaches the spool.
    fn report(&mut self, room: usize) -> Vec<String> {
        let mut logs = lock(&self.logs);
        let lines = std::iter::from_fn(|| logs.take_first()).take(room).map(|line| line.text).collect();
        logs.close_report(0);
        self.kept = logs.closed().clone();
        logs.offsets.commit_report();
        lines
    }

    /// The agent is killed and comes back.
    fn kill(&mut self) {
        self.capture = Capture::new(self.dir.path().join("output"));
        self.logs = Mutex::new(LogBuffer::new(Instant::now()));
        lock(&self.logs).restore(self.kept.clone(), 0);
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("output")).unwrap().count()
    }
}

#[test]
fn a_line_that_was_not_reported_is_read_again_by_the_agents_next_life() {
    let mut fixture = Fixture::new();
    let mut writers = fixture.begin();
    writers.stdout.write_all(b"one\ntwo\nthree\n").unwrap();
    fixture.poll();
    assert_eq!(fixture.report(1), ["one"]);
    fixture.kill();
    writers.stdout.write_all(b"said by the dying\n").unwrap();
    fixture.poll();
    assert_eq!(fixture.report(9), ["two", "three", "said by the dying"]);
    fixture.kill();
    fixture.poll();
    assert_eq!(fixture.report(9), [""; 0]);
}

#[test]
fn a_file_goes_when_nobody_writes_to_it_and_its_last_line_cannot_be_lost() {
    let mut fixture = Fixture::new();
    let mut writers = fixture.begin();
    writers.stderr.write_all(b"last words").unwrap();
    assert!(!fixture.finish(), "somebody still writes");
    drop(writers);
    assert!(fixture.finish());
    fixture.poll();
    assert_eq!(fixture.files(), 1, "the empty one is gone, the other one has a line that no report has");
    assert_eq!(fixture.report(9), ["last words"]);
    fixture.poll();
    assert_eq!(fixture.files(), 0);
}

#[test]
fn what_outlives_its_process_is_still_read() {
    let mut fixture = Fixture::new();
    let mut orphan = fixture.begin();
    fixture.finish();
    let mut next = fixture.begin();
    next.stdout.write_all(b"next\n").unwrap();
    orphan.stdout.write_all(b"orphan\n").unwrap();
    fixture.poll();
    assert_eq!(fixture.report(9), ["orphan", "next"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_line_without_an_end_does_not_fill_the_disk_and_is_told_once_over_a_kill() {
    use std::os::unix::fs::MetadataExt;

    let mut fixture = Fixture::new();
    let mut writers = fixture.begin();
    let mut held_at_most = 0;
    // Faster than it is read, slower, and over a kill of the agent.
    for (step, size) in
        [4 * 1024 * 1024, 512 * 1024, 512 * 1024, 4 * 1024 * 1024].into_iter().cycle().take(16).enumerate()
    {
        writers.stdout.write_all(&vec![b'x'; size]).unwrap();
        (0..4).for_each(|_| fixture.poll());
        assert_eq!(fixture.report(9), [""; 0]);
        let held = std::fs::read_dir(fixture.dir.path().join("output")).unwrap();
        held_at_most = held_at_most.max(held.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum());
        if step == 7 {
            fixture.kill();
        }
    }
    assert!(held_at_most <= 4 * 1024 * 1024, "{held_at_most} bytes");
    writers.stdout.write_all(b"\nnext\n").unwrap();
    (0..4).for_each(|_| fixture.poll());
    let lines = fixture.report(9);
    assert!(lines[0].starts_with(&"x".repeat(60_000)) && !lines[0].contains('\u{fffd}'));
    assert_eq!(lines[1..], ["next"]);
}

#[test]
fn the_output_is_for_the_agent_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mut fixture = Fixture::new();
    let _writers = fixture.begin();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let dir = fixture.dir.path().join("output");
    assert_eq!(mode(&dir), 0o700);
    assert!(std::fs::read_dir(&dir).unwrap().all(|entry| mode(&entry.unwrap().path()) == 0o600));
}

#[test]
fn where_no_file_can_be_made_there_are_no_writers() {
    let mut fixture = Fixture::new();
    std::fs::write(fixture.dir.path().join("output"), "a file in its place").unwrap();
    assert!(fixture.capture.begin(&fixture.logs, 1).is_err());
    std::fs::remove_file(fixture.dir.path().join("output")).unwrap();
    fixture.begin();
}

#[test]
fn a_file_that_somebody_truncates_is_read_from_its_beginning() {
    let mut fixture = Fixture::new();
    let mut writers = fixture.begin();
    writers.stdout.write_all(b"one\ntwo\n").unwrap();
    fixture.poll();
    writers.stdout.set_len(0).unwrap();
    writers.stdout.write_all(b"new\n").unwrap();
    fixture.poll();
    fixture.poll();
    assert_eq!(fixture.report(9), ["one", "two", "new"]);
    fixture.kill();
    writers.stdout.write_all(b"more\n").unwrap();
    fixture.poll();
    assert_eq!(fixture.report(9), ["more"]);
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_reported_takes_no_space_for_long() {
    use std::os::unix::fs::MetadataExt;
    let mut fixture = Fixture::new();
    let mut writers = fixture.begin();
    for _ in 0..40 {
        writers.stdout.write_all("a line of a hundred bytes or so".repeat(3).as_bytes()).unwrap();
        writers.stdout.write_all(&[b'x'; 60_000]).unwrap();
        writers.stdout.write_all(b"\n").unwrap();
        fixture.poll();
        assert_eq!(fixture.report(9).len(), 1);
    }
    fixture.poll();
    let metadata = writers.stdout.metadata().unwrap();
    assert!(metadata.len() > 2_000_000);
    assert!(metadata.blocks() * 512 < 1_200_000, "{}", metadata.blocks() * 512);
}

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    /// Bytes of the process: a line number is put in where they have one to put.
    Write {
        to_stderr: bool,
        text: &'static str,
    },
    /// The process ends and the next one starts; somebody may hold its output a little longer.
    Restart {
        is_orphaned: bool,
    },
    Poll,
    Finish,
    Report(usize),
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let text = prop::sample::select(vec!["# ", "#\n", "\n", "long # long long\r\n", "a #", "#\n#\n#\n"]);
    prop_oneof![
        6 => (any::<bool>(), text).prop_map(|(to_stderr, text)| Step::Write { to_stderr, text }),
        1 => any::<bool>().prop_map(|is_orphaned| Step::Restart { is_orphaned }),
        4 => Just(Step::Poll),
        1 => Just(Step::Finish),
        3 => (0..20_usize).prop_map(Step::Report),
        2 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Naive model: what each life wrote to each stream, cut at its line ends.
    #[test]
    fn every_line_of_every_life_is_reported_once_and_in_order(steps in prop::collection::vec(step(), 1..60)) {
        let mut fixture = Fixture::new();
        let mut writers = fixture.begin();
        let mut written: Vec<String> = vec![String::new(); 2];
        let mut reported: Vec<String> = Vec::new();
        let mut orphans = Vec::new();
        let mut number = 0;
        for step in steps {
            match step {
                Step::Write { to_stderr, text } => {
                    let life = written.len() - 2;
                    let mut text = text.to_owned();
                    while text.contains('#') {
                        number += 1;
                        text = text.replacen('#', &format!("life{life}-{to_stderr}-{number}"), 1);
                    }
                    let writer = if to_stderr { &mut writers.stderr } else { &mut writers.stdout };
                    writer.write_all(text.as_bytes()).unwrap();
                    written[life + usize::from(to_stderr)].push_str(&text);
                }
                Step::Restart { is_orphaned } => {
                    fixture.finish();
                    let before = std::mem::replace(&mut writers, fixture.begin());
                    if is_orphaned {
                        orphans.push(before);
                    }
                    written.extend([String::new(), String::new()]);
                }
                Step::Poll => fixture.poll(),
                Step::Finish => drop(fixture.finish()),
                Step::Report(room) => reported.extend(fixture.report(room)),
                Step::Kill => fixture.kill(),
            }
        }
        drop((writers, orphans));
        for _ in 0..3 {
            fixture.finish();
            reported.extend(fixture.report(usize::MAX));
        }
        prop_assert_eq!(fixture.files(), 0);
        let mut left = reported;
        for (index, text) in written.iter().enumerate() {
            let expected: Vec<&str> = text.lines().collect();
            let own = format!("life{}-{}-", index / 2 * 2, index % 2 == 1);
            let of_stream = |line: &String| line.contains(&own);
            let found: Vec<&String> = left.iter().filter(|line| of_stream(line)).collect();
            let expected: Vec<&&str> = expected.iter().filter(|line| line.contains(&own)).collect();
            prop_assert_eq!(found.len(), expected.len());
            prop_assert!(found.iter().zip(&expected).all(|(found, expected)| found.as_str() == **expected));
            left.retain(|line| !of_stream(line));
        }
        let empty = written.iter().flat_map(|text| text.lines()).filter(|line| !line.contains('-')).count();
        prop_assert_eq!(left.len(), empty, "the empty lines are left");
    }
}
