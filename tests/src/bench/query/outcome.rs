//! What a run of queries measured.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;

use crate::bench::args::QueryArgs;
use crate::bench::tally::Tally;
use crate::harness::Answer;

/// Longest latency that is distinguished.
const MAX_LATENCY_US: u64 = 120_000_000;

/// One question, asked again and again.
#[derive(Debug)]
pub struct Question {
    name: &'static str,
    latencies_us: Histogram<u64>,
    items: usize,
    bytes: usize,
}

impl Question {
    /// Not asked yet.
    pub fn new(name: &'static str) -> Self {
        let latencies_us = Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are in order");
        Question { name, latencies_us, items: 0, bytes: 0 }
    }

    /// Notes an answer, which must be a good one.
    pub fn record(&mut self, latency: Duration, answer: &Answer) -> anyhow::Result<()> {
        ensure!(answer.status == 200, "{}: {answer:?}", self.name);
        self.items = answer.json::<Value>()["items"].as_array().map_or(0, Vec::len);
        self.bytes = answer.body.len();
        self.latencies_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(MAX_LATENCY_US).max(1));
        Ok(())
    }
}

/// The outcome, for programs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryOutcome {
    /// Nodes that each pipeline is on.
    pub nodes: usize,
    /// Pipelines of each.
    pub pipelines: usize,
    /// Log lines.
    pub lines: u64,
    /// Reports that were acknowledged meanwhile.
    pub reports: u64,
    /// Until these were acknowledged, 99 of 100, milliseconds.
    pub reports_p99_ms: f64,
    /// By question.
    pub questions: Vec<QuestionOutcome>,
}

/// Durations of one question.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QuestionOutcome {
    /// The question.
    pub name: &'static str,
    /// Number of times.
    pub asked: u64,
    /// Items of the last answer.
    pub items: usize,
    /// Size of the last answer.
    pub bytes: usize,
    /// Until the answer was read, milliseconds.
    pub latency_ms: BTreeMap<&'static str, f64>,
}

impl QueryOutcome {
    /// Figures out of what was counted.
    pub fn of(args: &QueryArgs, tally: &Tally, questions: &[Question]) -> Self {
        let questions = questions.iter().map(|question| {
            let percentile = |percent: f64| question.latencies_us.value_at_quantile(percent / 100.0) as f64 / 1_000.0;
            QuestionOutcome {
                name: question.name,
                asked: question.latencies_us.len(),
                items: question.items,
                bytes: question.bytes,
                latency_ms: [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("max", 100.0)]
                    .map(|(name, percent)| (name, percentile(percent)))
                    .into(),
            }
        });
        QueryOutcome {
            nodes: args.nodes,
            pipelines: args.pipelines,
            lines: args.lines,
            reports: tally.acknowledged(),
            reports_p99_ms: tally.percentile_ms(99.0),
            questions: questions.collect(),
        }
    }

    /// A table for people, in Markdown.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} nodes × {} pipelines, a day; {} log lines; {} reports meanwhile, p99 {:.1} ms\n\n",
            self.nodes, self.pipelines, self.lines, self.reports, self.reports_p99_ms
        );
        text.push_str(
            "| Query | asked | items | KiB | p50 ms | p90 ms | p99 ms | max ms |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        for question in &self.questions {
            let [p50, p90, p99, max] = ["p50", "p90", "p99", "max"].map(|name| question.latency_ms[name]);
            text.push_str(&format!(
                "| {} | {} | {} | {:.0} | {p50:.1} | {p90:.1} | {p99:.1} | {max:.1} |\n",
                question.name,
                question.asked,
                question.items,
                question.bytes as f64 / 1_024.0,
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_query_is_not_measured() {
        let mut question = Question::new("nodes");
        let body = || b"{\"items\":[1,2]}".to_vec();
        let answer = |status| Answer { status, content_type: String::new(), retry_after: None, body: body() };
        question.record(Duration::from_millis(4), &answer(200)).unwrap();
        assert!(question.record(Duration::from_millis(1), &answer(503)).is_err());
        assert_eq!((question.items, question.latencies_us.len()), (2, 1));
    }
}
