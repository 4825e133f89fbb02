//! Decodes a `text/event-stream` by the rules of the WHATWG HTML standard, 9.2.6.
//!
//! Pure: it takes bytes, cut anywhere, and returns what is complete. `tail` and the tests share it. The usual
//! crates join the decoder with an HTTP client or hide ids without an event, which move the client's position.

use std::fmt;

/// Bytes of one event. The collector writes 16 KB at a time; a stream with much more and no end is not a feed.
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// One complete part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event; a blank line ends it.
    Event {
        /// The field `event`, or `message`.
        kind: String,
        /// The fields `data`, joined by line feeds.
        data: String,
        /// The field `id` of this event. An event without one does not move the position.
        id: Option<String>,
    },
    /// An id without data: it moves the position and is not an event.
    IdOnly(String),
    /// Milliseconds to wait before the client opens the stream again.
    Retry(u64),
    /// A line that begins with a colon, without the colon.
    Comment(String),
}

/// The stream has an event of more than [`MAX_EVENT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLarge;

impl fmt::Display for EventTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event of the feed has more than {MAX_EVENT_BYTES} bytes")
    }
}

impl std::error::Error for EventTooLarge {}

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    /// The first line is complete; only before it a byte order mark may stand.
    started: bool,
    /// The last byte was a carriage return: a line feed after it belongs to the same line end.
    after_return: bool,
    kind: String,
    data: Option<String>,
    id: Option<String>,
}

impl Decoder {
    /// Takes the next bytes and returns what is complete with them.
    ///
    /// # Errors
    ///
    /// [`EventTooLarge`] when an unfinished event has more than [`MAX_EVENT_BYTES`]. The stream cannot be
    /// read on after that.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Item>, EventTooLarge> {
        let mut items = Vec::new();
        if let [first, rest @ ..] = bytes
            && std::mem::take(&mut self.after_return)
            && *first == b'\n'
        {
            bytes = rest;
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.extend_from_slice(&bytes[..end]);
            let is_pair = bytes[end..].starts_with(b"\r\n");
            self.after_return = bytes[end] == b'\r' && end + 1 == bytes.len();
            bytes = &bytes[end + if is_pair { 2 } else { 1 }..];
            let line = std::mem::take(&mut self.line);
            self.take_line(&line, &mut items);
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() + self.data.as_ref().map_or(0, String::len) > MAX_EVENT_BYTES {
            return Err(EventTooLarge);
        }
        Ok(items)
    }

    fn take_line(&mut self, line: &[u8], items: &mut Vec<Item>) {
        let text = String::from_utf8_lossy(line);
        let is_first = !std::mem::replace(&mut self.started, true);
        let line = if is_first { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        if line.is_empty() {
            return self.dispatch(items);
        }
        if let Some(comment) = line.strip_prefix(':') {
            return items.push(Item::Comment(comment.to_owned()));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => match &mut self.data {
                Some(data) => data.extend(["\n", value]),
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                items.extend(value.parse().ok().map(Item::Retry));
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, items: &mut Vec<Item>) {
        let (kind, data, id) = (std::mem::take(&mut self.kind), self.data.take(), self.id.take());
        match (data, id) {
            (Some(data), id) => {
                let kind = if kind.is_empty() { "message".to_owned() } else { kind };
                items.push(Item::Event { kind, data, id });
            }
            (None, Some(id)) => items.push(Item::IdOnly(id)),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(kind: &str, data: &str, id: Option<&str>) -> Item {
        Item::Event { kind: kind.into(), data: data.into(), id: id.map(Into::into) }
    }

    fn decode(chunks: &[&[u8]]) -> Vec<Item> {
        let mut decoder = Decoder::default();
        chunks.iter().flat_map(|chunk| decoder.push(chunk).unwrap()).collect()
    }

    #[test]
    fn streams_decode_as_the_standard_defines() {
        let comment = |text: &str| Item::Comment(text.into());
        for (text, items) in [
            ("\u{feff}data: a\n\n", vec![event("message", "a", None)]),
            ("\n\u{feff}data: a\n\ndata:b\n\n", vec![event("message", "b", None)]),
            ("data: a\ndata:  b\ndata\n\n", vec![event("message", "a\n b\n", None)]),
            (
                "event: x\nid: 1\ndata: a\r\n\r\ndata: b\r\r",
                vec![event("x", "a", Some("1")), event("message", "b", None)],
            ),
            ("id: 7\n\n: a comment\nevent: x\n\n", vec![Item::IdOnly("7".into()), comment(" a comment")]),
            (
                "id: a\0b\nretry: 3s\nretry:\nretry: 70\nnonsense\ndata: a\n\n",
                vec![Item::Retry(70), event("message", "a", None)],
            ),
            (
                "data\n\ndata\ndata\n\nid\ndata:a\n\ndata:",
                vec![event("message", "", None), event("message", "\n", None), event("message", "a", Some(""))],
            ),
            ("id: 1\ndata: never ended\n", vec![]),
            ("data: \u{e4}: b\n\n", vec![event("message", "\u{e4}: b", None)]),
            (
                "\u{feff}retry: 3000\r\n\r\nid: e-1\r\nevent: ping\r\ndata: {\r\ndata:  \u{e4}}\r\n\r\ndata\r\n\r\n",
                vec![Item::Retry(3000), event("ping", "{\n \u{e4}}", Some("e-1")), event("message", "", None)],
            ),
        ] {
            assert_eq!(decode(&[text.as_bytes()]), items, "{text:?}");
        }
        assert_eq!(decode(&[b"data: \xff\n\n"]), [event("message", "\u{fffd}", None)]);
    }

    #[test]
    fn event_without_an_end_is_an_error() {
        let mut decoder = Decoder::default();
        let mib = vec![b'x'; 1 << 20];
        assert!((0..17).any(|_| decoder.push(&mib).is_err()));
        let mut decoder = Decoder::default();
        let line = [b"data: ".as_slice(), &mib, b"\n"].concat();
        assert!((0..17).any(|_| decoder.push(&line).is_err()));
    }

    proptest! {
        #[test]
        fn cuts_between_chunks_change_nothing(
            lines in prop::collection::vec("(\u{feff}|data|event|id|retry|:|: |[a\u{e4}0-9\0\u{1f600}]){0,6}", 0..12),
            ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r", "\n\n", "\r\r"]), 12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let text: String = lines.iter().zip(&ends).flat_map(|(line, end)| [line.as_str(), end]).collect();
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let begins = std::iter::once(0).chain(cuts.iter().copied());
            let chunks: Vec<&[u8]> =
                begins.zip(cuts.iter().copied().chain([bytes.len()])).map(|(begin, end)| &bytes[begin..end]).collect();
            prop_assert_eq!(decode(&chunks), decode(&[bytes]));
        }
    }
}
