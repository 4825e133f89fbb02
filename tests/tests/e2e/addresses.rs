//! An agent with several addresses of the collector.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use systole_tests::harness::binaries::binary;
use systole_tests::harness::client::http;
use systole_tests::harness::{FakeCollector, SOON, TestAgent, eventually, eventually_true};
use tokio::process::Command;

/// An agent that knows three collectors.
struct Scene {
    collectors: Vec<FakeCollector>,
    agent: TestAgent,
}

impl Scene {
    async fn new() -> Self {
        let mut collectors = Vec::new();
        for _ in 0..3 {
            collectors.push(FakeCollector::start().await);
        }
        let urls: Vec<String> = collectors.iter().map(FakeCollector::url).collect();
        let settings = [("urls", json!(urls)), ("metrics_listen", json!("127.0.0.1:0"))];
        let mut agent = TestAgent::of("", "systole_enroll_test", &settings, &[]);
        agent.run();
        Scene { collectors, agent }
    }

    /// What `systole-agent status --json` prints of the collector, when it is like this.
    async fn collector(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, SOON, async || {
            let status = self.status().await?;
            Some(status["collector"].clone()).filter(|it| it["state"] == "connected" && is_so(it))
        })
        .await
    }

    async fn status(&self) -> Option<Value> {
        let mut command = Command::new(binary("systole-agent"));
        let output = command.args(["status", "--json", "--data-dir"]).arg(self.agent.data_dir()).output().await.ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The collector that the agent's n-th choice is.
    fn choice(&mut self, status: &Value, choice: usize) -> &mut FakeCollector {
        let url = status["urls"][choice].as_str().expect("a URL").trim_end_matches('/').to_owned();
        self.collectors.iter_mut().find(|collector| collector.url() == url).expect("one of them")
    }
}

#[tokio::test]
async fn everything_follows_the_address_in_use() {
    let mut scene = Scene::new().await;
    let status = scene.collector("connected", |it| it["url"] == it["urls"][0]).await;
    assert_eq!((status["switches"].as_u64(), status["urls"].as_array().map(Vec::len)), (Some(0), Some(3)));
    let first = scene.choice(&status, 0);
    eventually_true("the push stream is open", SOON, async || first.push_asked() > 0).await;
    first.stop().await;

    let status = scene.collector("the second address", |it| it["url"] == it["urls"][1]).await;
    assert_eq!(status["switches"], 1);
    let second = scene.choice(&status, 1);
    eventually_true("the push stream has moved", SOON, async || second.push_asked() > 0).await;
    second.want(&[]);
    eventually_true("the desired state is fetched there", SOON, async || second.fetches() > 0).await;
    // Not ready: the push stream is open and moves all the same.
    second.answer_with(Some("503 Service Unavailable"));
    let status = scene.collector("the third address", |it| it["url"] == it["urls"][2]).await;
    let third = scene.choice(&status, 2);
    eventually_true("the push stream has moved again", SOON, async || third.push_asked() > 0).await;

    let address = scene.status().await.unwrap()["agent"]["metricsAddress"].as_str().unwrap().to_owned();
    let page = http().get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap();
    let in_use = format!("systole_agent_collector_address{{url={}}} 1", status["url"]);
    assert!(page.contains(&in_use) && page.contains("\nsystole_agent_collector_switches_total 2\n"), "{page}");
    let health = scene.status().await.unwrap()["health"].clone();
    assert_eq!((health["lostReports"].as_u64(), health["sendErrors"].as_u64()), (Some(0), Some(0)), "{health}");

    scene.agent.stop().await;
    let mut seqs: Vec<u64> =
        scene.collectors.iter().flat_map(|collector| collector.seqs().into_values().flatten()).collect();
    let (sent, distinct) = (seqs.len(), BTreeSet::from_iter(seqs.iter().copied()));
    seqs.sort_unstable();
    assert_eq!(distinct, (1..=*seqs.last().unwrap()).collect(), "each report came to one of them");
    assert!(sent - distinct.len() <= 2, "only a report that was on its way comes twice: {seqs:?}");
}

#[tokio::test]
async fn agent_whose_collectors_are_all_away_reports_to_the_first_that_is_back() {
    let mut scene = Scene::new().await;
    let status = scene.collector("connected", |_| true).await;
    for collector in &mut scene.collectors {
        collector.stop().await;
    }
    eventually_true("it is shown", SOON, async || {
        scene.status().await.is_some_and(|status| status["collector"]["state"] == "away")
    })
    .await;
    scene.choice(&status, 2).run().await;
    let status = scene.collector("the third address", |it| it["url"] == it["urls"][2]).await;
    assert_eq!(status["switches"], 1, "addresses that do not answer are no switches");
    scene.agent.stop().await;
}
