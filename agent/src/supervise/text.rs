//! Text of other programs, made fit for a `reason`: one line, bounded, without escape sequences.

use std::borrow::Cow;

/// One line of at most `max_bytes`, its beginning when it is longer, without control characters.
pub(super) fn one_line(text: &str, max_bytes: usize) -> String {
    let words = without_escapes(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut plain: String = words.chars().filter(|letter| !letter.is_control()).collect();
    let end = plain.floor_char_boundary(max_bytes);
    if end < plain.len() {
        plain.truncate(end);
        plain.push('…');
    }
    plain
}

/// The line without the date and time at its beginning: they would make every reason another one.
pub(super) fn without_time(line: &str) -> &str {
    let is_time =
        |word: &str| word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains([':', '-', '/']);
    let mut rest = line.trim_start();
    for _ in 0..2 {
        match rest.split_once(' ') {
            Some((word, after)) if is_time(word) => rest = after.trim_start(),
            _ => break,
        }
    }
    rest
}

/// The text without the sequences that colour it on a terminal.
pub(super) fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('\x1b') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\x1b' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            // Parameters, then one letter that ends the sequence.
            Some('[') => drop(letters.by_ref().find(|letter| ('@'..='~').contains(letter))),
            // A title or a link, up to a bell or another escape sequence.
            Some(']') => drop(letters.by_ref().find(|letter| matches!(letter, '\x07' | '\x1b'))),
            _ => {}
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_bounded_and_plain() {
        assert_eq!(one_line("a\n\x1b[1;31mb\x1b[0m\t\x1b]8;;http://x\x07c\u{7}", 100), "a b c");
        assert_eq!(one_line("\u{fc}\u{fc}\u{fc}", 5), "\u{fc}\u{fc}…");
        assert_eq!(one_line("abc", 3), "abc");
        assert_eq!(one_line("\x1b[", 3), "");
    }

    #[test]
    fn line_begins_after_its_time() {
        assert_eq!(without_time("2026-11-29T10:00:00.123Z ERROR vector: x"), "ERROR vector: x");
        assert_eq!(without_time("2026/11/29 10:00:00 [error] x"), "[error] x");
        assert_eq!(without_time("3 errors"), "3 errors");
        assert_eq!(without_time("127.0.0.1:80"), "127.0.0.1:80");
    }
}
