//! The file with the keys of the secrets. It is never in the database, and never in a backup.
//!
//! A line is the id of a key and the key. The first key is the current one. There is a second one only while the
//! secrets are sealed again with a new one, so that each of them can be read at any moment.
//!
//! An id is made of the key, so a file that was damaged or mixed up is noticed when it is read.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rand::TryRng;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::store::disk::directory_of;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Bytes of a file that is read: some keys and comments.
const MAX_FILE_BYTES: u64 = 64 * 1024;

const HEAD: &str = "\
# The key of the secrets in the database of systole-collector. Without it they cannot be read.
# Keep a copy of this file, and not beside the backups of the database.
";

/// A key and its id.
#[derive(Clone)]
pub(super) struct Key {
    pub id: String,
    pub bytes: Zeroizing<[u8; KEY_BYTES]>,
}

/// The keys of a file, the current one first.
#[derive(Clone)]
pub(super) struct KeyRing(Vec<Key>);

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// There is no file.
    #[error("the key file {} does not exist", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("cannot read the key file {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The file cannot be written.
    #[error("cannot write the key file {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// A line is not a key. The line is not shown.
    #[error("line {line} of the key file {} is not an id and its key", .file.display())]
    Malformed { file: PathBuf, line: usize },
    /// There is no line with a key.
    #[error("the key file {} contains no key", .0.display())]
    Empty(PathBuf),
}

impl Key {
    /// A new key out of the system's randomness.
    pub(super) fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::rngs::SysRng.try_fill_bytes(&mut *bytes).expect("the system gives random bytes");
        Self::new(bytes)
    }

    fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let digest = Sha256::new().chain_update(b"systole secret key").chain_update(*bytes).finalize();
        Key { id: hex(&digest[..8]), bytes }
    }

    fn parse(line: &str) -> Option<Self> {
        let (id, digits) = line.split_once(' ')?;
        let digits = digits.trim().as_bytes();
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if digits.len() != 2 * KEY_BYTES {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Key::new(bytes)).filter(|key| key.id == id)
    }
}

impl KeyRing {
    /// A ring of a new key alone.
    pub(super) fn generate() -> Self {
        KeyRing(vec![Key::generate()])
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When there is none, or it is not what [`KeyRing::write`] wrote.
    pub(super) fn read(file: &Path) -> Result<Self, KeyFileError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => KeyFileError::Missing(file.to_owned()),
            _ => KeyFileError::Read(file.to_owned(), error),
        };
        let bytes = std::fs::metadata(file).map_err(failed)?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(KeyFileError::Malformed { file: file.to_owned(), line: 1 });
        }
        let text = Zeroizing::new(std::fs::read_to_string(file).map_err(failed)?);
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let malformed = || KeyFileError::Malformed { file: file.to_owned(), line: index + 1 };
            keys.push(Key::parse(line).ok_or_else(malformed)?);
        }
        if keys.is_empty() { Err(KeyFileError::Empty(file.to_owned())) } else { Ok(KeyRing(keys)) }
    }

    /// Replaces a file, or makes it: for its owner only, and whole or not at all, also at a power cut.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(super) fn write(&self, file: &Path) -> Result<(), KeyFileError> {
        let mut text = Zeroizing::new(HEAD.to_owned());
        for key in &self.0 {
            // Writing into a text does not fail.
            let _ = writeln!(text, "{} {}", key.id, *Zeroizing::new(hex(&*key.bytes)));
        }
        let write = || {
            let directory = directory_of(file);
            // Of mode 0600.
            let mut temporary = NamedTempFile::new_in(directory)?;
            temporary.write_all(text.as_bytes())?;
            temporary.as_file().sync_all()?;
            temporary.persist(file).map_err(|error| error.error)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|error| KeyFileError::Write(file.to_owned(), error))
    }

    /// The key that new values are sealed with.
    pub(super) fn current(&self) -> &Key {
        &self.0[0]
    }

    /// The key with this id.
    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }

    /// Whether a change of keys has begun and not ended.
    pub(super) fn has_old_keys(&self) -> bool {
        self.0.len() > 1
    }

    /// The same with a new current key; the others stay readable.
    pub(super) fn with_new_key(&self) -> Self {
        KeyRing(std::iter::once(Key::generate()).chain(self.0.iter().cloned()).collect())
    }

    /// Only the current key.
    pub(super) fn without_old_keys(&self) -> Self {
        KeyRing(vec![self.0[0].clone()])
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn key_file_is_private_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret.key");
        assert!(matches!(KeyRing::read(&file), Err(KeyFileError::Missing(_))));
        let ring = KeyRing::generate().with_new_key();
        ring.write(&file).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let read = KeyRing::read(&file).unwrap();
        let ids = |ring: &KeyRing| ring.0.iter().map(|key| (key.id.clone(), *key.bytes)).collect::<Vec<_>>();
        assert_eq!(ids(&read), ids(&ring));
        assert!(read.has_old_keys() && !read.without_old_keys().has_old_keys());
        ring.without_old_keys().write(&file).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn damaged_key_is_noticed_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret.key");
        KeyRing::generate().write(&file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let last = text.trim_end().chars().last().unwrap();
        let damaged =
            format!("{}{}", &text.trim_end()[..text.trim_end().len() - 1], if last == '0' { '1' } else { '0' });
        std::fs::write(&file, &damaged).unwrap();
        let Err(error) = KeyRing::read(&file) else { panic!("it is read") };
        assert!(error.to_string().starts_with("line 3 of the key file"), "{error}");
        std::fs::write(&file, HEAD).unwrap();
        assert!(matches!(KeyRing::read(&file), Err(KeyFileError::Empty(_))));
    }
}
