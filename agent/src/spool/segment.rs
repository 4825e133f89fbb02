//! One file of the spool: reports of one boot, in order.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use systole_shared::{BootId, Report, SeqRange, UnixMillis};

use super::{merge, record};
use crate::files;

/// The index entry of a report on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) end: UnixMillis,
    pub(super) log_lines: u64,
    covers: Option<SeqRange>,
    /// Where its record begins.
    start: u64,
    /// Where its body begins.
    at: u64,
    pub(super) length: usize,
    checksum: u32,
}

impl Entry {
    /// What is to be remembered of a report whose record begins at `start` and whose body lies at `at`.
    fn of(body: &[u8], start: u64, at: u64) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            seq: u64,
            end: UnixMillis,
            #[serde(default)]
            covers: Option<SeqRange>,
            #[serde(default)]
            pipelines: Vec<Lines>,
        }
        #[derive(Deserialize)]
        struct Lines {
            #[serde(default)]
            logs: Vec<IgnoredAny>,
        }
        let head: Head = serde_json::from_slice(body)?;
        let log_lines = head.pipelines.iter().map(|pipeline| pipeline.logs.len() as u64).sum();
        Ok(Entry {
            seq: head.seq,
            end: head.end,
            log_lines,
            covers: head.covers,
            start,
            at,
            length: body.len(),
            checksum: record::checksum(body),
        })
    }

    /// The first report that it stands for.
    pub(super) fn from(&self) -> u64 {
        self.covers.map_or(self.seq, |covers| covers.from)
    }

    /// Whether both end in one minute.
    pub(super) fn is_same_minute(&self, other: &Entry) -> bool {
        self.end.div_euclid(60_000) == other.end.div_euclid(60_000)
    }

    /// The number of reports that it stands for.
    pub(super) fn reports(&self) -> u64 {
        self.covers.map_or(1, |covers| covers.to.saturating_sub(covers.from).saturating_add(1))
    }
}

/// A file of records.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) boot: BootId,
    path: PathBuf,
    file: File,
    /// Reports that the collector does not have yet.
    pub(super) entries: VecDeque<Entry>,
    /// Length of the file.
    pub(super) bytes: u64,
    /// Whether its reports were merged.
    pub(super) is_merged: bool,
}

/// A file as it was found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) segment: Segment,
    /// Reports that lay in it and are damaged.
    pub(super) damaged: u64,
}

const EXTENSION: &str = "reports";

/// Of a file that is being merged; one that a killed agent left is of no use.
const UNFINISHED: &str = "merging";

impl Segment {
    /// A new file. Names sort by boot (a UUID v7 begins with its time) and number.
    pub(super) fn create(dir: &Path, boot: BootId, first_seq: u64) -> io::Result<Self> {
        let path = dir.join(format!("{boot}-{first_seq:020}.{EXTENSION}"));
        let file = files::create(OpenOptions::new().read(true).write(true).truncate(true), &path)?;
        Ok(Segment { boot, path, file, entries: VecDeque::new(), bytes: 0, is_merged: false })
    }

    /// The files that earlier runs of the agent left, oldest first.
    pub(super) fn find(dir: &Path) -> io::Result<Vec<PathBuf>> {
        let all = std::fs::read_dir(dir)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let (unfinished, mut paths): (Vec<PathBuf>, Vec<PathBuf>) = all
            .filter(|path| path.extension().is_some_and(|found| found == EXTENSION || found == UNFINISHED))
            .partition(|path| path.extension().is_some_and(|found| found == UNFINISHED));
        for path in unfinished {
            let _ = std::fs::remove_file(path);
        }
        paths.sort();
        Ok(paths)
    }

    /// Opens such a file. What is torn at its end is cut off; what is damaged is skipped and counted.
    pub(super) fn open(path: PathBuf) -> io::Result<Option<Opened>> {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(boot) = name.get(..36).and_then(|boot| boot.parse().ok()) else { return Ok(None) };
        let first_seq = name.get(37..).and_then(|seq| seq.parse().ok()).unwrap_or(1);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        files::make_private(&file)?;
        let bytes = std::fs::read(&path)?;
        let scanned = record::scan(&bytes);
        // With records of this version it is a spoilt head.
        if scanned.records.is_empty() && record::is_of_later_version(&bytes) {
            return Err(io::Error::other("it was written by a newer version of the agent"));
        }
        let mut damaged = 0;
        let mut segment = Segment { boot, path, file, entries: VecDeque::new(), bytes: 0, is_merged: false };
        for found in scanned.records {
            segment.bytes = found.body.end as u64;
            let Ok(entry) = Entry::of(&bytes[found.body.clone()], found.start as u64, found.body.start as u64) else {
                damaged += 1;
                continue;
            };
            if found.is_after_damage {
                // Numbers of reports have no gaps in a file, so what is missing is known exactly.
                let expected = segment.entries.back().map_or(first_seq, |last| last.seq.saturating_add(1));
                damaged += entry.from().saturating_sub(expected);
            }
            segment.entries.push_back(entry);
        }
        damaged += u64::from(scanned.ends_damaged);
        segment.file.set_len(segment.bytes)?;
        Ok(Some(Opened { segment, damaged }))
    }

    /// Writes a report behind the others. On failure the file is as it was.
    pub(super) fn append(&mut self, body: &[u8]) -> io::Result<()> {
        let head = if self.bytes == 0 { record::HEAD.as_slice() } else { &[] };
        let start = self.bytes + head.len() as u64;
        let (record, header_bytes) = record::encode(body);
        let entry = Entry::of(body, start, start + header_bytes as u64)?;
        let record = [head, &record].concat();
        if let Err(error) = self.file.write_all_at(&record, self.bytes) {
            // A full disk leaves half a record; without it the next one would be unreadable.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.entries.push_back(entry);
        self.bytes += record.len() as u64;
        Ok(())
    }

    /// The body of a report; `None` if the disk releases something else than was written.
    pub(super) fn read(&self, entry: &Entry) -> Option<Vec<u8>> {
        let mut body = vec![0; entry.length];
        self.file.read_exact_at(&mut body, entry.at).ok()?;
        (record::checksum(&body) == entry.checksum).then_some(body)
    }

    /// Forgets reports up to `seq`; returns how many there were.
    pub(super) fn forget(&mut self, seq: u64) -> usize {
        let before = self.entries.len();
        while self.entries.front().is_some_and(|entry| entry.seq <= seq) {
            self.entries.pop_front();
        }
        before - self.entries.len()
    }

    /// Gives the whole file back once nothing in it is needed.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.bytes = 0;
        self.entries.clear();
        Ok(())
    }

    /// Another handle, to write the file down to the disk elsewhere than here.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Deletes the file.
    pub(super) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(self.path)
    }

    /// Takes the last report out of the file.
    pub(super) fn drop_last(&mut self) -> io::Result<()> {
        let Some(last) = self.entries.pop_back() else { return Ok(()) };
        self.bytes = last.start;
        self.file.set_len(self.bytes)
    }

    /// Merges reports of one minute, `earlier` and the file's own, those up to `sent` left out: the
    /// collector may have them. Counters add up to no more bytes than one report has, but lines do:
    /// at most `max_line_bytes` of them come together. The new file takes the old one's place in one
    /// step.
    pub(super) fn merge(&mut self, earlier: Option<Vec<u8>>, sent: u64, max_line_bytes: usize) -> io::Result<()> {
        self.is_merged = true;
        // A report that the disk lost must not vanish here: the sender counts it.
        let bodies: Option<Vec<Vec<u8>>> = self.entries.iter().map(|entry| self.read(entry)).collect();
        let own = bodies.ok_or(io::ErrorKind::InvalidData)?;
        let bodies: Vec<Vec<u8>> = earlier.into_iter().chain(own).collect();
        let mut merged: Vec<Vec<u8>> = Vec::new();
        let mut open: Option<Report<'_>> = None;
        for body in &bodies {
            let next: Report<'_> = serde_json::from_slice(body)?;
            open = Some(match open {
                Some(first) if first.seq > sent && merge::can_merge(&first, &next, max_line_bytes) => {
                    merge::merge(first, next)
                }
                Some(first) => {
                    merged.push(serde_json::to_vec(&first)?);
                    next
                }
                None => next,
            });
        }
        if let Some(last) = open {
            merged.push(serde_json::to_vec(&last)?);
        }
        let unfinished = self.path.with_extension(UNFINISHED);
        let file = files::create(OpenOptions::new().read(true).write(true).truncate(true), &unfinished)?;
        let mut smaller = Segment {
            boot: self.boot,
            path: self.path.clone(),
            file,
            entries: VecDeque::new(),
            bytes: 0,
            is_merged: true,
        };
        let written = merged.iter().try_for_each(|body| smaller.append(body));
        if let Err(error) = written.and_then(|()| std::fs::rename(&unfinished, &self.path)) {
            let _ = std::fs::remove_file(&unfinished);
            return Err(error);
        }
        *self = smaller;
        Ok(())
    }
}
