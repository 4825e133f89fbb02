//! Finds the files of a pattern below its fixed directory.
//!
//! Directories belong to others: names are any bytes, links may lead anywhere, trees may be deep. So
//! every walk is bounded, follows no link unless the configuration says so, and `**` stays on one file
//! system.

pub(crate) mod open;
pub(crate) mod own;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat, fstat};

use self::open::{is_regular, open_dir, open_fixed, open_to_read};
use crate::model::log_files::Links;
use crate::model::pattern::{Part, Pattern};

/// Names that are read in one walk of a pattern: about a quarter of a second on a local disk.
pub(crate) const MAX_ENTRIES: usize = 100_000;

/// Directories below a pattern's fixed part. A log is not deeper, and each level holds a descriptor.
pub(crate) const MAX_DEPTH: usize = 24;

/// Troubles of one walk that are named; a directory full of the same trouble must not fill the log.
const MAX_TROUBLES: usize = 10;

/// Files that cannot be followed, with the reason.
pub(crate) type Troubles = BTreeMap<String, String>;

/// Device and inode of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Inode {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

/// A regular file that a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) inode: Inode,
    pub(crate) state: FileState,
}

/// The values that change when a file is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileState {
    /// Time of the last write: seconds and nanoseconds since 1970.
    pub(crate) written: (i64, i64),
    pub(crate) length: u64,
}

impl Entry {
    fn of(path: PathBuf, stat: &Stat) -> Self {
        Entry { path, inode: Inode::of(stat), state: FileState::of(stat) }
    }
}

// The types of these fields differ between platforms.
#[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap, reason = "the fields' types differ between platforms")]
impl Inode {
    pub(crate) fn of(stat: &Stat) -> Self {
        Inode { dev: stat.st_dev as u64, ino: stat.st_ino as u64 }
    }
}

#[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap, reason = "the fields' types differ between platforms")]
impl FileState {
    fn of(stat: &Stat) -> Self {
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        FileState { written: (stat.st_mtime as i64, stat.st_mtime_nsec as i64), length }
    }
}

/// The result of a walk.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order of their paths.
    pub(crate) files: Vec<Entry>,
    pub(crate) troubles: Troubles,
}

/// Finds the files of a pattern. A directory that is `forbidden` is not entered.
pub(crate) fn find(pattern: &Pattern, links: Links, forbidden: Option<Inode>) -> Found {
    let mut walk = Walk::new(pattern, links, forbidden);
    match Place::fixed(pattern.fixed()) {
        Ok(dir) => walk.search(&dir, pattern.parts(), 0, None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => walk.trouble(pattern.fixed(), &error),
    }
    walk.finish(pattern)
}

/// Checks again at files that were found before.
pub(crate) fn find_again(pattern: &Pattern, links: Links, paths: &[PathBuf]) -> Found {
    let mut walk = Walk::new(pattern, links, None);
    match Place::fixed(pattern.fixed()) {
        Ok(dir) => paths.iter().filter_map(|path| path.file_name()).for_each(|name| walk.file(&dir, name)),
        Err(error) => walk.trouble(pattern.fixed(), &error),
    }
    walk.finish(pattern)
}

struct Walk {
    links: Links,
    forbidden: Option<Inode>,
    entries_left: usize,
    is_too_deep: bool,
    skipped_links: usize,
    first_link: Option<PathBuf>,
    /// Directories that were searched, and for how many parts: links make loops, and `**` repeats.
    searched: HashSet<(Inode, usize)>,
    found: Found,
}

/// A directory, open.
struct Place {
    fd: OwnedFd,
    path: PathBuf,
    inode: Inode,
    names: OnceCell<Vec<(OsString, FileType)>>,
}

impl Place {
    fn fixed(path: &Path) -> io::Result<Self> {
        Self::of(open_fixed(path)?, path.to_owned())
    }

    fn of(fd: OwnedFd, path: PathBuf) -> io::Result<Self> {
        let inode = Inode::of(&fstat(&fd)?);
        Ok(Place { fd, path, inode, names: OnceCell::new() })
    }
}

impl Walk {
    fn new(pattern: &Pattern, links: Links, forbidden: Option<Inode>) -> Self {
        Walk {
            links,
            forbidden,
            entries_left: MAX_ENTRIES,
            is_too_deep: false,
            skipped_links: 0,
            first_link: None,
            searched: HashSet::with_capacity(pattern.parts().len()),
            found: Found::default(),
        }
    }

    /// `device` is the file system that `**` stays on.
    fn search(&mut self, dir: &Place, parts: &[Part], depth: usize, device: Option<u64>) {
        let Some((part, rest)) = parts.split_first() else { return };
        if self.forbidden == Some(dir.inode) || !self.searched.insert((dir.inode, parts.len())) {
            return;
        }
        match part {
            Part::AnyDepth => {
                self.search(dir, rest, depth, device);
                let is_hidden = |name: &OsStr| name.as_encoded_bytes().first() == Some(&b'.');
                for (name, kind) in self.names(dir).iter().filter(|(name, _)| !is_hidden(name)) {
                    self.enter(dir, name, *kind, parts, depth, Some(dir.inode.dev));
                }
            }
            Part::Literal(name) if rest.is_empty() => self.file(dir, name),
            Part::Literal(name) => self.enter(dir, name, FileType::Unknown, rest, depth, device),
            Part::Name(pattern) => {
                for (name, kind) in self.names(dir).iter().filter(|(name, _)| pattern.matches(name)) {
                    match kind {
                        FileType::RegularFile | FileType::Symlink | FileType::Unknown if rest.is_empty() => {
                            self.file(dir, name);
                        }
                        _ if rest.is_empty() => {}
                        kind => self.enter(dir, name, *kind, rest, depth, None),
                    }
                }
            }
        }
    }

    /// Searches a directory in a directory, if the name is one.
    fn enter(&mut self, dir: &Place, name: &OsStr, kind: FileType, parts: &[Part], depth: usize, device: Option<u64>) {
        match kind {
            FileType::Directory | FileType::Unknown => {}
            FileType::Symlink if self.links == Links::Followed => {}
            FileType::Symlink => {
                // Under `**` any directory would do; one that is named is missed.
                if !matches!(parts.first(), Some(Part::AnyDepth)) {
                    self.skip_link(dir.path.join(name));
                }
                return;
            }
            _ => return,
        }
        if depth >= MAX_DEPTH {
            self.is_too_deep = true;
            return;
        }
        let path = dir.path.join(name);
        match open_dir(&dir.fd, name, self.links).and_then(|fd| Place::of(fd, path.clone())) {
            Ok(inner) if device.is_some_and(|device| device != inner.inode.dev) => {}
            Ok(inner) => self.search(&inner, parts, depth + 1, device),
            Err(error) if is_no_dir(&error) => {
                if kind == FileType::Unknown && self.is_link(dir, name) {
                    self.skip_link(path);
                }
            }
            Err(error) => self.trouble(&path, &error),
        }
    }

    fn file(&mut self, dir: &Place, name: &OsStr) {
        let path = dir.path.join(name);
        match self.links.stat(&dir.fd, name) {
            Ok(stat) if is_regular(&stat) => self.found.files.push(Entry::of(path, &stat)),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_symlink() => self.skip_link(path),
            // A link that leads nowhere is logged: its file may come.
            Err(error) if error.kind() != io::ErrorKind::NotFound || self.is_link(dir, name) => {
                self.trouble(&path, &error);
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn is_link(&self, dir: &Place, name: &OsStr) -> bool {
        let stat = Links::Refused.stat(&dir.fd, name);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_symlink())
    }

    /// The names in a directory, as far as the walk's bound goes.
    fn names<'d>(&mut self, dir: &'d Place) -> &'d [(OsString, FileType)] {
        dir.names.get_or_init(|| {
            let mut names = Vec::new();
            let entries = match open_to_read(&dir.fd) {
                Ok(entries) => entries,
                Err(error) => {
                    self.trouble(&dir.path, &error);
                    return names;
                }
            };
            for entry in entries {
                match entry {
                    Ok(entry) => {
                        let name = entry.file_name().to_bytes();
                        if matches!(name, b"." | b"..") {
                            continue;
                        }
                        let Some(left) = self.entries_left.checked_sub(1) else { break };
                        self.entries_left = left;
                        names.push((OsString::from_vec(name.to_vec()), entry.file_type()));
                    }
                    Err(error) => {
                        self.trouble(&dir.path, &error.into());
                        break;
                    }
                }
            }
            names
        })
    }

    fn skip_link(&mut self, path: PathBuf) {
        self.skipped_links += 1;
        self.first_link.get_or_insert(path);
    }

    fn trouble(&mut self, path: &Path, error: &io::Error) {
        if self.found.troubles.len() < MAX_TROUBLES {
            self.found.troubles.insert(path.display().to_string(), error.to_string());
        }
    }

    fn finish(mut self, pattern: &Pattern) -> Found {
        let mut summary = Vec::new();
        if let Some(link) = &self.first_link {
            let (number, link) = (self.skipped_links, link.display());
            summary.push(format!(
                "{number} symbolic links are skipped, such as {link}; follow_symlinks = true follows them"
            ));
        }
        if self.entries_left == 0 {
            summary.push(format!("the directories have more than {MAX_ENTRIES} names; the rest is skipped"));
        }
        if self.is_too_deep {
            summary.push(format!("directories more than {MAX_DEPTH} levels down are skipped"));
        }
        if self.found.files.is_empty() && self.found.troubles.is_empty() && summary.is_empty() {
            summary.push("there is no such file yet".to_owned());
        }
        if !summary.is_empty() {
            self.found.troubles.insert(pattern.text().to_owned(), summary.join("; "));
        }
        self.found.files.sort_by(|one, other| one.path.cmp(&other.path));
        self.found
    }
}

/// The name is gone, or is something else than a directory.
fn is_no_dir(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::NOTDIR | rustix::io::Errno::NOENT | rustix::io::Errno::LOOP))
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
