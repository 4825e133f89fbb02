//! Reads a `text/event-stream` as it comes in, by the rules of the WHATWG's HTML standard, 9.2.6.

/// What one event may have at most: the collector writes 16 KB at a time, and whoever sends much more
/// without an end is not a feed.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// What a stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// An event.
    Event {
        /// The field `event`, or `message`.
        name: String,
        /// The fields `data`, joined by line feeds.
        data: String,
        /// The field `id`, if the event has one of its own.
        id: Option<String>,
    },
    /// An id alone: the place from which the stream goes on.
    Cursor(String),
    /// Milliseconds to wait before the stream is opened again.
    Retry(u64),
}

/// An event that never ends.
#[derive(Debug, thiserror::Error)]
#[error("an event of the feed has more than {MAX_EVENT_BYTES} bytes")]
pub(super) struct Endless;

/// Takes bytes, which may be cut anywhere, and gives what they say.
#[derive(Debug, Default)]
pub(super) struct SseReader {
    line: Vec<u8>,
    /// Whether the first line, before which a byte order mark may stand, is over.
    begun: bool,
    /// Whether the last byte was a carriage return: a line feed after it is the same end.
    after_return: bool,
    name: String,
    data: Option<String>,
    id: Option<String>,
}

impl SseReader {
    /// Takes the next bytes and gives what is complete with them.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Block>, Endless> {
        let mut blocks = Vec::new();
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
            self.take_line(&line, &mut blocks);
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() + self.data.as_ref().map_or(0, String::len) > MAX_EVENT_BYTES {
            return Err(Endless);
        }
        Ok(blocks)
    }

    fn take_line(&mut self, line: &[u8], blocks: &mut Vec<Block>) {
        let text = String::from_utf8_lossy(line);
        let is_first = !std::mem::replace(&mut self.begun, true);
        let line = if is_first { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        if line.is_empty() {
            return self.dispatch(blocks);
        }
        // A comment has the empty name.
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => match &mut self.data {
                Some(data) => data.extend(["\n", value]),
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                blocks.extend(value.parse().ok().map(Block::Retry));
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, blocks: &mut Vec<Block>) {
        let (name, data, id) = (std::mem::take(&mut self.name), self.data.take(), self.id.take());
        match (data, id) {
            (Some(data), id) => {
                blocks.push(Block::Event { name: if name.is_empty() { "message".to_owned() } else { name }, data, id });
            }
            (None, Some(id)) => blocks.push(Block::Cursor(id)),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(name: &str, data: &str, id: Option<&str>) -> Block {
        Block::Event { name: name.into(), data: data.into(), id: id.map(Into::into) }
    }

    fn read(chunks: &[&[u8]]) -> Vec<Block> {
        let mut reader = SseReader::default();
        chunks.iter().flat_map(|chunk| reader.push(chunk).unwrap()).collect()
    }

    #[test]
    fn a_stream_means_what_the_standard_says() {
        for (text, blocks) in [
            ("\u{feff}data: a\n\n", vec![event("message", "a", None)]),
            ("\n\u{feff}data: a\n\ndata:b\n\n", vec![event("message", "b", None)]),
            ("data: a\ndata:  b\ndata\n\n", vec![event("message", "a\n b\n", None)]),
            (
                "event: x\nid: 1\ndata: a\r\n\r\ndata: b\r\r",
                vec![event("x", "a", Some("1")), event("message", "b", None)],
            ),
            ("id: 7\n\n: a comment\nevent: x\n\n", vec![Block::Cursor("7".into())]),
            (
                "id: a\0b\nretry: 3s\nretry:\nretry: 70\nnonsense\ndata: a\n\n",
                vec![Block::Retry(70), event("message", "a", None)],
            ),
            (
                "data\n\ndata\ndata\n\nid\ndata:a\n\ndata:",
                vec![event("message", "", None), event("message", "\n", None), event("message", "a", Some(""))],
            ),
            ("id: 1\ndata: never ended\n", vec![]),
            ("data: \u{e4}: b\n\n", vec![event("message", "\u{e4}: b", None)]),
        ] {
            assert_eq!(read(&[text.as_bytes()]), blocks, "{text:?}");
        }
        assert_eq!(read(&[b"data: \xff\n\n"]), [event("message", "\u{fffd}", None)]);
    }

    #[test]
    fn an_event_without_an_end_is_given_up() {
        let mut reader = SseReader::default();
        let mib = vec![b'x'; 1 << 20];
        assert!((0..17).any(|_| reader.push(&mib).is_err()));
        let mut reader = SseReader::default();
        let line = [b"data: ".as_slice(), &mib, b"\n"].concat();
        assert!((0..17).any(|_| reader.push(&line).is_err()));
    }

    proptest! {
        #[test]
        fn it_means_the_same_however_the_bytes_are_cut(
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
            prop_assert_eq!(read(&chunks), read(&[bytes]));
        }
    }
}
