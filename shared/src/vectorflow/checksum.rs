//! The checksum of a delivered pipeline. An agent restarts a pipeline when it changes.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// SHA-256, in hexadecimal digits, of the configuration, followed by the JSON of the secrets with sorted keys if
/// there are any.
pub fn checksum(config_yaml: &str, secrets: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new_with_prefix(config_yaml);
    if !secrets.is_empty() {
        hash.update(serde_json::to_string(secrets).expect("a map of texts is JSON"));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(text: &str) -> String {
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn checksum_is_that_of_the_text_and_of_sorted_secrets() {
        let config = "sources: {}\n";
        assert_eq!(checksum(config, &BTreeMap::new()), sha256(config));
        let secrets = [("Z_LAST", "a\"b\n"), ("A_FIRST", "ü")].map(|(name, value)| (name.into(), value.into()));
        let expected = format!("{config}{{\"A_FIRST\":\"ü\",\"Z_LAST\":\"a\\\"b\\n\"}}");
        assert_eq!(checksum(config, &secrets.into()), sha256(&expected));
    }
}
