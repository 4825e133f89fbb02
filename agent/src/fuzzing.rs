//! What fuzzers feed: the parts of the agent that read bytes of others, and what must hold of them
//! whatever these bytes are. A function returns, or panics with what does not hold.
//!
//! A panic ends the agent (`panic = "abort"`), so a dependency that panics at data of others lets others
//! end it. These are the places where such data reaches one:
//!
//! | Data of others | Reaches | Run here by |
//! |---|---|---|
//! | names in logged directories | rustix, `logs::walk` | [`names`] |
//! | lines of processes and of log files | serde_json, regex-lite | [`lines`] |
//! | answers of metrics endpoints | reqwest, hyper; the parser is our own | [`metrics`] (bodies) |
//! | answers of the collector, or of a proxy | reqwest, hyper, rustls, serde_json, chrono | not run |
//! | requests on the agent's own port | hyper | not run |
//! | the spool and checkpoints after a crash | serde_json, crc32fast | [`segment`] |
//! | mount points, host and disk names | sysinfo, nix | not run |
//! | the configuration, certificates | toml, url, regex-lite, rustls | not run; the operator's |
//!
//! Not part of the agent's interface. In the library and not in the fuzzers' own crate, so that
//! `make test` runs the same functions on mutated recordings.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use systole_shared::BootId;
use systole_shared::limits::MAX_LOG_LINE_BYTES;
use uuid::Uuid;

use crate::logs::lines::{LineSplitter, LineText};
use crate::logs::{level, walk};
use crate::model::log_files::Links;
use crate::model::mapping::Mapping;
use crate::model::pattern::Pattern;
use crate::model::spool::Bounds;
use crate::scrape::delta_tracker::{DeltaTracker, ReportDeltas, SourceHash};
use crate::scrape::page::Scrape;
use crate::spool::Spool;

/// What a file of the spool begins with.
const SEGMENT_HEAD_BYTES: usize = 8;

/// Before each report in it.
const RECORD_HEADER_BYTES: usize = 12;

/// Bodies in one input stand between these.
const BODY_END: u8 = 0;

/// A metrics endpoint's answers, one after another, read with each built-in mapping and counted.
pub fn metrics(data: &[u8]) {
    static MAPPINGS: OnceLock<Vec<Mapping>> = OnceLock::new();
    for mapping in MAPPINGS.get_or_init(|| crate::config::built_in_mappings().collect()) {
        let mut tracker = DeltaTracker::of_supervised();
        tracker.begin_process();
        for (body, at) in data.split(|byte| *byte == BODY_END).zip(0_i64..) {
            let scrape = Scrape::of(body, mapping);
            let lines = body.split(|byte| *byte == b'\n').count() as u64;
            assert!(scrape.samples + scrape.garbage_lines <= lines, "more samples than lines");
            assert!(scrape.mapped <= scrape.samples, "more mapped samples than samples");
            tracker.record(&scrape, at);
            let before = tracker.take();
            check_metered(&before);
            tracker.record(&scrape, at);
            let nothing = tracker.take();
            for component in &nothing.components {
                let counted = [component.received_events, component.sent_events, component.errors, component.discarded];
                assert!(counted.iter().all(|count| count.get() == Ok(0)), "the same answer counted twice");
            }
            check_resumed(&mut tracker, &scrape, mapping, at);
        }
    }
}

fn check_metered(counted: &ReportDeltas) {
    let json = serde_json::to_vec(&(&counted.sample, &counted.components)).expect("a report is JSON");
    let back: serde_json::Value = serde_json::from_slice(&json).expect("and reads as such");
    assert!(back.is_array());
    if let Some(sample) = &counted.sample {
        for count in [sample.events_in, sample.events_out, sample.errors, sample.discarded] {
            assert!(count.get().is_ok(), "a counter that no collector takes");
        }
    }
}

/// The next life of the agent goes on from what this one saves.
fn check_resumed(tracker: &mut DeltaTracker, scrape: &Scrape, mapping: &Mapping, at: i64) {
    let Some(saved) = tracker.save(&SourceHash::of("", mapping)) else { return };
    let json = serde_json::to_vec(&saved).expect("baselines are JSON");
    let read = serde_json::from_slice(&json).expect("and read as such");
    let mut next = DeltaTracker::of_watched();
    next.resume(&read, &SourceHash::of("", mapping));
    next.record(scrape, at);
    let sums = next.take().sample.map(|sample| [sample.events_in, sample.events_out, sample.errors]);
    assert!(sums.is_none_or(|sums| sums.iter().all(|count| count.get() == Ok(0))), "counted again after a restart");
}

/// A file of the spool that a crash, or a disk, left behind; in a folder of the caller's.
///
/// The input: how many reports were written, then three bytes for each spoilt place (where, as a
/// fraction, and how), at last what stands behind them.
pub fn segment(data: &[u8], dir: &Path) {
    let boot = BootId(Uuid::from_u128(1));
    let _ = std::fs::remove_dir_all(dir);
    let Some((&reports, data)) = data.split_first() else { return };
    let reports = u64::from(reports % 16);
    let mut spool = Spool::open(dir, boot, Bounds::default());
    let now = i64::MAX / 2;
    let bodies: Vec<Vec<u8>> = (1..=reports).map(|seq| body(seq, now)).collect();
    for (seq, body) in (1..).zip(&bodies) {
        spool.push(seq, body.clone().into(), 0, now);
    }
    drop(spool);
    let path = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let path = path.into_iter().find(|path| path.extension().is_some_and(|found| found == "reports"));
    let path = path.unwrap_or_else(|| dir.join(format!("{}-{:020}.reports", boot, 1)));
    let mut bytes = std::fs::read(&path).unwrap_or_default();
    let (spoilt, behind) = data.split_at(data.len().min(9) / 3 * 3);
    let mut spoilt_places = Vec::new();
    for place in spoilt.chunks_exact(3).filter(|place| place[2] != 0) {
        let at = usize::from(u16::from_le_bytes([place[0], place[1]])) * bytes.len() / 0x1_0000;
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= place[2];
            spoilt_places.push(at);
        }
    }
    bytes.extend_from_slice(behind);
    std::fs::create_dir_all(dir).expect("the folder can be made");
    std::fs::write(&path, &bytes).expect("the file can be written");

    let mut spool = Spool::open(dir, BootId(Uuid::from_u128(2)), Bounds::default());
    let found = spool.oldest(usize::MAX, usize::MAX);
    let mut end = SEGMENT_HEAD_BYTES;
    for (seq, body) in (1..).zip(&bodies) {
        let record = end..end + RECORD_HEADER_BYTES + body.len();
        end = record.end;
        let is_intact = !spoilt_places.iter().any(|place| record.contains(place));
        let is_found = || found.iter().any(|queued| queued.seq == seq);
        assert!(!is_intact || is_found(), "report {seq} is lost with another one that is spoilt");
    }
    for queued in &found {
        let value: serde_json::Value = serde_json::from_slice(&queued.body).expect("what is found is whole");
        assert_eq!(value["seq"], queued.seq);
        assert!(queued.boot == boot);
    }
    spool.push(1, body(1, now).into(), 0, now);
    spool.forget(boot, u64::MAX);
    assert_eq!(spool.oldest(usize::MAX, usize::MAX).len(), 1, "the spool takes reports after all that");
}

fn body(seq: u64, end: i64) -> Vec<u8> {
    format!(r#"{{"seq":{seq},"start":{end},"end":{end},"pipelines":[{{"id":"p","status":"RUNNING"}}]}}"#).into_bytes()
}

/// Names in a directory, and the pattern that looks for them; in a folder of the caller's.
///
/// The input: the pattern below the folder, then paths of files, each after a NUL. A path that begins
/// with `>` is a symbolic link to the folder.
pub fn names(data: &[u8], dir: &Path) {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).expect("the folder can be made");
    let mut parts = data.split(|byte| *byte == 0);
    let pattern = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    for path in parts.take(32) {
        let (is_link, path) = path.strip_prefix(b">").map_or((false, path), |path| (true, path));
        let path = Path::new(OsStr::from_bytes(path));
        let is_below = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_below || path.as_os_str().is_empty() {
            continue;
        }
        let path = dir.join(path);
        // Names may be too long, or a file may stand where a directory should.
        let _ = path.parent().map(std::fs::create_dir_all);
        let _ = if is_link { std::os::unix::fs::symlink(dir, &path) } else { std::fs::write(&path, b"x") };
    }
    let Ok(pattern) = Pattern::parse(&format!("{}/{pattern}", dir.display())) else { return };
    if pattern.text().contains("..") {
        return;
    }
    let everything = Pattern::parse(&format!("{}/**", dir.display())).expect("a pattern");
    let everything = walk::find(&everything, Links::Refused, None).files;
    for links in [Links::Refused, Links::Followed] {
        let found = walk::find(&pattern, links, None).files;
        assert!(found.iter().all(|file| file.path.starts_with(dir)), "a file from elsewhere");
        assert!(found.is_sorted_by(|one, other| one.path < other.path), "a file twice");
        if links == Links::Refused && !pattern.text().contains("/.") {
            assert!(found.iter().all(|file| everything.contains(file)), "a file that two stars do not find");
        }
        for file in &found {
            assert!(walk::open::open_file(pattern.fixed(), &file.path, links).is_ok_and(|file| file.is_some()));
        }
    }
}

/// What a process writes, in pieces whose lengths the first bytes give.
pub fn lines(data: &[u8]) {
    let (lengths, text) = data.split_at(data.len().min(4));
    let expected = split([text]);
    let mut lengths = lengths.iter().cycle();
    let mut rest = text;
    let pieces = std::iter::from_fn(|| {
        let length = lengths.next().filter(|_| !rest.is_empty())?;
        let (piece, behind) = rest.split_at(rest.len().min(1 + usize::from(*length)));
        rest = behind;
        Some(piece)
    });
    let found = split(pieces);
    assert!(found == expected, "where the pieces end makes a difference");
    for line in &found {
        assert!(line.text.len() <= MAX_LOG_LINE_BYTES && !line.text.contains(['\n', '\0']));
        let _ = level::find(&line.text);
    }
}

fn split<'d>(pieces: impl IntoIterator<Item = &'d [u8]>) -> Vec<LineText> {
    let mut splitter = LineSplitter::default();
    let mut lines = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            let (used, line) = splitter.take(piece);
            lines.extend(line);
            piece = &piece[used..];
        }
    }
    lines.extend(splitter.finish());
    lines
}

#[cfg(test)]
mod tests;
