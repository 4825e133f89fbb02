//! A database that is suddenly empty.

use std::sync::Arc;

use systole_tests::harness::binaries::binary;
use systole_tests::harness::process::Process;
use systole_tests::harness::{DatabaseKind, NodeClient, SOON, TestCollector, TestPostgres, eventually};
use tokio::process::Command;

on_each_database! {
    empty_database_is_refused_unless_it_is_accepted,
}

async fn empty_database_is_refused_unless_it_is_accepted(database: DatabaseKind) {
    let servers = match database {
        DatabaseKind::Sqlite => None,
        DatabaseKind::Postgres => Some([Arc::new(TestPostgres::start()), Arc::new(TestPostgres::start())]),
    };
    let mut collector = match &servers {
        None => TestCollector::start().await,
        Some([first, _]) => TestCollector::start_on_postgres(first).await,
    };
    // An empty database is accepted as long as it is the same one.
    collector.stop().await;
    collector.run().await;
    NodeClient::enroll(&collector, None, "n1").await;
    collector.stop().await;

    match &servers {
        None => {
            for ending in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(collector.data_dir().join(format!("collector.db{ending}")));
            }
        }
        Some([_, second]) => collector.move_to_postgres(second),
    }
    // Twice: the first try has made the tables.
    let serve = ["serve", "--listen", "127.0.0.1:0"].as_slice();
    let create = ["token", "create", "--kind", "viewer"].as_slice();
    for arguments in [serve, create, serve, create] {
        let refused = collector.try_cli(arguments).await;
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success(), "{arguments:?}: {error}");
        assert!(error.contains("--init"), "the remedy: {error}");
        let name = if servers.is_none() { "collector.db" } else { "postgres" };
        assert!(error.contains(name), "the database: {error}");
    }

    let mut command = Command::new(binary("systole-collector"));
    command.args(["serve", "--init", "--listen", "127.0.0.1:0", "--data-dir"]).arg(collector.data_dir());
    if let Some([_, second]) = &servers {
        command.args(["--database-url", &second.url()]);
    }
    let mut accepted = Process::start("collector", &mut command, &collector.directory().join("init.log"));
    eventually("it listens", SOON, async || collector.data_dir().join("listen-address").exists().then_some(())).await;
    accepted.kill().await;
    collector.run().await;
    NodeClient::enroll(&collector, None, "n1").await;
}

#[tokio::test]
async fn startup_grace_is_four_intervals() {
    let collector = TestCollector::start().await;
    let shown = collector.cli(&["check-config"]).await;
    let value = shown.lines().find_map(|line| line.strip_prefix("startup_grace = ")).unwrap();
    assert_eq!(value.trim_matches(['"', '\'']), "20s");
}
