//! Finds a command's program before it is started, for a clear error when that fails.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A fault of a program. The text is the `reason` of the crash.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ProgramError {
    /// Not there.
    #[error("cannot execute {0}: No such file or directory")]
    Missing(String),
    /// There, but it has no right to be executed.
    #[error("cannot execute {0}: Permission denied")]
    NotExecutable(String),
    /// There, but a directory.
    #[error("cannot execute {0}: Is a directory")]
    Directory(String),
}

/// The file that `program` names: a path as it is, a bare name looked up in `search_path`.
pub(crate) fn find(program: &str, search_path: &OsStr, working_dir: Option<&Path>) -> Result<PathBuf, ProgramError> {
    if program.contains('/') {
        let path = working_dir.map_or_else(|| PathBuf::from(program), |dir| dir.join(program));
        return judge(&path, program).map(|()| path);
    }
    let mut found = Err(ProgramError::Missing(program.to_owned()));
    for dir in std::env::split_paths(search_path).filter(|dir| !dir.as_os_str().is_empty()) {
        let path = dir.join(program);
        match judge(&path, program) {
            Ok(()) => return Ok(path),
            Err(ProgramError::Missing(_)) => {}
            // A later directory may have one that can be executed.
            Err(error) => found = Err(error),
        }
    }
    found
}

fn judge(path: &Path, program: &str) -> Result<(), ProgramError> {
    let Ok(metadata) = path.metadata() else { return Err(ProgramError::Missing(program.to_owned())) };
    if metadata.is_dir() {
        Err(ProgramError::Directory(program.to_owned()))
    } else if metadata.permissions().mode() & 0o111 == 0 {
        Err(ProgramError::NotExecutable(program.to_owned()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn program_is_found_or_named_in_the_error() {
        let find = |program: &str, path: &[u8], dir| find(program, OsStr::from_bytes(path), dir);
        assert_eq!(find("sh", b"/nowhere:/r\xe9sum\xe9:/bin", None).unwrap(), Path::new("/bin/sh"));
        assert_eq!(
            find("vectr", b"/bin", None).unwrap_err().to_string(),
            "cannot execute vectr: No such file or directory"
        );
        assert_eq!(find("/etc", b"", None), Err(ProgramError::Directory("/etc".to_owned())));
        let plain = tempfile::NamedTempFile::new().unwrap();
        let plain = plain.path().to_str().unwrap();
        assert_eq!(find(plain, b"", None), Err(ProgramError::NotExecutable(plain.to_owned())));
        assert_eq!(find("./sh", b"", Some(Path::new("/bin"))).unwrap(), Path::new("/bin/./sh"));
    }
}
