use proptest::prelude::*;
use saphyr_parser::{Event, Parser, ScalarStyle};

use super::*;
use crate::control::syntax;

/// Reads the YAML that is written here: tables, lists, quoted texts and JSON's other scalars.
fn read(text: &str) -> Value {
    let mut events = Parser::new_from_str(text).map(|event| event.unwrap().0);
    let is_node = |event: &Event<'_>| {
        !matches!(event, Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd)
    };
    let first = events.find(is_node).unwrap();
    read_node(first, &mut events)
}

fn read_node<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Value {
    match event {
        Event::Scalar(text, ScalarStyle::DoubleQuoted, ..) => Value::String(text.into_owned()),
        Event::Scalar(text, ..) => serde_json::from_str(&text).unwrap(),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match events.next().unwrap() {
                    Event::SequenceEnd => return Value::Array(items),
                    event => items.push(read_node(event, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut table = serde_json::Map::new();
            loop {
                match events.next().unwrap() {
                    Event::MappingEnd => return Value::Object(table),
                    Event::Scalar(key, ..) => {
                        let value = events.next().unwrap();
                        table.insert(key.into_owned(), read_node(value, events));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn yaml_stays_as_it_is() {
    let text = "# Vector\nsources: {}\n";
    assert_eq!(to_yaml(text, ConfigFormat::Yaml).unwrap(), text);
}

#[test]
fn toml_becomes_yaml() {
    let toml = "[sources.in]\ntype = \"stdin\"\nmax = 10\nrate = 1.5\nat = 2026-11-30T00:00:00Z\n\
                [transforms.parse]\ninputs = [\"in\"]\nsource = \"\"\"\n.a = 1\n. = 2\"\"\"\nfallible = true\nempty = []\n";
    let expected = "\"sources\":\n  \"in\":\n    \"at\": \"2026-11-30T00:00:00Z\"\n    \"max\": 10\n    \"rate\": 1.5\n    \"type\": \"stdin\"\n\
                    \"transforms\":\n  \"parse\":\n    \"empty\": []\n    \"fallible\": true\n    \"inputs\":\n      - \"in\"\n    \"source\": \".a = 1\\n. = 2\"\n";
    assert_eq!(to_yaml(toml, ConfigFormat::Toml).unwrap(), expected);
    assert_eq!(to_yaml("", ConfigFormat::Toml).unwrap(), "{}\n");
}

#[test]
fn json_becomes_yaml() {
    let json = r#"{"a": {"b": [1, {"c": null, "d": "no"}, [], [[2]]]}, "smile": "😀\u0085"}"#;
    let yaml = to_yaml(json, ConfigFormat::Json).unwrap();
    assert_eq!(read(&yaml), serde_json::from_str::<Value>(json).unwrap());
    syntax::check(&yaml, ConfigFormat::Yaml).unwrap();
    let long = format!("{{\"{}\": 1}}", "k".repeat(2_000));
    assert_eq!(read(&to_yaml(&long, ConfigFormat::Json).unwrap()), serde_json::from_str::<Value>(&long).unwrap());
}

fn values() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::String),
        prop_oneof!["yes", "null", "~", "1e3", "- a", "a: b", "#", "", " "].prop_map(Value::String),
    ];
    scalar.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|table| table.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn any_table_is_the_same_in_yaml(table in prop::collection::btree_map(any::<String>(), values(), 0..5)) {
        let value: Value = table.into_iter().collect();
        let yaml = to_yaml(&value.to_string(), ConfigFormat::Json).unwrap().into_owned();
        prop_assert_eq!(read(&yaml), value, "{}", yaml);
    }
}
