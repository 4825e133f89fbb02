//! One log file that is followed.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use systole_shared::{LogStream, UnixMillis};
use tokio::time::Instant;

use crate::logs::budget::LogBuffer;
use crate::logs::check::Point;
use crate::logs::identity::Identity;
use crate::logs::lock;
use crate::logs::read_offsets::{SourceId, SourceKey};
use crate::logs::tail::{Reached, Round, Tail};
use crate::logs::walk::{FileState, Inode};
use crate::model::log_files::Links;

/// How long a file that was rotated away is read on after its last line. Programs open the new one late:
/// when they are idle, or only hours later. It costs a descriptor.
pub(super) const ROTATED_QUIET: Duration = Duration::from_secs(3_600);

/// The same for a file that was deleted: while it is open, its space is not free.
const DELETED_QUIET: Duration = Duration::from_secs(5);

/// How long a file has nothing new before another one may have its place.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// How far back from a file's end the last line's beginning is searched.
const MAX_LOOK_BACK: u64 = 64 * 1024;

/// One file.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    tail: Tail,
    /// A name that is searched leads to it.
    pub(super) is_named: bool,
    /// No name that is searched leads to it any more.
    pub(super) is_rotated: bool,
    /// When it had something new last.
    pub(super) touched: Instant,
    /// As it was seen last.
    state: FileState,
    is_at_end: bool,
    pub(super) is_done: bool,
    pub(super) is_trouble_told: bool,
}

impl LogFile {
    /// Reads `file` as `source` from `offset` on.
    pub(super) fn new(
        path: PathBuf,
        identity: Identity,
        file: File,
        (source, offset): (SourceId, u64),
        now: Instant,
    ) -> Self {
        let mut tail = Tail::new(file, source, LogStream::File, offset);
        // Without it, the file's head alone says whether it was rewritten.
        let _ = tail.learn_recent();
        LogFile {
            path,
            identity,
            tail,
            is_named: true,
            is_rotated: false,
            touched: now,
            state: FileState::default(),
            is_at_end: false,
            is_done: false,
            is_trouble_told: false,
        }
    }

    pub(super) fn poll(&mut self, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) -> io::Result<Reached> {
        let metadata = self.tail.file().metadata()?;
        let is_new = self.is_new(&metadata);
        if is_new {
            self.touched = round.now;
            self.begin_anew_if_rewritten(&metadata, logs, round)?;
        }
        self.state = state_of(&metadata);
        let before = self.tail.offset();
        let reached = self.tail.read(metadata.len(), logs, round)?;
        self.is_at_end = reached == Reached::End;
        if self.tail.offset() != before {
            self.touched = round.now;
        }
        if is_new {
            if self.identity.is_partial(metadata.len()) {
                self.learn_identity(logs)?;
            }
            self.tail.take_skipped_range();
        }
        if self.is_rotated && self.is_at_end && self.is_quiet(&metadata, round.now) {
            self.tail.flush(logs, round.now);
            self.leave(logs);
        }
        Ok(reached)
    }

    /// Also when it is as long as before: it may have been truncated and rewritten.
    fn is_new(&self, metadata: &Metadata) -> bool {
        !self.is_at_end || self.state != state_of(metadata)
    }

    /// Checks whether it was rewritten since it was read.
    pub(super) fn note_rewritten(&mut self, logs: &Mutex<LogBuffer>, round: &Round<'_>) -> io::Result<()> {
        let metadata = self.tail.file().metadata()?;
        if self.is_new(&metadata) { self.begin_anew_if_rewritten(&metadata, logs, round) } else { Ok(()) }
    }

    /// Truncated, and perhaps written beyond where it was read to already.
    fn begin_anew_if_rewritten(
        &mut self,
        metadata: &Metadata,
        logs: &Mutex<LogBuffer>,
        round: &Round<'_>,
    ) -> io::Result<()> {
        let is_whole = metadata.len() >= self.tail.offset();
        if is_whole && self.identity.has_head_of(self.tail.file())? && self.tail.is_as_read()? {
            return Ok(());
        }
        self.tail.flush(logs, round.now);
        let before = self.tail.source();
        self.identity = Identity::of(self.tail.file())?;
        let mut logs = lock(logs);
        logs.offsets.end_content(before, round.at);
        self.tail.begin_anew(logs.offsets.open(self.place(), 0));
        self.is_at_end = false;
        Ok(())
    }

    fn learn_identity(&mut self, logs: &Mutex<LogBuffer>) -> io::Result<()> {
        self.identity = Identity::of(self.tail.file())?;
        lock(logs).offsets.set_key(self.tail.source(), self.place());
        Ok(())
    }

    /// It has another name.
    pub(super) fn rename(&mut self, path: PathBuf, logs: &Mutex<LogBuffer>) {
        if self.path != path {
            self.path = path;
            lock(logs).offsets.set_key(self.tail.source(), self.place());
        }
    }

    fn place(&self) -> SourceKey {
        SourceKey::File { path: self.path.clone(), identity: self.identity }
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        self.tail.file()
    }

    /// The source of its lines.
    pub(super) fn source(&self) -> SourceId {
        self.tail.source()
    }

    /// The read offset.
    pub(super) fn offset(&self) -> u64 {
        self.tail.offset()
    }

    /// As it was seen last.
    pub(super) fn state(&self) -> FileState {
        self.state
    }

    /// The older, the less: by its last writing, and of files written in the same moment by which was
    /// followed first.
    pub(super) fn age_rank(&self) -> (Option<(i64, i64)>, SourceId) {
        let metadata = self.tail.file().metadata().ok();
        (metadata.map(|metadata| state_of(&metadata).written), self.tail.source())
    }

    pub(super) fn is_at_its_path(&self, links: Links) -> bool {
        let metadata = if links == Links::Followed { self.path.metadata() } else { self.path.symlink_metadata() };
        metadata.is_ok_and(|metadata| inode_of(&metadata) == self.identity.inode())
    }

    /// Whether another file may have its place.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let is_unchanged = self.tail.file().metadata().is_ok_and(|metadata| !self.is_new(&metadata));
        self.is_named && is_unchanged && now.duration_since(self.touched) >= IDLE_AFTER
    }

    fn is_quiet(&self, metadata: &Metadata, now: Instant) -> bool {
        let limit = if metadata.nlink() == 0 { DELETED_QUIET } else { ROTATED_QUIET };
        now.duration_since(self.touched) >= limit
    }

    /// Nothing more is read of it for now.
    pub(super) fn let_go(&mut self, logs: &Mutex<LogBuffer>, at: UnixMillis, now: Instant) {
        self.tail.flush(logs, now);
        let mut logs = lock(logs);
        logs.add_dropped(self.tail.take_skipped());
        logs.offsets.lose(self.tail.source(), at);
        self.is_done = true;
    }

    /// Lets go of it before it was read to its end.
    pub(super) fn give_up(&mut self, logs: &Mutex<LogBuffer>, round: &mut Round<'_>) {
        let size = self.tail.file().metadata().map(|metadata| metadata.len());
        if let Err(error) = size.and_then(|size| self.tail.skip_rest(size, logs, round)) {
            tracing::debug!(path = %self.path.display(), %error, "cannot count the lines of a rotated file");
        }
        self.leave(logs);
    }

    /// Nothing more is read of it. It must not be kept as a source: there may be another one soon.
    pub(super) fn leave(&mut self, logs: &Mutex<LogBuffer>) {
        let mut logs = lock(logs);
        logs.add_dropped(self.tail.take_skipped());
        logs.offsets.retire(self.tail.source());
        self.is_done = true;
    }
}

pub(super) fn inode_of(metadata: &Metadata) -> Inode {
    Inode { dev: metadata.dev(), ino: metadata.ino() }
}

fn state_of(metadata: &Metadata) -> FileState {
    FileState { written: (metadata.mtime(), metadata.mtime_nsec()), length: metadata.len() }
}

/// Where the line begins that stands at `length` without an end of its own: at `length`, when there is
/// none.
pub(super) fn last_line_begin(file: &File, length: u64) -> io::Result<Point> {
    let begin = length.saturating_sub(MAX_LOOK_BACK);
    let mut end = vec![0; usize::try_from(length - begin).map_err(io::Error::other)?];
    file.read_exact_at(&mut end, begin)?;
    let offset = match end.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => begin + last as u64 + 1,
        None if begin == 0 => 0,
        None => length,
    };
    Point::in_file(file, offset)
}
