use systole_shared::{LogStream, PipelineId};
use tokio::sync::Notify;
use tokio::time::advance;

use super::*;
use crate::logs::PipelineLogs;
use crate::metrics::AgentCounters;
use crate::model::node::machine::{Machine, MachineIdSource};
use crate::model::pipeline::PipelineConfig;

fn pipeline(id: &str) -> Arc<Pipeline> {
    let config = PipelineConfig {
        id: PipelineId::parse(id).unwrap(),
        name: None,
        labels: BTreeMap::new(),
        command: None,
        metrics: None,
        process: None,
        log_files: Default::default(),
        multiline: None,
        api_url: None,
        centre: None,
    };
    let logs = Arc::new(PipelineLogs::new(Instant::now(), None, Arc::new(tokio::sync::Semaphore::new(1))));
    Arc::new(Pipeline::new(config, logs, Arc::new(Notify::new()), Arc::new(AgentCounters::default())))
}

fn reporter() -> Reporter {
    let facts = AgentFacts {
        names: NodeNames {
            machine: Machine::detect(Some("m"), MachineIdSource::default()),
            name: Some("web-1".to_owned()),
            labels: BTreeMap::from([("site".to_owned(), "b".to_owned())]),
        },
        vector_version: Arc::default(),
        deployments: Arc::default(),
    };
    Reporter::new(facts, 1_000)
}

fn say(pipeline: &Pipeline, count: usize, text: &str) {
    let line = Line { at: 5, stream: LogStream::Stderr, text: text.to_owned(), level: None };
    // Spread in time, so that the budget of lines takes nothing.
    let begin = Instant::now();
    pipeline.with_logs(|logs| {
        for number in 0..count {
            logs.push(line.clone(), begin + Duration::from_millis(10) * u32::try_from(number).unwrap());
        }
    });
}

#[tokio::test(start_paused = true)]
async fn reports_are_numbered_with_contiguous_intervals() {
    let pipelines = [pipeline("a")];
    let mut reporter = reporter();
    advance(Duration::from_secs(5)).await;
    let first = reporter.make(&pipelines, 6_000, None, AgentHealth::default());
    assert_eq!((first.seq, first.start, first.end), (1, 1_000, 6_000));
    assert_eq!(first.agent.unwrap().labels[&Text::from("site")].as_str(), "b");
    advance(Duration::from_secs(5)).await;
    let second = reporter.make(&pipelines, 11_000, None, AgentHealth::default());
    assert_eq!((second.seq, second.start, second.end), (2, 6_000, 11_000));
}

#[tokio::test(start_paused = true)]
async fn report_has_the_nodes_name_and_says_that_the_agent_ends_once_it_does() {
    let mut reporter = reporter();
    let agent = reporter.make(&[], 2_000, None, AgentHealth::default()).agent.unwrap();
    assert_eq!((agent.name.as_ref().map(Text::as_str), agent.stopping), (Some("web-1"), None));
    reporter.stop("agent stopped");
    let agent = reporter.make(&[], 3_000, None, AgentHealth::default()).agent.unwrap();
    assert_eq!(agent.stopping.as_ref().map(Text::as_str), Some("agent stopped"));
}

#[tokio::test(start_paused = true)]
async fn interval_length_survives_a_clock_change() {
    let mut reporter = reporter();
    for now in [86_400_000, 3_000] {
        advance(Duration::from_secs(5)).await;
        let report = reporter.make(&[], now, None, AgentHealth::default());
        assert_eq!((report.start, report.end), (now - 5_000, now));
    }
}

#[test]
fn report_lines_are_bounded_over_all_pipelines() {
    let pipelines = [pipeline("a"), pipeline("b")];
    pipelines.iter().for_each(|pipeline| say(pipeline, 3_000, "x"));
    let mut reporter = reporter();
    let count = |report: Report<'_>| report.pipelines.iter().map(|pipeline| pipeline.logs.len()).sum::<usize>();
    assert_eq!(count(reporter.make(&pipelines, 2_000, None, AgentHealth::default())), MAX_LOG_LINES_PER_REPORT);
    assert_eq!(count(reporter.make(&pipelines, 3_000, None, AgentHealth::default())), 1_000);
}

#[test]
fn report_lines_are_bounded_in_json_bytes() {
    let pipelines: Vec<_> = (0..6).map(|number| pipeline(&number.to_string())).collect();
    pipelines.iter().for_each(|pipeline| say(pipeline, 15, &"\u{1}".repeat(60_000)));
    let mut reporter = reporter();
    let report = reporter.make(&pipelines, 2_000, None, AgentHealth::default());
    let bytes = serde_json::to_vec(&report).unwrap().len();
    assert!(bytes > MAX_LOG_BYTES / 2 && bytes < MAX_LOG_BYTES + 100_000, "{bytes}");
}

#[test]
fn surplus_components_are_dropped_from_the_largest_pipelines() {
    let mapping = crate::config::vector_mapping();
    let pipelines: Vec<_> = (0..3).map(|number| pipeline(&number.to_string())).collect();
    for (pipeline, count) in pipelines.iter().zip([30_000, 5, 20_000]) {
        let mut text = String::new();
        for number in 0..count {
            let id = if number == 3 { "long".repeat(MAX_ID_BYTES) } else { number.to_string() };
            text.push_str(&format!(
                "component_received_events_total{{component_id=\"{id}\",component_kind=\"source\"}} 1\n"
            ));
        }
        let reading = crate::scrape::page::Scrape::of(text.as_bytes(), &mapping);
        pipeline.counting.with_tracker(crate::scrape::delta_tracker::DeltaTracker::begin_process);
        pipeline.counting.with_tracker(|tracker| tracker.record(&reading, 0));
    }
    let mut reporter = reporter();
    let report = reporter.make(&pipelines, 2_000, None, AgentHealth::default());
    let counts: Vec<_> = report.pipelines.iter().map(|pipeline| pipeline.components.len()).collect();
    assert_eq!(counts, [4_998, 4, 4_998]);
    assert_eq!(report.agent.unwrap().health.refused_items, 50_005 - 10_000);
    assert_eq!(report.pipelines[0].sample.unwrap().events_in.get(), Ok(30_000));
}

#[test]
fn crash_report_contains_its_last_lines() {
    let pipelines: Vec<_> = (0..8).map(|number| pipeline(&number.to_string())).collect();
    pipelines.iter().for_each(|pipeline| say(pipeline, 900, "noise"));
    pipelines[5].runtime.change(|state| state.status = PipelineStatus::Crashed);
    let mut reporter = reporter();
    let report = reporter.make(&pipelines, 2_000, None, AgentHealth::default());
    assert_eq!((report.pipelines[5].status.as_str(), report.pipelines[5].logs.len()), ("CRASHED", 900));
}
