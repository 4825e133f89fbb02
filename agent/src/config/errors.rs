//! What is wrong with a configuration: all of it, not only the first.

use std::fmt;

/// One mistake: where it is, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The key, flag or variable, such as `pipeline "orders": metrics_url`.
    pub(crate) key: String,
    /// What is wrong with it, and what would be right.
    pub(crate) what: String,
}

/// Every mistake of a configuration, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigErrors(Vec<Mistake>);

impl ConfigErrors {
    /// Notes a mistake.
    pub(crate) fn add(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(Mistake { key: key.into(), what: what.into() });
    }

    /// Takes over the mistakes of a part.
    pub(crate) fn append(&mut self, mut part: ConfigErrors) {
        self.0.append(&mut part.0);
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
        self.0.iter().map(|mistake| mistake.key.as_str()).collect()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} mistake{}:", if count == 1 { "" } else { "s" })?;
        for mistake in &self.0 {
            write!(f, "\n  {}: {}", mistake.key, mistake.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
