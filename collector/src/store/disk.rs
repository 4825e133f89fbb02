//! The disk that the database is on.

use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Bytes of a disk, as far as this process may use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// The disk that a directory is on, or will be when it is made.
///
/// # Errors
///
/// When the file system of the path cannot be asked.
pub(crate) fn space_under(directory: &Path) -> std::io::Result<DiskSpace> {
    let existing = directory.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let stats = statvfs(existing)?;
    let unit = stats.fragment_size();
    // Of what is kept back for root nothing is ours.
    Ok(DiskSpace {
        free_bytes: stats.blocks_available().saturating_mul(unit),
        total_bytes: stats.blocks().saturating_mul(unit),
    })
}

/// The directory that a file is in, or is to be in.
pub(crate) fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
