//! YAML as a tree. Anchors, aliases and merge keys work; what aliases multiply is bounded.

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser};

use super::document::Node;

/// Values of one file, with those that aliases stand for: a configuration has some thousands.
const MAX_NODES: usize = 200_000;

/// Levels of a file: engines read no more.
const MAX_DEPTH: usize = 127;

/// The key whose value is merged into its table.
const MERGE_KEY: &str = "<<";

/// A list or table that is not complete.
enum Open {
    List(Vec<Node>, usize),
    Table(Vec<(Node, Node)>, Option<Node>, usize),
}

/// Reads the first document; none when the text is no YAML.
pub(super) fn parse(text: &str) -> Option<Node> {
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Node> = HashMap::new();
    let mut nodes = 0;
    for event in Parser::new_from_str(text) {
        let (node, anchor) = match event.ok()?.0 {
            Event::Scalar(text, _, anchor, _) => (Node::Text(text.into_owned()), anchor),
            Event::Alias(id) => (anchors.get(&id)?.clone(), 0),
            Event::SequenceStart(anchor, ..) => {
                open.push(Open::List(Vec::new(), anchor));
                (open.len() <= MAX_DEPTH).then_some(())?;
                continue;
            }
            Event::MappingStart(anchor, ..) => {
                open.push(Open::Table(Vec::new(), None, anchor));
                (open.len() <= MAX_DEPTH).then_some(())?;
                continue;
            }
            Event::SequenceEnd => match open.pop()? {
                Open::List(items, anchor) => (Node::List(items), anchor),
                Open::Table(..) => return None,
            },
            Event::MappingEnd => match open.pop()? {
                Open::Table(entries, None, anchor) => (Node::Table(table_of(entries)), anchor),
                _ => return None,
            },
            Event::DocumentEnd | Event::StreamEnd => return None,
            _ => continue,
        };
        nodes += count(&node);
        (nodes <= MAX_NODES).then_some(())?;
        if anchor > 0 {
            anchors.insert(anchor, node.clone());
        }
        match open.last_mut() {
            None => return Some(node),
            Some(Open::List(items, _)) => items.push(node),
            Some(Open::Table(entries, key, _)) => match key.take() {
                Some(known) => entries.push((known, node)),
                None => *key = Some(node),
            },
        }
    }
    None
}

/// Own keys win over merged ones.
fn table_of(entries: Vec<(Node, Node)>) -> BTreeMap<String, Node> {
    let mut table = BTreeMap::new();
    let mut merged = Vec::new();
    for (key, value) in entries {
        match key {
            Node::Text(key) if key == MERGE_KEY => merged.push(value),
            Node::Text(key) => drop(table.insert(key, value)),
            _ => {}
        }
    }
    for value in merged {
        let tables = if let Node::List(items) = value { items } else { vec![value] };
        for other in tables {
            if let Node::Table(other) = other {
                for (key, value) in other {
                    table.entry(key).or_insert(value);
                }
            }
        }
    }
    table
}

/// The value alone: what is in it was counted when it came.
fn count(node: &Node) -> usize {
    match node {
        Node::Text(_) => 1,
        Node::List(items) => 1 + items.len(),
        Node::Table(table) => 1 + table.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_aliases_and_merge_keys_are_resolved() {
        let text = "a: &base {type: file, inputs: [x]}\nb:\n  <<: *base\n  inputs: &in [y, 'z']\nc: *in\n# end\n";
        let node = parse(text).unwrap();
        assert_eq!(node.get("b").unwrap().get("type").unwrap().text(), Some("file"));
        assert_eq!(node.get("b").unwrap().get("inputs").unwrap().texts(), ["y", "z"]);
        assert_eq!(node.get("c").unwrap().texts(), ["y", "z"]);
        assert_eq!(parse("a: [1, 2\nb: 3"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn what_aliases_stand_for_is_bounded() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let before = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
        }
        assert_eq!(parse(&text), None);
        assert_eq!(parse(&"[".repeat(1_000)), None);
    }
}
