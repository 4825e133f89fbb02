//! Reports: when one is made, what is in it, and what a restart continues from.

pub(crate) mod checkpoint;
pub(crate) mod heartbeat;
pub(crate) mod reporter;
