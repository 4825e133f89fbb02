//! The collector's own metrics and log lines.

pub(crate) mod logging;
mod metrics;
pub(crate) mod prometheus_text;

pub(crate) use self::metrics::*;
