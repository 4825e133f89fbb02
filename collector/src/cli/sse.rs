//! Reads a `text/event-stream`, as far as a client of our own feed needs it.

use serde_json::Value;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SseEvent {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

/// Bytes in, events out; events may be cut anywhere.
#[derive(Debug, Default)]
pub(super) struct SseReader {
    rest: Vec<u8>,
    last_id: Option<String>,
}

impl SseReader {
    /// Takes the next bytes and returns the events that are complete with them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<SseEvent> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            events.extend(self.read_block(&String::from_utf8_lossy(&block)));
        }
        events
    }

    /// The id to resume behind.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    fn read_block(&mut self, block: &str) -> Option<SseEvent> {
        let (mut name, mut id, mut data) = (None, None, None);
        for (field, value) in block.lines().filter_map(|line| line.split_once(": ")) {
            match field {
                "event" => name = Some(value.to_owned()),
                "id" => id = Some(value.to_owned()),
                "data" => data = serde_json::from_str(value).ok(),
                _ => {}
            }
        }
        if id.is_some() {
            self.last_id.clone_from(&id);
        }
        Some(SseEvent { name: name?, id, data: data? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_cut_anywhere_come_out_whole_and_an_id_alone_moves_the_cursor() {
        let stream = "retry: 3000\n\nid: e-1\nevent: a\ndata: {\"x\":\"ä\"}\n\nid: e-7\n\nevent: b\ndata: {}\n\n";
        let mut reader = SseReader::default();
        let events: Vec<_> = stream.as_bytes().chunks(3).flat_map(|bytes| reader.push(bytes)).collect();
        let names: Vec<_> = events.iter().map(|event| (event.name.as_str(), event.id.as_deref())).collect();
        assert_eq!(names, [("a", Some("e-1")), ("b", None)]);
        assert_eq!(events[0].data["x"], "ä");
        assert_eq!(reader.last_id(), Some("e-7"));
    }
}
