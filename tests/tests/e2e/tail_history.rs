//! `systole-collector tail -n` and `--since`: stored events first, then live ones.

use serde_json::Value;
use systole_shared::{LogLevel, PipelineReport};
use systole_tests::clock;
use systole_tests::harness::reports::{pipeline, with_lines};
use systole_tests::harness::{NodeClient, SOON, TestCollector};

use super::tail::Tail;

fn lines(at: i64, texts: impl Iterator<Item = String>) -> Vec<PipelineReport<'static>> {
    vec![with_lines(pipeline("orders", "RUNNING"), at, texts)]
}

fn numbers(range: std::ops::Range<u32>) -> Vec<PipelineReport<'static>> {
    lines(clock::now_ms(), range.map(|number| number.to_string()))
}

/// Lines of printed JSON, in order; asserts that ids grow.
fn texts(tail: &Tail) -> Vec<String> {
    let mut ids = Vec::new();
    let mut texts = Vec::new();
    for line in tail.printed().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        ids.push(event["id"].as_str().unwrap().split_once('-').unwrap().1.parse::<u64>().unwrap());
        let entries = event["entries"].as_array().into_iter().flatten();
        texts.extend(entries.map(|entry| entry["line"].as_str().unwrap().to_owned()));
    }
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    texts
}

fn range(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn tail_prints_last_stored_lines_and_then_live_ones() {
    let collector = TestCollector::start().await;
    let mut web = NodeClient::enroll(&collector, None, "web-1").await;
    for part in 0..5 {
        web.report(numbers(part * 50..part * 50 + 50)).await;
    }
    let mut tail = Tail::on(&collector, &["-n", "100", "--json", "--types", "log_entry"]).await;
    tail.wait_for_line("\"249\"", SOON).await;
    assert_eq!(texts(&tail), range(150..250));
    web.report(numbers(250..260)).await;
    tail.wait_for_line("\"259\"", SOON).await;
    assert_eq!(texts(&tail), range(150..260));

    // Status changes count as well: there are 262 events in all.
    let mut both = Tail::on(&collector, &["-n", "261"]).await;
    both.wait_for_line(": 259", SOON).await;
    let printed = both.printed();
    assert_eq!(printed.lines().count(), 261, "{printed}");
    assert!(printed.contains(" STATUS web-1/orders: UNKNOWN → RUNNING"), "{printed}");
    assert!(!printed.contains("web-1/orders: 0\n"), "the oldest one is left out: {printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_has_no_gap_and_no_double_between_stored_and_live_lines() {
    let collector = TestCollector::start().await;
    let mut web = NodeClient::enroll(&collector, None, "web-1").await;
    let mut next = 0;
    for _ in 0..30 {
        web.report(numbers(next..next + 100)).await;
        next += 100;
    }
    let data = collector.data_dir().display().to_string();
    let args = |more: &[&'static str]| {
        let mut args: Vec<String> = more.iter().map(|&arg| arg.to_owned()).collect();
        args.extend(["--json", "--types", "log_entry", "--data-dir", &data].map(str::to_owned));
        args
    };
    let start = |args: Vec<String>| Tail::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    // Lines are committed all the time while both begin.
    let mut last = start(args(&["-n", "2500"]));
    let mut since = start(args(&["--since", "1h"]));
    let follow = |tail: &Tail| tail.messages().contains("following") && !tail.printed().is_empty();
    while !(follow(&last) && follow(&since)) {
        web.report(numbers(next..next + 20)).await;
        next += 20;
        assert!(next < 1_000_000, "they do not begin: {}{}", last.messages(), since.messages());
    }
    web.report(numbers(next..next + 1)).await;
    let end = format!("\"line\":\"{next}\"");
    last.wait_for_line(&end, SOON).await;
    since.wait_for_line(&end, SOON).await;
    assert_eq!(texts(&since), range(0..next + 1));
    let printed = texts(&last);
    let first: u32 = printed[0].parse().unwrap();
    assert_eq!(printed, range(first..next + 1));
    assert!(printed.len() >= 2_500 && first >= 500, "{first} to {next}");
}

#[tokio::test]
async fn tail_prints_what_is_stored_since_a_time_and_matches() {
    let collector = TestCollector::start().await;
    let mut web = NodeClient::enroll(&collector, None, "web-1").await;
    let mut db = NodeClient::enroll(&collector, None, "db-1").await;
    let now = clock::now_ms();
    let hour = 3_600_000;
    web.report(lines(now - 3 * hour, ["old".to_owned()].into_iter())).await;
    web.report(lines(now - hour / 2, ["new".to_owned()].into_iter())).await;
    db.report(lines(now, ["other".to_owned()].into_iter())).await;
    let mut request = web.next_request(lines(now, ["severe".to_owned(), "the end".to_owned()].into_iter()));
    request.reports[0].pipelines[0].logs[0].level = Some(LogLevel::Error);
    web.post(&request).await;
    let at = chrono::DateTime::from_timestamp_millis(now - hour).unwrap().to_rfc3339();
    for (args, expected) in [
        (vec!["--since", "1h"], vec!["new", "other", "severe", "the end"]),
        (vec!["--since", &at], vec!["new", "other", "severe", "the end"]),
        (vec!["--since", "1h", "-n", "2"], vec!["severe", "the end"]),
        (vec!["--since", "12h", "--node", "web-1"], vec!["old", "new", "severe", "the end"]),
        (vec!["-n", "9", "--node", "web-1", "--node", "db-1"], vec!["old", "new", "other", "severe", "the end"]),
        (vec!["-n", "9", "--node", "db-1", "--pipeline", "orders"], vec!["other"]),
        (vec!["-n", "9", "--level", "error"], vec!["severe"]),
        (vec!["-n", "9", "--pipeline", "missing"], vec![]),
    ] {
        let mut tail = Tail::on(&collector, &[&args[..], &["--json", "--types", "log_entry"]].concat()).await;
        if let Some(last) = expected.last() {
            tail.wait_for_line(&format!("\"line\":\"{last}\""), SOON).await;
        }
        assert_eq!(texts(&tail), expected, "{args:?}");
    }
}

#[tokio::test]
async fn tail_refuses_unreadable_times_and_counts() {
    for args in [vec!["-n", "0"], vec!["-n", "10001"], vec!["--since", "yesterday"], vec!["-n", "1", "--after", "e-1"]]
    {
        let mut tail = Tail::start(&args);
        assert_eq!(tail.end().await.code(), Some(78), "{args:?}: {}", tail.messages());
    }
}
