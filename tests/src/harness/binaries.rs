//! Where the programs under test are.

use std::path::PathBuf;

/// Environment variable that names another directory with the programs, such as one of release
/// builds.
const DIRECTORY: &str = "SYSTOLE_BIN_DIR";

/// The path of one of the workspace's programs. Panics with the command that builds it when it is
/// not there.
pub fn binary(name: &str) -> PathBuf {
    let directory = std::env::var_os(DIRECTORY).map_or_else(beside_this_program, PathBuf::from);
    let path = directory.join(name);
    assert!(
        path.is_file(),
        "{} is missing: build the programs first with `cargo build --workspace`, or name their directory in {DIRECTORY}",
        path.display()
    );
    path
}

/// `target/<profile>`: tests run from `deps` in it, programs from it.
pub(super) fn beside_this_program() -> PathBuf {
    let program = std::env::current_exe().expect("the running program has a path");
    let directory = program.parent().expect("a program lies in a directory");
    match directory.file_name() {
        Some(name) if name == "deps" => directory.parent().expect("deps lies in a directory").to_owned(),
        _ => directory.to_owned(),
    }
}
