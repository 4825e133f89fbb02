//! A sequence of which only the first items are kept.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

/// The first `N` items of a sequence, and how many come after them.
pub(super) struct First<T, const N: usize> {
    pub items: Vec<T>,
    pub beyond: usize,
}

impl<T, const N: usize> Default for First<T, N> {
    fn default() -> Self {
        First { items: Vec::new(), beyond: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for First<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Items<T, N> {
            type Value = First<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut first = First::default();
                while first.items.len() < N
                    && let Some(item) = items.next_element()?
                {
                    first.items.push(item);
                }
                while first.items.len() == N && items.next_element::<IgnoredAny>()?.is_some() {
                    first.beyond += 1;
                }
                Ok(first)
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}
