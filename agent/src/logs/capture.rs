//! The files that a pipeline's process writes its output into.
//!
//! Every run of the process has two files, named by its start. So an unfinished line of one run does not
//! join a line of the next one. A file is deleted when its last line is in a report that cannot be lost;
//! it is never truncated while a process writes. The process holds a lock on the files (the lock belongs
//! to the open file that it inherits), so the agent, or its next run, can check whether it still writes.
//!
//! The decisions are in docs/adr/0010-output-files-and-checkpoints.md. The space of reported lines is
//! released by punching holes.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use systole_shared::{LogStream, UnixMillis};

use super::budget::LogBuffer;
use super::disk::{Room, Space};
use super::lock;
use super::read_offsets::SourceKey;
use super::tail::{Amount, Reached, Round, Tail};

/// Of both streams, the end of the file name, after the start of the run.
const STREAMS: [(&str, LogStream); 2] = [(".stdout", LogStream::Stdout), (".stderr", LogStream::Stderr)];

/// Where a process is to write.
#[derive(Debug)]
pub(crate) struct Writers {
    /// Standard output.
    pub(crate) stdout: File,
    /// Standard error.
    pub(crate) stderr: File,
}

/// The output files of one pipeline.
#[derive(Debug)]
pub(super) struct Capture {
    dir: PathBuf,
    /// Oldest first.
    files: Vec<OutputFile>,
    /// Whether files of earlier runs of the agent were searched.
    has_looked: bool,
    /// The run of the process that runs now.
    current: Option<UnixMillis>,
}

/// One output file.
#[derive(Debug)]
struct OutputFile {
    life: UnixMillis,
    path: PathBuf,
    tail: Tail,
    space: Space,
    /// No process writes to it any more, nor will one.
    is_ended: bool,
    is_deleted: bool,
}

impl Capture {
    /// Of a pipeline with this directory.
    pub(super) fn new(dir: PathBuf) -> Self {
        Capture { dir, files: Vec::new(), has_looked: false, current: None }
    }

    /// Makes the files of a new run of the process.
    pub(super) fn begin(&mut self, logs: &Mutex<LogBuffer>, now: UnixMillis) -> io::Result<Writers> {
        self.look(logs);
        self.current = None;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let newest = self.files.iter().map(|file| file.life).max().unwrap_or(0);
        let life = now.max(newest + 1);
        let stdout = self.make(life, STREAMS[0], logs)?;
        let stderr = self.make(life, STREAMS[1], logs)?;
        self.current = Some(life);
        Ok(Writers { stdout, stderr })
    }

    fn make(
        &mut self,
        life: UnixMillis,
        (suffix, stream): (&str, LogStream),
        logs: &Mutex<LogBuffer>,
    ) -> io::Result<File> {
        let name = format!("{life:013}{suffix}");
        let path = self.dir.join(&name);
        let writer = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        let ready = writer.lock_shared().or_else(ignore_unsupported).and_then(|()| open(&path));
        let reader = match ready {
            Ok(reader) => reader,
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                return Err(error);
            }
        };
        let mut space = Space::default();
        if space.reserve(&reader, 0) == Room::None {
            let _ = std::fs::remove_file(&path);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let source = lock(logs).offsets.open(SourceKey::Output(name), 0);
        let tail = Tail::new(reader, source, stream, 0);
        self.files.push(OutputFile { life, path, tail, space, is_ended: false, is_deleted: false });
        Ok(writer)
    }

    /// The process of the newest files runs on: an agent that replaced itself has kept it.
    pub(super) fn resume(&mut self, logs: &Mutex<LogBuffer>) {
        self.look(logs);
        self.current = self.files.iter().map(|file| file.life).max();
    }

    /// Finds what processes wrote in earlier runs of the agent.
    fn look(&mut self, logs: &Mutex<LogBuffer>) {
        if self.has_looked {
            return;
        }
        let mut found: Vec<_> = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            // Looked for again the next time.
            Err(_) => return,
        };
        self.has_looked = true;
        found.sort();
        let mut logs = lock(logs);
        for name in found {
            let stream =
                STREAMS.iter().find_map(|(suffix, stream)| Some((name.strip_suffix(suffix)?.parse().ok()?, *stream)));
            let (Some((life, stream)), path) = (stream, self.dir.join(&name)) else { continue };
            let Ok(file) = open(&path) else { continue };
            let place = SourceKey::Output(name);
            let known = logs.offsets.claim(|of| *of == place);
            let (source, offset) = known.unwrap_or_else(|| (logs.offsets.open(place, 0), 0));
            let tail = Tail::new(file, source, stream, offset);
            self.files.push(OutputFile {
                life,
                path,
                tail,
                space: Space::default(),
                is_ended: false,
                is_deleted: false,
            });
        }
        logs.offsets.forget_missing_outputs();
    }

    /// Reads on, gives space back, and deletes what is done with. Whether there is more at once.
    pub(super) fn poll(&mut self, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) -> bool {
        self.look(logs);
        let mut has_more = false;
        // One run after the other: lines of the next one follow lines of this one.
        for both in self.files.chunk_by_mut(|a, b| a.life == b.life) {
            // In turn, so that a flood on one stream does not keep the other out.
            both.reverse();
            let mut is_read = true;
            for file in both {
                let reached = file.poll(logs, round, self.current == Some(file.life));
                has_more |= reached == Reached::Slice || file.tail.is_flooded();
                is_read &= reached == Reached::End;
            }
            if !is_read {
                break;
            }
        }
        self.files.retain(|file| !file.is_deleted);
        has_more
    }

    /// The process has ended: reads all there is. Whether no other process writes any more.
    pub(super) fn finish(&mut self, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) -> bool {
        self.current = None;
        while self.poll(logs, round) {}
        self.files.iter().all(|file| file.is_ended)
    }
}

impl OutputFile {
    fn poll(&mut self, logs: &Mutex<LogBuffer>, round: &mut Round<'_>, is_current: bool) -> Reached {
        // Asked before it is read: what is read then is all there will ever be.
        self.is_ended = self.is_ended || (!is_current && has_no_writer(self.tail.file()));
        let read = self.size().and_then(|size| Ok((size, self.tail.read(size, logs, round)?)));
        let (size, reached) = match read {
            Ok((_, Reached::Beginning)) => {
                self.begin_anew(logs);
                return Reached::Slice;
            }
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "cannot read a process's output");
                return Reached::End;
            }
        };
        if let Some(range) = self.tail.take_skipped_range() {
            self.space.give_back_range(self.tail.file(), range);
        }
        let is_whole = self.is_ended && reached == Reached::End;
        if is_whole {
            self.tail.finish(logs, round);
        }
        let committed = lock(logs).offsets.committed(self.tail.source());
        if is_whole && committed >= self.tail.offset() {
            self.delete(logs);
        } else {
            self.space.give_back(self.tail.file(), committed);
        }
        if !self.is_ended {
            self.keep_room(size, committed, logs, round);
        }
        reached
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.tail.file().metadata()?.len())
    }

    /// Sees that the process can write on though the disk is full.
    fn keep_room(&mut self, end: u64, committed: u64, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) {
        if self.space.reserve(self.tail.file(), end) == Room::Enough {
            return;
        }
        self.space.give_back_all(self.tail.file(), committed);
        if self.space.reserve(self.tail.file(), end) == Room::Enough {
            return;
        }
        // The lines go to memory: a kill would lose them, but a pipeline that cannot write is worse.
        let amount = std::mem::replace(&mut round.amount, Amount::Everything);
        let _ = self.tail.read(end, logs, round);
        round.amount = amount;
        self.space.give_back_all(self.tail.file(), self.tail.offset());
        self.space.reserve(self.tail.file(), end);
    }

    /// The file was truncated, and the process continues at its beginning.
    fn begin_anew(&mut self, logs: &Mutex<LogBuffer>) {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut logs = lock(logs);
        logs.offsets.retire(self.tail.source());
        self.tail.begin_anew(logs.offsets.open(SourceKey::Output(name), 0));
        self.space = Space::default();
    }

    fn delete(&mut self, logs: &Mutex<LogBuffer>) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // It stays known, or the next run of the agent would take it for a new one.
                tracing::debug!(path = %self.path.display(), %error, "cannot delete a file of a process's output");
            }
            _ => {
                lock(logs).offsets.retire(self.tail.source());
                self.is_deleted = true;
            }
        }
    }
}

/// Opens an output file to be read, and to be released.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Whether no process holds the lock that it inherits.
fn has_no_writer(file: &File) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Without locks (some network file systems), the end of the process counts.
fn ignore_unsupported(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Unsupported { Ok(()) } else { Err(error) }
}

#[cfg(test)]
#[path = "capture_tests.rs"]
mod tests;
