//! A parser of server-sent events, exact by the specification (WHATWG HTML, 9.2.6).

/// What a stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event, dispatched by a blank line.
    Event {
        /// The field `event`, or `message`.
        kind: String,
        /// The fields `data`, joined by line feeds.
        data: String,
        /// The field `id` of this very block; the stream's id may come from an earlier one.
        id: Option<String>,
    },
    /// A block with an id and without data: it moves the cursor and is no event.
    IdOnly(String),
    /// The time to wait before reconnecting.
    Retry(u64),
    /// A line that begins with a colon.
    Comment(String),
}

/// Takes bytes as they come and gives what they mean.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    started: bool,
    skip_line_feed: bool,
    kind: String,
    data: String,
    has_data: bool,
    id: Option<String>,
}

impl Parser {
    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' if std::mem::take(&mut self.skip_line_feed) => {}
                b'\n' | b'\r' => {
                    self.skip_line_feed = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    self.take_line(&line, &mut items);
                }
                _ => {
                    self.skip_line_feed = false;
                    self.line.push(byte);
                }
            }
        }
        items
    }

    fn take_line(&mut self, line: &[u8], items: &mut Vec<Item>) {
        let text = String::from_utf8_lossy(line);
        let mut text = text.as_ref();
        if !std::mem::replace(&mut self.started, true) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            return self.dispatch(items);
        }
        if let Some(comment) = text.strip_prefix(':') {
            return items.push(Item::Comment(comment.to_owned()));
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                items.extend(value.parse().ok().map(Item::Retry));
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, items: &mut Vec<Item>) {
        let (kind, data, id) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data), self.id.take());
        if std::mem::take(&mut self.has_data) {
            let kind = if kind.is_empty() { "message".to_owned() } else { kind };
            items.push(Item::Event { kind, data, id });
        } else if let Some(id) = id {
            items.push(Item::IdOnly(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &str, id: Option<&str>) -> Item {
        Item::Event { kind: kind.into(), data: data.into(), id: id.map(Into::into) }
    }

    fn parse(text: &str) -> Vec<Item> {
        Parser::default().feed(text.as_bytes())
    }

    #[test]
    fn an_event_reads_the_same_however_the_bytes_are_cut_and_lines_end() {
        let expected = vec![Item::Retry(3000), event("ping", "{\n ä}", Some("e-1")), event("message", "", None)];
        for end in ["\n", "\r\n", "\r"] {
            let text = "\u{feff}retry: 3000\n\nid: e-1\nevent: ping\ndata: {\ndata:  ä}\n\ndata\n\n".replace('\n', end);
            assert_eq!(parse(&text), expected, "{end:?}");
            for cut in 0..text.len() {
                let mut parser = Parser::default();
                let mut items = parser.feed(&text.as_bytes()[..cut]);
                items.extend(parser.feed(&text.as_bytes()[cut..]));
                assert_eq!(items, expected, "{end:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_unfinished_block_is_no_event() {
        assert_eq!(parse("id: 1\ndata: x\n"), []);
    }

    #[test]
    fn an_id_without_data_moves_the_cursor_only() {
        assert_eq!(parse("id: e-7\n\n: hello\n"), [Item::IdOnly("e-7".into()), Item::Comment(" hello".into())]);
    }

    #[test]
    fn a_bad_id_or_retry_is_passed_over() {
        assert_eq!(parse("id: a\0b\nretry: 3s\nretry:\nnonsense: 1\ndata:x\n\n"), [event("message", "x", None)]);
    }
}
