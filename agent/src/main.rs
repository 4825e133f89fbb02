//! `systole-agent`: runs the data pipelines of a node and reports their health.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use dlmalloc::GlobalDlmalloc;

/// Chosen for its footprint: the system's allocator keeps a heap for every thread, which cost a
/// third more memory; an agent allocates too little for the one lock to matter.
#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

fn main() -> ExitCode {
    systole_agent::main(std::env::args_os().collect())
}
