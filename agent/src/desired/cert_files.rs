//! The files that configurations of the centre name, such as certificates: `<data_dir>/certs/`, where the VectorFlow
//! agent has them too.
//!
//! All pipelines share the directory. So two of them cannot have different files of one name: the second one is
//! rejected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::files;
use crate::model::wanted::WantedFile;

/// Longest name: that of the temporary file beside it must fit into a file system.
const MAX_NAME_BYTES: usize = 200;

/// The files of all pipelines.
#[derive(Debug, Default)]
pub(super) struct CertFiles {
    dir: PathBuf,
    /// What the present merge has of each name, as its checksum.
    current: BTreeMap<String, String>,
    /// What the one before had.
    before: BTreeMap<String, String>,
}

impl CertFiles {
    /// In this directory.
    pub(super) fn in_dir(dir: &Path) -> Self {
        CertFiles { dir: dir.to_owned(), ..CertFiles::default() }
    }

    /// Writes the files of one pipeline; returns what changes with their contents, empty for none.
    ///
    /// # Errors
    ///
    /// Why the pipeline cannot have them. What it had before is as it was.
    pub(super) fn place(&mut self, files: &[WantedFile]) -> Result<String, String> {
        let mut decoded = Vec::with_capacity(files.len());
        for file in files {
            let name = name_of(&file.name).ok_or_else(|| format!("\"{}\" is no name of a file", shown(&file.name)))?;
            let text: String = file.data.split_ascii_whitespace().collect();
            let content = STANDARD.decode(text).map_err(|_| format!("the content of the file {name} is not base64"))?;
            let checksum = files::checksum_of(&content);
            if self.current.get(name).is_some_and(|other| *other != checksum) {
                return Err(format!("another pipeline has another file of the name {name}"));
            }
            decoded.push((name, content, checksum));
        }
        let mut digest = Sha256::new();
        for (name, content, checksum) in decoded {
            let path = self.dir.join(name);
            let is_there = std::fs::read(&path).is_ok_and(|found| found == content);
            let written = if is_there {
                Ok(())
            } else {
                files::make_dir(&self.dir).and_then(|()| files::replace(&path, &content))
            };
            written.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
            digest.update(name);
            digest.update(&checksum);
            self.current.insert(name.to_owned(), checksum);
        }
        Ok(if files.is_empty() { String::new() } else { files::hex(&digest.finalize()) })
    }

    /// Keeps the files of a pipeline that stays as it was.
    pub(super) fn keep(&mut self, files: &[WantedFile]) {
        for name in files.iter().filter_map(|file| name_of(&file.name)) {
            if let Some(checksum) = self.before.get(name) {
                self.current.entry(name.to_owned()).or_insert_with(|| checksum.clone());
            }
        }
    }

    /// All pipelines were merged: removes what none of them has any more. A file that the agent has not written
    /// stays.
    pub(super) fn end_merge(&mut self) {
        let current = std::mem::take(&mut self.current);
        for name in self.before.keys().filter(|name| !current.contains_key(*name)) {
            drop(std::fs::remove_file(self.dir.join(name)));
        }
        self.before = current;
    }
}

/// The last part of a path; none if it is no name.
fn name_of(path: &str) -> Option<&str> {
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    let is_name = !name.is_empty() && name != "." && name != ".." && name.len() <= MAX_NAME_BYTES;
    (is_name && !name.contains('\0')).then_some(name)
}

/// A name for a message.
fn shown(name: &str) -> String {
    name.chars().take(80).map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(name: &str, content: &str) -> WantedFile {
        WantedFile { name: name.into(), data: STANDARD.encode(content) }
    }

    #[test]
    fn only_the_end_of_a_name_counts() {
        let name = |path| name_of(path).unwrap_or("-").to_owned();
        let names = ["ca.pem", "/etc/tls/ca.pem", "../../ca.pem", "..", "a/..", ".", "/", "", "x\0"].map(name);
        assert_eq!(names, ["ca.pem", "ca.pem", "ca.pem", "-", "-", "-", "-", "-", "-"]);
    }

    #[test]
    fn files_are_private_and_go_with_their_last_pipeline() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("certs");
        let mut files = CertFiles::in_dir(&dir);
        let first = files.place(&[file("a/ca.pem", "one")]).unwrap();
        assert_eq!(files.place(&[file("ca.pem", "one"), file("key.pem", "k")]).unwrap().len(), 64);
        assert!(files.place(&[file("ca.pem", "two")]).unwrap_err().contains("another file of the name ca.pem"));
        assert!(files.place(&[file("..", "x")]).unwrap_err().contains("\"..\" is no name"));
        assert!(files.place(&[WantedFile { name: "b".into(), data: "not base64!".into() }]).is_err());
        files.end_merge();
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(dir.join("key.pem").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(dir.join("of-an-operator"), "x").unwrap();
        let second = files.place(&[file("ca.pem", "two")]).unwrap();
        assert_ne!(first, second);
        files.end_merge();
        let mut left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["ca.pem", "of-an-operator"]);
        assert_eq!(files.place(&[]).unwrap(), "");
    }
}
