//! Behaves like `vector`; see [`systole_tests::stub`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    systole_tests::stub::process::main().await
}
