//! Idle counters that Vector expires (`expire_metrics_secs`): its exporter shows them for a while with
//! a timestamp that stands still, and the next event counts from zero.

use systole_tests::harness::{AgentPipeline, SOON, StubVector, TestAgent, TestCollector, eventually_true};

const PIPELINE: &str = "orders";
/// Scrapes that a series stands still for between two bursts: with `expire_metrics_secs: 5`, 20 s
/// between bursts have at least two at the usual interval.
const STANDSTILL: u64 = 2;

/// What happens to the counters between two bursts.
#[derive(Clone, Copy, PartialEq)]
enum Between {
    /// They stand still on the page.
    Shown,
    /// Those that the pipeline's totals come from leave the page after a while.
    Removed,
}

const COUNTERS: [&str; 2] = ["component=demo_in&metric=received_events", "component=out&metric=sent_events"];

/// Lets events come in bursts, between which every counter expires, and returns what the collector
/// has counted at the end.
async fn counted(bursts: &[u64], between: Between) -> u64 {
    let mut collector = TestCollector::start().await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--paused"]);
    let _agent = TestAgent::start(&collector, None, &[AgentPipeline::supervised(PIPELINE, &stub)]).await;
    stub.wait_for("the stub lives", |totals| totals.current()?.address).await;
    for events in bursts {
        for series in COUNTERS {
            stub.control(&format!("restore-series?{series}")).await;
        }
        stub.control(&format!("burst?events={events}")).await;
        stub.pause_and_let_scrape().await;
        stub.control("expire").await;
        let_scrape(&stub).await;
        if between == Between::Removed {
            for series in COUNTERS {
                stub.control(&format!("drop-series?{series}")).await;
            }
            let_scrape(&stub).await;
        }
    }
    let expected: u64 = bursts.iter().sum();
    let totals = stub.totals();
    assert_eq!((totals.exposed.events_in, totals.exposed.events_out), (expected, expected));
    eventually_true("what the last scrape saw is reported", SOON, async || {
        let sums = collector.minute_sums(PIPELINE).await;
        sums.events_in >= expected && sums.events_out >= expected
    })
    .await;
    let sums = collector.minute_sums(PIPELINE).await;
    assert_eq!(sums.events_in, sums.events_out);
    sums.events_in
}

async fn let_scrape(stub: &StubVector) {
    let before = stub.life().scrapes;
    eventually_true("the agent has seen the page often enough", SOON, async || {
        stub.life().scrapes >= before + STANDSTILL
    })
    .await;
}

#[tokio::test]
async fn expired_counters_that_return_with_the_same_value_count_from_zero() {
    assert_eq!(counted(&[100, 100, 100, 100], Between::Shown).await, 400);
}

#[tokio::test]
async fn expired_counters_that_return_below_or_above_count_from_zero() {
    assert_eq!(counted(&[10, 50, 30, 100, 120], Between::Shown).await, 310);
}

#[tokio::test]
async fn expired_counters_that_left_the_page_count_from_zero() {
    assert_eq!(counted(&[20, 20, 50], Between::Removed).await, 90);
}
