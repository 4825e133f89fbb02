//! A path as JSON: a text where it is one, otherwise its bytes.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Saved {
    Text(String),
    Bytes(Vec<u8>),
}

/// For serde.
pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    let saved = match path.to_str() {
        Some(text) => Saved::Text(text.to_owned()),
        None => Saved::Bytes(path.as_os_str().as_bytes().to_vec()),
    };
    saved.serialize(serializer)
}

/// For serde.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(match Saved::deserialize(deserializer)? {
        Saved::Text(text) => PathBuf::from(text),
        Saved::Bytes(bytes) => PathBuf::from(OsString::from_vec(bytes)),
    })
}
