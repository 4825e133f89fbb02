//! Background tasks: the [`driver`] runs each of them.

pub(crate) mod alerts;
pub(crate) mod disk_guard;
pub(crate) mod driver;
pub(crate) mod growth;
pub(crate) mod liveness;
pub(crate) mod log_index;
pub(crate) mod log_size;
pub(crate) mod maintenance;
pub(crate) mod removal;
pub(crate) mod retention;
pub(crate) mod rollouts;
pub(crate) mod rollup;
pub(crate) mod table_sizes;
pub(crate) mod token_refresh;
