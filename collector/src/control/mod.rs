//! What administrators and operators decide: it is written down here, and agents make it so.

pub(crate) mod audit;
