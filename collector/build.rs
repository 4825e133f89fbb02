//! Packs the pages that the collector serves, and adds build information for `--version --json`.
//!
//! `/docs`: two files of Swagger UI and its licence, out of the archive that a crate carries. The rest of that archive
//! stays out of the program. The dashboard: what `npm run build` has written into `dashboard/app/dist`, which it has
//! compressed already. Without Node that folder is empty, and the page at `/` says how to fill it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// Where the files are in the archive, below its one directory.
const FILES: [&str; 4] = ["dist/swagger-ui-bundle.js", "dist/swagger-ui.css", "LICENSE", "NOTICE"];

/// What `npm run build` writes.
const DASHBOARD: &str = "dashboard/app/dist";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={DASHBOARD}");
    add_build_information();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    pack_docs(&out)?;
    let files =
        Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?).join(DASHBOARD);
    std::fs::write(out.join("dashboard.rs"), list_dashboard(&files, &out)?)?;
    Ok(())
}

/// All of it is optional: a build without git, or from an archive, has less of it.
fn add_build_information() {
    println!("cargo::rerun-if-env-changed=SYSTOLE_COMMIT");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let mut commit = variable("SYSTOLE_COMMIT");
    // During development, every commit would build the collector again.
    if commit.is_empty() && variable("PROFILE") == "release" {
        commit = first_line("git", &["rev-parse", "--short=12", "HEAD"]);
        let log = first_line("git", &["rev-parse", "--git-path", "logs/HEAD"]);
        if !log.is_empty() {
            println!("cargo::rerun-if-changed={log}");
        }
    }
    if !commit.is_empty() {
        println!("cargo::rustc-env=SYSTOLE_BUILD_COMMIT={commit}");
    }
    println!("cargo::rustc-env=SYSTOLE_BUILD_TARGET={}", variable("TARGET"));
    println!("cargo::rustc-env=SYSTOLE_BUILD_RUSTC={}", first_line(&variable("RUSTC"), &["--version"]));
}

/// The first line that a program prints, or nothing.
fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success());
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// The files of the dashboard as a Rust expression: `[(name, gzip, brotli), …]`. They are copied, so that another
/// `npm run build` does not take them away from a build that runs.
fn list_dashboard(files: &Path, out: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let mut names = Vec::new();
    for folder in ["", "assets/"] {
        let Ok(entries) = std::fs::read_dir(files.join(folder)) else { continue };
        for entry in entries {
            let name = entry?.file_name().into_string().map_err(|name| format!("{} is not UTF-8", name.display()))?;
            names.extend(name.strip_suffix(".br").map(|name| format!("{folder}{name}")));
        }
    }
    names.sort();
    std::fs::create_dir_all(out.join("dashboard/assets"))?;
    let mut list = String::from("[");
    for name in names {
        write!(list, "({name:?}")?;
        for packed in ["gz", "br"] {
            let copy = out.join(format!("dashboard/{name}.{packed}"));
            std::fs::copy(files.join(format!("{name}.{packed}")), &copy)?;
            write!(list, ", include_bytes!({copy:?}) as &[u8]")?;
        }
        list.push_str("),");
    }
    list.push(']');
    Ok(list)
}

fn pack_docs(out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut archive = ZipArchive::new(io::Cursor::new(SWAGGER_UI_VENDORED))?;
    let directory = archive.by_index(0)?.name()?.split('/').next().unwrap_or_default().to_owned();
    for file in FILES {
        let name = file.rsplit('/').next().unwrap_or(file);
        let target = std::fs::File::create(out.join(format!("{name}.gz")))?;
        let mut packed = GzEncoder::new(target, Compression::best());
        io::copy(&mut archive.by_name(&format!("{directory}/{file}"))?, &mut packed)?;
        packed.finish()?.flush()?;
    }
    Ok(())
}
