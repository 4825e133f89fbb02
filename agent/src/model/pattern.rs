//! A pattern of log files: a fixed directory, and below it names with `*`, `?`, `[…]` and `**`.
//!
//! Names are bytes, because a file name on Unix need not be UTF-8. Not the crate `glob`: it panics at
//! such a name, and a panic ends the agent. Not `globset`: it brings a regex engine, 670 KB of the
//! program. Not `fast-glob`: braces, backslashes and a `!` at the beginning mean something else there.
//! Not `walkdir` or `ignore`: they open by whole paths, and a directory of such a path can become a
//! symbolic link while they walk.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A fault of a pattern.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum PatternError {
    #[error("must be an absolute path, like \"/var/log/orders/*.log\"")]
    NotAbsolute,
    #[error("contains no file name; write a pattern, like \"/var/log/orders/*.log\"")]
    NoFile,
    #[error("invalid pattern: `**` must be alone between two slashes")]
    MixedAnyDepth,
    #[error("invalid pattern: a `[` has no `]`")]
    OpenClass,
    #[error("invalid pattern: `..` is not allowed after a wildcard")]
    ParentAfterWildcard,
}

/// A checked pattern.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    /// The directory that the pattern names without wildcards.
    fixed: PathBuf,
    /// What follows below it; never empty.
    parts: Vec<Part>,
}

/// One name of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Exactly this name.
    Literal(OsString),
    /// A name with wildcards.
    Name(NamePattern),
    /// `**`: this directory, and any directory below it.
    AnyDepth,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// When the text is not an absolute path, names no file, or has a wildcard that is not complete.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let below_root = text.strip_prefix('/').ok_or(PatternError::NotAbsolute)?;
        if text.ends_with('/') || text.contains('\0') {
            return Err(PatternError::NoFile);
        }
        let names: Vec<&str> = below_root.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        let first_wild = names.iter().position(|name| is_wild(name));
        let fixed_names = first_wild.or(names.len().checked_sub(1)).ok_or(PatternError::NoFile)?;
        let (fixed, wild) = names.split_at(fixed_names);
        let fixed = fixed.iter().fold(PathBuf::from("/"), |path, name| path.join(name));
        let mut parts: Vec<Part> = Vec::with_capacity(wild.len());
        for name in wild {
            let part = Part::parse(name)?;
            // Two of them in a row mean the same as one.
            if part != Part::AnyDepth || parts.last() != Some(&Part::AnyDepth) {
                parts.push(part);
            }
        }
        if parts.last() == Some(&Part::AnyDepth) {
            parts.push(Part::Name(NamePattern(vec![Token::AnyText])));
        }
        Ok(Pattern { text: text.to_owned(), fixed, parts })
    }

    /// As it stands in the configuration.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The directory that the pattern names without wildcards.
    pub(crate) fn fixed(&self) -> &Path {
        &self.fixed
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The one directory that all files of this pattern are in; none if there may be several.
    pub(crate) fn only_dir(&self) -> Option<&Path> {
        (self.parts.len() == 1).then_some(&self.fixed)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Part {
    fn parse(name: &str) -> Result<Self, PatternError> {
        match name {
            "**" => Ok(Part::AnyDepth),
            ".." => Err(PatternError::ParentAfterWildcard),
            _ if name.contains("**") => Err(PatternError::MixedAnyDepth),
            _ if is_wild(name) => NamePattern::parse(name).map(Part::Name),
            _ => Ok(Part::Literal(name.into())),
        }
    }
}

fn is_wild(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// A name with wildcards. As in a shell, none of them fits a dot at a name's beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamePattern(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(Letter),
    AnyLetter,
    AnyText,
    OneOf { ranges: Vec<(char, char)>, is_negated: bool },
}

/// A letter of a name, or a byte that is not part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letter {
    Char(char),
    Byte(u8),
}

impl NamePattern {
    fn parse(name: &str) -> Result<Self, PatternError> {
        let mut tokens = Vec::new();
        let mut rest = name.chars();
        while let Some(letter) = rest.next() {
            tokens.push(match letter {
                '*' => Token::AnyText,
                '?' => Token::AnyLetter,
                '[' => {
                    let (class, behind) = parse_class(rest.as_str()).ok_or(PatternError::OpenClass)?;
                    rest = behind.chars();
                    class
                }
                letter => Token::Literal(Letter::Char(letter)),
            });
        }
        Ok(NamePattern(tokens))
    }

    /// Whether a file name fits.
    pub(crate) fn matches(&self, name: &OsStr) -> bool {
        let is_hidden = name.as_bytes().first() == Some(&b'.');
        if is_hidden && self.0.first() != Some(&Token::Literal(Letter::Char('.'))) {
            return false;
        }
        let mut tokens = self.0.as_slice();
        let mut rest = name.as_bytes();
        // Where to go on when what stands after the last `*` does not fit: one letter later.
        let mut retry: Option<(&[Token], &[u8])> = None;
        loop {
            match tokens.split_first() {
                Some((Token::AnyText, behind)) => {
                    retry = Some((behind, rest));
                    tokens = behind;
                    continue;
                }
                Some((token, behind)) => {
                    if let Some((letter, after)) = first_letter(rest)
                        && token.fits(letter)
                    {
                        (tokens, rest) = (behind, after);
                        continue;
                    }
                }
                None if rest.is_empty() => return true,
                None => {}
            }
            let Some((behind, from)) = retry else { return false };
            let Some((_, from)) = first_letter(from) else { return false };
            retry = Some((behind, from));
            (tokens, rest) = (behind, from);
        }
    }
}

impl Token {
    fn fits(&self, letter: Letter) -> bool {
        match self {
            Token::Literal(wanted) => *wanted == letter,
            Token::AnyLetter | Token::AnyText => true,
            Token::OneOf { ranges, is_negated } => {
                let is_in = |letter| ranges.iter().any(|(from, to)| (*from..=*to).contains(&letter));
                matches!(letter, Letter::Char(letter) if is_in(letter)) != *is_negated
            }
        }
    }
}

/// What follows a `[`, and what follows its `]`. A `]` that comes first is one of the letters.
fn parse_class(text: &str) -> Option<(Token, &str)> {
    let negated = text.strip_prefix(['!', '^']);
    let (is_negated, inside) = (negated.is_some(), negated.unwrap_or(text));
    let first = inside.chars().next()?.len_utf8();
    let end = first + inside.get(first..)?.find(']')?;
    let (letters, behind) = (inside.get(..end)?, inside.get(end + 1..)?);
    let letters: Vec<char> = letters.chars().collect();
    let mut ranges = Vec::new();
    let mut rest = letters.as_slice();
    loop {
        rest = match rest {
            [from, '-', to, behind @ ..] => {
                ranges.push((*from, *to));
                behind
            }
            [letter, behind @ ..] => {
                ranges.push((*letter, *letter));
                behind
            }
            [] => break,
        };
    }
    Some((Token::OneOf { ranges, is_negated }, behind))
}

fn first_letter(bytes: &[u8]) -> Option<(Letter, &[u8])> {
    let (first, behind) = bytes.split_first()?;
    if first.is_ascii() {
        return Some((Letter::Char(char::from(*first)), behind));
    }
    for length in 2..=4 {
        if let Some(letter) = bytes.get(..length).and_then(|letter| std::str::from_utf8(letter).ok())
            && let Some(letter) = letter.chars().next()
        {
            return Some((Letter::Char(letter), bytes.get(length..)?));
        }
    }
    Some((Letter::Byte(*first), behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(pattern: &str, name: &[u8]) -> bool {
        NamePattern::parse(pattern).unwrap().matches(OsStr::from_bytes(name))
    }

    #[test]
    fn names_fit_wildcards_by_letters_and_by_bytes_that_are_none() {
        for (pattern, name) in [
            ("*.log", "a.log"),
            ("*", "x"),
            ("*a*b*", "xxaxxbxx"),
            ("a?c", "aéc"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[]x]", "]"),
            ("[a-]", "-"),
            ("é[à-ü]*", "éêz"),
            (".*", ".hidden"),
            ("{a}*", "{a}b"),
        ] {
            assert!(fits(pattern, name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.log", "a.log.1"),
            ("*", ".hidden"),
            ("?x", ".x"),
            ("[.]x", ".x"),
            ("[a-c]", "d"),
            ("a?", "a"),
            ("", "a"),
        ] {
            assert!(!fits(pattern, name.as_bytes()), "{pattern} {name}");
        }
        assert!(fits("caf?.log", b"caf\xe9.log") && fits("*.log", b"caf\xe9.log") && fits("*", b"\xff\xfe"));
        assert!(!fits("caf[a-z].log", b"caf\xe9.log") && fits("caf[!a-z].log", b"caf\xe9.log"));
    }

    #[test]
    fn many_stars_cost_no_more_than_the_product_of_the_lengths() {
        let name = vec![b'a'; 255];
        assert!(!fits(&"*a".repeat(120).replace("**", "*"), &[name.as_slice(), b"b"].concat()));
    }

    #[test]
    fn a_pattern_is_a_fixed_directory_and_names_below_it() {
        let pattern = Pattern::parse("/var//log/./app/**/**/x/*.log").unwrap();
        assert_eq!(pattern.fixed(), Path::new("/var/log/app"));
        assert_eq!(pattern.parts().len(), 3);
        assert_eq!(pattern.only_dir(), None);
        let path = Pattern::parse("/var/log/app.log").unwrap();
        assert_eq!(path.only_dir(), Some(Path::new("/var/log")));
        assert_eq!(Pattern::parse("/var/**").unwrap().parts().len(), 2);
        for (text, error) in [
            ("x/*.log", PatternError::NotAbsolute),
            ("/x/", PatternError::NoFile),
            ("/", PatternError::NoFile),
            ("/x/a**", PatternError::MixedAnyDepth),
            ("/x/[", PatternError::OpenClass),
            ("/x/[]", PatternError::OpenClass),
            ("/x/*/../y", PatternError::ParentAfterWildcard),
        ] {
            assert_eq!(Pattern::parse(text).unwrap_err(), error, "{text}");
        }
    }

    /// Naive model: every way to divide the name.
    fn fits_naively(tokens: &[Token], name: &[char]) -> bool {
        match tokens.split_first() {
            None => name.is_empty(),
            Some((Token::AnyText, behind)) => (0..=name.len()).any(|at| fits_naively(behind, &name[at..])),
            Some((token, behind)) => name
                .split_first()
                .is_some_and(|(letter, after)| token.fits(Letter::Char(*letter)) && fits_naively(behind, after)),
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_a_naive_model_has_it(pattern in "[ab*?]{0,8}", name in "[abé]{0,10}") {
            let pattern = NamePattern::parse(&pattern).unwrap();
            let letters: Vec<char> = name.chars().collect();
            prop_assert_eq!(pattern.matches(OsStr::new(&name)), fits_naively(&pattern.0, &letters));
        }
    }
}
