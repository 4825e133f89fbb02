//! JSON that is read item by item.

use serde::de::Deserialize;
use serde_json::value::RawValue;
use systole_shared::Text;

use super::text::short;

/// Reads an optional part of a body, which was kept unread.
pub(super) fn read_part<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<Option<T>, String> {
    raw.map(|raw| parse(raw.get().as_bytes())).transpose().map(Option::flatten)
}

/// Reads JSON. An error names the place in it.
pub(super) fn parse<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        // Where in the item, not where in the body: line and column of an item mislead.
        let cause = error.inner().to_string();
        // It quotes what it found, which may be megabytes.
        short(&if path == "." { cause } else { format!("{path}: {cause}") })
    })?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// The id of an item that could not be read as a whole, if at least that can.
pub(super) fn id_of(raw: &RawValue) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct OnlyId<'a> {
        #[serde(borrow, alias = "pipelineId")]
        id: Text<'a>,
    }
    serde_json::from_str::<OnlyId<'_>>(raw.get()).ok().map(|item| short(item.id.as_str()))
}
