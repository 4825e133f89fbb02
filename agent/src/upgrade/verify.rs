//! Whether a program is the one that was meant: its SHA-256, and its Ed25519 signature where the agent has a key.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use super::source::MAX_PROGRAM_BYTES;
use crate::files;
use crate::model::upgrade::{Signed, UpdateKey, decode};

/// Bytes of a SHA-256 in hexadecimal digits.
const HEX_LENGTH: usize = 64;

/// Read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why a program is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    /// What was asked for is no checksum.
    #[error("`{0}` is not a SHA-256: expected 64 hexadecimal digits")]
    NoChecksum(String),
    /// Another program.
    #[error("wrong SHA-256: expected {expected}, the program has {found}")]
    Checksum {
        /// What was asked for.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The agent requires a signature.
    #[error("the program has no signature, and update_key is set in agent.toml: pass the signature")]
    NoSignature,
    /// The signature is of another program, or by another key.
    #[error("wrong signature: it is not an Ed25519 signature of this program by update_key")]
    Signature,
    /// The file cannot be read.
    #[error("cannot read the program")]
    Read(#[source] io::Error),
}

/// The SHA-256 of a file, in hexadecimal digits.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn sha256_of(path: &Path) -> io::Result<String> {
    Ok(files::hex(&digest_of(path)?))
}

fn digest_of(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&chunk[..length]),
        }
    }
}

/// Checks a file against the checksum and signature that belong to it; returns its checksum.
///
/// # Errors
/// When it is another program, or must be signed and is not.
pub(super) fn verify(
    path: &Path,
    expected: Option<&str>,
    signature: Option<&str>,
    key: Option<&UpdateKey>,
    signed: Signed,
) -> Result<String, VerifyError> {
    let expected = expected.map(checksum).transpose()?;
    let digest = digest_of(path).map_err(VerifyError::Read)?;
    let found = files::hex(&digest);
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(VerifyError::Checksum { expected, found });
    }
    if let Some(key) = key {
        let signature = signature.ok_or(VerifyError::NoSignature)?;
        let signature = decode(signature).ok_or(VerifyError::Signature)?;
        let message = match signed {
            Signed::Digest => digest.to_vec(),
            Signed::Program => {
                let mut program = Vec::new();
                let file = File::open(path).map_err(VerifyError::Read)?;
                file.take(MAX_PROGRAM_BYTES).read_to_end(&mut program).map_err(VerifyError::Read)?;
                program
            }
        };
        let key = UnparsedPublicKey::new(&ED25519, key.bytes());
        key.verify(&message, &signature).map_err(|_| VerifyError::Signature)?;
    }
    Ok(found)
}

/// Whether a checksum that a person or a server wrote is this one.
pub(crate) fn is_sha256(text: &str, sha256: &str) -> bool {
    checksum(text).is_ok_and(|sum| sum.eq_ignore_ascii_case(sha256))
}

/// A checksum as it is compared: hexadecimal digits, also after `sha256:`.
fn checksum(text: &str) -> Result<String, VerifyError> {
    let sum = text.trim().to_ascii_lowercase();
    let sum = sum.strip_prefix("sha256:").map_or(sum.as_str(), str::trim).to_owned();
    let is_sum = sum.len() == HEX_LENGTH && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sum.then_some(sum).ok_or_else(|| VerifyError::NoChecksum(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    /// SHA-256 of `abc`.
    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn program() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        file
    }

    #[test]
    fn checksum_decides() {
        let program = program();
        let check = |sum: Option<&str>| {
            verify(program.path(), sum, None, None, Signed::Program).map_err(|error| error.to_string())
        };
        assert_eq!(check(None).unwrap(), OF_ABC);
        assert_eq!(check(Some(&format!(" {}\n", OF_ABC.to_uppercase()))).unwrap(), OF_ABC);
        assert_eq!(check(Some(&format!("sha256:{OF_ABC}"))).unwrap(), OF_ABC);
        assert!(check(Some(&OF_ABC.replace('b', "c"))).unwrap_err().contains("wrong SHA-256"));
        assert!(check(Some("abc")).unwrap_err().contains("64 hexadecimal digits"));
    }

    #[test]
    fn signature_is_required_once_there_is_a_key() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key = UpdateKey::parse(&STANDARD.encode(pair.public_key())).unwrap();
        let program = program();
        let check =
            |signature: Option<String>| verify(program.path(), None, signature.as_deref(), Some(&key), Signed::Program);
        let sign = |text: &[u8]| STANDARD.encode(pair.sign(text));
        assert_eq!(check(Some(sign(b"abc"))).unwrap(), OF_ABC);
        assert!(matches!(check(None), Err(VerifyError::NoSignature)));
        for wrong in [sign(b"abd"), "nonsense".to_owned(), String::new()] {
            assert!(matches!(check(Some(wrong)), Err(VerifyError::Signature)));
        }
        let digest = Sha256::digest(b"abc");
        let check = |signature: &str| verify(program.path(), None, Some(signature), Some(&key), Signed::Digest);
        assert_eq!(check(&sign(&digest)).unwrap(), OF_ABC);
        for wrong in [sign(b"abc"), sign(OF_ABC.as_bytes())] {
            assert!(matches!(check(&wrong), Err(VerifyError::Signature)));
        }
    }
}
