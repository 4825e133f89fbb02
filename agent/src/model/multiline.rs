//! Which lines of a pipeline belong together.

use regex_lite::Regex;

/// Which lines belong together.
#[derive(Clone, Debug)]
pub(crate) enum MultilineRule {
    /// Empty and indented lines, and those that begin as stack traces go on, belong to the one before.
    StackTraces,
    /// A line that this matches begins an entry; all others belong to the one before.
    Start(Regex),
}

impl PartialEq for MultilineRule {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (MultilineRule::StackTraces, MultilineRule::StackTraces) => true,
            (MultilineRule::Start(one), MultilineRule::Start(another)) => one.as_str() == another.as_str(),
            _ => false,
        }
    }
}
