//! What the disk under a path has.

use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Bytes of a disk, as far as this process may use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// The disk that holds a file or directory, which must exist.
pub(crate) fn space_under(path: &Path) -> std::io::Result<DiskSpace> {
    let stats = statvfs(path)?;
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
