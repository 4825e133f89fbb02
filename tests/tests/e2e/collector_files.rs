//! Rights of the collector's files, whatever umask and directory are.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::process::Process;
use systole_tests::harness::{SOON, eventually};
use tokio::process::Command;

/// The program with a umask that removes no permission.
fn open_to_all() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"umask 0; exec "$0" "$@""#]).arg(binary("systole-collector"));
    command
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

async fn run(args: &[&str]) {
    let output = open_to_all().args(args).output().await.unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Asserts the mode of each file of a directory, and returns their names.
fn names_of_private_files(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> = files
        .map(|file| {
            assert_eq!(mode(&file.path()), 0o600, "{}", file.path().display());
            file.file_name().into_string().unwrap()
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn files_of_the_collector_are_its_own_whatever_umask_and_directory_are() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let data_dir = data.display().to_string();
    let mut command = open_to_all();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", &data_dir]);
    let mut process = Process::start("collector", &mut command, &directory.path().join("collector.log"));
    eventually("the collector listens", SOON, async || data.join("listen-address").exists().then_some(())).await;
    run(&["token", "create", "--kind", "viewer", "--data-dir", &data_dir]).await;
    let names = names_of_private_files(&data);
    let expected = [
        "collector.db",
        "collector.db-shm",
        "collector.db-wal",
        "collector.db.lock",
        "database-epoch",
        "listen-address",
    ];
    assert_eq!(names, expected);

    let backup = directory.path().join("backup.db").display().to_string();
    run(&["backup", "--data-dir", &data_dir, &backup]).await;
    assert_eq!(mode(Path::new(&backup)), 0o600);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(SOON).await.code(), Some(0));

    // What an earlier version has left.
    let database = data.join("collector.db");
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o644)).unwrap();
    run(&["restore", "--data-dir", &data_dir, "--force", &backup]).await;
    assert_eq!(
        names_of_private_files(&data).len(),
        5,
        "database, lock, epoch, last backup, and the database of before"
    );
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o644)).unwrap();
    run(&["token", "list", "--data-dir", &data_dir]).await;
    names_of_private_files(&data);

    let copy = directory.path().join("copy.db");
    let (from, to) = (format!("sqlite://{}", database.display()), format!("sqlite://{}", copy.display()));
    run(&["migrate-data", "--from", &from, "--to", &to]).await;
    assert_eq!(mode(&copy), 0o600);

    let deep = directory.path().join("new/deep");
    run(&["restore", "--data-dir", &deep.display().to_string(), &backup]).await;
    assert_eq!((mode(&deep), mode(deep.parent().unwrap())), (0o700, 0o700));
    names_of_private_files(&deep);
}
