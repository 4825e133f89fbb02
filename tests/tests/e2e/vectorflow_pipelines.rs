//! A data directory that VectorFlow's agent and this one use in turns: pipelines start from their files, with or without the
//! server.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::process::Process;
use systole_tests::harness::vectorflow_server::NODE_TOKEN;
use systole_tests::harness::{SOON, eventually_true};
use tokio::process::Command;

use crate::vectorflow_scene::{QUICK_MS, Scene, environment_of, mode_of, pipeline, sha256, with_secrets};

/// Leaves the directory as VectorFlow's agent does.
fn leave(scene: &Scene, configs: &[(&str, String)]) {
    let write = |name: &str, text: &str| {
        let path = scene.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    for folder in ["pipelines", "certs"] {
        std::fs::create_dir_all(scene.path(folder)).unwrap();
    }
    write("node-token", NODE_TOKEN);
    write("certs/ca.pem", "a certificate");
    for (id, config) in configs {
        write(&format!("pipelines/{id}.yaml"), config);
    }
    // It was killed, so that this one was not removed.
    write("pipelines/cma.yaml.vf-metrics.yaml", "api:\n  enabled: true\n  address: \"127.0.0.1:8689\"\n");
}

#[tokio::test]
async fn pipelines_of_the_go_agent_run_while_the_server_is_down() {
    let mut scene = Scene::prepare(&[]).await;
    let plain = scene.config("cma", &[]);
    let secret = format!("{}password: ${{VF_SECRET_DB}}\n", scene.config("cmb", &[]));
    leave(&scene, &[("cma", plain.clone()), ("cmb", secret.clone())]);
    scene.server.set_down(true);
    scene.agent.run();
    eventually_true("the one without secrets runs", SOON, async || scene.lives("cma") == 1).await;
    assert_eq!(scene.names("pipelines"), ["cma.yaml", "cma.yaml.vf-metrics.yaml", "cmb.yaml"]);
    assert_eq!(scene.lives("cmb"), 0, "its secret is not on the disk");

    // The server is back: the same configurations, and the secret.
    let wanted =
        [pipeline("cma", 4, &plain), with_secrets(pipeline("cmb", 2, &secret), &[("VF_SECRET_DB", "hunter2")])];
    scene.want(&wanted, QUICK_MS);
    scene.server.set_down(false);
    scene.server.wait_for("cmb", "RUNNING", SOON).await;
    eventually_true("the version is known", SOON, async || scene.server.pipeline("cma")["version"] == 4).await;
    assert!(environment_of(scene.pid("cmb").unwrap()).contains("VF_SECRET_DB=hunter2\n"));
    assert_eq!(scene.lives("cma"), 1, "its process ran on");
    assert!(scene.server.enrolled().is_empty(), "the same node");

    // And back again: all that VectorFlow's agent reads is as it would have left it.
    scene.agent.stop().await;
    assert_eq!(
        (scene.names("pipelines"), scene.names("certs")),
        (vec!["cma.yaml".into(), "cmb.yaml".into()], vec!["ca.pem".to_owned()])
    );
    assert_eq!(std::fs::read_to_string(scene.path("node-token")).unwrap(), NODE_TOKEN);
    for (name, text) in [("pipelines/cma.yaml", &plain), ("pipelines/cmb.yaml", &secret)] {
        assert_eq!((&std::fs::read_to_string(scene.path(name)).unwrap(), mode_of(&scene.path(name))), (text, 0o600));
    }
    scene.assert_no_violation();
}

#[tokio::test]
async fn environment_of_the_go_agent_is_enough() {
    let scene = Scene::prepare(&[]).await;
    let config = scene.config("cma", &[]);
    leave(&scene, &[("cma", config.clone())]);
    scene.server.set_down(true);
    // No file, and the protocol is not known yet.
    let mut command = Command::new(binary("systole-agent"));
    command.env("VF_URL", scene.server.url()).env("VF_DATA_DIR", scene.agent.data_dir()).env("VF_METRICS_PORT", "0");
    command.env("VF_VECTOR_BIN", scene.directory.path().join("vector")).env("VF_POLL_INTERVAL", "1s");
    let mut agent = Process::start("agent", &mut command, &scene.directory.path().join("agent.log"));
    eventually_true("it runs from its file", SOON, async || scene.lives("cma") == 1).await;
    let sidecar = std::fs::read_to_string(scene.path("pipelines/cma.yaml.vf-metrics.yaml")).unwrap();
    let ports: Vec<u16> = sidecar.lines().filter_map(|line| line.split("127.0.0.1:").nth(1)?.parse().ok()).collect();
    assert!(ports.len() == 2 && ports.iter().all(|port| *port >= 8_688), "{sidecar}");
    scene.want(&[pipeline("cma", 3, &config)], QUICK_MS);
    scene.server.set_down(false);
    let shown = scene.server.wait_for("cma", "RUNNING", SOON).await;
    eventually_true("the version is known", SOON, async || scene.server.pipeline("cma")["version"] == 3).await;
    assert_eq!((scene.lives("cma"), &shown["configChecksum"]), (1, &sha256(&config).into()));
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait(SOON).await.code(), Some(0));
    assert_eq!(scene.names("pipelines"), ["cma.yaml"]);
    scene.assert_no_violation();
}

#[tokio::test]
async fn what_the_go_agent_changed_between_two_runs_counts() {
    let mut scene = Scene::start(&[]).await;
    scene.push_is_open().await;
    scene.run(&[scene.version("cma", 1, &["rate=10"]), scene.version("cmb", 1, &[])]).await;
    scene.agent.stop().await;
    // The server has changed one pipeline and removed the other one meanwhile.
    std::fs::write(scene.path("pipelines/cma.yaml"), scene.config("cma", &["rate=20"])).unwrap();
    std::fs::remove_file(scene.path("pipelines/cmb.yaml")).unwrap();
    scene.server.set_down(true);
    scene.agent.run();
    eventually_true("it runs from its file", SOON, async || scene.lives("cma") == 2).await;
    assert_eq!(std::fs::read_to_string(scene.path("pipelines/cma.yaml")).unwrap(), scene.config("cma", &["rate=20"]));
    assert_eq!(scene.lives("cmb"), 1, "it was removed");
}

#[tokio::test]
async fn agent_starts_with_secrets_from_its_disk_without_a_server() {
    let mut scene = Scene::start(&[]).await;
    scene.push_is_open().await;
    let config = format!("{}password: ${{VF_SECRET_DB}}\n", scene.config("cma", &[]));
    scene.run(&[with_secrets(pipeline("cma", 1, &config), &[("VF_SECRET_DB", "hunter2")])]).await;
    scene.agent.stop().await;
    scene.server.set_down(true);
    scene.agent.run();
    eventually_true("it runs again", SOON, async || scene.lives("cma") == 2).await;
    let children = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|process| {
        let pid: u64 = process.file_name().to_str()?.parse().ok()?;
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        command.contains(&*Path::new(&scene.path("pipelines/cma.yaml")).to_string_lossy()).then_some(pid)
    });
    let environments: Vec<_> = children.map(environment_of).collect();
    assert!(environments.iter().any(|all| all.contains("VF_SECRET_DB=hunter2\n")), "{environments:?}");
}
