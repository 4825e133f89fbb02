//! Selects the components that have a history: `max_component_series` places, shared fairly among nodes.
//!
//! A node takes what is free. When nothing is free, a node below its equal share still receives a place, and
//! the nodes that have most give as many back with the next [`super::upkeep`]. So the first node does not keep
//! all places, and one node alone can use all of them. The number of places is exceeded for a minute at most,
//! and never doubled.
//!
//! A component keeps its series when it loses its place: its history has a hole, and continues when it has
//! a place again.

use foldhash::HashMap;

use crate::model::NodeKey;

/// The places.
#[derive(Debug, Default)]
pub(crate) struct ComponentPlaces {
    max: usize,
    taken: usize,
    by_node: HashMap<NodeKey, usize>,
}

impl ComponentPlaces {
    /// This many, all free.
    pub(crate) fn new(max: usize) -> Self {
        ComponentPlaces { max, ..ComponentPlaces::default() }
    }

    /// Takes a place for a component of a node, if there is one for it.
    pub(crate) fn take(&mut self, node: NodeKey) -> bool {
        let own = self.by_node.get(&node).copied().unwrap_or(0);
        let nodes = self.by_node.len() + usize::from(own == 0);
        if self.taken >= self.max && own >= self.max / nodes {
            return false;
        }
        self.taken += 1;
        self.by_node.insert(node, own + 1);
        true
    }

    /// Makes places of a node free.
    pub(crate) fn give_back(&mut self, node: NodeKey, count: usize) {
        if let Some(own) = self.by_node.get_mut(&node) {
            let count = count.min(*own);
            *own -= count;
            self.taken -= count;
            if *own == 0 {
                self.by_node.remove(&node);
            }
        }
    }

    /// Places in use.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// The number of places that each node must free to keep the limit.
    pub(crate) fn surplus(&self) -> Vec<(NodeKey, usize)> {
        let mut excess = self.taken.saturating_sub(self.max);
        if excess == 0 {
            return Vec::new();
        }
        let mut nodes: Vec<(usize, NodeKey)> = self.by_node.iter().map(|(node, own)| (*own, *node)).collect();
        nodes.sort_unstable_by(|a, b| b.cmp(a));
        // The level that the largest nodes come down to.
        let mut level = 0;
        for (index, (own, _)) in nodes.iter().enumerate() {
            let next = nodes.get(index + 1).map_or(0, |next| next.0);
            let above = (own - next) * (index + 1);
            if above >= excess {
                level = own - excess.div_ceil(index + 1);
                break;
            }
            excess -= above;
        }
        nodes.into_iter().take_while(|(own, _)| *own > level).map(|(own, node)| (node, own - level)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeKey = NodeKey(1);
    const B: NodeKey = NodeKey(2);
    const C: NodeKey = NodeKey(3);

    fn take_all(places: &mut ComponentPlaces, node: NodeKey) -> usize {
        let mut taken = 0;
        while places.take(node) {
            taken += 1;
        }
        taken
    }

    fn level(places: &mut ComponentPlaces) {
        for (node, count) in places.surplus() {
            places.give_back(node, count);
        }
    }

    #[test]
    fn one_node_alone_has_all_places_and_later_ones_their_share() {
        let mut places = ComponentPlaces::new(12);
        assert_eq!(take_all(&mut places, A), 12);
        assert_eq!(take_all(&mut places, B), 6);
        level(&mut places);
        assert_eq!((places.by_node[&A], places.by_node[&B]), (6, 6));
        assert_eq!(take_all(&mut places, C), 4);
        level(&mut places);
        assert_eq!((places.by_node[&A], places.by_node[&B], places.by_node[&C]), (4, 4, 4));
        assert_eq!(take_all(&mut places, A), 0, "it has its share");
    }

    #[test]
    fn small_nodes_keep_what_they_have_when_a_large_one_gives_back() {
        let mut places = ComponentPlaces::new(10);
        assert!(places.take(B) && places.take(C));
        assert_eq!(take_all(&mut places, A), 8);
        assert_eq!(take_all(&mut places, B), 2);
        level(&mut places);
        assert_eq!((places.by_node[&A], places.by_node[&B], places.by_node[&C]), (6, 3, 1));
    }

    #[test]
    fn places_that_are_given_back_are_free_for_all() {
        let mut places = ComponentPlaces::new(4);
        take_all(&mut places, A);
        places.give_back(A, 4);
        assert_eq!(places.taken(), 0);
        assert_eq!(take_all(&mut places, B), 4);
        assert!(!ComponentPlaces::new(0).take(A), "none at all");
    }
}
