//! What is read of the feed's bytes: of each block its id, its type, and what the generator has
//! written into the line. Nothing is parsed as JSON and nothing is copied, for a million blocks a
//! second come by.

use std::io;

use memchr::memmem::Finder;
use memchr::{memchr, memmem};

/// The prefix of what the generator writes into a line.
const MARK: &str = "\"line\":\"~";
/// Digits of a line's source, its number, and its time.
const DIGITS: [usize; 3] = [4, 9, 12];
/// Longest block that is waited for.
const MAX_BLOCK_BYTES: usize = 8 << 20;

/// The numbers that the generator writes into a line, and finds again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The node that reported it.
    pub source: usize,
    /// Its place among the node's lines, from 0.
    pub number: u32,
    /// Time of sending, microseconds since the run's zero.
    pub sent_us: u64,
}

impl Stamp {
    /// A line of this many bytes, or of the fewest possible.
    pub fn line(self, bytes: usize) -> String {
        let mut line = format!("~{:04}{:09}{:012} ", self.source, self.number, self.sent_us);
        line.extend("an order was taken to the warehouse ".chars().cycle().take(bytes.saturating_sub(line.len())));
        line
    }
}

/// A block of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The second half of its id.
    pub id: Option<u64>,
    /// What it is.
    pub what: What,
}

/// The kind of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A log_entry of the generator.
    Line(Stamp),
    /// A metric_update or fleet_status, with the end of its report, Unix milliseconds.
    Conflated(i64),
    /// A range of events that do not come.
    Gap,
    /// The id was not taken.
    Reset,
    /// The collector closes the stream.
    Goodbye,
    /// A ping.
    Ping,
    /// Anything else.
    Other,
}

/// Finds its way in blocks.
#[derive(Debug)]
pub struct Scanner {
    end: Finder<'static>,
    mark: Finder<'static>,
    time: Finder<'static>,
}

impl Scanner {
    /// Needs nothing.
    pub fn new() -> Self {
        Scanner { end: Finder::new("\n\n"), mark: Finder::new(MARK), time: Finder::new("\"timestamp\":") }
    }

    /// Cuts bytes into blocks. `begun` has the start of an incomplete one.
    pub fn blocks(&self, begun: &mut Vec<u8>, bytes: &[u8], mut each: impl FnMut(&[u8], Block)) -> io::Result<()> {
        let mut rest = bytes;
        if begun.last() == Some(&b'\n') && rest.first() == Some(&b'\n') {
            begun.push(b'\n');
            each(begun, self.read(begun));
            begun.clear();
            rest = &rest[1..];
        }
        while let Some(end) = self.end.find(rest) {
            let (block, after) = rest.split_at(end + 2);
            rest = after;
            if begun.is_empty() {
                each(block, self.read(block));
            } else {
                begun.extend_from_slice(block);
                each(begun, self.read(begun));
                begun.clear();
            }
        }
        begun.extend_from_slice(rest);
        if begun.len() > MAX_BLOCK_BYTES { Err(io::ErrorKind::OutOfMemory.into()) } else { Ok(()) }
    }

    fn read(&self, block: &[u8]) -> Block {
        let (id, rest) = read_id(block);
        let what = match rest.strip_prefix(b"event: ") {
            Some(rest) if rest.starts_with(b"log_entry") => self.stamp(rest).map_or(What::Other, What::Line),
            Some(rest) if rest.starts_with(b"metric_update") || rest.starts_with(b"fleet_status") => {
                let at = self.time.find(rest).and_then(|at| number(&rest[at + self.time.needle().len()..]));
                at.and_then(|(at, _)| i64::try_from(at).ok()).map_or(What::Other, What::Conflated)
            }
            Some(rest) if rest.starts_with(b"gap") => What::Gap,
            Some(rest) if rest.starts_with(b"reset") => What::Reset,
            Some(rest) if rest.starts_with(b"goodbye") => What::Goodbye,
            Some(rest) if rest.starts_with(b"ping") => What::Ping,
            _ => What::Other,
        };
        Block { id, what }
    }

    fn stamp(&self, block: &[u8]) -> Option<Stamp> {
        let mut rest = &block[self.mark.find(block)? + MARK.len()..];
        let mut fields = [0; 3];
        for (field, digits) in fields.iter_mut().zip(DIGITS) {
            let (value, read) = number(rest.get(..digits)?)?;
            if read != digits {
                return None;
            }
            *field = value;
            rest = &rest[digits..];
        }
        let [source, number, sent_us] = fields;
        Some(Stamp { source: usize::try_from(source).ok()?, number: u32::try_from(number).ok()?, sent_us })
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

/// The epoch of a block that has an id.
pub fn epoch(block: &[u8]) -> Option<&str> {
    let id = block.strip_prefix(b"id: ")?;
    std::str::from_utf8(&id[..memchr(b'-', id)?]).ok()
}

/// The second half of the block's id, and what follows its line.
fn read_id(block: &[u8]) -> (Option<u64>, &[u8]) {
    let Some(line) = block.strip_prefix(b"id: ") else { return (None, block) };
    let Some(dash) = memchr(b'-', line) else { return (None, block) };
    match number(&line[dash + 1..]) {
        Some((id, read)) => (Some(id), line.get(dash + 1 + read + 1..).unwrap_or_default()),
        None => (None, block),
    }
}

/// The number at the beginning, and its digits.
fn number(text: &[u8]) -> Option<(u64, usize)> {
    let digits = text.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..digits].iter().fold(0_u64, |value, digit| value.wrapping_mul(10) + u64::from(digit - b'0'));
    (digits > 0).then_some((value, digits))
}

/// Decodes `Transfer-Encoding: chunked` in place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunks {
    /// Bytes of this chunk that are still to come.
    left: usize,
    /// Of the line with the next one's size.
    size: usize,
    digits: usize,
    after_size: bool,
}

impl Chunks {
    /// The next bytes of the content; nothing when `bytes` is used up.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> io::Result<Option<&'a [u8]>> {
        loop {
            if self.left > 0 && !bytes.is_empty() {
                let (content, rest) = bytes.split_at(self.left.min(bytes.len()));
                *bytes = rest;
                self.left -= content.len();
                return Ok(Some(content));
            }
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(None) };
            *bytes = rest;
            match byte {
                // The end of the last chunk, before a size.
                b'\r' | b'\n' if self.digits == 0 => {}
                b'\n' if self.size == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                b'\n' => *self = Chunks { left: self.size, ..Chunks::default() },
                _ if self.after_size => {}
                b'\r' | b';' => self.after_size = true,
                _ => {
                    let digit = char::from(byte).to_digit(16).filter(|_| self.digits < 8);
                    let digit = digit.ok_or(io::ErrorKind::InvalidData)?;
                    self.size = self.size << 4 | digit as usize;
                    self.digits += 1;
                }
            }
        }
    }
}

/// Where the head of an answer ends, with the blank line.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|end| end + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks of a stream whose bytes come in pieces of this size, chunk by chunk.
    fn blocks(stream: &str, chunk: usize, piece: usize) -> Vec<Block> {
        let mut chunked = Vec::new();
        for content in stream.as_bytes().chunks(chunk) {
            chunked.extend_from_slice(format!("{:x}\r\n", content.len()).as_bytes());
            chunked.extend_from_slice(content);
            chunked.extend_from_slice(b"\r\n");
        }
        let (scanner, mut chunks, mut begun, mut found) = (Scanner::new(), Chunks::default(), Vec::new(), Vec::new());
        for mut bytes in chunked.chunks(piece) {
            while let Some(content) = chunks.next(&mut bytes).unwrap() {
                scanner.blocks(&mut begun, content, |_, block| found.push(block)).unwrap();
            }
        }
        assert!(begun.is_empty());
        found
    }

    #[test]
    fn scanner_result_is_independent_of_chunk_borders() {
        let stamp = Stamp { source: 17, number: 123_456, sent_us: 98_765_432 };
        let line = stamp.line(60);
        assert_eq!(line.len(), 60);
        let stream = format!(
            "retry: 2500\n\nevent: hello\ndata: {{}}\n\nid: abc9-41\n\n\
             id: abc9-42\nevent: log_entry\ndata: {{\"entries\":[{{\"at\":3,\"line\":\"{line}\"}}]}}\n\n\
             id: abc9-43\nevent: metric_update\ndata: {{\"timestamp\":1700000000123,\"sample\":{{}}}}\n\n\
             event: gap\ndata: {{}}\n\nevent: ping\ndata: {{}}\n\nevent: goodbye\ndata: {{}}\n\n"
        );
        let block = |id, what| Block { id, what };
        let expected = [
            block(None, What::Other),
            block(None, What::Other),
            block(Some(41), What::Other),
            block(Some(42), What::Line(stamp)),
            block(Some(43), What::Conflated(1_700_000_000_123)),
            block(None, What::Gap),
            block(None, What::Ping),
            block(None, What::Goodbye),
        ];
        for (chunk, piece) in [(1, 1), (7, 3), (50, 1), (50, 64), (4_096, 5), (4_096, 4_096)] {
            assert_eq!(blocks(&stream, chunk, piece), expected, "{chunk} {piece}");
        }
        assert_eq!(epoch(b"id: abc9-42\n\n"), Some("abc9"));
    }

    #[test]
    fn last_chunk_ends_the_body() {
        let (mut chunks, mut bytes) = (Chunks::default(), &b"3;x=y\r\nabc\r\n0\r\n\r\n"[..]);
        assert_eq!(chunks.next(&mut bytes).unwrap(), Some(&b"abc"[..]));
        assert!(chunks.next(&mut bytes).is_err());
        assert!(Chunks::default().next(&mut &b"xyz"[..]).is_err());
    }
}
