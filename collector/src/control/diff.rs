//! The difference of two versions, as people read it: a unified diff of the settings and of the configuration.

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;
use similar::TextDiff;

use crate::model::definition::{Definition, VersionBody};

/// Lines around a change.
const CONTEXT: usize = 3;

/// After this time the difference of two long texts becomes coarser, and is still right.
const MAX_TIME: Duration = Duration::from_millis(500);

/// The difference of two versions of a pipeline; empty when they are equal. `old` is `None` for the first one.
pub(crate) fn diff(id: &str, old: Option<(&str, &VersionBody)>, new: (&str, &VersionBody)) -> String {
    let (new_label, new) = new;
    let (old_label, old) = old.map_or(("", None), |(label, body)| (label, Some(body)));
    let settings_of_old = old.map(|old| settings(id, old));
    let mut text = compare(
        (&format!("{id}.toml"), old_label, settings_of_old.as_deref()),
        (&format!("{id}.toml"), new_label, &settings(id, new)),
    );
    let name = |definition: &Definition| format!("{id}.{}", definition.format.as_str());
    let old_name = old.map(|old| name(&old.definition)).unwrap_or_default();
    text += &compare(
        (&old_name, old_label, old.map(|old| old.definition.config.as_str())),
        (&name(&new.definition), new_label, &new.definition.config),
    );
    text
}

/// As a file can have it.
fn duration(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }
}

fn compare(old: (&str, &str, Option<&str>), new: (&str, &str, &str)) -> String {
    let (old_name, old_label, old_text) = old;
    let (new_name, new_label, new_text) = new;
    let label = |name: &str, label: &str| format!("{name} ({label})");
    let header = match old_text {
        Some(_) => (label(old_name, old_label), label(new_name, new_label)),
        None => ("/dev/null".to_owned(), label(new_name, new_label)),
    };
    let difference = TextDiff::configure().timeout(MAX_TIME).diff_lines(old_text.unwrap_or_default(), new_text);
    difference.unified_diff().context_radius(CONTEXT).header(&header.0, &header.1).to_string()
}

/// Everything but the configuration, as in the file of the pipeline.
fn settings(id: &str, body: &VersionBody) -> String {
    let definition = &body.definition;
    let mut text = String::new();
    // Strings of JSON are strings of TOML.
    let quoted = |text: &str| Value::from(text).to_string();
    let list = |items: &[String]| Value::from(items).to_string();
    let mut line = |key: &str, value: String| {
        // Writing into a text does not fail.
        let _ = writeln!(text, "{key} = {value}");
    };
    line("id", quoted(id));
    if let Some(name) = &definition.name {
        line("name", quoted(name));
    }
    line("selector", list(&definition.selector));
    line("engine", quoted(&definition.engine));
    line("format", quoted(definition.format.as_str()));
    if let Some(level) = &definition.log_level {
        line("log_level", quoted(level));
    }
    for (variable, name, revision) in body.environment() {
        line(&format!("secrets.{variable}"), format!("{}    # value {revision}", quoted(name)));
    }
    let rollout = &definition.rollout;
    if !rollout.canary.is_empty() {
        line("rollout.canary", list(&rollout.canary));
    }
    line("rollout.batch", quoted(&rollout.batch.to_string()));
    line("rollout.healthy_for", quoted(&duration(rollout.healthy_for_ms)));
    line("rollout.max_failed", rollout.max_failed.to_string());
    text
}

#[cfg(test)]
mod tests {
    use super::super::definition::tests::definition;
    use super::*;

    fn body(config: &str, revision: i64) -> VersionBody {
        let mut definition = definition(config);
        definition.secrets = [("DB".to_owned(), "prod/db".to_owned())].into();
        VersionBody { definition, secret_revisions: [("prod/db".to_owned(), revision)].into() }
    }

    #[test]
    fn diff_shows_settings_and_configuration() {
        let (old, new) = (body("a: 1\nb: 2\n", 1), body("a: 1\nb: 3\n", 2));
        let text = diff("orders", Some(("version 1", &old)), ("version 2", &new));
        let expected = "--- orders.toml (version 1)\n+++ orders.toml (version 2)\n@@ -2,7 +2,7 @@\n \
            selector = [\"role=edge\"]\n engine = \"vector\"\n format = \"yaml\"\n\
            -secrets.DB = \"prod/db\"    # value 1\n+secrets.DB = \"prod/db\"    # value 2\n \
            rollout.batch = \"10%\"\n rollout.healthy_for = \"30s\"\n rollout.max_failed = 0\n\
            --- orders.yaml (version 1)\n+++ orders.yaml (version 2)\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n";
        assert_eq!(text, expected);
        assert_eq!(diff("orders", Some(("version 1", &old)), ("version 1", &old)), "");
        assert!(diff("orders", None, ("version 1", &old)).contains("--- /dev/null\n+++ orders.yaml (version 1)\n"));
    }

    #[test]
    fn diff_of_long_texts_ends_soon() {
        let text = |seed: u64| -> String {
            (0..40_000u64).map(|n| format!("{}\n", (n * 2_654_435_761 + seed) % 7_919)).collect()
        };
        let begin = tokio::time::Instant::now();
        let difference = diff("a", Some(("1", &body(&text(1), 1))), ("2", &body(&text(4_000), 1)));
        assert!(!difference.is_empty() && begin.elapsed() < Duration::from_secs(20));
    }
}
