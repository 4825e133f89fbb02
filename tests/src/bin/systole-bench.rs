//! Puts a collector under load; see [`systole_tests::bench`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    systole_tests::bench::run::main().await
}
