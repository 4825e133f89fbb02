//! The agent's own files: they are never sent as logs, for they hold tokens, and a log of the agent's
//! own output would grow by being read.
//!
//! A file is known by device and inode, because hard links and bind mounts give it other names, and by
//! its path, because files of the data directory come and go.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Inode;
use crate::model::log_files::OwnFiles;

/// Files of the data directory that are looked at; the spool has some hundred.
const MAX_FILES: usize = 50_000;

/// Levels of the data directory that are looked at; it has three.
const MAX_DEPTH: usize = 8;

/// The agent's own files as they are now.
#[derive(Debug, Default)]
pub(crate) struct OwnInodes {
    data_dir: Option<PathBuf>,
    inodes: HashSet<Inode>,
    /// Not all files could be looked at.
    is_partial: bool,
}

impl OwnFiles {
    /// The data directory, if there is one.
    pub(crate) fn data_dir_inode(&self) -> Option<Inode> {
        self.data_dir.metadata().ok().map(|metadata| inode_of(&metadata))
    }

    /// Looks at them. Blocks.
    pub(crate) fn look(&self) -> OwnInodes {
        let mut own = OwnInodes { data_dir: self.data_dir.canonicalize().ok(), ..OwnInodes::default() };
        for file in &self.files {
            own.inodes.extend(file.metadata().ok().map(|metadata| inode_of(&metadata)));
        }
        own.add_dir(&self.data_dir, 0);
        own
    }
}

impl OwnInodes {
    fn add_dir(&mut self, dir: &Path, depth: usize) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.filter_map(Result::ok) {
            if self.inodes.len() >= MAX_FILES || depth >= MAX_DEPTH {
                self.is_partial = true;
                return;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                self.add_dir(&entry.path(), depth + 1);
            } else {
                self.inodes.insert(inode_of(&metadata));
            }
        }
    }

    /// Whether an open file that was found at `path` is one of them.
    pub(crate) fn contains(&self, path: &Path, metadata: &Metadata) -> bool {
        let is_inside = || {
            let real = path.canonicalize().ok();
            self.data_dir.as_ref().zip(real).is_some_and(|(data_dir, real)| real.starts_with(data_dir))
        };
        let may_be_linked = self.is_partial && metadata.nlink() > 1;
        self.inodes.contains(&inode_of(metadata)) || may_be_linked || is_inside()
    }
}

fn inode_of(metadata: &Metadata) -> Inode {
    Inode { dev: metadata.dev(), ino: metadata.ino() }
}
