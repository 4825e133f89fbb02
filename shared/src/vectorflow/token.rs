//! The text of tokens: `vf_enroll_<slug>_<16 hex>_<64 hex>` and `vf_node_<slug>_<16 hex>_<64 hex>`. The slug names an
//! organisation. Older tokens have no slug: `vf_enroll_<64 hex>`.
//!
//! A shape is only how a token is made. A collector finds it by the hash of its whole text.

use crate::token::{Token, hex};

/// The slug of a server that has only one organisation.
pub const DEFAULT_SLUG: &str = "default";

/// Characters of a slug.
const MAX_SLUG_CHARS: usize = 48;

/// A token for enrolment out of random bytes.
pub fn enroll_token(slug: &str, id: &[u8; 8], random: &[u8; 32]) -> Token {
    Token::new(&format!("vf_enroll_{slug}_{}_{}", hex(id), hex(random)))
}

/// The token of a node out of random bytes.
pub fn node_token(slug: &str, id: &[u8; 8], random: &[u8; 32]) -> Token {
    Token::new(&format!("vf_node_{slug}_{}_{}", hex(id), hex(random)))
}

/// The slug in a token; `None` in one of another shape.
pub fn slug_of(token: &Token) -> Option<&str> {
    let text = token.reveal();
    let rest = text.strip_prefix("vf_enroll_").or_else(|| text.strip_prefix("vf_node_"))?;
    let (rest, random) = rest.rsplit_once('_')?;
    let (slug, id) = rest.rsplit_once('_')?;
    let is_hex = |text: &str, len: usize| text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex(random, 64) && is_hex(id, 16) && !slug.is_empty()).then_some(slug)
}

/// A name as a slug: lower case, digits and dashes.
pub fn slugify(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().take(MAX_SLUG_CHARS) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => slug.push(c),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    match slug.trim_end_matches('-') {
        "" => DEFAULT_SLUG.to_owned(),
        slug => slug.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slug_is_read_from_the_tokens_that_have_one() {
        let token = node_token("acme-eu", &[1; 8], &[2; 32]);
        assert_eq!(token.reveal(), format!("vf_node_acme-eu_{}_{}", "01".repeat(8), "02".repeat(32)));
        assert_eq!(slug_of(&token), Some("acme-eu"));
        assert_eq!(slug_of(&enroll_token("with_underscore", &[1; 8], &[2; 32])), Some("with_underscore"));
        assert_eq!(slug_of(&Token::new(&format!("vf_enroll_{}", "02".repeat(32)))), None);
        assert_eq!(slug_of(&Token::new(&format!("systole_node_{}", "02".repeat(32)))), None);
    }

    #[test]
    fn names_become_slugs_that_a_token_can_hold() {
        assert_eq!(slugify("default"), "default");
        assert_eq!(slugify("Plant 7 / North_"), "plant-7-north");
        assert_eq!(slugify("…"), DEFAULT_SLUG);
    }
}
