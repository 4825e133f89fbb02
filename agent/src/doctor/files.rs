//! The agent's directory: rights, owner and space.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, Uid, User, access, geteuid};
use systole_shared::Finding;

const CHECK: &str = "data_dir";

/// With less space than this the agent cannot write a report.
const LEAST_FREE_BYTES: u64 = 16 << 20;

/// Files that are checked; the spool of a full disk has a few thousand.
const MAX_FILES: usize = 10_000;

/// Whether the agent can use its directory, and others cannot.
pub(super) fn check_data_dir(dir: &Path) -> Vec<Finding> {
    let shown = dir.display();
    let metadata = match dir.metadata() {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            let remedy = "remove the file, or set another data_dir";
            return vec![Finding::problem(CHECK, format!("{shown} is a file, not a directory"), remedy)];
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let remedy = "start the agent, which makes it, or name another one with --data-dir";
            return vec![Finding::warning(CHECK, format!("{shown} does not exist: no agent has run here"), remedy)];
        }
        Err(error) => return vec![Finding::problem(CHECK, format!("cannot read {shown}: {error}"), AS_ROOT)],
    };
    let files = match list(dir) {
        Ok(files) => files,
        Err(error) => {
            return vec![Finding::warning(CHECK, format!("cannot read {shown}: {error}"), AS_ROOT)];
        }
    };
    let owner = name_of(metadata.uid());
    let mut findings = Vec::new();
    if metadata.permissions().mode() & 0o022 != 0 {
        let message = format!("users other than {owner} can write to {shown}");
        findings.push(Finding::problem(CHECK, message, format!("chmod 700 {shown}")));
    }
    if let Err(error) = access(dir, AccessFlags::W_OK)
        && (geteuid().is_root() || geteuid() == Uid::from_raw(metadata.uid()))
    {
        let message = format!("cannot write to {shown}: {error}");
        findings.push(Finding::problem(CHECK, message, "mount the disk for writing, or set another data_dir"));
    }
    if let Some((path, foreign)) = files.iter().find(|(_, file)| file.uid() != metadata.uid()) {
        let message = format!("{} belongs to {}, not to {owner}", path.display(), name_of(foreign.uid()));
        findings.push(Finding::problem(CHECK, message, format!("chown -R {owner}: {shown}")));
    }
    let is_open = |(path, file): &&(PathBuf, Metadata)| path.ends_with("node-token") && file.mode() & 0o077 != 0;
    if let Some((path, _)) = files.iter().find(is_open) {
        let path = path.display();
        let message = format!("other users can read the node's token in {path}");
        findings.push(Finding::problem(CHECK, message, format!("chmod 600 {path}")));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{shown} belongs to {owner} and is private")));
    }
    findings
}

const AS_ROOT: &str = "run doctor as root or as the agent's user";

fn list(dir: &Path) -> std::io::Result<Vec<(PathBuf, Metadata)>> {
    let mut found = Vec::new();
    let mut rest = vec![dir.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            // What goes away meanwhile is no fault.
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if metadata.is_dir() {
                rest.push(path.clone());
            }
            found.push((path, metadata));
            if found.len() >= MAX_FILES {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn name_of(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("user {uid}"), |user| user.name)
}

/// Whether the disk has space for reports that wait.
pub(super) fn check_disk(data_dir: &Path, spool_bytes: u64) -> Finding {
    let existing = data_dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match statvfs(existing) {
        Ok(disk) => {
            let free = disk.blocks_available().saturating_mul(disk.fragment_size());
            let files_free = disk.files() == 0 || disk.files_available() > 0;
            judge_disk(existing, free, files_free, spool_bytes)
        }
        Err(error) => {
            Finding::problem("disk", format!("cannot measure the disk of {}: {error}", existing.display()), AS_ROOT)
        }
    }
}

fn judge_disk(dir: &Path, free_bytes: u64, has_free_files: bool, spool_bytes: u64) -> Finding {
    let (shown, free) = (dir.display(), mebibytes(free_bytes));
    if !has_free_files {
        let remedy = "remove files, or make the file system again with more inodes";
        return Finding::problem("disk", format!("the disk of {shown} has no free inodes"), remedy);
    }
    if free_bytes < LEAST_FREE_BYTES {
        let message = format!("the disk of {shown} has {free} free: reports are kept in memory only");
        return Finding::problem("disk", message, "remove files, or move data_dir to another disk");
    }
    if free_bytes < spool_bytes {
        let spool = mebibytes(spool_bytes);
        let message = format!("the disk of {shown} has {free} free; reports that wait can take {spool}");
        return Finding::warning("disk", message, "free space, or lower spool_max_bytes");
    }
    Finding::ok("disk", format!("the disk of {shown} has {free} free"))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use systole_shared::Verdict;

    use super::*;

    fn remedies(findings: &[Finding]) -> Vec<String> {
        findings.iter().filter_map(|finding| finding.remedy.clone()).collect()
    }

    #[test]
    fn open_directory_and_open_token_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("node-token");
        fs::write(&token, "t").unwrap();
        fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(remedies(&check_data_dir(dir.path())).is_empty());
        fs::set_permissions(&token, Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        let wanted = [format!("chmod 700 {}", dir.path().display()), format!("chmod 600 {}", token.display())];
        assert_eq!(remedies(&check_data_dir(dir.path())), wanted);
    }

    #[test]
    fn file_of_another_user_is_found() {
        // Only root can plant it.
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("spool")).unwrap();
        let file = dir.path().join("spool/1");
        fs::write(&file, "").unwrap();
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
        let findings = check_data_dir(dir.path());
        assert!(findings[0].message.contains("belongs to user 12345"), "{findings:?}");
        assert_eq!(remedies(&findings), [format!("chown -R root: {}", dir.path().display())]);
    }

    #[test]
    fn missing_directory_is_a_warning_and_a_file_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        assert_eq!(check_data_dir(&path)[0].verdict, Verdict::Warning);
        fs::write(&path, "").unwrap();
        assert_eq!(check_data_dir(&path)[0].verdict, Verdict::Problem);
    }

    #[test]
    fn disk_needs_space_for_the_spool() {
        let judge = |free, files| judge_disk(Path::new("/d"), free, files, 64 << 20).verdict;
        assert_eq!(judge(64 << 20, true), Verdict::Ok);
        assert_eq!(judge(63 << 20, true), Verdict::Warning);
        assert_eq!(judge(15 << 20, true), Verdict::Problem);
        assert_eq!(judge(64 << 20, false), Verdict::Problem);
        assert_eq!(check_disk(&std::env::temp_dir(), 1).check, "disk");
    }
}
