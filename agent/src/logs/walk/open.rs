//! Opens directories and files one name at a time, so that no symbolic link is followed, not even
//! one that replaces a directory while the agent walks.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use crate::model::log_files::Links;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat, fstat, openat, statat};

/// A directory is opened for its names only: the right to list it is needed when it is read.
#[cfg(target_os = "linux")]
const DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

#[cfg(not(target_os = "linux"))]
const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Without waiting for the other end of a pipe.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl Links {
    fn open_flag(self) -> OFlags {
        if self == Links::Followed { OFlags::empty() } else { OFlags::NOFOLLOW }
    }

    /// The metadata of a name in a directory.
    pub(super) fn stat(self, dir: &OwnedFd, name: &OsStr) -> io::Result<Stat> {
        let flags = if self == Links::Followed { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        Ok(statat(dir, name, flags)?)
    }
}

/// Opens the directory of a pattern's fixed part; its links are the operator's.
pub(super) fn open_fixed(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, DIR, Mode::empty())?)
}

/// Opens a directory in a directory.
pub(super) fn open_dir(dir: &OwnedFd, name: &OsStr, links: Links) -> io::Result<OwnedFd> {
    Ok(openat(dir, name, DIR | links.open_flag(), Mode::empty())?)
}

/// Opens the names of a directory that is open.
pub(super) fn open_to_read(dir: &OwnedFd) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Dir::new(openat(dir, ".", flags, Mode::empty())?)?)
}

/// Opens a file at `path`, which is below `fixed`, to be read. None if it is something else, such as a
/// pipe, which does not end, or a device, which does not either.
///
/// # Errors
///
/// When a name of the path cannot be opened, or is a symbolic link and `links` are refused.
pub(crate) fn open_file(fixed: &Path, path: &Path, links: Links) -> io::Result<Option<File>> {
    let below = path.strip_prefix(fixed).map_err(io::Error::other)?;
    let mut names: Vec<&OsStr> = Vec::new();
    for component in below.components() {
        let Component::Normal(name) = component else { return Err(io::ErrorKind::InvalidInput.into()) };
        names.push(name);
    }
    let Some((file, dirs)) = names.split_last() else { return Ok(None) };
    let mut dir = open_fixed(fixed)?;
    for name in dirs {
        dir = open_dir(&dir, name, links)?;
    }
    // Before it is opened: the opening of a device may have an effect.
    if !is_regular(&links.stat(&dir, file)?) {
        return Ok(None);
    }
    let file = File::from(openat(&dir, *file, FILE | links.open_flag(), Mode::empty())?);
    Ok(is_regular(&fstat(&file)?).then_some(file))
}

pub(super) fn is_regular(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
}
