//! What the centre wants of nodes: how versions get to them, how nodes receive what they should run, and what
//! operators ask of a node at once.

pub(crate) mod actions;
pub(crate) mod delivery;
pub(crate) mod rollout;
