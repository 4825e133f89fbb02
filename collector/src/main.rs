//! `systole-collector`: takes the agents' reports exactly once, keeps them, and streams what
//! happens to dashboards.

#![forbid(unsafe_code)]

mod app;
mod auth;
mod cli;
mod clock;
mod config;
mod error;
mod feed;
mod fleet;
mod ingest;
mod logging;
mod retention;
mod rings;
mod routes;
mod server;
mod store;
mod telemetry;

fn main() -> std::process::ExitCode {
    cli::main()
}
