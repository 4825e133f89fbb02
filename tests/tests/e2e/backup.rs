//! Backups of a busy collector, and their restore.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Output;

use systole_tests::clock;
use systole_tests::harness::database::{Database, Place};
use systole_tests::harness::reports::{distinct_counts, running, with_lines};
use systole_tests::harness::{Feed, NodeClient, SOON, TestCollector};
use tokio::sync::watch;

const PIPELINE: &str = "orders";

async fn backup(collector: &TestCollector) -> PathBuf {
    let file = collector.directory().join("backup.db");
    collector.cli(&["backup", &file.display().to_string()]).await;
    file
}

async fn restore(collector: &TestCollector, file: &Path, flags: &[&str]) -> Output {
    let file = file.display().to_string();
    let args: Vec<&str> = ["restore", &file].into_iter().chain(flags.iter().copied()).collect();
    collector.try_cli(&args).await
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends reports until it is stopped: each counts once and contains its number.
async fn report_until_told(mut node: NodeClient, stop: watch::Receiver<bool>, done: watch::Sender<u64>) -> NodeClient {
    while !*stop.borrow() {
        let line = node.next_seq.to_string();
        node.report(vec![with_lines(running(PIPELINE, distinct_counts(1)), clock::now_ms(), [line])]).await;
        done.send_modify(|done| *done += 1);
    }
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_returns_one_moment_and_reports_continue() {
    let mut collector = TestCollector::start().await;
    let node = NodeClient::enroll(&collector, None, "n1").await;
    let viewer = collector.viewer().await;
    let mut feed = Feed::open(&viewer, "").await;
    let (stop, stopped) = watch::channel(false);
    let (done, mut reports) = watch::channel(0);
    let reporter = tokio::spawn(report_until_told(node, stopped, done));
    reports.wait_for(|reports| *reports >= 20).await.unwrap();
    let file = backup(&collector).await;
    let at_backup = *reports.borrow();
    reports.wait_for(|reports| *reports >= at_backup + 20).await.unwrap();
    stop.send_replace(true);
    let mut node = reporter.await.unwrap();
    let last = node.next_seq - 1;
    feed.wait_for("the last line", SOON, |event| event.lines().contains(&last.to_string())).await;
    let id = feed.last_id().unwrap();

    collector.stop().await;
    let restored = restore(&collector, &file, &["--force"]).await;
    assert!(restored.status.success(), "{restored:?}");
    collector.run().await;
    let kept = Database::open(&collector.database()).rows("logs");
    assert!((20..=at_backup).contains(&kept), "{kept} of {at_backup}");
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(kept), "all tables are of the same moment");

    // Reports that the agent has already removed are missing and become a gap; later ones are accepted.
    let ack = node.report(vec![running(PIPELINE, distinct_counts(1_000))]).await;
    let missing = ack.missing.expect("a hole");
    assert_eq!((missing.from, missing.to), (kept + 1, last));
    assert_eq!(ack.durable_seq, last + 1);
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(kept + 1_000));

    // The next events reuse numbers: an id of the old database would skip them.
    let mut feed = Feed::open_after(&viewer, "", Some(&id.to_string())).await;
    feed.wait_for("a reset", SOON, |event| event.kind == "reset").await;
    let hello = feed.wait_for("hello", SOON, |event| event.kind == "hello").await;
    assert_ne!(hello.data["epoch"].as_str(), Some(&*id.epoch));
    assert_eq!(hello.data["resumed"], false);
}

#[tokio::test]
async fn restore_refuses_damaged_or_foreign_files() {
    let mut collector = TestCollector::start().await;
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
    let file = backup(&collector).await;
    node.report(vec![running(PIPELINE, distinct_counts(2))]).await;
    assert!(refusal(&restore(&collector, &file, &["--force"]).await).contains("another collector is running"));
    collector.stop().await;

    let copy = |name: &str| {
        let copy = collector.directory().join(name);
        std::fs::copy(&file, &copy).unwrap();
        copy
    };
    let whole = std::fs::read(&file).unwrap();
    let spoilt = copy("spoilt.db");
    let middle = (whole.len() / 2 / 4_096 * 4_096) as u64;
    std::fs::File::options().write(true).open(&spoilt).unwrap().write_all_at(&[0xff; 8_192], middle).unwrap();
    let cut = collector.directory().join("cut.db");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let text = collector.directory().join("notes.txt");
    std::fs::write(&text, "not a database at all").unwrap();
    let foreign = collector.directory().join("foreign.db");
    Database::execute(&Place::File(foreign.clone()), "CREATE TABLE meta (x); INSERT INTO meta VALUES (1);");
    let later = copy("later.db");
    let version = "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231000000')";
    Database::execute(&Place::File(later.clone()), version);
    let live = copy("live.db");
    std::fs::write(collector.directory().join("live.db-wal"), "x").unwrap();
    for (file, message) in [
        (&spoilt, "is damaged"),
        (&cut, "is damaged"),
        (&text, "not a SQLite database"),
        (&foreign, "not a backup of systole-collector"),
        (&later, "later version"),
        (&live, "a database in use"),
        (&collector.directory().join("nowhere.db"), "cannot read"),
    ] {
        let refused = refusal(&restore(&collector, file, &["--force"]).await);
        let name = file.file_name().unwrap().to_string_lossy();
        assert!(refused.contains(message) && refused.contains(&*name), "{name}: {refused}");
    }
    let database = collector.data_dir().join("collector.db");
    assert!(refusal(&restore(&collector, &database, &["--force"]).await).contains("the database itself"));
    assert!(refusal(&restore(&collector, &file, &[]).await).contains("--force"), "there is data");
    assert_eq!(std::fs::read(&file).unwrap(), whole, "a backup is only read");

    // A connection that waits would write into the replaced file.
    let held = Database::hold_writes(&collector.database());
    assert!(refusal(&restore(&collector, &file, &["--force"]).await).contains("another command"));
    drop(held);
    let mut names: Vec<_> =
        std::fs::read_dir(collector.data_dir()).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        ["collector.db", "collector.db.lock", "database-epoch", "last-backup.json"],
        "nothing is left behind"
    );
    collector.run().await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(3));
}

#[tokio::test]
async fn backup_is_private_and_overwrites_only_with_force() {
    let mut collector = TestCollector::start().await;
    let file = backup(&collector).await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let first = std::fs::read(&file).unwrap();
    let mut node = NodeClient::enroll(&collector, None, "n1").await;
    node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
    let text = file.display().to_string();
    assert!(refusal(&collector.try_cli(&["backup", &text]).await).contains("exists"));
    assert_eq!(std::fs::read(&file).unwrap(), first);
    collector.cli(&["backup", &text, "--force"]).await;
    assert_ne!(std::fs::read(&file).unwrap(), first);
    for own in ["collector.db", "collector.db-wal", "collector.db.lock"] {
        let own = collector.data_dir().join(own).display().to_string();
        assert!(refusal(&collector.try_cli(&["backup", &own, "--force"]).await).contains("the database itself"));
    }
    let link = collector.directory().join("link.db");
    std::fs::hard_link(collector.data_dir().join("collector.db"), &link).unwrap();
    let link = link.display().to_string();
    assert!(refusal(&collector.try_cli(&["backup", &link, "--force"]).await).contains("the database itself"));
    let directory = collector.directory().display().to_string();
    assert!(refusal(&collector.try_cli(&["backup", &directory]).await).contains("is a directory"));
    let nowhere = collector.directory().join("nowhere/backup.db").display().to_string();
    refusal(&collector.try_cli(&["backup", &nowhere]).await);
    let left = std::fs::read_dir(collector.directory()).unwrap();
    let left = left.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("unfinished"));
    assert_eq!(left.count(), 0);

    // The old database is kept, with what is not in the backup.
    node.report(vec![running(PIPELINE, distinct_counts(2))]).await;
    collector.stop().await;
    let message = collector.cli(&["restore", &text, "--force"]).await;
    let aside = message.lines().find_map(|line| line.strip_prefix("the database as it was before is ")).unwrap();
    let mut aside = Database::open(&Place::File(aside.into()));
    assert_eq!(aside.minute_sums(PIPELINE), distinct_counts(3));
    collector.run().await;
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1));
}

#[tokio::test]
async fn restore_needs_no_force_without_data() {
    let mut first = TestCollector::start().await;
    let mut node = NodeClient::enroll(&first, None, "n1").await;
    node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
    let viewer = first.viewer().await;
    let file = backup(&first).await;
    first.stop().await;
    let mut second = TestCollector::start().await;
    second.stop().await;
    let restored = restore(&second, &file, &[]).await;
    assert!(restored.status.success(), "{restored:?}");
    assert!(!String::from_utf8_lossy(&restored.stdout).contains("before"), "an empty database is not kept");
    std::fs::remove_dir_all(second.data_dir()).unwrap();
    let restored = restore(&second, &file, &[]).await;
    assert!(restored.status.success(), "{restored:?}");
    second.run().await;
    let token = viewer.token().unwrap();
    let nodes = second.client().with_token(token).list("/api/v1/nodes").await;
    assert_eq!(nodes.len(), 1, "tokens and nodes are those of the backup");
}

/// Tests nothing unless it runs as root.
#[tokio::test]
async fn restore_as_root_keeps_the_collectors_user() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    const OTHER_USER: u32 = 65_534;
    let mut collector = TestCollector::start().await;
    let file = backup(&collector).await;
    collector.stop().await;
    let data = collector.data_dir();
    let owner = |name: &str| std::fs::metadata(data.join(name)).unwrap().uid();
    for name in ["", "collector.db", "collector.db.lock"] {
        chown(data.join(name), Some(OTHER_USER), Some(OTHER_USER)).unwrap();
    }
    collector.cli(&["restore", &file.display().to_string(), "--force"]).await;
    assert_eq!((owner("collector.db"), owner("collector.db.lock")), (OTHER_USER, OTHER_USER));
    for name in ["collector.db", "collector.db.lock"] {
        std::fs::remove_file(data.join(name)).unwrap();
    }
    collector.cli(&["restore", &file.display().to_string()]).await;
    assert_eq!((owner("collector.db"), owner("collector.db.lock")), (OTHER_USER, OTHER_USER));
}

#[tokio::test]
async fn backup_into_a_directory_is_verified_and_the_newest_stay() {
    let mut collector = TestCollector::start().await;
    let directory = collector.directory().join("backups");
    std::fs::create_dir(&directory).unwrap();
    let (old, note) = (directory.join("systole-2026-01-01T03-17-00Z.db"), directory.join("note.txt"));
    std::fs::write(&old, "").unwrap();
    std::fs::write(&note, "").unwrap();
    let metric = async |collector: &mut TestCollector| {
        let page = collector.viewer().await.get("/metrics").await.body;
        let page = String::from_utf8(page).unwrap();
        let line =
            page.lines().find(|line| line.starts_with("systole_backup_last_success_timestamp_seconds ")).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!(metric(&mut collector).await, 0.0);
    let into = directory.display().to_string();
    let printed = collector.cli(&["backup", "--into", &into, "--keep", "1"]).await;
    assert!(printed.contains("verified"), "{printed}");
    assert!(!old.exists() && note.exists());
    let age = clock::now_ms() as f64 / 1_000.0 - metric(&mut collector).await;
    assert!((0.0..600.0).contains(&age), "{age}");

    let backup = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).find(|path| *path != note);
    let backup = backup.unwrap();
    let verify =
        async |collector: &TestCollector| collector.try_cli(&["backup", "verify", &backup.display().to_string()]).await;
    let before = std::fs::read(&backup).unwrap();
    assert!(verify(&collector).await.status.success());
    assert_eq!(std::fs::read(&backup).unwrap(), before, "a check changes nothing");
    let file = std::fs::File::options().write(true).open(&backup).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.write_all_at(&[0xff; 8_192], middle).unwrap();
    assert!(refusal(&verify(&collector).await).contains("damaged"));
    std::fs::write(&backup, "no database").unwrap();
    assert!(refusal(&verify(&collector).await).contains("is not a backup"));
}
