//! Tokens: 256 random bits behind a readable prefix, known to the collector by their SHA-256 only.
//!
//! A fast hash is enough: the secret is random and long, so a slow hash would not make a guess harder, and
//! every report computes one.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// Turns hosts into nodes of one environment.
    Enroll,
    /// One node's reports.
    Node,
    /// Reads.
    Viewer,
    /// Reads, and acts on what runs: restarts, samples, taps.
    Operator,
    /// Reads, acts, and decides what runs.
    Admin,
    /// Reads `/metrics` and nothing else.
    Scrape,
    /// A browser's cookie, made from a viewer's or admin's token.
    Session,
}

impl TokenKind {
    /// Every kind.
    pub const ALL: [TokenKind; 7] = [
        TokenKind::Enroll,
        TokenKind::Node,
        TokenKind::Viewer,
        TokenKind::Operator,
        TokenKind::Admin,
        TokenKind::Scrape,
        TokenKind::Session,
    ];

    /// The kind as the wire, the database and the prefix write it.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenKind::Enroll => "enroll",
            TokenKind::Node => "node",
            TokenKind::Viewer => "viewer",
            TokenKind::Operator => "operator",
            TokenKind::Admin => "admin",
            TokenKind::Scrape => "scrape",
            TokenKind::Session => "session",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token's secret. It does not print; [`Token::reveal`] returns it where it must be sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(description = "A token's secret."))]
pub struct Token(String);

impl Token {
    /// A token of this text, without the white space around it.
    pub fn new(text: &str) -> Self {
        Token(text.trim().to_owned())
    }

    /// Makes `systole_<kind>_<64 hex>` from 32 random bytes.
    pub fn from_random(kind: TokenKind, random: &[u8; 32]) -> Self {
        Token(format!("systole_{kind}_{}", hex(random)))
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The first characters of the random part: enough to distinguish tokens in a list.
    pub fn hint(&self) -> String {
        let random = self.0.rsplit('_').next().unwrap_or_default();
        format!("{}…", random.chars().take(6).collect::<String>())
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hash that is stored and looked up instead of the secret.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// SHA-256 of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// Compares in constant time.
    pub fn matches(&self, other: &TokenHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// As 64 hexadecimal digits, the form in the database.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Reads what [`Self::to_hex`] wrote.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(TokenHash(bytes))
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_does_not_print_its_secret() {
        let token = Token::from_random(TokenKind::Viewer, &[7; 32]);
        assert_eq!(token.reveal(), format!("systole_viewer_{}", "07".repeat(32)));
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_eq!(token.hint(), "070707…");
    }

    #[test]
    fn token_hash_parses_its_hex_form() {
        // From FIPS 180-4: SHA-256 of "abc".
        let hash = Token::new(" abc\n").hash();
        assert_eq!(hash.to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(TokenHash::from_hex(&hash.to_hex()), Some(hash));
        assert!(hash.matches(&hash.clone()));
        assert!(!hash.matches(&Token::new("abd").hash()));
        assert_eq!(TokenHash::from_hex("xx"), None);
    }
}
