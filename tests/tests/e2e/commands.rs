//! The programs as people call them.

use std::process::Output;

use systole_tests::harness::TestCollector;
use systole_tests::harness::binaries::binary;
use tokio::process::Command;

async fn run(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(binary(program));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("SYSTOLE_") || key.starts_with("VF_")) {
        command.env_remove(key);
    }
    command.args(args).output().await.expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn invalid_configuration_reports_all_errors_and_exits_78() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    std::fs::write(&file, "listen = \"nowhere\"\nno_such_key = 1\ndata_dir = 7\n").unwrap();
    let file = file.display().to_string();
    for command in [vec!["check-config", "--config", &file], vec!["serve", "--config", &file]] {
        let output = run("systole-collector", &command).await;
        assert_eq!(output.status.code(), Some(78), "{command:?}: {output:?}");
        for key in ["listen", "no_such_key", "data_dir"] {
            assert!(text(&output.stderr).contains(key), "{key} is not named: {}", text(&output.stderr));
        }
    }
    let mistyped = run("systole-collector", &["serve", "--no-such-flag"]).await;
    assert_eq!(mistyped.status.code(), Some(78), "{mistyped:?}");
    std::fs::write(&file, "url = \"not a url\"\nno_such_key = 1\n[[pipeline]]\nname = \"without an id\"\n").unwrap();
    for command in [vec!["check-config", "--config", &file], vec!["run", "--config", &file], vec!["--config", &file]] {
        let output = run("systole-agent", &command).await;
        assert_eq!(output.status.code(), Some(78), "{command:?}: {output:?}");
        for key in ["url", "no_such_key", "id"] {
            assert!(text(&output.stderr).contains(key), "{key} is not named: {}", text(&output.stderr));
        }
    }
}

#[tokio::test]
async fn commands_need_no_running_collector() {
    let mut stopped = TestCollector::start().await;
    stopped.stop().await;
    let data = stopped.data_dir().display().to_string();
    let collector = async |args: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["--data-dir", &data]).collect();
        run("systole-collector", &args).await
    };
    let token = collector(&["token", "create", "--kind", "enroll", "--json"]).await;
    assert!(token.status.success(), "{token:?}");
    let token: serde_json::Value = serde_json::from_slice(&token.stdout).unwrap();
    assert_eq!(token["environment"], "default");
    let mut keys: Vec<&String> = token.as_object().unwrap().keys().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["environment", "expiresAt", "id", "kind", "name", "note", "token"]);

    assert!(collector(&["environment", "create", "red"]).await.status.success());
    assert!(text(&collector(&["environment", "list"]).await.stdout).contains("red"));
    for refused in [
        &["environment", "create", "red"][..],
        &["environment", "create", ""],
        &["token", "create", "--kind", "viewer", "--environment", "nowhere"],
        &["token", "revoke", "00000000-0000-7000-8000-000000000000"],
        &["token", "revoke", "nonsense"],
        &["token", "create", "--kind", "emperor"],
        &["token", "create", "--kind", "viewer", "--expires", "soon"],
    ] {
        let output = collector(refused).await;
        assert!(!output.status.success(), "{refused:?} succeeded: {output:?}");
        assert!(!output.stderr.is_empty() && !text(&output.stderr).contains("panicked"), "{refused:?}: {output:?}");
    }
}

#[tokio::test]
async fn programs_print_their_version() {
    for program in ["systole-collector", "systole-agent"] {
        let output = run(program, &["--version"]).await;
        assert!(output.status.success());
        assert!(text(&output.stdout).starts_with(&format!("{program} ")), "{output:?}");
    }
}

#[tokio::test]
async fn both_programs_say_what_they_were_built_from() {
    for program in ["systole-agent", "systole-collector"] {
        let output = run(program, &["--version", "--json"]).await;
        let build: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&build["name"], &build["version"]), (&program.into(), &env!("CARGO_PKG_VERSION").into()));
        assert!(build["target"].as_str().unwrap().contains("linux"), "{build}");
        assert!(build["rustc"].as_str().unwrap().starts_with("rustc 1."), "{build}");
        let plain = text(&run(program, &["--version"]).await.stdout);
        assert_eq!(plain, format!("{program} {}\n", env!("CARGO_PKG_VERSION")));
    }
    let mut collector = TestCollector::start().await;
    let metrics = text(&collector.viewer().await.get("/metrics").await.body);
    let line = metrics.lines().find(|line| line.starts_with("systole_build_info{")).unwrap();
    assert!(line.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")) && line.ends_with(" 1"), "{line}");
}

#[tokio::test]
async fn man_pages_are_written_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().display().to_string();
    for (program, page) in
        [("systole-agent", "systole-agent-doctor.1"), ("systole-collector", "systole-collector-backup.1")]
    {
        assert!(run(program, &["man-pages", &into]).await.status.success());
        let page = std::fs::read_to_string(directory.path().join(page)).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
}

#[tokio::test]
async fn doctor_finds_a_running_collector_and_what_is_missing() {
    let mut collector = TestCollector::start().await;
    let data = collector.data_dir().display().to_string();
    let output = run("systole-collector", &["doctor", "--json", "--data-dir", &data]).await;
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdict = |check: &str| {
        let mut findings = found["findings"].as_array().unwrap().iter();
        let finding = findings.find(|finding| finding["check"] == check);
        finding.unwrap_or_else(|| panic!("{check}: {found:#}"))["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(verdict("port"), "ok", "{found:#}");
    assert_eq!(verdict("database"), "ok", "{found:#}");
    assert_eq!(verdict("backup"), "warning", "{found:#}");
    assert!(output.status.success(), "warnings are no failure: {found:#}");
    collector.stop().await;
    let none = run("systole-collector", &["doctor", "--data-dir", "/no/such/directory"]).await;
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    assert!(text(&none.stdout).lines().all(|line| !line.starts_with("problem") || line.contains("Fix: ")), "{none:?}");
}
