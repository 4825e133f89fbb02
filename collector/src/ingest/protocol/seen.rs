//! Ids that come twice.

use std::collections::HashSet;
use std::hash::Hash;

/// Finds ids that come twice. Few are compared one by one, which is quicker than hashing them.
pub(super) struct Seen<I>(HashSet<I>);

impl<I: Clone + Eq + Hash> Seen<I> {
    const FEW: usize = 16;

    pub(super) fn new() -> Self {
        Seen(HashSet::new())
    }

    /// False when one of `known`, which are all that were added, has this id.
    pub(super) fn add<'a>(&mut self, mut known: impl ExactSizeIterator<Item = &'a I>, id: &'a I) -> bool {
        if known.len() < Self::FEW {
            return known.all(|known| known != id);
        }
        if self.0.is_empty() {
            self.0.extend(known.cloned());
        }
        self.0.insert(id.clone())
    }
}
