//! Files that the agent keeps for itself alone, written so that a crash leaves the old one or the
//! new one and never half of one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Longest name of a file made out of an id: with all that is appended, below the 255 bytes of file systems.
const MAX_NAME_BYTES: usize = 160;

/// The data directory may be open to others (an operator's choice); what is in it is not.
const FILE_MODE: u32 = 0o600;

/// Replaces the file at `path` with `content`, readable by the agent alone.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let mut file = create(OpenOptions::new().write(true).truncate(true), &unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename(&unfinished, path)
}

/// Replaces the file at `path`, readable by the agent and by the group of `user`. That user cannot change it.
pub(crate) fn replace_for(user: &str, path: &Path, content: &[u8]) -> io::Result<()> {
    let unknown = || io::Error::other(format!("there is no user `{user}`"));
    let user = nix::unistd::User::from_name(user)?.ok_or_else(unknown)?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let mut file = create(OpenOptions::new().write(true).truncate(true), &unfinished)?;
    file.write_all(content)?;
    std::os::unix::fs::fchown(&file, None, Some(user.gid.as_raw()))?;
    file.set_permissions(fs::Permissions::from_mode(0o640))?;
    file.sync_all()?;
    rename(&unfinished, path)
}

/// Lets other users pass from `root` down to `dir`, without a list of what is in them.
pub(crate) fn let_pass(root: &Path, dir: &Path) -> io::Result<()> {
    for dir in dir.ancestors().take_while(|dir| dir.starts_with(root)) {
        let mode = dir.metadata()?.permissions().mode() & 0o7777;
        if mode & 0o011 != 0o011 {
            fs::set_permissions(dir, fs::Permissions::from_mode(mode | 0o011))?;
        }
    }
    Ok(())
}

/// Writes a file for the agent alone, without waiting for the disk: for what may be lost in a power cut.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    create(OpenOptions::new().write(true).truncate(true), path)?.write_all(content)
}

/// Opens a file for the agent alone, which is created if it is missing. Its mode is 0600 for any umask
/// of the process, and after any mode of an earlier version.
pub(crate) fn create(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.create(true).mode(FILE_MODE).open(path)?;
    make_private(&file)?;
    Ok(file)
}

/// Takes the rights of all others from a file.
pub(crate) fn make_private(file: &File) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o777 == FILE_MODE {
        return Ok(());
    }
    file.set_permissions(fs::Permissions::from_mode(FILE_MODE))
}

/// Gives the file another name, lasting over a power cut.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    match to.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Makes a directory, and those above it, for the agent alone.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A file's name out of an id: without dots, so that no suffix makes the name of another id.
pub(crate) fn name_of(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    if name.len() > MAX_NAME_BYTES {
        name.truncate(MAX_NAME_BYTES / 2);
        name.push('%');
        name.extend(hex(&Sha256::digest(id)).chars().take(MAX_NAME_BYTES / 2 - 1));
    }
    name
}

/// SHA-256 as `sha256sum` prints it.
pub(crate) fn checksum_of(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_ids_have_distinct_file_names() {
        let long = |end| format!("{}{end}", "ü".repeat(120));
        let ids = ["orders", "orders.next", "orders%2Enext", "../orders", "a/b", "a b", &long("a"), &long("b"), "."];
        let names: std::collections::BTreeSet<_> = ids.iter().map(|id| name_of(id)).collect();
        assert_eq!(names.len(), ids.len());
        assert!(names.iter().all(|name| name.len() <= MAX_NAME_BYTES && !name.contains(['/', '.'])));
        assert_eq!(name_of("orders"), "orders");
    }

    #[test]
    fn file_that_was_open_to_others_is_closed_when_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "before").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, b"after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn file_is_replaced_atomically_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, b"a longer text").unwrap();
        replace(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
