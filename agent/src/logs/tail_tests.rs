use std::io::Write;
use std::time::Duration;

use super::*;
use crate::logs::read_offsets::SourceKey;

/// A file that is written to, and its tail.
struct Fixture {
    writer: File,
    tail: Tail,
    logs: Mutex<LogBuffer>,
    now: Instant,
    until: Option<Instant>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let writer = File::create(dir.path().join("file")).unwrap();
        let reader = File::options().read(true).write(true).open(dir.path().join("file")).unwrap();
        let (now, mut logs) = (Instant::now(), LogBuffer::new(Instant::now()));
        let source = logs.offsets.open(SourceKey::Output("file".to_owned()), 0);
        Fixture {
            writer,
            tail: Tail::new(reader, source, LogStream::Stdout, 0),
            logs: Mutex::new(logs),
            now,
            until: None,
        }
    }

    fn write(&mut self, text: impl AsRef<[u8]>) {
        self.writer.write_all(text.as_ref()).unwrap();
    }

    fn read(&mut self, amount: Amount) -> Reached {
        let scratch = &mut Vec::new();
        let mut round = Round { rule: None, amount, at: 7, now: self.now, until: self.until, scratch };
        let size = self.writer.metadata().unwrap().len();
        self.tail.read(size, &self.logs, &mut round).unwrap()
    }

    fn read_on(&mut self) -> Reached {
        self.read(Amount::WithinBudget { spared: 0 })
    }

    /// The lines that wait.
    fn take(&mut self) -> Vec<String> {
        let mut logs = lock(&self.logs);
        std::iter::from_fn(|| logs.take_first()).map(|line| line.text).collect()
    }

    fn dropped(&mut self) -> u64 {
        lock(&self.logs).close_report(0)
    }
}

fn numbered(lines: Range<u32>) -> String {
    lines.map(|number| format!("line {number:095}\n")).collect()
}

#[test]
fn a_line_is_taken_when_it_has_its_end() {
    let mut fixture = Fixture::new();
    fixture.write("one\ntw");
    assert_eq!(fixture.read_on(), Reached::End);
    assert_eq!(fixture.take(), ["one"]);
    fixture.write("o\n");
    fixture.read_on();
    assert_eq!(fixture.take(), ["two"]);
    fixture.write("rest");
    fixture.read_on();
    let scratch = &mut Vec::new();
    let amount = Amount::Everything;
    fixture.tail.finish(&fixture.logs, &Round { rule: None, amount, at: 7, now: fixture.now, until: None, scratch });
    assert_eq!(fixture.take(), ["rest"]);
}

#[test]
fn what_the_budget_has_no_room_for_stays_in_the_file() {
    let mut fixture = Fixture::new();
    fixture.write(numbered(0..3_000));
    assert_eq!(fixture.read_on(), Reached::Budget);
    let mut lines = fixture.take();
    assert_eq!(lines.len(), 1_000);
    for _ in 0..9 {
        assert_eq!(fixture.read_on(), Reached::Budget);
        fixture.now += Duration::from_secs(1);
        lines.extend(fixture.take());
    }
    fixture.now += Duration::from_secs(2);
    assert_eq!(fixture.read_on(), Reached::End);
    lines.extend(fixture.take());
    assert_eq!(lines.join("\n") + "\n", numbered(0..3_000));
    assert_eq!(fixture.dropped(), 0);
}

#[test]
fn of_a_large_backlog_the_oldest_lines_are_passed_over_and_counted() {
    let mut fixture = Fixture::new();
    fixture.write(numbered(0..30_000));
    fixture.read_on();
    let range = fixture.tail.take_skipped_range().unwrap();
    let first: u32 = fixture.take()[0][5..].parse().unwrap();
    assert_eq!(u64::from(first), fixture.dropped());
    assert_eq!((range.start, range.end), (0, u64::from(first) * 101));
    assert!(u64::from(30_000 - first) * 101 <= KEPT_BACKLOG_BYTES + 101);
}

#[test]
fn at_the_end_everything_is_read_and_the_last_lines_are_kept() {
    let mut fixture = Fixture::new();
    fixture.write(numbered(0..5_000));
    assert_eq!(fixture.read(Amount::Everything), Reached::End);
    assert_eq!(fixture.take().join("\n") + "\n", numbered(4_000..5_000));
    assert_eq!(fixture.dropped(), 4_000);
}

#[test]
fn a_single_line_beyond_all_bounds_costs_its_length_once() {
    let mut fixture = Fixture::new();
    fixture.write(vec![b'x'; 40 * 1024 * 1024]);
    fixture.read_on();
    assert_eq!(fixture.read_on(), Reached::End);
    fixture.write("\nnext\n");
    fixture.read_on();
    let lines = fixture.take();
    assert_eq!((lines.len(), lines[1].as_str()), (2, "next"));
    assert!(lines[0].starts_with("xxx") && lines[0].ends_with(systole_shared::limits::CUT_MARK));
}

#[test]
fn zeros_where_a_line_should_begin_are_no_text() {
    let mut fixture = Fixture::new();
    fixture.write("one\n");
    fixture.read_on();
    fixture.writer.set_len(300_000_004).unwrap();
    io::Seek::seek(&mut fixture.writer, io::SeekFrom::End(0)).unwrap();
    fixture.write("two\n\0\0three\n");
    while fixture.read_on() != Reached::End {}
    assert_eq!(fixture.take(), ["one", "two", "three"]);
}

#[test]
fn lines_are_left_to_others_when_told_so() {
    let mut fixture = Fixture::new();
    fixture.write(numbered(0..1_500));
    assert_eq!(fixture.read(Amount::WithinBudget { spared: 25 }), Reached::Budget);
    assert_eq!(fixture.take().len(), 975);
}

#[test]
fn a_file_that_became_shorter_began_anew() {
    let mut fixture = Fixture::new();
    fixture.write("one\ntwo\n");
    fixture.read_on();
    fixture.writer.set_len(0).unwrap();
    assert_eq!(fixture.read_on(), Reached::Beginning);
}

#[test]
fn a_flood_is_not_read_but_its_lines_are_estimated() {
    const HOLE_BYTES: u64 = 10 * 1024 * 1024 * 1024;
    let mut fixture = Fixture::new();
    fixture.write(numbered(0..2_000));
    // Nobody could write that in a test; what stands in it is not looked at.
    fixture.writer.set_len(HOLE_BYTES).unwrap();
    io::Seek::seek(&mut fixture.writer, io::SeekFrom::End(0)).unwrap();
    fixture.write(numbered(0..10_000));
    assert_eq!(fixture.read_on(), Reached::Budget);
    let range = fixture.tail.take_skipped_range().unwrap();
    assert!(range.start == 0 && range.end > HOLE_BYTES, "{range:?}");
    assert!(fixture.tail.density.bytes() < 512 * 1024, "{} bytes were read", fixture.tail.density.bytes());
    let lines = fixture.take();
    assert!(numbered(9_000 - 3_000..10_000).contains(&(lines.join("\n") + "\n")), "whole lines, near the end");
    let (dropped, lines) = (fixture.dropped(), range.end / 101);
    assert!(dropped.abs_diff(lines) < lines / 100, "{dropped} of {lines}");
    assert_eq!(lock(&fixture.logs).take_estimated(fixture.now), Some(dropped));
}

#[test]
fn a_backlog_of_8_mib_is_counted_exactly() {
    let mut fixture = Fixture::new();
    // Short lines first, so that an estimate would be wrong.
    fixture.write("\n".repeat(1_000_000));
    fixture.write(numbered(0..70_000));
    fixture.read_on();
    let first: u64 = fixture.take()[0][5..].parse().unwrap();
    assert_eq!(fixture.dropped(), 1_000_000 + first);
    assert_eq!(lock(&fixture.logs).take_estimated(fixture.now), None);
}

#[test]
fn a_round_ends_in_time_and_still_comes_to_something() {
    let mut fixture = Fixture::new();
    fixture.until = Some(fixture.now);
    fixture.write(numbered(0..70_000));
    let mut rounds = 0;
    while fixture.read_on() == Reached::Slice {
        rounds += 1;
        assert!(rounds < 100);
    }
    assert!(rounds > 20, "{rounds} rounds");
    let first: u64 = fixture.take()[0][5..].parse().unwrap();
    assert_eq!(fixture.dropped(), first);
}
