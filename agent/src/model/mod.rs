//! Types that the configuration fills and that all parts of the agent share. They know no part of it.

pub(crate) mod action;
pub(crate) mod centre;
pub(crate) mod log_files;
pub(crate) mod mapping;
pub(crate) mod multiline;
pub(crate) mod node;
pub(crate) mod pattern;
pub(crate) mod pipeline;
pub(crate) mod protocol;
pub(crate) mod spool;
pub(crate) mod tls;
pub(crate) mod upgrade;
pub(crate) mod vectorflow;
pub(crate) mod wanted;
