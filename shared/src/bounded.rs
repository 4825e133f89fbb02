//! Collections that stop at their bound while they are read, so that a small body cannot become a large
//! value.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A sequence of at most `N` items.
///
/// # Errors
///
/// When it has more items, at item `N + 1`, or when an item cannot be read.
pub(crate) fn at_most<'de, D, T, const N: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Items<T, const N: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Items<T, N> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a sequence of at most {N} items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut read = Vec::with_capacity(items.size_hint().unwrap_or(0).min(N));
            while let Some(item) = items.next_element()? {
                if read.len() == N {
                    return Err(A::Error::custom(format_args!("more than {N} items")));
                }
                read.push(item);
            }
            Ok(read)
        }
    }

    deserializer.deserialize_seq(Items::<T, N>(PhantomData))
}

/// The first `N` entries of a map; further ones are skipped.
///
/// # Errors
///
/// When it is not a map, or one of these entries cannot be read.
pub(crate) fn first_entries<'de, D, K, V, const N: usize>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    struct Entries<K, V, const N: usize>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, const N: usize> Visitor<'de> for Entries<K, V, N> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut read = BTreeMap::new();
            while read.len() < N
                && let Some((key, value)) = entries.next_entry()?
            {
                read.insert(key, value);
            }
            while read.len() == N && entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(read)
        }
    }

    deserializer.deserialize_map(Entries::<K, V, N>(PhantomData))
}

/// The same for a map that may be `null`.
///
/// # Errors
///
/// As [`first_entries`].
pub(crate) fn first_entries_if_any<'de, D, K, V, const N: usize>(
    deserializer: D,
) -> Result<Option<BTreeMap<K, V>>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    struct First<K, V, const N: usize>(BTreeMap<K, V>);

    impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, const N: usize> Deserialize<'de> for First<K, V, N> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            first_entries::<_, _, _, N>(deserializer).map(First)
        }
    }

    Ok(Option::<First<K, V, N>>::deserialize(deserializer)?.map(|first| first.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_longer_than_its_bound_is_an_error_at_the_first_item_too_many() {
        let read = |text: &str| at_most::<_, u8, 2>(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(read("[1,2]").unwrap(), [1, 2]);
        // What stands after it is not read: it is no JSON.
        assert!(read("[1,2,3,!").unwrap_err().to_string().starts_with("more than 2 items"));
    }

    #[test]
    fn map_keeps_its_first_entries() {
        let mut text = serde_json::Deserializer::from_str(r#"{"a":1,"b":2,"c":[3]}"#);
        let read: BTreeMap<String, u8> = first_entries::<_, _, _, 2>(&mut text).unwrap();
        assert_eq!(read, [("a", 1), ("b", 2)].map(|(key, value)| (key.to_owned(), value)).into());
        text.end().unwrap();
    }
}
