//! Reads the Prometheus text format, line by line, borrowing from the body as it comes.
//!
//! Our own rather than a crate: what is known fails the whole body on one bad line or builds maps of
//! owned strings, and an agent meets endpoints of every quality every 5 seconds. Here a line that is
//! no sample is counted and skipped, and a sample is a few slices.

use std::borrow::Cow;

/// Longest line that is read; a longer one is counted as garbage.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024;

/// One sample: a series and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    /// The metric.
    pub(crate) name: &'a str,
    /// Its labels, which distinguish its series.
    pub(crate) labels: Labels<'a>,
    /// The value; NaN and the infinities are values, too.
    pub(crate) value: f64,
    /// Time of capture, as it is written: milliseconds, or seconds in OpenMetrics.
    pub(crate) timestamp: Option<i64>,
}

/// The labels of a sample: what stands between the braces, known to be well-formed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Labels<'a>(&'a str);

/// Reads a body chunk by chunk. Holds at most one line, so that the size of a body, and how many
/// come at once, costs no memory.
#[derive(Debug, Default)]
pub(crate) struct TextReader {
    /// The beginning of a line whose end has not come yet; one byte more than a line may have shows
    /// that it is too long.
    begun: Vec<u8>,
    garbage: u64,
}

impl TextReader {
    /// Takes the next bytes, and hands every sample that ends in them to `take`.
    pub(crate) fn push(&mut self, mut chunk: &[u8], mut take: impl FnMut(Sample<'_>)) {
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let line = &chunk[..end];
            chunk = &chunk[end + 1..];
            if self.begun.is_empty() {
                self.garbage += read_line(line, &mut take);
            } else {
                self.hold(line);
                self.garbage += read_line(&self.begun, &mut take);
                self.begun.clear();
            }
        }
        self.hold(chunk);
    }

    /// The body has ended: what is left is a line, too. Returns how many lines were garbage.
    pub(crate) fn finish(self, mut take: impl FnMut(Sample<'_>)) -> u64 {
        self.garbage + read_line(&self.begun, &mut take)
    }

    /// Whether the body so far ends with a whole line.
    pub(crate) fn is_at_line_end(&self) -> bool {
        self.begun.is_empty()
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = MAX_LINE_BYTES + 1 - self.begun.len();
        self.begun.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Reads one line, which may hold a sample, a comment, nothing or garbage; returns 1 for garbage.
fn read_line(line: &[u8], take: &mut impl FnMut(Sample<'_>)) -> u64 {
    if line.len() > MAX_LINE_BYTES {
        return 1;
    }
    // Torn UTF-8 costs a label's letter, not the sample.
    let line = String::from_utf8_lossy(line);
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with('#') {
        return 0;
    }
    match parse(line) {
        Some(sample) => {
            take(sample);
            0
        }
        None => 1,
    }
}

/// Reads one line, without white space around it; `None` if it is no sample.
fn parse(line: &str) -> Option<Sample<'_>> {
    let name_end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(name_end);
    if !is_metric_name(name) {
        return None;
    }
    let rest = rest.trim_ascii_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => {
            let end = labels_end(inside)?;
            (Labels(&inside[..end]), &inside[end + 1..])
        }
        None => (Labels(""), rest),
    };
    // OpenMetrics puts an exemplar behind the value.
    let numbers = rest.split_once(" # ").map_or(rest, |(numbers, _)| numbers);
    let mut words = numbers.split_ascii_whitespace();
    let value: f64 = words.next()?.parse().ok()?;
    let timestamp = match words.next() {
        Some(word) => Some(timestamp(word)?),
        None => None,
    };
    words.next().is_none().then_some(Sample { name, labels, value, timestamp })
}

fn timestamp(word: &str) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates; what is beyond is no time")]
    word.parse().ok().or_else(|| word.parse::<f64>().ok().map(|number| number as i64))
}

fn is_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':'));
    // The dot is not of the format, but engines write it.
    first && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.'))
}

/// Where the closing brace is, if all before it are well-formed labels.
fn labels_end(inside: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        at += inside[at..].len() - inside[at..].trim_ascii_start().len();
        if inside[at..].starts_with('}') {
            return Some(at);
        }
        let (_, _, length) = label(&inside[at..])?;
        at += length;
        at += inside[at..].len() - inside[at..].trim_ascii_start().len();
        match inside.as_bytes().get(at)? {
            b',' => at += 1,
            b'}' => return Some(at),
            _ => return None,
        }
    }
}

/// The first label of `text`: its name, its value as it is written, and its length.
fn label(text: &str) -> Option<(&str, &str, usize)> {
    let (name, _) = text.split_once('=')?;
    let quoted = text[name.len() + 1..].trim_ascii_start();
    let start = text.len() - quoted.len() + 1;
    let quoted = quoted.strip_prefix('"')?;
    let name = name.trim_ascii();
    if name.is_empty() || name.contains(['"', ',', '{', '}']) {
        return None;
    }
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((name, &quoted[..at], start + at + 1)),
            _ => {}
        }
    }
    None
}

impl<'a> Labels<'a> {
    /// No labels.
    pub(crate) fn none() -> Self {
        Labels("")
    }

    /// Every label, in the order in which it was written.
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            rest = rest.trim_ascii_start();
            let (name, value, length) = label(rest)?;
            rest = rest[length..].trim_ascii_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
            Some((name, unescape(value)))
        })
    }

    /// The value of the label `name`.
    pub(crate) fn get(self, name: &str) -> Option<Cow<'a, str>> {
        self.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| value)
    }
}

/// Resolves `\\`, `\"` and `\n`; any other escape stays as it is written.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('n') => plain.push('\n'),
            Some(escaped @ ('\\' | '"')) => plain.push(escaped),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
