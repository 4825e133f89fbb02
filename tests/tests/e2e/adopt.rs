//! Pipelines that systemd runs already: found, and written as sections of the configuration.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use systole_tests::harness::binaries::binary;
use tokio::process::Command;

/// A program called systemctl that lists these units and shows what is in their files.
fn fake_systemctl(programs: &Path, units: &[(&str, &str)]) {
    let list: String = units.iter().map(|(name, _)| format!("{name} loaded active running A unit\n")).collect();
    std::fs::write(programs.join("list"), list).unwrap();
    let shown: Vec<String> = units.iter().map(|(name, text)| format!("Id={name}\nMainPID=0\n{text}\n")).collect();
    std::fs::write(programs.join("show"), shown.join("\n")).unwrap();
    let at = programs.display();
    let script = format!(
        "#!/bin/sh\ncase $1 in list-units) exec /bin/cat {at}/list ;; show) exec /bin/cat {at}/show ;; *) exit 1 ;; esac\n"
    );
    let program = programs.join("systemctl");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn exec(words: &str) -> String {
    let program = words.split(' ').next().unwrap();
    format!("ExecStart={{ path={program} ; argv[]={words} ; ignore_errors=no ; start_time=[n/a] ; pid=0 }}")
}

async fn adopt(programs: &Path, config: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(binary("systole-agent"));
    command.arg("adopt").args(options).arg("--config").arg(config).env("PATH", programs);
    command.output().await.expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn running_units_become_valid_sections() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = |name: &str, text: &str| {
        std::fs::write(path(name), text).unwrap();
        path(name).display().to_string()
    };
    let with_metrics = write(
        "orders.yaml",
        "sources: {own: {type: internal_metrics}, in: {type: stdin}}\nsinks:\n  prom: {type: prometheus_exporter, inputs: [own], address: \"0.0.0.0:9600\"}\n",
    );
    let without = write("bare.toml", "[sources.in]\ntype = \"stdin\"\n");
    let otelcol =
        write("otelcol.yaml", "service: {telemetry: {metrics: {address: \"0.0.0.0:8889\"}}, pipelines: {}}\n");
    let fluent_bit = write("fb.conf", "[SERVICE]\n  HTTP_Server On\n  HTTP_Port 2021\n");
    let units = [
        ("vector.service", exec(&format!("/usr/bin/vector --config {with_metrics}"))),
        ("bare@eu.service", exec(&format!("/opt/vector/bin/vector -c {without}"))),
        ("otelcol-contrib.service", exec(&format!("/usr/bin/otelcol-contrib --config={otelcol}"))),
        ("fluent-bit.service", exec(&format!("/opt/fluent-bit/bin/fluent-bit -c {fluent_bit}"))),
        ("known.service", exec("/usr/bin/vector")),
        ("nginx.service", exec("/usr/sbin/nginx -g daemon")),
    ];
    let units: Vec<(&str, &str)> = units.iter().map(|(name, text)| (*name, text.as_str())).collect();
    fake_systemctl(directory.path(), &units);
    let config = path("agent.toml");
    let data_dir = path("data").display().to_string();
    let before = format!(
        "url = \"http://127.0.0.1:1\"\ntoken = \"t\"\ndata_dir = \"{data_dir}\"\n[[pipeline]]\nid = \"vector\"\nsystemd_unit = \"known\"\n"
    );
    std::fs::write(&config, &before).unwrap();

    let printed = adopt(directory.path(), &config, &[]).await;
    assert!(printed.status.success(), "{printed:?}");
    let (sections, notes) = (text(&printed.stdout), text(&printed.stderr));
    for expected in [
        "id = \"vector-2\"\nsystemd_unit = \"vector.service\"",
        "metrics_url = \"http://127.0.0.1:9600/metrics\"",
        "id = \"bare-eu\"",
        "type: prometheus_exporter, inputs: [internal_metrics]",
        "metrics_url = \"http://127.0.0.1:8889/metrics\"\nmetrics = \"otelcol\"",
        "metrics_url = \"http://127.0.0.1:2021/api/v2/metrics/prometheus\"\nmetrics = \"fluentbit\"",
    ] {
        assert!(sections.contains(expected), "{expected} is missing:\n{sections}");
    }
    assert!(!sections.contains("nginx") && !sections.contains("known.service"), "{sections}");
    assert!(notes.contains("known.service: is in the configuration already"), "{notes}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), before, "it was only printed");

    let written = adopt(directory.path(), &config, &["--write", config.to_str().unwrap()]).await;
    assert!(written.status.success() && text(&written.stderr).contains("4 sections were added"), "{written:?}");
    let checked =
        Command::new(binary("systole-agent")).args(["check-config", "--config"]).arg(&config).output().await.unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let shown = text(&checked.stdout);
    assert_eq!(shown.matches("journal = true").count(), 4, "{shown}");
    let again = adopt(directory.path(), &config, &["--write", config.to_str().unwrap()]).await;
    assert!(text(&again.stderr).contains("no other running unit"), "{again:?}");
}

#[tokio::test]
async fn host_without_systemd_is_named_in_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let output = adopt(directory.path(), &directory.path().join("agent.toml"), &[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("cannot start systemctl"), "{output:?}");
}
