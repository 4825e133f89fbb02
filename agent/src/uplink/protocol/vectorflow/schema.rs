//! The fields of sampled events, as VectorFlow shows them beside the events.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use systole_shared::vectorflow::SchemaField;

/// Objects within objects; deeper ones are shown as a whole.
const MAX_DEPTH: usize = 10;

/// Characters of a value.
const MAX_SAMPLE_CHARS: usize = 64;

/// Fields of one component. Events whose keys are data would have one for each.
const MAX_FIELDS: usize = 1_000;

/// The fields of all events, sorted by their paths. The first event with a field shows its type and value.
pub(super) fn schema_of<'e>(events: impl Iterator<Item = &'e Value>) -> Vec<SchemaField> {
    let mut fields = BTreeMap::new();
    for event in events {
        if let Value::Object(event) = event {
            add(event, "", 1, &mut fields);
        }
    }
    fields.into_iter().map(|(path, (kind, sample))| SchemaField { path, kind: kind.to_owned(), sample }).collect()
}

fn add(object: &Map<String, Value>, prefix: &str, depth: usize, fields: &mut BTreeMap<String, (&'static str, String)>) {
    for (key, value) in object {
        let path = format!("{prefix}.{key}");
        if !fields.contains_key(&path) {
            if fields.len() == MAX_FIELDS {
                return;
            }
            fields.insert(path.clone(), (kind_of(value), sample_of(value)));
        }
        if let (Value::Object(inner), true) = (value, depth < MAX_DEPTH) {
            add(inner, &path, depth + 1, fields);
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Number(_) => "float",
        Value::Bool(_) => "boolean",
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::Null => "null",
    }
}

fn sample_of(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(_) => String::new(),
        Value::Array(items) => format!("[{} items]", items.len()),
        other => other.to_string(),
    };
    text.chars().take(MAX_SAMPLE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(events: &[Value]) -> Vec<String> {
        let fields = schema_of(events.iter());
        fields.into_iter().map(|field| format!("{} {} {}", field.path, field.kind, field.sample)).collect()
    }

    #[test]
    fn fields_of_all_events_are_sorted_and_the_first_value_counts() {
        let events =
            [json!({"b": 1.5, "a": {"d": null, "c": true}}), json!({"b": "later", "e": [1, 2], "f": "x"}), json!(7)];
        assert_eq!(
            rows(&events),
            [".a object ", ".a.c boolean true", ".a.d null null", ".b float 1.5", ".e array [2 items]", ".f string x"]
        );
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let mut deep = json!("end");
        for _ in 0..12 {
            deep = json!({"k": deep});
        }
        let found = rows(&[deep]);
        assert_eq!((found.len(), found[9].as_str()), (10, ".k.k.k.k.k.k.k.k.k.k object "));
        let long = rows(&[json!({"a": "\u{e4}".repeat(100)})]);
        assert_eq!(long[0], format!(".a string {}", "\u{e4}".repeat(64)));
        let many: Map<String, Value> = (0..2_000).map(|number| (number.to_string(), json!(1))).collect();
        assert_eq!(rows(&[Value::Object(many)]).len(), MAX_FIELDS);
    }
}
