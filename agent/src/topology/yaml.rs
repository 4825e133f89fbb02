//! YAML as a tree. Anchors, aliases and merge keys work; what aliases multiply is bounded.

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser};

use super::document::Node;

/// Values of one file, with those that aliases stand for and the copies for anchors: a configuration has some
/// thousands.
const MAX_NODES: usize = 200_000;

/// Levels of a file: engines read no more.
const MAX_DEPTH: usize = 127;

/// The key whose value is merged into its table.
const MERGE_KEY: &str = "<<";

/// A list or table that is not complete.
struct Open {
    items: Items,
    anchor: usize,
    /// Values before it.
    nodes_before: usize,
}

enum Items {
    List(Vec<Node>),
    Table(Vec<(Node, Node)>, Option<Node>),
}

/// Reads the first document; none when the text is no YAML.
pub(super) fn parse(text: &str) -> Option<Node> {
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, (Node, usize)> = HashMap::new();
    let mut nodes = 0;
    for event in Parser::new_from_str(text) {
        let (node, anchor, nodes_before) = match event.ok()?.0 {
            Event::Scalar(text, _, anchor, _) => (Node::Text(text.into_owned()), anchor, nodes),
            Event::Alias(id) => {
                let (node, size) = anchors.get(&id)?;
                let nodes_before = nodes;
                // All that it stands for counts, before it is copied.
                nodes = bounded(nodes + size - 1)?;
                (node.clone(), 0, nodes_before)
            }
            Event::SequenceStart(anchor, ..) => {
                open.push(Open { items: Items::List(Vec::new()), anchor, nodes_before: nodes });
                (open.len() <= MAX_DEPTH).then_some(())?;
                continue;
            }
            Event::MappingStart(anchor, ..) => {
                open.push(Open { items: Items::Table(Vec::new(), None), anchor, nodes_before: nodes });
                (open.len() <= MAX_DEPTH).then_some(())?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { items, anchor, nodes_before } = open.pop()?;
                let node = match items {
                    Items::List(items) => Node::List(items),
                    Items::Table(entries, None) => Node::Table(table_of(entries)),
                    Items::Table(_, Some(_)) => return None,
                };
                (node, anchor, nodes_before)
            }
            Event::DocumentEnd | Event::StreamEnd => return None,
            _ => continue,
        };
        nodes = bounded(nodes + 1)?;
        if anchor > 0 {
            let size = nodes - nodes_before;
            nodes = bounded(nodes + size)?;
            anchors.insert(anchor, (node.clone(), size));
        }
        match open.last_mut().map(|open| &mut open.items) {
            None => return Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Table(entries, key)) => match key.take() {
                Some(known) => entries.push((known, node)),
                None => *key = Some(node),
            },
        }
    }
    None
}

fn bounded(nodes: usize) -> Option<usize> {
    (nodes <= MAX_NODES).then_some(nodes)
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
