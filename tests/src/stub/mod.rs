//! A program that behaves like `vector`, for tests and for the demonstration.
//!
//! It exposes Vector's metrics in Vector's shape, writes Vector's log lines, stops like Vector, and
//! misbehaves on request. It writes its true counts to a file, so that a test can compare the sums at the
//! other end exactly.
//!
//! # Start
//!
//! As Vector: `--version` (of `STUB_VERSION`), `validate [--no-environment] FILE…` (exits 0 or 78), `--config FILE` once
//! or several times. The port of the metrics is the `address` below `vf_metrics_exporter` (or below
//! `prometheus_exporter`) in one of the files, or the flag `--metrics-address`; port 0 selects a free one,
//! which the totals contain. Every flag of [`args::Flags`] can also be set in a configuration file as a
//! comment `# stub: rate=100`, which the real Vector ignores; `# stub: invalid` (or `# stub:
//! invalid=VARIANT`) makes the file an invalid one.
//!
//! In a file `${NAME}` is a variable of the environment, as Vector has it; a missing one is an error.
//!
//! # API
//!
//! The `address` below `api:` opens the API, which `vector tap` reads: see [`tap`].
//!
//! # Control
//!
//! `POST /control/<what>` on the metrics port: see [`control::Command`].

pub mod args;
pub mod control;
pub mod engine;
pub mod exposition;
pub mod http;
pub mod logs;
pub mod process;
pub mod settings;
pub mod tap;
pub mod topology;
pub mod totals;
