//! Checks the content of a pipeline. Each fault names its field, and one check returns all of them.

use std::fmt;

use systole_shared::desired::MAX_CONFIG_BYTES;
use systole_shared::limits::MAX_SHORT_TEXT_BYTES;

use super::syntax::{self, Position};
use crate::model::definition::Definition;
use crate::model::selector::Selector;

/// Bytes of an engine's name: it is a key of the agents' own files.
const MAX_ENGINE_BYTES: usize = 64;

/// Bytes of a secret's name.
const MAX_SECRET_NAME_BYTES: usize = 128;

/// Variables of one pipeline that are secrets.
const MAX_VARIABLES: usize = 64;

/// Bytes of a variable's name.
const MAX_VARIABLE_BYTES: usize = 128;

/// Levels that engines know.
pub(crate) const LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// How long a version must be up to be healthy, in milliseconds: shorter is no proof, longer would hold a rollout for
/// days.
const HEALTHY_FOR_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;

/// Something that is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The field, such as `rollout.canary`.
    pub field: String,
    /// Where in the configuration.
    pub position: Option<Position>,
    pub message: String,
}

impl Fault {
    /// A fault of a field.
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Fault { field: field.into(), position: None, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{}: {position}: {}", self.field, self.message),
            None => write!(f, "{}: {}", self.field, self.message),
        }
    }
}

/// Everything that is wrong with a definition.
pub(crate) fn check(definition: &Definition) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut add = |field: &str, message: String| faults.push(Fault::new(field, message));
    if let Some(fault) = definition.name.as_deref().and_then(name_fault) {
        add("name", fault);
    }
    if let Err(error) = Selector::parse(&definition.selector) {
        add("selector", error.to_string());
    }
    if !definition.rollout.canary.is_empty()
        && let Err(error) = Selector::parse(&definition.rollout.canary)
    {
        add("rollout.canary", error.to_string());
    }
    if !HEALTHY_FOR_MS.contains(&definition.rollout.healthy_for_ms) {
        add("rollout.healthyForMs", "must be between 1 s and 1 h".to_owned());
    }
    if !is_name(&definition.engine, MAX_ENGINE_BYTES, "-_.") {
        let expected = format!("expected 1 to {MAX_ENGINE_BYTES} letters, digits, dashes, dots and underscores");
        add("engine", format!("{:?}: {expected}", definition.engine));
    }
    if let Some(level) = definition.log_level.as_deref().filter(|level| !LOG_LEVELS.contains(level)) {
        add("logLevel", format!("{level:?}, expected one of {}", LOG_LEVELS.join(", ")));
    }
    if definition.secrets.len() > MAX_VARIABLES {
        add("secrets", format!("has more than {MAX_VARIABLES} variables"));
    }
    for (variable, name) in &definition.secrets {
        let field = format!("secrets.{variable}");
        if let Some(fault) = variable_fault(variable) {
            faults.push(Fault::new(&field, fault));
        }
        if let Some(fault) = secret_name_fault(name) {
            faults.push(Fault::new(&field, fault));
        }
    }
    faults.extend(config_fault(definition));
    faults
}

fn name_fault(name: &str) -> Option<String> {
    match name {
        "" => Some("is empty; leave it out to use the id".to_owned()),
        name if name.len() > MAX_SHORT_TEXT_BYTES => Some(format!("is longer than {MAX_SHORT_TEXT_BYTES} bytes")),
        name if name.contains(char::is_control) => Some("has a control character".to_owned()),
        _ => None,
    }
}

fn is_name(text: &str, max_bytes: usize, marks: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    !text.is_empty() && text.len() <= max_bytes && text.chars().all(is_allowed)
}

/// Why a text is not the name of a secret.
pub(crate) fn secret_name_fault(name: &str) -> Option<String> {
    if is_name(name, MAX_SECRET_NAME_BYTES, "-_./") && !name.starts_with(['/', '.']) && !name.ends_with('/') {
        return None;
    }
    let expected = format!(
        "expected 1 to {MAX_SECRET_NAME_BYTES} letters, digits, dashes, dots, underscores and slashes, such as prod/db"
    );
    Some(format!("{name:?} is not a name of a secret, {expected}"))
}

/// Why a text is not a variable that a secret can be in. The loader's own variables decide which code runs, and those
/// of the agent are its own.
fn variable_fault(variable: &str) -> Option<String> {
    if !is_name(variable, MAX_VARIABLE_BYTES, "_") || variable.starts_with(|c: char| c.is_ascii_digit()) {
        let expected =
            format!("expected 1 to {MAX_VARIABLE_BYTES} letters, digits and underscores, such as DB_PASSWORD");
        return Some(format!("{variable:?} is not a name of a variable, {expected}"));
    }
    let is_reserved = variable.starts_with("LD_") || variable.starts_with("SYSTOLE_") || variable == "PATH";
    is_reserved.then(|| format!("{variable} is not a variable for secrets: the system or the agent uses it"))
}

fn config_fault(definition: &Definition) -> Option<Fault> {
    if definition.config.len() > MAX_CONFIG_BYTES {
        let bytes = definition.config.len();
        return Some(Fault::new("config", format!("has {bytes} bytes, more than {MAX_CONFIG_BYTES}")));
    }
    if let Some(byte) = definition.config.find('\0') {
        let position = Some(Position::of(&definition.config, byte));
        return Some(Fault { position, ..Fault::new("config", "has a NUL character") });
    }
    let error = syntax::check(&definition.config, definition.format).err()?;
    Some(Fault { position: Some(error.position), ..Fault::new("config", error.message) })
}

#[cfg(test)]
pub(crate) mod tests {
    use systole_shared::ConfigFormat;

    use super::*;
    use crate::model::definition::RolloutPolicy;

    pub(crate) fn definition(config: &str) -> Definition {
        Definition {
            name: None,
            selector: vec!["role=edge".into()],
            engine: "vector".into(),
            config: config.into(),
            format: ConfigFormat::Yaml,
            secrets: Default::default(),
            log_level: None,
            rollout: RolloutPolicy::default(),
        }
    }

    #[test]
    fn every_fault_is_reported_with_its_field() {
        assert_eq!(check(&definition("a: 1\n")), []);
        let secrets = [("1X", "prod/db"), ("LD_PRELOAD", "lib"), ("OK", "/abs"), ("PATH", "a b")];
        let bad = Definition {
            name: Some("two\nlines".into()),
            selector: vec![],
            engine: "/usr/bin/vector".into(),
            config: "a: 1\n b: 2\n".into(),
            secrets: secrets.map(|(variable, name)| (variable.into(), name.into())).into(),
            log_level: Some("loud".into()),
            rollout: RolloutPolicy { canary: vec!["=x".into()], healthy_for_ms: 0, ..RolloutPolicy::default() },
            ..definition("")
        };
        let faults = check(&bad);
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        let expected = [
            "name",
            "selector",
            "rollout.canary",
            "rollout.healthyForMs",
            "engine",
            "logLevel",
            "secrets.1X",
            "secrets.LD_PRELOAD",
            "secrets.OK",
            "secrets.PATH",
            "secrets.PATH",
            "config",
        ];
        assert_eq!(fields, expected);
        assert!(faults[11].to_string().starts_with("config: line 2, column "), "{}", faults[11]);
    }

    #[test]
    fn configuration_has_at_most_a_mebibyte() {
        let long = format!("a: {}\n", "x".repeat(MAX_CONFIG_BYTES));
        assert!(check(&definition(&long))[0].message.contains("1048576"));
    }
}
