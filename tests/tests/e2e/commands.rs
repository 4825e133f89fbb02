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
