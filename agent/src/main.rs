//! `systole-agent`: keeps the data pipelines of a node running and reports how they do.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    systole_agent::main(std::env::args_os().collect())
}
