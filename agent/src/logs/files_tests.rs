use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::followed::ROTATED_QUIET;
use super::rotated::MAX_ROTATED;
use super::*;
use crate::logs::lock;
use crate::logs::read_offsets::SavedLogs;
use crate::logs::tail::Amount;
use crate::model::pattern::Pattern;

/// A pipeline's log files over lives of the agent. The pattern is `*.log`.
struct Fixture {
    dir: TempDir,
    files: LogFiles,
    logs: Mutex<LogBuffer>,
    /// What a killed agent would find.
    kept: SavedLogs,
    now: Instant,
}

fn config(pattern: &Path) -> LogFilesConfig {
    let patterns = vec![Pattern::parse(&pattern.display().to_string()).unwrap()];
    LogFilesConfig { patterns, ..LogFilesConfig::default() }
}

impl Fixture {
    /// The pattern was looked up before, so that every file is read from its beginning.
    fn new() -> Self {
        let mut fixture = Self::at_first_sight();
        fixture.polled();
        fixture
    }

    fn at_first_sight() -> Self {
        // In the future, so that no look-up seems to take time.
        let now = Instant::now() + Duration::from_secs(3_600);
        let logs = Mutex::new(LogBuffer::new(now));
        let dir = tempfile::tempdir().unwrap();
        Fixture { dir, files: LogFiles::default(), logs, kept: SavedLogs::default(), now }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let mut file = File::options().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Looks and reads, some time later.
    fn poll(&mut self) -> Polled {
        self.now += LOOK_EVERY;
        self.read()
    }

    /// Reads only.
    fn read(&mut self) -> Polled {
        let (scratch, amount) = (&mut Vec::new(), Amount::WithinBudget { spared: 0 });
        let config = config(&self.path("*.log"));
        self.files.poll(
            &config,
            &self.logs,
            &mut Round { rule: None, amount, at: 0, now: self.now, until: None, scratch },
        )
    }

    fn report(&mut self) -> Vec<String> {
        let mut logs = lock(&self.logs);
        let lines: Vec<String> = std::iter::from_fn(|| logs.take_first()).map(|line| line.text).collect();
        logs.close_report(0);
        self.kept = logs.closed().clone();
        logs.offsets.commit_report();
        lines
    }

    fn polled(&mut self) -> Vec<String> {
        self.poll();
        let mut lines = self.report();
        lines.sort_by_key(String::len);
        lines
    }

    /// The agent is killed and comes back.
    fn kill(&mut self) {
        self.files = LogFiles::default();
        self.logs = Mutex::new(LogBuffer::new(self.now));
        lock(&self.logs).restore(self.kept.clone(), 0);
    }
}

#[test]
fn at_the_first_sight_of_a_pattern_files_are_read_from_their_end_and_later_ones_from_their_beginning() {
    let mut fixture = Fixture::at_first_sight();
    fixture.write("a.log", "old\nhalf a");
    assert_eq!(fixture.polled(), [""; 0]);
    fixture.write("a.log", " line\n");
    fixture.write("b.log", "new\n");
    assert_eq!(fixture.polled(), ["new", "half a line"]);
    fixture.kill();
    fixture.write("c.log", "while it was away\n");
    assert_eq!(fixture.polled(), ["while it was away"]);
}

#[test]
fn a_file_that_was_renamed_is_read_to_its_end_and_the_new_one_from_its_beginning() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", "1\n");
    assert_eq!(fixture.polled(), ["1"]);
    fixture.rename("a.log", "a.log.1");
    fixture.write("a.log.1", "22\n");
    fixture.write("a.log", "333\n");
    assert_eq!(fixture.polled(), ["22", "333"]);
    fixture.write("a.log.1", "late\n");
    assert_eq!(fixture.polled(), ["late"]);
    fixture.now += ROTATED_QUIET;
    fixture.poll();
    assert_eq!(fixture.files.files.len(), 1, "let go of after a while");
}

#[test]
fn a_file_that_another_name_of_the_pattern_leads_to_is_the_same_file() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", "1\n");
    fixture.poll();
    fixture.rename("a.log", "b.log");
    std::fs::hard_link(fixture.path("b.log"), fixture.path("c.log")).unwrap();
    fixture.write("b.log", "22\n");
    assert_eq!(fixture.polled(), ["1", "22"]);
    assert_eq!(fixture.files.files.len(), 1);
}

#[test]
fn a_file_that_was_truncated_is_read_from_its_beginning_also_when_it_is_long_again() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", "first of all\n");
    assert_eq!(fixture.polled(), ["first of all"]);
    std::fs::copy(fixture.path("a.log"), fixture.path("copy")).unwrap();
    std::fs::write(fixture.path("a.log"), "1\n").unwrap();
    assert_eq!(fixture.polled(), ["1"]);
    std::fs::write(fixture.path("a.log"), "longer than it was\n").unwrap();
    assert_eq!(fixture.polled(), ["longer than it was"]);
}

#[test]
fn a_file_that_was_renamed_while_the_agent_was_away_is_found_under_any_name() {
    for name in ["b.log", "a.log.1"] {
        let mut fixture = Fixture::new();
        fixture.write("a.log", "1\n");
        assert_eq!(fixture.polled(), ["1"]);
        fixture.kill();
        fixture.write("a.log", "22\n");
        fixture.rename("a.log", name);
        fixture.write("a.log", "333\n");
        assert_eq!(fixture.polled(), ["22", "333"], "{name}");
    }
}

#[test]
fn of_files_that_are_rotated_too_fast_nothing_is_kept() {
    let mut fixture = Fixture::new();
    for round in 0..3 * MAX_ROTATED {
        fixture.write("a.log", &format!("{round}\n"));
        fixture.polled();
        fixture.rename("a.log", &format!("{round}.old"));
    }
    fixture.polled();
    assert!(fixture.files.files.len() <= MAX_ROTATED + 1);
    fixture.kill();
    let missing = lock(&fixture.logs).offsets.remembered().count();
    assert!(missing <= MAX_ROTATED + 1, "{missing} places are kept");
}

#[test]
fn of_too_many_rotated_files_the_oldest_is_given_up_and_its_lines_are_counted() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", "read\n");
    fixture.polled();
    let rotate = |fixture: &mut Fixture, number: usize, text: &str| {
        fixture.write("a.log", text);
        fixture.poll();
        fixture.rename("a.log", &format!("{number}.old"));
    };
    // The first takes all room there is, so that nothing is read of the others.
    rotate(&mut fixture, 0, &format!("{}half", "busy\n".repeat(6_000)));
    for number in 1..MAX_ROTATED {
        rotate(&mut fixture, number, "waits\n");
    }
    fixture.poll();
    assert_eq!(lock(&fixture.logs).close_report(0), 0);
    rotate(&mut fixture, MAX_ROTATED, "waits too\n");
    fixture.poll();
    assert_eq!(fixture.files.files.len(), MAX_ROTATED);
    let dropped = lock(&fixture.logs).close_report(0);
    let mut lines = Vec::new();
    for _ in 0..20 {
        lines.extend(fixture.report());
        fixture.now += Duration::from_secs(5);
        fixture.read();
    }
    lines.extend(fixture.report());
    let busy = lines.iter().filter(|line| *line == "busy").count() as u64;
    assert!(dropped > 1_000 && busy + dropped == 6_001, "{busy} and {dropped}");
    let waited = lines.iter().filter(|line| *line == "waits").count();
    assert_eq!(waited, MAX_ROTATED - 1, "none of the younger ones is given up");
}

#[test]
fn files_that_are_let_go_of_are_closed_and_read_on_when_they_are_wanted_again() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", "1\n22\nhalf");
    fixture.poll();
    fixture.files.let_go(&fixture.logs, 0, fixture.now);
    assert!(!fixture.files.are_open());
    fixture.write("a.log", " a line\n");
    assert_eq!(fixture.polled(), ["1", "22", "half a line"], "also what waits for a report is read once");
    fixture.files.let_go(&fixture.logs, 0, fixture.now);
    fixture.write("a.log", "4444\n");
    fixture.rename("a.log", "a.log.1");
    assert_eq!(fixture.polled(), ["4444"]);
}

#[test]
fn a_file_that_no_pattern_means_any_more_is_closed_though_it_is_written_to() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", "1\n");
    assert_eq!(fixture.polled(), ["1"]);
    fixture.now += LOOK_EVERY;
    let (scratch, amount) = (&mut Vec::new(), Amount::WithinBudget { spared: 0 });
    let mut round = Round { rule: None, amount, at: 0, now: fixture.now, until: None, scratch };
    fixture.files.poll(&config(&fixture.path("other")), &fixture.logs, &mut round);
    assert!(!fixture.files.are_open());
    fixture.write("a.log", "22\n");
    assert_eq!(fixture.polled(), ["22"]);
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", "1\n22\n");
    assert_eq!(fixture.polled(), ["1", "22"]);
    fixture.kill();
    // The same inode, and as long: truncated and written anew.
    std::fs::write(fixture.path("a.log"), "4\n55\n").unwrap();
    assert_eq!(fixture.polled(), ["4", "55"]);
}

#[test]
fn a_file_that_cannot_be_found_for_a_while_is_read_on_where_it_was() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", "1\n");
    assert_eq!(fixture.polled(), ["1"]);
    let away = tempfile::tempdir().unwrap();
    std::fs::rename(fixture.path("a.log"), away.path().join("a.log")).unwrap();
    fixture.kill();
    assert_eq!(fixture.polled(), [""; 0]);
    fixture.kill();
    std::fs::rename(away.path().join("a.log"), fixture.path("a.log")).unwrap();
    fixture.write("a.log", "22\n");
    assert_eq!(fixture.polled(), ["22"]);
}

#[test]
fn what_is_no_file_is_left_alone_and_files_beyond_the_bound_are_left_out() {
    let mut fixture = Fixture::new();
    nix::unistd::mkfifo(&fixture.path("pipe.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::create_dir(fixture.path("dir.log")).unwrap();
    std::os::unix::fs::symlink("nowhere", fixture.path("dangling.log")).unwrap();
    (0..MAX_FILES + 5).for_each(|number| fixture.write(&format!("{number}.log"), "x\n"));
    assert_eq!(fixture.polled().len(), MAX_FILES);
    assert_eq!(fixture.files.told.len(), 1, "{:?}", fixture.files.told);
    fixture.poll();
    assert_eq!(fixture.files.files.len(), MAX_FILES);
}

#[test]
fn idle_files_give_their_places_to_files_that_are_written_to_and_come_back() {
    let mut fixture = Fixture::at_first_sight();
    for number in 0..3 * MAX_FILES {
        fixture.write(&format!("{number:03}.log"), &format!("old {number:03}\n"));
    }
    assert_eq!(fixture.polled(), [""; 0]);
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in [0, 150, 299] {
            fixture.write(&format!("{number:03}.log"), &format!("round {round} of {number:03}\n"));
            expected.push(format!("round {round} of {number:03}"));
        }
        let mut lines = Vec::new();
        for _ in 0..40 {
            lines.extend(fixture.polled());
        }
        lines.sort();
        assert_eq!(lines, expected);
        assert!(fixture.files.files.len() <= MAX_FILES);
        expected.clear();
        if round == 1 {
            fixture.kill();
        }
        // Other files take the places.
        for number in 180..290 {
            fixture.write(&format!("{number:03}.log"), &format!("{round} {number}\n"));
        }
        let mut others = Vec::new();
        for _ in 0..60 {
            others.extend(fixture.polled());
        }
        others.sort();
        let all: Vec<String> = (180..290).map(|number| format!("{round} {number}")).collect();
        assert_eq!(others, all);
    }
}

#[test]
fn a_file_that_begins_like_before_and_was_rewritten_is_read_from_its_beginning() {
    let banner = "the same banner at every start\n".repeat(20);
    for is_away in [false, true] {
        let mut fixture = Fixture::new();
        fixture.write("a.log", &format!("{banner}first start at 10:00\n"));
        assert_eq!(fixture.polled().len(), 21);
        if is_away {
            fixture.kill();
        }
        let anew = format!("{banner}second start at 11:00\nand more than there was\n");
        std::fs::write(fixture.path("a.log"), anew).unwrap();
        let lines = if is_away {
            fixture.polled()
        } else {
            fixture.read();
            fixture.report()
        };
        assert_eq!(lines.len(), 22, "{lines:?}");
    }
}

#[test]
fn a_copy_is_not_read_again_and_gives_what_its_original_had_no_time_to() {
    for is_away in [false, true] {
        let mut fixture = Fixture::new();
        let line = |number: u32| format!("line {number:04} of a log that is copied and truncated\n");
        fixture.write("a.log", &(0..50).map(line).collect::<String>());
        assert_eq!(fixture.polled().len(), 50);
        if is_away {
            fixture.kill();
        } else {
            std::fs::copy(fixture.path("a.log"), fixture.path("early.log")).unwrap();
            assert_eq!(fixture.polled(), [""; 0], "the original stands");
        }
        fixture.write("a.log", &line(50));
        std::fs::copy(fixture.path("a.log"), fixture.path("b.log")).unwrap();
        File::options().write(true).open(fixture.path("a.log")).unwrap().set_len(0).unwrap();
        fixture.write("a.log", &line(51));
        let mut lines = fixture.polled();
        for _ in 0..3 {
            lines.extend(fixture.polled());
        }
        lines.sort();
        assert_eq!(lines, [line(50).trim_end(), line(51).trim_end()]);
        fixture.write("b.log", &line(52));
        assert_eq!(fixture.polled(), [line(52).trim_end()], "a copy that is written to is a file");
    }
}

#[test]
fn copies_of_a_log_that_is_truncated_again_and_again_before_they_are_found_are_read_once() {
    let mut fixture = Fixture::new();
    let lines = |rotation: u32| -> String {
        (0..20).map(|number| format!("line {number:02} of rotation {rotation} of a log\n")).collect()
    };
    for rotation in 0..5 {
        fixture.write("a.log", &lines(rotation));
        if rotation == 0 {
            fixture.poll();
        }
        fixture.read();
        assert_eq!(fixture.report().len(), 20);
        std::fs::copy(fixture.path("a.log"), fixture.path(&format!("copy {rotation}.log"))).unwrap();
        File::options().write(true).open(fixture.path("a.log")).unwrap().set_len(0).unwrap();
        fixture.read();
    }
    fixture.write("a.log", "end\n");
    assert_eq!(fixture.polled(), ["end"]);
}

#[test]
fn two_short_files_that_are_alike_are_two_files() {
    let mut fixture = Fixture::new();
    let text = "a program that says no time and starts twice, as two services may do\n";
    fixture.write("a.log", text);
    assert_eq!(fixture.polled().len(), 1);
    fixture.write("b.log", text);
    fixture.polled();
    fixture.now += Duration::from_secs(60);
    assert_eq!(fixture.polled().len(), 1);
}

#[test]
fn zeros_at_the_end_of_a_file_are_waited_at() {
    let mut fixture = Fixture::new();
    let file = File::create(fixture.path("a.log")).unwrap();
    let write_at = |text: &str, at: u64| std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), at).unwrap();
    file.set_len(8 * 1024 * 1024).unwrap();
    write_at("one\ntw", 0);
    assert_eq!(fixture.polled(), ["one"]);
    fixture.kill();
    write_at("o\nthree\n", 6);
    assert_eq!(fixture.polled(), ["two", "three"]);
    write_at("four\n", 14);
    assert_eq!(fixture.polled(), ["four"]);
}

#[test]
fn what_the_checkpoint_of_the_version_before_says_is_read_on() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", "1\n22\n");
    assert_eq!(fixture.polled(), ["1", "22"]);
    // Without what this version adds.
    let mut kept = serde_json::to_value(&fixture.kept).unwrap();
    let file = kept["files"][0].as_object_mut().unwrap();
    assert!(file.remove("check").is_some());
    fixture.kept = serde_json::from_value(kept).unwrap();
    fixture.kill();
    fixture.write("a.log", "333\n");
    assert_eq!(fixture.polled(), ["333"]);
}

#[test]
fn a_file_that_is_written_to_long_after_it_was_renamed_is_read_on() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", "1\n");
    assert_eq!(fixture.polled(), ["1"]);
    fixture.rename("a.log", "a.log.1");
    for pause in [75, 600] {
        fixture.polled();
        fixture.now += Duration::from_secs(pause);
        fixture.poll();
        fixture.write("a.log.1", &format!("after {pause}\n"));
        assert_eq!(fixture.polled(), [format!("after {pause}")]);
    }
}

#[test]
fn of_two_places_with_equal_inodes_the_one_with_device_and_path_counts() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", "one begins like the other\n22\n");
    assert_eq!(fixture.polled().len(), 2);
    let mut kept = serde_json::to_value(&fixture.kept).unwrap();
    let file = kept["files"][0].clone();
    for change in ["before", "behind"] {
        let mut other = file.clone();
        other["path"] = format!("/{change}/a.log").into();
        other["dev"] = (file["dev"].as_u64().unwrap() + 1).into();
        other["offset"] = 0.into();
        other.as_object_mut().unwrap().remove("check");
        let files = kept["files"].as_array_mut().unwrap();
        files.insert(if change == "before" { 0 } else { files.len() }, other);
    }
    fixture.kept = serde_json::from_value(kept).unwrap();
    fixture.kill();
    fixture.write("a.log", "333\n");
    assert_eq!(fixture.polled(), ["333"]);
}

#[test]
fn a_file_in_a_directory_whose_time_stands_still_is_found_within_a_minute() {
    let mut fixture = Fixture::new();
    let dir = File::open(fixture.dir.path()).unwrap();
    let old = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    fixture.write("a.log", "1\n");
    dir.set_times(old).unwrap();
    assert_eq!(fixture.polled(), ["1"]);
    fixture.write("b.log", "22\n");
    dir.set_times(old).unwrap();
    fixture.polled();
    fixture.now += Duration::from_secs(40);
    let mut lines = fixture.polled();
    lines.extend(fixture.polled());
    assert!(fixture.files.files.len() == 2, "{lines:?}");
}

#[test]
fn a_busy_file_does_not_keep_the_others_out() {
    let mut fixture = Fixture::new();
    fixture.write("a.log", &"busy\n".repeat(5_000));
    fixture.write("b.log", "quiet\n");
    assert!(fixture.poll().is_out_of_budget);
    fixture.now += Duration::from_millis(250);
    fixture.read();
    assert!(fixture.report().contains(&"quiet".to_owned()));
}

/// What may happen to one file and to the agent.
#[derive(Clone, Debug)]
enum Step {
    Write(&'static str),
    /// Renamed out of the pattern; the next line makes a new file.
    Rename,
    /// Truncated after it was read.
    Truncate,
    Read,
    Look,
    Report,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::sample::select(vec!["#\n", "# ", "#\n#\n", "\r\n"]).prop_map(Step::Write),
        1 => Just(Step::Rename),
        1 => Just(Step::Truncate),
        3 => Just(Step::Read),
        3 => Just(Step::Look),
        3 => Just(Step::Report),
        2 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Naive model: everything that was ever written, cut at its line ends. Rotation comes after a
    /// look, and a truncation after a report: what a program takes away before it could be seen is
    /// nobody's.
    #[test]
    fn every_line_is_reported_once_whatever_happens_to_the_file(steps in prop::collection::vec(step(), 1..60)) {
        let mut fixture = Fixture::new();
        let mut written = String::new();
        let mut reported = Vec::new();
        let (mut number, mut rotations) = (0, 0);
        for step in steps {
            match step {
                Step::Write(text) => {
                    let mut text = text.to_owned();
                    while text.contains('#') {
                        number += 1;
                        text = text.replacen('#', &format!("line {number:05}"), 1);
                    }
                    fixture.write("a.log", &text);
                    written.push_str(&text);
                }
                Step::Rename | Step::Truncate if !fixture.path("a.log").exists() => {}
                Step::Rename => {
                    fixture.write("a.log", "\n");
                    written.push('\n');
                    fixture.poll();
                    reported.extend(fixture.report());
                    rotations += 1;
                    fixture.rename("a.log", &format!("a.log.{rotations}"));
                }
                Step::Truncate => {
                    fixture.write("a.log", "\n");
                    written.push('\n');
                    fixture.poll();
                    reported.extend(fixture.report());
                    File::options().write(true).open(fixture.path("a.log")).unwrap().set_len(0).unwrap();
                }
                Step::Read => drop(fixture.read()),
                Step::Look => drop(fixture.poll()),
                Step::Report => reported.extend(fixture.report()),
                Step::Kill => fixture.kill(),
            }
        }
        fixture.write("a.log", "\n");
        written.push('\n');
        fixture.poll();
        reported.extend(fixture.report());
        let expected: Vec<&str> = written.lines().filter(|line| !line.is_empty()).collect();
        let found: Vec<&str> = reported.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
        prop_assert_eq!(found, expected);
    }
}
