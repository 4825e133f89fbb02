//! The errors of a configuration: all of them, not only the first.

use std::fmt;

/// One error: where it is, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// The key, flag or variable, such as `pipeline "orders": metrics_url`.
    pub(crate) key: String,
    /// The fault, and the expected value.
    pub(crate) what: String,
    /// Whether it is in the files of this host, and not in what is written.
    is_of_host: bool,
}

/// Every error of a configuration, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Notes a error.
    pub(crate) fn add(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(ConfigError { key: key.into(), what: what.into(), is_of_host: false });
    }

    /// Notes an error that another host may not have: a file is missing.
    pub(crate) fn add_of_host(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(ConfigError { key: key.into(), what: what.into(), is_of_host: true });
    }

    /// Forgets errors that another host may not have.
    pub(crate) fn forget_those_of_host(&mut self) {
        self.0.retain(|error| !error.is_of_host);
    }

    /// Takes over the errors of a part.
    pub(crate) fn append(&mut self, mut part: ConfigErrors) {
        self.0.append(&mut part.0);
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// All of them on one line, for an agent without a file: VectorFlow's agent writes one line.
    pub(crate) fn on_one_line(&self) -> String {
        let errors: Vec<_> = self.0.iter().map(|error| format!("{}: {}", error.key, error.what)).collect();
        format!("the configuration is invalid: {}", errors.join("; "))
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
impl ConfigErrors {
    /// The keys, for tests.
    pub(crate) fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|error| error.key.as_str()).collect()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} error{}:", if count == 1 { "" } else { "s" })?;
        for error in &self.0 {
            write!(f, "\n  {}: {}", error.key, error.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
