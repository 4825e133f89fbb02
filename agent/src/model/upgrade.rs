//! What the configuration says of upgrades of the agent itself.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::centre::CentreTerms;

/// Bytes of an Ed25519 public key.
const KEY_BYTES: usize = 32;

/// What precedes the key in its usual form, the DER of `openssl pkey -pubout -outform DER`.
const DER_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// How long a new version has by default until it must be healthy.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// The settings of upgrades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpgradeConfig {
    /// Who must have signed a new version; none for no signature.
    pub(crate) key: Option<UpdateKey>,
    /// Whether the agent replaces itself. By default it does outside containers.
    pub(crate) accept: Option<bool>,
    /// How long a new version has until it must be healthy. Default [`DEFAULT_TIMEOUT`].
    pub(crate) timeout: Duration,
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        UpgradeConfig { key: None, accept: None, timeout: DEFAULT_TIMEOUT }
    }
}

/// The rules of an update that the centre wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpdateRules {
    /// Whether the node's file must allow it, or have a key. Else it must not forbid it.
    pub(crate) needs_consent: bool,
    /// What the signature is of.
    pub(crate) signed: Signed,
    /// When one that failed is tried again; none for never, before another one is wanted.
    pub(crate) retry_after: Option<Duration>,
}

/// What a signature of a program is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// The program.
    Program,
    /// The 32 bytes of its SHA-256.
    Digest,
}

impl UpdateRules {
    /// Those of `systole-agent upgrade`, which an operator runs.
    pub(crate) const OF_OPERATOR: UpdateRules = Self::of(CentreTerms::Consent);

    /// Those of a centre with these terms.
    pub(crate) const fn of(terms: CentreTerms) -> Self {
        match terms {
            CentreTerms::Consent => UpdateRules { needs_consent: true, signed: Signed::Program, retry_after: None },
            CentreTerms::Dedicated => UpdateRules {
                needs_consent: false,
                signed: Signed::Digest,
                retry_after: Some(Duration::from_secs(300)),
            },
        }
    }
}

/// An Ed25519 public key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UpdateKey([u8; KEY_BYTES]);

impl UpdateKey {
    /// Reads base64 of the key's 32 bytes, or of its DER form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = decode(text)?;
        let bytes = bytes.strip_prefix(&DER_PREFIX[..]).unwrap_or(&bytes);
        bytes.try_into().ok().map(UpdateKey)
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As [`Self::parse`] reads it.
    pub(crate) fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl fmt::Debug for UpdateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

/// Reads base64, also in several lines.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_read_as_bytes_or_as_der() {
        let raw = STANDARD.encode([7; KEY_BYTES]);
        let der = STANDARD.encode([&DER_PREFIX[..], &[7; KEY_BYTES]].concat());
        assert_eq!(UpdateKey::parse(&raw), UpdateKey::parse(&der));
        assert_eq!(UpdateKey::parse(&der).unwrap().to_base64(), raw);
        for wrong in ["", "not base64!", &STANDARD.encode([7; 31]), &raw[1..]] {
            assert_eq!(UpdateKey::parse(wrong), None, "{wrong}");
        }
    }
}
