//! Puts a collector under load; see [`systole_tests::bench`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

// One thread, so that the fleet leaves the other processor to the collector.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    systole_tests::bench::run::main().await
}
