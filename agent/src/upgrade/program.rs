//! The files of the program: the one that runs, the one before it (`.previous`), and one that is being
//! fetched (`.new`). All three are in one directory, so that one takes the place of another in one step.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// After the name of the program before.
const PREVIOUS: &str = ".previous";

/// After the name of a program that is being fetched.
const STAGED: &str = ".new";

/// What the kernel adds to the path of a program whose file was replaced.
const DELETED: &str = " (deleted)";

/// The mode of a program that replaces a missing one.
const USUAL_MODE: u32 = 0o755;

/// Where the program and its other versions are.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Program(PathBuf);

impl Program {
    /// The program of this process. To be asked before its file is replaced.
    ///
    /// # Errors
    /// When the system does not show the path.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let path = std::env::current_exe()?;
        let text = path.to_str().map(|text| text.strip_suffix(DELETED).unwrap_or(text));
        // A version that was gone back to, and that could not get its old name.
        let text = text.map(|text| text.strip_suffix(PREVIOUS).unwrap_or(text));
        Ok(Program(text.map_or_else(|| path.clone(), PathBuf::from)))
    }

    /// At this path.
    pub(super) fn at(path: &Path) -> Self {
        Program(path.to_owned())
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The version before.
    pub(super) fn previous(&self) -> PathBuf {
        self.beside(PREVIOUS)
    }

    /// The version that is being fetched.
    pub(super) fn staged(&self) -> PathBuf {
        self.beside(STAGED)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    }

    /// Makes the file for a new version, with the mode of the present one.
    ///
    /// # Errors
    /// When the directory does not take files of this user.
    pub(super) fn stage(&self) -> io::Result<File> {
        let staged = self.staged();
        drop(fs::remove_file(&staged));
        let mode = self.0.metadata().map_or(USUAL_MODE, |metadata| metadata.permissions().mode() & 0o7777);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(&staged)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(file)
    }

    /// Removes the file of a version that is not used.
    pub(super) fn discard_staged(&self) {
        drop(fs::remove_file(self.staged()));
    }

    /// Puts the new version in the place of the present one, which becomes the previous one.
    ///
    /// # Errors
    /// When the directory does not take it; nothing has changed then.
    pub(super) fn install(&self) -> io::Result<()> {
        let previous = self.previous();
        match fs::remove_file(&previous) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A link and not a rename: at no moment there is no program.
        fs::hard_link(&self.0, &previous).or_else(|_| fs::copy(&self.0, &previous).map(drop))?;
        fs::rename(self.staged(), &self.0)?;
        self.sync_dir()
    }

    /// Puts the previous version back into its place.
    ///
    /// # Errors
    /// When there is none, or the directory does not take it.
    pub(super) fn restore(&self) -> io::Result<()> {
        fs::rename(self.previous(), &self.0)?;
        self.sync_dir()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn new_version_takes_the_place_of_the_old_one_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let program = Program::at(&dir.path().join("agent"));
        fs::write(program.path(), "one").unwrap();
        fs::set_permissions(program.path(), fs::Permissions::from_mode(0o750)).unwrap();
        for (version, before) in [("two", "one"), ("three", "two")] {
            program.stage().unwrap().write_all(version.as_bytes()).unwrap();
            program.install().unwrap();
            assert_eq!(fs::read_to_string(program.path()).unwrap(), version);
            assert_eq!(fs::read_to_string(program.previous()).unwrap(), before);
            assert_eq!(program.path().metadata().unwrap().permissions().mode() & 0o7777, 0o750);
            assert!(!program.staged().exists());
        }
        program.restore().unwrap();
        assert_eq!(fs::read_to_string(program.path()).unwrap(), "two");
        assert!(program.restore().is_err(), "there is no other one");
        assert_eq!(fs::read_to_string(program.path()).unwrap(), "two");
    }
}
