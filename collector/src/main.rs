//! `systole-collector`: receives the agents' reports exactly once, stores them, and streams events to dashboards.

#![forbid(unsafe_code)]

mod alerts;
mod app;
mod auth;
mod cli;
mod clock;
mod cluster;
mod config;
mod control;
mod feed;
mod http;
mod ingest;
#[cfg(test)]
mod layers_tests;
mod model;
mod query;
mod server;
mod store;
mod tasks;
mod telemetry;
mod timeseries;
mod version;

/// Reports are many small texts that are made on one thread and freed on another, which is what the
/// system's allocator keeps most memory for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
