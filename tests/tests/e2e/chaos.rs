//! The network at its worst: requests arrive and their answers do not, or arrive twice.

use std::time::Duration;

use systole_tests::harness::chaos::Twin;
use systole_tests::harness::node::to_json;
use systole_tests::harness::reports::{distinct_counts, running};
use systole_tests::harness::{
    AgentPipeline, AgentSetup, Answer, ApiClient, ChaosProxy, FaultPlan, FaultSchedule, NodeClient, SOON, StubVector,
    TestAgent, TestCollector, eventually_true,
};
use tokio::time::Instant;

const PIPELINE: &str = "orders";
/// An agent that has failed often in a row waits up to a minute before it tries again.
const BACKED_OFF: Duration = Duration::from_secs(75);

/// A node that speaks through a proxy.
async fn node_behind(collector: &TestCollector, schedule: FaultSchedule) -> (ChaosProxy, NodeClient) {
    let proxy = ChaosProxy::start(&collector.url(), FaultSchedule::CALM).await;
    let token = collector.create_token("enroll", None).await;
    let node = NodeClient::enroll_with(&ApiClient::new(&proxy.url()), token.token.reveal(), "n1").await;
    proxy.set_schedule(schedule);
    // The connection of the enrolment is calm, and would be used again.
    let node = node.reconnected();
    (proxy, node)
}

#[tokio::test]
async fn cut_response_belongs_to_an_accepted_report() {
    let mut collector = TestCollector::start().await;
    let cut = FaultSchedule::Always(FaultPlan::CutAnswer { exchange: 1, after: 0 });
    let (proxy, mut node) = node_behind(&collector, cut).await;
    let request = node.next_request(vec![running(PIPELINE, distinct_counts(1))]);
    let answer = Answer::try_of(node.raw_request(to_json(&request), None)).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1));
    proxy.set_schedule(FaultSchedule::CALM);
    assert_eq!(node.post(&request).await.durable_seq, 1);
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(1));
    assert_eq!(proxy.applied()["cut answer"], 1);
}

#[tokio::test]
async fn cut_request_is_not_accepted() {
    let mut collector = TestCollector::start().await;
    let cut = FaultSchedule::Always(FaultPlan::CutRequest { exchange: 1, after: 700 });
    let (proxy, mut node) = node_behind(&collector, cut).await;
    let request = node.next_request(vec![running(PIPELINE, distinct_counts(1))]);
    assert!(Answer::try_of(node.raw_request(to_json(&request), None)).await.is_err());
    assert_eq!(proxy.applied()["cut request"], 1);
    assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(0));
}

#[tokio::test]
async fn cut_after_a_messages_end_precedes_the_next_message() {
    let collector = TestCollector::start().await;
    for cut in [FaultPlan::CutRequest { exchange: 1, after: 9_000 }, FaultPlan::CutAnswer { exchange: 1, after: 9_000 }]
    {
        let (proxy, mut node) = node_behind(&collector, FaultSchedule::Always(cut)).await;
        node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
        assert!(proxy.applied().is_empty());
        let request = node.next_request(vec![running(PIPELINE, distinct_counts(1))]);
        // The client may retry on a new connection; the first exchange of that one passes.
        let _ = Answer::try_of(node.raw_request(to_json(&request), None)).await;
        assert_eq!(proxy.applied()[cut.name()], 1);
    }
}

#[tokio::test]
async fn duplicated_request_counts_once() {
    let mut collector = TestCollector::start().await;
    let (proxy, mut node) = node_behind(&collector, FaultSchedule::CALM).await;
    let ways = [(false, false), (false, true), (true, false), (true, true)];
    for (number, (together, second_answers)) in (1..).zip(ways) {
        proxy.set_schedule(FaultSchedule::Always(FaultPlan::Duplicate(Twin { together, second_answers })));
        node = node.reconnected();
        node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
        assert_eq!(collector.minute_sums(PIPELINE).await, distinct_counts(number));
        assert_eq!(proxy.applied()["duplicate"], number);
    }
}

#[tokio::test]
async fn closed_port_refuses_then_accepts_connections() {
    let collector = TestCollector::start().await;
    let gone = Duration::from_millis(500);
    let (proxy, mut node) = node_behind(&collector, FaultSchedule::Always(FaultPlan::Refuse { gone })).await;
    let start = Instant::now();
    assert!(Answer::try_of(node.client().request(reqwest::Method::GET, "/healthz")).await.is_err());
    proxy.set_schedule(FaultSchedule::CALM);
    eventually_true("the port is open", SOON, async || {
        Answer::try_of(node.client().request(reqwest::Method::GET, "/healthz")).await.is_ok()
    })
    .await;
    assert!(start.elapsed() >= gone, "{:?}", start.elapsed());
    node.report(vec![running(PIPELINE, distinct_counts(1))]).await;
}

#[tokio::test]
async fn slow_upload_does_not_look_like_a_wrong_clock() {
    let mut collector = TestCollector::start().await;
    // 20 pieces, one every 200 ms: the body arrives 4 s after the head.
    let trickle = FaultPlan::Trickle { piece: 400, pause: Duration::from_millis(200) };
    let (_proxy, mut node) = node_behind(&collector, FaultSchedule::Always(trickle)).await;
    let pipelines = (0..20).map(|number| running(&format!("{PIPELINE}-{number}"), distinct_counts(1))).collect();
    let request = node.next_request(pipelines);
    let start = Instant::now();
    let body = to_json(&request);
    assert!(body.len() > 20 * 400, "{} bytes", body.len());
    assert_eq!(node.post(&request).await.durable_seq, 1);
    assert!(start.elapsed() > Duration::from_secs(4));
    let viewer = collector.viewer().await;
    let path = format!("/api/v1/samples?node={}&pipeline={PIPELINE}-0", node.id);
    let samples = viewer.list(&path).await;
    assert_eq!(
        samples.iter().map(|sample| sample["timestamp"].as_i64().unwrap()).collect::<Vec<_>>(),
        [request.reports[0].end]
    );
}

#[tokio::test]
async fn agent_counts_every_event_once_in_a_bad_network() {
    let mut collector = TestCollector::start_with(&["--interval", "1s"]).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--rate", "97", "--errors-every", "10"]);
    let proxy = ChaosProxy::start(&collector.url(), FaultSchedule::random()).await;
    let setup = AgentSetup { url: Some(proxy.url()), ..AgentSetup::default() };
    let _agent = TestAgent::start_with(&collector, setup, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    // An unlucky network can have the agent wait for a minute twice.
    eventually_true("enough has happened", 2 * BACKED_OFF, async || proxy.applied().values().sum::<u64>() >= 5).await;
    let totals = stub.pause_and_let_scrape().await;
    proxy.set_schedule(FaultSchedule::CALM);
    eventually_true("the minutes sum up", BACKED_OFF, async || {
        let sums = collector.minute_sums(PIPELINE).await;
        assert!(sums.events_in <= totals.total.events_in, "{sums:?} is more than {:?}", totals.total);
        sums == totals.total
    })
    .await;
}
