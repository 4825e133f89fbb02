//! Which alerts: `node=web-*`, `site!=lab`. A star stands for any characters.

use std::fmt;

/// Characters of a matcher.
const MAX_CHARS: usize = 256;

/// A text with stars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(String);

impl Glob {
    /// A pattern.
    pub(crate) fn new(pattern: &str) -> Self {
        Glob(pattern.to_owned())
    }

    /// Whether a text fits.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        // Without a star the whole text is the first part.
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            let Some(place) = rest.find(part) else { return false };
            rest = &rest[place + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A condition on one property of an alert: `rule`, `severity`, `environment`, `node`, `pipeline`, or a label of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub key: String,
    pub negated: bool,
    pub value: Glob,
}

impl Matcher {
    /// Reads `key=value` or `key!=value`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is no condition, expected e.g. node=web-* or site!=lab");
        if text.chars().count() > MAX_CHARS {
            return Err(format!("a condition has at most {MAX_CHARS} characters"));
        }
        let (key, value) = text.split_once('=').ok_or_else(fault)?;
        let (key, negated) = match key.strip_suffix('!') {
            Some(key) => (key, true),
            None => (key, false),
        };
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || key.contains(char::is_whitespace) || text.contains(char::is_control) {
            return Err(fault());
        }
        Ok(Matcher { key: key.to_owned(), negated, value: Glob::new(value) })
    }

    /// Whether the property fits; one that is absent is empty.
    pub(crate) fn matches(&self, value: Option<&str>) -> bool {
        self.value.matches(value.unwrap_or_default()) != self.negated
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}={}", self.key, if self.negated { "!" } else { "" }, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        let fits = |pattern: &str, text: &str| Glob::new(pattern).matches(text);
        for (pattern, text) in
            [("web-*", "web-1"), ("*", ""), ("*-1", "web-1"), ("a*b*c", "axxbyyc"), ("a*a", "aa"), ("x", "x"), ("", "")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("web-*", "db-1"), ("a*a", "a"), ("x", "xy"), ("a*b*c", "acb"), ("", "x")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn matcher_has_a_key_and_prints_as_it_is_read() {
        for text in ["node=web-*", "site!=lab", "rule=x", "pipeline="] {
            assert_eq!(Matcher::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "node", "=x", "!=x", "a b=c", "a=\u{7}"] {
            assert!(Matcher::parse(text).is_err(), "{text:?}");
        }
        let not_lab = Matcher::parse("site!=lab").unwrap();
        assert!(not_lab.matches(None) && not_lab.matches(Some("plant")) && !not_lab.matches(Some("lab")));
    }
}
