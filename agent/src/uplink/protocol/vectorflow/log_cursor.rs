//! Up to which line the server has the lines of the spooled reports, in a file beside them.
//!
//! The protocol has no sequence: after a lost answer lines are sent again, and the server has them twice.

use std::path::{Path, PathBuf};

use systole_shared::BootId;

use crate::files;

/// A place between two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinePlace {
    pub(super) boot: BootId,
    pub(super) seq: u64,
    /// Lines of this report that are before the place, over all of its pipelines in their order.
    pub(super) lines: usize,
}

/// The place, and its file.
#[derive(Debug)]
pub(super) struct LogCursor {
    path: PathBuf,
    place: Option<LinePlace>,
}

impl LogCursor {
    /// Reads the file of an earlier run.
    pub(super) fn open(path: PathBuf) -> Self {
        let place = read(&path);
        LogCursor { path, place }
    }

    /// Lines of this report that the server has; all of them for `usize::MAX`.
    pub(super) fn lines_before(&self, boot: BootId, seq: u64) -> usize {
        match self.place {
            Some(place) if place.boot == boot && seq < place.seq => usize::MAX,
            Some(place) if place.boot == boot && seq == place.seq => place.lines,
            _ => 0,
        }
    }

    /// The server has all lines before this place. Written at once: what is not there is sent again after a kill.
    pub(super) fn advance(&mut self, place: LinePlace) {
        self.place = Some(place);
        let text = format!("{} {} {}\n", place.boot, place.seq, place.lines);
        let unfinished = self.path.with_extension("unfinished");
        let written = files::make_dir(self.path.parent().unwrap_or(&self.path))
            .and_then(|()| files::write(&unfinished, text.as_bytes()))
            .and_then(|()| std::fs::rename(&unfinished, &self.path));
        if let Err(error) = written {
            tracing::debug!(%error, "cannot save which lines the server has; after a restart of the agent it may receive some twice");
        }
    }
}

fn read(path: &Path) -> Option<LinePlace> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace();
    let place = LinePlace {
        boot: words.next()?.parse().ok()?,
        seq: words.next()?.parse().ok()?,
        lines: words.next()?.parse().ok()?,
    };
    Some(place)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn place_is_found_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool/sent-lines");
        let boot = |number| BootId(Uuid::from_u128(number));
        let mut cursor = LogCursor::open(path.clone());
        assert_eq!(cursor.lines_before(boot(1), 1), 0);
        cursor.advance(LinePlace { boot: boot(1), seq: 3, lines: 7 });
        for cursor in [cursor, LogCursor::open(path)] {
            let before: Vec<_> = (2..5).map(|seq| cursor.lines_before(boot(1), seq)).collect();
            assert_eq!(before, [usize::MAX, 7, 0]);
            assert_eq!(cursor.lines_before(boot(2), 1), 0);
        }
    }
}
