//! What comes after what in a list, and where a page continues.
//!
//! Each list has a total order: a value, then the name, then the key. A cursor is the place of a page's last item in it, so
//! that an item whose value stays is neither skipped nor repeated, whatever comes and goes meanwhile. A value that is absent
//! comes last in either direction.

use std::cmp::{Ordering, Reverse};

/// Where an item is in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// What the list is sorted by. All are equal in a list that is sorted by name.
    pub value: Option<i64>,
    pub name: String,
    pub key: i64,
}

/// How a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    pub is_descending: bool,
    /// Whether names have the direction, and not the values.
    pub by_name: bool,
}

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Ranked<T> {
    pub items: Vec<T>,
    /// The place of the last item; `None` at the end of the list.
    pub last: Option<Place>,
    /// Items on all pages.
    pub total: usize,
}

impl Order {
    fn compare(self, one: &Place, other: &Place) -> Ordering {
        let values = match (one.value, other.value) {
            (Some(one), Some(other)) if self.is_descending => other.cmp(&one),
            // Absent values are last.
            (one, other) => (Reverse(one.is_some()), one).cmp(&(Reverse(other.is_some()), other)),
        };
        let names =
            if self.by_name && self.is_descending { other.name.cmp(&one.name) } else { one.name.cmp(&other.name) };
        values.then(names).then(one.key.cmp(&other.key))
    }

    /// Up to `limit` items after a place, in order.
    pub(crate) fn rank<T>(
        self,
        items: Vec<T>,
        after: Option<&Place>,
        limit: usize,
        place: impl Fn(&T) -> Place,
    ) -> Ranked<T> {
        let total = items.len();
        let placed = items.into_iter().map(|item| (place(&item), item));
        let is_after =
            |(place, _): &(Place, T)| after.is_none_or(|after| self.compare(place, after) == Ordering::Greater);
        let mut placed: Vec<_> = placed.filter(is_after).collect();
        if placed.len() > limit.saturating_add(1) {
            placed.select_nth_unstable_by(limit, |(one, _), (other, _)| self.compare(one, other));
            placed.truncate(limit + 1);
        }
        placed.sort_unstable_by(|(one, _), (other, _)| self.compare(one, other));
        let has_more = placed.len() > limit;
        placed.truncate(limit);
        let last = placed.last().filter(|_| has_more).map(|(place, _)| place.clone());
        Ranked { items: placed.into_iter().map(|(_, item)| item).collect(), last, total }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place((value, name, key): &(Option<i64>, u8, i64)) -> Place {
        Place { value: *value, name: name.to_string(), key: *key }
    }

    proptest! {
        #[test]
        fn pages_make_the_list(
            values in prop::collection::vec((prop::option::of(-3_i64..3), 0_u8..4), 0..40),
            limit in 1_usize..7,
            is_descending: bool,
            by_name: bool,
        ) {
            let order = Order { is_descending, by_name };
            let items: Vec<_> = (0..).zip(values).map(|(key, (value, name))| (value.filter(|_| !by_name), name, key)).collect();
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = order.rank(items.clone(), after.as_ref(), limit, place);
                prop_assert_eq!(page.total, items.len());
                prop_assert!(page.items.len() <= limit);
                paged.extend(page.items);
                after = page.last;
                if after.is_none() { break }
            }
            let mut whole = items.clone();
            whole.sort_by(|one, other| order.compare(&place(one), &place(other)));
            prop_assert_eq!(&paged, &whole);
            let absent = paged.iter().position(|item| item.0.is_none()).unwrap_or(paged.len());
            prop_assert!(paged[absent..].iter().all(|item| item.0.is_none()), "absent values are last");
        }
    }

    #[test]
    fn page_continues_after_its_last_item_although_that_is_gone() {
        let order = Order { is_descending: true, by_name: false };
        let items = vec![(Some(3), 0, 1), (Some(2), 0, 2), (Some(1), 0, 3)];
        let page = order.rank(items.clone(), None, 2, place);
        assert_eq!(page.items, items[..2]);
        let rest = order.rank(vec![items[0], items[2]], page.last.as_ref(), 2, place);
        assert_eq!((rest.items, rest.last), (vec![items[2]], None));
    }
}
