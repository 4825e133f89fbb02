//! Log searches: the result does not depend on the index.

use systole_shared::LogLevel;

use super::*;

/// Lines 1 to 700, each of which differs from its neighbours, of a node and a pipeline that change
/// rarely: two complete blocks, and part of a third.
const LINES: i64 = 700;

fn searched_line(seq: i64, nodes: [i64; 2]) -> LogRow {
    let text = match seq {
        300 => "the Needle\\100%_".to_owned(),
        301 => "Gr\u{dc}SSE aus K\u{f6}ln".to_owned(),
        _ => format!("order {seq} taken to shelf {}", seq % 7),
    };
    let level = match seq {
        50 | 600 => Some("ERROR"),
        _ if seq % 2 == 0 => Some("INFO"),
        _ => None,
    };
    LogRow {
        at: NOW + seq * 10 - if seq == 400 { 3_000 } else { 0 },
        node: nodes[usize::from(seq == 20 || seq == 500)],
        pipeline: if seq % 300 == 7 { 2 } else { 1 },
        level: level.map(str::to_owned),
        line: text,
        ..log(seq, seq, nodes[0], NOW)
    }
}

fn questions(environment: EnvironmentKey, other: NodeKey) -> Vec<(&'static str, LogQuery)> {
    let all = LogQuery { environments: Some(vec![environment]), limit: 1_000, ..LogQuery::default() };
    let text = |text: &str| LogQuery { text: Some(text.into()), ..all.clone() };
    vec![
        ("everything", all.clone()),
        ("one line", text("nEEDLE")),
        ("marks", text("\\100%_")),
        ("no wildcard", text("order_1")),
        ("in most blocks", text("shelf 3")),
        ("short", text("6 ")),
        ("letters beyond ASCII as they are", text("gr\u{dc}sse")),
        ("and in no other case", text("gr\u{fc}sse")),
        ("nowhere", text("taken order")),
        ("after a line", LogQuery { after: Some(299), limit: 3, ..text("e") }),
        ("level", LogQuery { min_level: Some(LogLevel::Warn), ..all.clone() }),
        ("node", LogQuery { node: Some(other), ..all.clone() }),
        ("pipeline", LogQuery { pipelines: Some(vec![PipelineKey(2)]), ..all.clone() }),
        ("pipelines", LogQuery { pipelines: Some(vec![PipelineKey(2), PipelineKey(3)]), ..text("taken") }),
        ("from", LogQuery { from: Some(NOW + 5_000), ..all.clone() }),
        ("to, with one that came late", LogQuery { to: Some(NOW + 1_001), ..all.clone() }),
        ("a time in which there is nothing", LogQuery { from: Some(NOW + 1), to: Some(NOW + 9), ..all.clone() }),
        ("another environment", LogQuery { environments: Some(vec![EnvironmentKey(99)]), ..text("taken") }),
    ]
}

/// What a question is answered with, by the letter.
fn expected(query: &LogQuery, lines: &[LogRow]) -> Vec<i64> {
    let level = |line: &LogRow| line.level.as_deref().and_then(LogLevel::parse);
    let fits = |line: &&LogRow| {
        query.environments.as_deref().is_none_or(|keys| keys != [EnvironmentKey(99)])
            && query.node.is_none_or(|node| node.0 == line.node)
            && query.pipelines.as_ref().is_none_or(|keys| keys.contains(&PipelineKey(line.pipeline)))
            && query.min_level.is_none_or(|least| level(line).is_some_and(|level| level >= least))
            && query
                .text
                .as_ref()
                .is_none_or(|text| line.line.to_ascii_lowercase().contains(&text.to_ascii_lowercase()))
            && query.from.is_none_or(|from| line.at >= from)
            && query.to.is_none_or(|to| line.at < to)
            && match (query.order, query.after) {
                (ListOrder::OldestFirst, Some(after)) => line.seq > after,
                (ListOrder::NewestFirst, Some(after)) => line.seq < after,
                (_, None) => true,
            }
    };
    let mut found: Vec<_> = lines.iter().filter(fits).map(|line| line.seq).collect();
    if query.order == ListOrder::NewestFirst {
        found.reverse();
    }
    found.truncate(query.limit as usize);
    found
}

pub(super) async fn search_results_are_independent_of_the_index(store: Arc<dyn TimeSeriesStore>) {
    let (environment, node) = with_pipeline(&*store).await;
    let other = store.enroll_node(enrolment(environment, None, "other")).await.unwrap();
    let slug = |id: i64| PipelineRow { id, environment: environment.0, slug: format!("p{id}"), name: String::new() };
    let lines: Vec<_> = (1..=LINES).map(|seq| searched_line(seq, [node.key.0, other.key.0])).collect();
    let pipelines = vec![slug(2)];
    let batch = CommitBatch { pipelines, logs: lines.clone(), head_seq: LINES as u64, ..CommitBatch::default() };
    store.commit(batch).await.unwrap();
    let check = async |state: &str| {
        for (what, query) in questions(environment, other.key) {
            for order in [ListOrder::OldestFirst, ListOrder::NewestFirst] {
                let query = LogQuery { order, ..query.clone() };
                let found = store.list_logs(query.clone()).await.unwrap();
                let found: Vec<_> = found.into_iter().map(|line| line.seq).collect();
                assert_eq!(found, expected(&query, &lines), "{what}, {state}, {order:?}");
            }
        }
    };
    check("nothing indexed").await;
    assert_eq!(store.index_logs(1).await.unwrap(), 1);
    check("one block indexed").await;
    assert_eq!(store.index_logs(10).await.unwrap(), 1, "the third block is not complete");
    check("two blocks indexed").await;
    assert_eq!(store.index_logs(10).await.unwrap(), 0);
    // What the index does not know of is not found: so it is what searches go by.
    store.drop_log_index().await.unwrap();
    check("the index dropped").await;
    assert_eq!(store.index_logs(10).await.unwrap(), 2, "the index is built again");
    check("indexed again").await;
}

pub(super) async fn expired_lines_leave_the_index(store: Arc<dyn TimeSeriesStore>) {
    let (_, node) = with_pipeline(&*store).await;
    let lines = (1..=LINES).map(|seq| log(seq, seq, node.key.0, NOW + seq)).collect();
    store.commit(CommitBatch { logs: lines, head_seq: LINES as u64, ..CommitBatch::default() }).await.unwrap();
    assert_eq!(store.index_logs(10).await.unwrap(), 2);
    let cutoffs = |before| Cutoffs { logs_before: NOW + before, ..Cutoffs::default() };
    assert_eq!(store.expire(cutoffs(256), 1_000).await.unwrap(), 255 + 1, "lines 1 to 255, and their block");
    assert_eq!(store.expire(cutoffs(256), 1_000).await.unwrap(), 0);
    assert_eq!(store.expire(cutoffs(500), 1_000).await.unwrap(), 244, "the second block has lines left");
    let query = LogQuery { text: Some("LINE 5".into()), limit: 1, ..LogQuery::default() };
    assert_eq!(store.list_logs(query).await.unwrap()[0].seq, 500);
    assert_eq!(store.expire(cutoffs(LINES + 1), 1_000).await.unwrap(), 201 + 1);
    assert_eq!(store.index_logs(10).await.unwrap(), 0, "there is nothing to index");
}

pub(super) async fn evicted_lines_of_a_node_leave_those_of_others(store: Arc<dyn TimeSeriesStore>) {
    let (environment, quiet) = with_pipeline(&*store).await;
    let flood = store.enroll_node(enrolment(environment, None, "flood")).await.unwrap();
    let key = |seq: i64| if seq % 100 == 50 { quiet.key } else { flood.key };
    let lines = (1..=LINES).map(|seq| log(seq, seq, key(seq).0, NOW + seq)).collect();
    store.commit(CommitBatch { logs: lines, head_seq: LINES as u64, ..CommitBatch::default() }).await.unwrap();
    assert_eq!(store.index_logs(10).await.unwrap(), 2);
    let usage = store.log_usage().await.unwrap();
    assert_eq!((usage.lines, usage.by_node.len()), (LINES as u64, 2));
    assert!(usage.above_share().is_some_and(|(node, _)| node == flood.key), "{usage:?}");
    let evicted = store.evict_logs(flood.key, 0, 600).await.unwrap();
    assert_eq!(evicted.removed, 600);
    let evicted = store.evict_logs(flood.key, evicted.next.unwrap(), 600).await.unwrap();
    assert_eq!(evicted.removed, 93);
    assert_eq!(store.evict_logs(flood.key, evicted.next.unwrap(), 600).await.unwrap().next, None);
    // Expiry must not take blocks of lines that are left.
    store.expire(Cutoffs::default(), 1_000).await.unwrap();
    let query = LogQuery { text: Some("LINE".into()), limit: 100, ..LogQuery::default() };
    let left: Vec<_> = store.list_logs(query).await.unwrap().into_iter().map(|line| line.seq).collect();
    assert_eq!(left, [50, 150, 250, 350, 450, 550, 650]);
    let oldest = store.feed_position().await.unwrap().oldest.log;
    assert_eq!(oldest, LINES as u64 + 1, "the feed says that lines are missing");
    assert_eq!(store.log_usage().await.unwrap().lines, 7);
}
