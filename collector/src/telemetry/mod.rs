//! The collector's own metrics and log lines.

pub(crate) mod logging;
mod metrics;

pub(crate) use self::metrics::*;
