//! Conditions on the labels of a node: `role=edge`, `role` (has the label), `!canary` (has it not), `!role=edge`,
//! and `*` for every node.
//!
//! `key:value` is the same as `key=value`, because a query parameter reads better so: `label=site:lab`.

use std::collections::BTreeMap;
use std::fmt;

/// Conditions of one selector: each is checked for every node of an environment.
const MAX_TERMS: usize = 32;

/// A set of nodes: those for which every condition holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Selector(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Term {
    negated: bool,
    key: String,
    /// `None` when any value will do.
    value: Option<String>,
}

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectorError {
    /// There is no condition, and an empty list must not mean every node.
    #[error("a selector needs at least one condition; \"*\" selects every node")]
    Empty,
    /// A condition without a label.
    #[error("{0:?} names no label, expected label, label=value, !label or *")]
    NoLabel(String),
    /// `*` beside other conditions.
    #[error("\"*\" stands alone")]
    StarAndMore,
    /// Too many conditions.
    #[error("a selector has at most {MAX_TERMS} conditions")]
    TooMany,
}

impl Selector {
    /// Every node.
    pub(crate) const ALL: Selector = Selector(Vec::new());

    /// Reads conditions.
    ///
    /// # Errors
    ///
    /// When there is none, or one of them is not a condition.
    pub(crate) fn parse<S: AsRef<str>>(terms: &[S]) -> Result<Self, SelectorError> {
        if terms.is_empty() {
            return Err(SelectorError::Empty);
        }
        if terms.len() > MAX_TERMS {
            return Err(SelectorError::TooMany);
        }
        if terms.iter().any(|term| term.as_ref().trim() == "*") {
            return if terms.len() == 1 { Ok(Selector::ALL) } else { Err(SelectorError::StarAndMore) };
        }
        terms.iter().map(|term| Term::parse(term.as_ref())).collect::<Result<_, _>>().map(Selector)
    }

    /// Whether a node with these labels is in the set.
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|term| term.matches(labels))
    }
}

impl Term {
    fn parse(text: &str) -> Result<Self, SelectorError> {
        let text = text.trim();
        let (negated, condition) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, text),
        };
        let (key, value) = match condition.split_once(['=', ':']) {
            Some((key, value)) => (key.trim(), Some(value.trim().to_owned())),
            None => (condition, None),
        };
        if key.is_empty() {
            return Err(SelectorError::NoLabel(text.to_owned()));
        }
        Ok(Term { negated, key: key.to_owned(), value })
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.key).is_some_and(|label| self.value.as_ref().is_none_or(|value| value == label));
        found != self.negated
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("*");
        }
        for (index, term) in self.0.iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            let not = if term.negated { "!" } else { "" };
            write!(f, "{separator}{not}{}", term.key)?;
            if let Some(value) = &term.value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn selector_takes_nodes_for_which_each_condition_holds() {
        let edge = labels(&[("role", "edge"), ("site", "lab")]);
        for (terms, expected) in [
            (&["*"][..], true),
            (&["role=edge"], true),
            (&["role:edge"], true),
            (&["role=core"], false),
            (&["role"], true),
            (&["canary"], false),
            (&["!canary"], true),
            (&["!role"], false),
            (&["!role=core"], true),
            (&["role=edge", "!canary", "site=lab"], true),
            (&["role=edge", "site=plant"], false),
        ] {
            assert_eq!(Selector::parse(terms).unwrap().matches(&edge), expected, "{terms:?}");
        }
    }

    #[test]
    fn selector_needs_conditions() {
        assert_eq!(Selector::parse::<&str>(&[]), Err(SelectorError::Empty));
        assert_eq!(Selector::parse(&["=x"]), Err(SelectorError::NoLabel("=x".into())));
        assert_eq!(Selector::parse(&["!"]), Err(SelectorError::NoLabel("!".into())));
        assert_eq!(Selector::parse(&["*", "role"]), Err(SelectorError::StarAndMore));
        assert_eq!(Selector::parse(&["role=edge", "!canary"]).unwrap().to_string(), "role=edge,!canary");
        assert_eq!(Selector::ALL.to_string(), "*");
    }
}
