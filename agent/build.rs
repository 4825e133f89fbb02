//! Adds build information to the program, for `--version --json`. All of it is optional: a build
//! without git, or from an archive, has less of it.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=SYSTOLE_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let mut commit = variable("SYSTOLE_COMMIT");
    // During development, every commit would build the agent again.
    if commit.is_empty() && variable("PROFILE") == "release" {
        commit = first_line("git", &["rev-parse", "--short=12", "HEAD"]);
        let log = first_line("git", &["rev-parse", "--git-path", "logs/HEAD"]);
        if !log.is_empty() {
            println!("cargo:rerun-if-changed={log}");
        }
    }
    if !commit.is_empty() {
        println!("cargo:rustc-env=SYSTOLE_BUILD_COMMIT={commit}");
    }
    println!("cargo:rustc-env=SYSTOLE_BUILD_TARGET={}", variable("TARGET"));
    println!("cargo:rustc-env=SYSTOLE_BUILD_RUSTC={}", first_line(&variable("RUSTC"), &["--version"]));
}

/// The first line that a program prints, or nothing.
fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success());
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
