//! The checksum of a pipeline: SHA-256 of its configuration, followed by the JSON of its secrets with sorted keys if it
//! has any, so that another secret means another start.
//!
//! A VectorFlow server writes that JSON as `JSON.stringify` does. A server in Go would write `<`, `>`, `&` and two line
//! ends of Unicode as `\u003c` and so on, and old servers leave the secrets out. All three are known here. Another one is
//! no reason not to run a pipeline: TLS protects what arrives, and the agent compares contents itself.

use std::collections::BTreeMap;

use systole_shared::vectorflow::ConfigPipeline;

use crate::files::checksum_of;

/// What Go escapes in a text and `JSON.stringify` does not.
const ESCAPED_BY_GO: [(char, &str); 5] =
    [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];

/// Whether the pipeline's checksum is one of its content.
pub(super) fn is_of(pipeline: &ConfigPipeline) -> bool {
    let config = pipeline.config_yaml.as_str();
    let is_of = |text: &str| checksum_of(text.as_bytes()).eq_ignore_ascii_case(&pipeline.checksum);
    let secrets = pipeline.secrets.as_ref().filter(|secrets| !secrets.is_empty());
    let json = secrets.map(json_of);
    json.is_some_and(|json| is_of(&format!("{config}{json}")) || is_of(&format!("{config}{}", as_go(&json))))
        || is_of(config)
}

/// As `JSON.stringify` with sorted keys.
fn json_of(secrets: &BTreeMap<String, String>) -> String {
    serde_json::to_string(secrets).unwrap_or_default()
}

/// The same as Go writes it. None of the letters has a meaning in JSON outside of a text.
fn as_go(json: &str) -> String {
    ESCAPED_BY_GO.into_iter().fold(json.to_owned(), |json, (letter, escaped)| json.replace(letter, escaped))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each character that one of the writers of JSON treats in its own way.
    const VALUE: &str = "<a>&b \"q\" \\ / \u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f} \u{e4}\u{2028}\u{2029}\u{1f600}";

    /// As `JSON.stringify` of Node and `json.Marshal` of Go write the value: two texts that were not made by this code.
    const BY_STRINGIFY: &str = "{\"A\":\"1\",\"B\":\"<a>&b \\\"q\\\" \\\\ / \\b\\f\\n\\r\\t\\u0001\\u001f\u{7f} \u{e4}\u{2028}\u{2029}\u{1f600}\"}";
    const BY_GO: &str = "{\"A\":\"1\",\"B\":\"\\u003ca\\u003e\\u0026b \\\"q\\\" \\\\ / \\b\\f\\n\\r\\t\\u0001\\u001f\u{7f} \u{e4}\\u2028\\u2029\u{1f600}\"}";

    fn pipeline(secrets: &[(&str, &str)], checksum: &str) -> ConfigPipeline {
        let secrets: BTreeMap<_, _> =
            secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ConfigPipeline {
            pipeline_id: "cma".into(),
            pipeline_name: String::new(),
            version: 1,
            config_yaml: "a: b\n".into(),
            checksum: checksum.into(),
            log_level: None,
            secrets: Some(secrets),
            cert_files: None,
        }
    }

    #[test]
    fn secrets_are_written_as_each_server_writes_them() {
        let secrets = [("B", VALUE), ("A", "1")];
        let stringified = json_of(&pipeline(&secrets, "").secrets.unwrap());
        assert_eq!(stringified, BY_STRINGIFY);
        assert_eq!(as_go(&stringified), BY_GO);
        for json in [BY_STRINGIFY, BY_GO, ""] {
            let checksum = checksum_of(format!("a: b\n{json}").as_bytes());
            assert!(is_of(&pipeline(&secrets, &checksum)), "{json}");
            assert!(is_of(&pipeline(&secrets, &checksum.to_uppercase())), "{json}");
        }
        assert!(!is_of(&pipeline(&secrets, &checksum_of(b"a: b\n{\"A\":\"1\"}"))));
    }

    #[test]
    fn configuration_without_secrets_is_its_own_checksum() {
        assert!(is_of(&pipeline(&[], &checksum_of(b"a: b\n"))));
        assert!(!is_of(&pipeline(&[], &checksum_of(b"a: b\n{}"))) && !is_of(&pipeline(&[], "")));
    }
}
