//! Files and directories that only the collector's own user can read.
//!
//! They hold log lines and hashes of tokens. Their mode depends neither on the umask nor on the mode of the directory,
//! which an operator can open to others.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::sys::stat::{Mode, umask};

/// Read and write for the owner.
const FILE_MODE: u32 = 0o600;

/// All rights for the owner.
const DIRECTORY_MODE: u32 = 0o700;

/// Files that a library creates without a mode of our own are private as well. To be called at the start.
pub(crate) fn restrict_umask() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}

/// Opens a private file, and creates it if it is missing. A file that others can read becomes private.
///
/// # Errors
///
/// When the file cannot be opened, or belongs to another user and is open to others.
pub(crate) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.create(true).mode(FILE_MODE).open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != FILE_MODE {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    Ok(file)
}

/// Takes the rights of others from a file that exists. A file that belongs to another user stays as it is.
pub(crate) fn restrict(path: &Path) {
    let Ok(metadata) = path.symlink_metadata() else { return };
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        // Root and the owner can do this. Others could not write to the database either.
        let _ = std::fs::set_permissions(path, Permissions::from_mode(FILE_MODE));
    }
}

/// Creates a private directory, with its parents.
///
/// # Errors
///
/// When it cannot be created.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}
