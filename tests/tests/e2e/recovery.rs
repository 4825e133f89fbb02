//! A supervised pipeline with a configuration file comes back after every crash, whatever happened to
//! its configuration before.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use systole_tests::harness::{AgentPipeline, ApiClient, SOON, StubVector, TestAgent, TestCollector, eventually_true};

const PIPELINE: &str = "orders";
/// How long a revision must stay up to be one to go back to.
const TRIAL: Duration = Duration::from_secs(30);

struct Scene {
    collector: TestCollector,
    stub: StubVector,
    agent: TestAgent,
    viewer: ApiClient,
}

impl Scene {
    async fn begin() -> Self {
        let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
        let stub = StubVector::new(collector.directory(), PIPELINE, &[]);
        let viewer = collector.viewer().await;
        let agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
        let scene = Scene { collector, stub, agent, viewer };
        scene.runs(1).await;
        scene
    }

    /// Waits until this life of the process runs, and the collector says so.
    async fn runs(&self, life: usize) {
        self.stub
            .wait_for("the process listens", |totals| {
                (totals.lives.len() == life).then(|| totals.current()?.address)?
            })
            .await;
        let pid = self.stub.life().pid;
        eventually_true("the collector knows the process", SOON, async || {
            let state = self.state().await;
            state["pid"] == pid && (state["status"] == "RUNNING" || state["status"] == "DEGRADED")
        })
        .await;
    }

    async fn state(&self) -> Value {
        let known = self.viewer.get(&format!("/api/v1/pipelines/{PIPELINE}")).await.status == 200;
        if !known {
            return Value::Null;
        }
        self.viewer.get_json(&format!("/api/v1/pipelines/{PIPELINE}")).await["nodes"][0].clone()
    }

    /// Kills the process in this life and waits for the next one, with the same configuration.
    async fn kill_and_recover(&self, life: usize) {
        let config = self.stub.running_config();
        self.stub.signal(Signal::SIGKILL);
        self.runs(life + 1).await;
        assert_eq!(self.stub.running_config(), config);
    }
}

#[tokio::test]
async fn kills_in_a_row_are_each_followed_by_a_start() {
    let scene = Scene::begin().await;
    for life in 1..=3 {
        scene.kill_and_recover(life).await;
        assert_eq!(scene.state().await["restarts"], life);
    }
}

#[tokio::test]
async fn kills_after_a_reload_start_the_new_configuration() {
    let scene = Scene::begin().await;
    scene.stub.write_config("# the second");
    scene.runs(2).await;
    assert!(scene.stub.running_config().starts_with("# the second"));
    for life in 2..=4 {
        scene.kill_and_recover(life).await;
    }
}

#[tokio::test]
async fn kills_after_sighup_keep_what_the_definition_says_now() {
    let scene = Scene::begin().await;
    let renamed = AgentPipeline { name: Some("New".to_owned()), ..AgentPipeline::supervised(PIPELINE, &scene.stub) };
    scene.agent.write_config(&[renamed]);
    scene.agent.signal(Signal::SIGHUP);
    let name = async || scene.viewer.get_json(&format!("/api/v1/pipelines/{PIPELINE}")).await["name"].clone();
    eventually_true("the new name is known", SOON, async || name().await == "New").await;
    for life in 1..=3 {
        scene.kill_and_recover(life).await;
        assert_eq!(name().await, "New");
    }
}

#[tokio::test]
async fn kills_after_a_roll_back_start_the_good_configuration() {
    let scene = Scene::begin().await;
    let good = scene.agent.data_dir().join("pipelines").join("orders.good.yaml");
    eventually_true("the first one has stayed up", TRIAL + SOON, async || good.is_file()).await;
    let first = scene.stub.running_config();
    scene.stub.write_config("# stub: crash-after-ms=300");
    eventually_true("it is rolled back", SOON, async || {
        scene.state().await["reason"].as_str().is_some_and(|reason| reason.contains("back on"))
    })
    .await;
    scene.runs(3).await;
    assert_eq!(scene.stub.running_config(), first);
    for life in 3..=5 {
        scene.kill_and_recover(life).await;
    }
}

#[tokio::test]
async fn copies_that_were_deleted_or_overwritten_are_written_again() {
    let scene = Scene::begin().await;
    let copies = scene.agent.data_dir().join("pipelines");
    let config = scene.stub.running_config();
    std::fs::remove_dir_all(&copies).unwrap();
    scene.stub.signal(Signal::SIGKILL);
    scene.runs(2).await;
    assert_eq!(scene.stub.running_config(), config);
    std::fs::write(copies.join("orders.yaml"), "# stub: invalid\n").unwrap();
    scene.stub.signal(Signal::SIGKILL);
    scene.runs(3).await;
    assert_eq!(scene.stub.running_config(), config);
    drop(scene.collector);
}
