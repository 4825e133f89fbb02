//! What a run with an agent measured, and what it was to reach.

use serde::Serialize;
use systole_shared::UnixMillis;

use super::receiver::Seen;
use crate::bench::args::AgentArgs;

/// Up to here a node counts as a usual one, with the targets of one.
const USUAL_PIPELINES: usize = 10;

/// How late a report may come and still be on time.
const LATE_MS: i64 = 1_000;

/// Observations of a run.
#[derive(Clone, Debug)]
pub struct Course {
    /// Duration of the measurement.
    pub seconds: f64,
    /// Processor time of the agent alone.
    pub cpu_seconds: f64,
    /// Resident memory, every second.
    pub memory: Vec<u64>,
    /// Resident memory at its highest, the start included.
    pub peak_memory_bytes: u64,
    /// Bytes that the agent sent.
    pub wire_bytes: u64,
    /// Reports that came.
    pub reports: Vec<Seen>,
    /// Size of the agent's program.
    pub binary_bytes: u64,
}

/// The outcome, for programs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentOutcome {
    /// Pipelines.
    pub pipelines: usize,
    /// Components of each.
    pub components: usize,
    /// Log lines a second that were asked for.
    pub lines_per_second: f64,
    /// Duration of the measurement.
    pub seconds: f64,
    /// Resident memory when measuring began.
    pub memory_start_bytes: u64,
    /// Resident memory when it ended.
    pub memory_end_bytes: u64,
    /// Mean of the last fifth less the mean of the first fifth: what it grows by, without the noise.
    pub memory_growth_bytes: i64,
    /// At its highest, the start included.
    pub memory_peak_bytes: u64,
    /// Of one core.
    pub cpu_percent: f64,
    /// Bytes a second that the agent sent.
    pub wire_bytes_per_second: f64,
    /// Size of the agent's program.
    pub binary_bytes: u64,
    /// Reports that came.
    pub reports: usize,
    /// Reports without a sample of every pipeline.
    pub reports_without_sample: usize,
    /// Log lines that came.
    pub lines: usize,
    /// Longest time between the ends of two reports.
    pub largest_gap_ms: i64,
    /// Longest time from a report's end to its arrival.
    pub largest_delay_ms: i64,
    /// Whether no number is missing and no gap is larger than the interval and a second.
    pub every_report_on_time: bool,
}

/// One line of a table.
struct Row {
    name: &'static str,
    value: String,
    /// What was to be reached, and whether it was.
    target: Option<(String, bool)>,
}

impl AgentOutcome {
    /// Figures out of what was seen.
    pub fn of(args: &AgentArgs, course: &Course) -> Self {
        let reports = &course.reports;
        let pairs = || reports.windows(2);
        let largest_gap_ms = pairs().map(|pair| pair[1].end - pair[0].end).max().unwrap_or(UnixMillis::MAX);
        let in_order = pairs().all(|pair| pair[1].seq == pair[0].seq + 1);
        let interval = i64::try_from(args.interval_ms).unwrap_or(i64::MAX);
        AgentOutcome {
            pipelines: args.pipelines,
            components: args.components,
            lines_per_second: args.lines,
            seconds: course.seconds,
            memory_start_bytes: course.memory.first().copied().unwrap_or(0),
            memory_end_bytes: course.memory.last().copied().unwrap_or(0),
            memory_growth_bytes: growth(&course.memory),
            memory_peak_bytes: course.peak_memory_bytes,
            cpu_percent: course.cpu_seconds / course.seconds * 100.0,
            wire_bytes_per_second: course.wire_bytes as f64 / course.seconds,
            binary_bytes: course.binary_bytes,
            reports: reports.len(),
            reports_without_sample: reports.iter().filter(|report| report.samples < args.pipelines).count(),
            lines: reports.iter().map(|report| report.lines).sum(),
            largest_gap_ms,
            largest_delay_ms: reports.iter().map(|report| report.came - report.end).max().unwrap_or(0),
            every_report_on_time: in_order && largest_gap_ms <= interval.saturating_add(LATE_MS),
        }
    }

    fn rows(&self) -> Vec<Row> {
        let row = |name, value, target| Row { name, value, target };
        let mb = |bytes: u64| format!("{:.2} MB", bytes as f64 / 1e6);
        let at_most = |bytes: u64, most: u64| Some((format!("≤ {} MB", most as f64 / 1e6), bytes <= most));
        let is_usual = self.pipelines <= USUAL_PIPELINES;
        let memory = if is_usual { 6_000_000 } else { 20_000_000 };
        vec![
            row(
                "node",
                format!(
                    "{} pipelines × {} components, {} lines/s, {:.0} s",
                    self.pipelines, self.components, self.lines_per_second, self.seconds
                ),
                None,
            ),
            row("resident, start", mb(self.memory_start_bytes), None),
            row("resident, end", mb(self.memory_end_bytes), at_most(self.memory_end_bytes, memory)),
            row("resident, peak", mb(self.memory_peak_bytes), None),
            row(
                "growth",
                format!("{:+.0} KB", self.memory_growth_bytes as f64 / 1e3),
                is_usual.then(|| ("≤ 100 KB".to_owned(), self.memory_growth_bytes <= 100_000)),
            ),
            row(
                "processor",
                format!("{:.2} % of a core", self.cpu_percent),
                is_usual.then(|| ("≤ 0.3 %".to_owned(), self.cpu_percent <= 0.3)),
            ),
            row(
                "sent",
                format!("{:.2} KB/s", self.wire_bytes_per_second / 1e3),
                is_usual.then(|| ("≤ 3 KB/s".to_owned(), self.wire_bytes_per_second <= 3_000.0)),
            ),
            row("program", mb(self.binary_bytes), at_most(self.binary_bytes, 5_000_000)),
            row(
                "reports",
                format!("{}, {} without every sample, {} lines", self.reports, self.reports_without_sample, self.lines),
                None,
            ),
            row(
                "on time",
                format!("largest gap {} ms, largest delay {} ms", self.largest_gap_ms, self.largest_delay_ms),
                Some(("every one".to_owned(), self.every_report_on_time)),
            ),
        ]
    }

    /// A few lines for people.
    pub fn table(&self) -> String {
        let line = |row: Row| {
            let target = row.target.map(|(text, is_met)| format!("  ({text}: {})", verdict(is_met)));
            format!("{:>18}  {}{}\n", row.name, row.value, target.unwrap_or_default())
        };
        self.rows().into_iter().map(line).collect()
    }

    /// The same in Markdown.
    pub fn markdown(&self) -> String {
        let line = |row: Row| {
            let (target, is_met) = row.target.map_or_else(Default::default, |(text, met)| (text, verdict(met)));
            format!("| {} | {} | {target} | {is_met} |\n", row.name, row.value)
        };
        let lines: String = self.rows().into_iter().map(line).collect();
        format!("| | measured | target | |\n|---|---|---|---|\n{lines}")
    }
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

fn growth(memory: &[u64]) -> i64 {
    let part = (memory.len() / 5).max(1);
    let mean = |bytes: &[u64]| {
        let sum: u64 = bytes.iter().sum();
        i64::try_from(sum / (bytes.len() as u64).max(1)).unwrap_or(i64::MAX)
    };
    mean(&memory[memory.len() - part.min(memory.len())..]) - mean(&memory[..part.min(memory.len())])
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::bench::args::{Args, Command};

    fn args() -> AgentArgs {
        let args = Args::try_parse_from(["systole-bench", "agent", "--pipelines", "2"]).unwrap();
        let Some(Command::Agent(args)) = args.command else { panic!("a run with an agent") };
        args
    }

    fn course(ends: &[i64]) -> Course {
        let report = |(number, end): (usize, &i64)| Seen {
            seq: number as u64 + 7,
            end: *end,
            came: end + 20,
            samples: 2,
            lines: 3,
        };
        Course {
            seconds: 10.0,
            cpu_seconds: 0.02,
            memory: vec![4_000_000, 4_000_000, 5_000_000, 4_000_000, 4_200_000],
            peak_memory_bytes: 5_100_000,
            wire_bytes: 25_000,
            reports: ends.iter().enumerate().map(report).collect(),
            binary_bytes: 4_900_000,
        }
    }

    #[test]
    fn growth_ignores_a_peak_between_start_and_end() {
        let outcome = AgentOutcome::of(&args(), &course(&[0, 5_000, 10_100]));
        assert!((outcome.cpu_percent - 0.2).abs() < 1e-9 && (outcome.wire_bytes_per_second - 2_500.0).abs() < 1e-9);
        assert_eq!((outcome.memory_growth_bytes, outcome.largest_gap_ms, outcome.lines), (200_000, 5_100, 9));
        assert!(outcome.every_report_on_time);
        let missed = outcome.markdown().lines().filter(|line| line.ends_with("| MISSED |")).count();
        assert_eq!(missed, 1, "only the growth: {}", outcome.markdown());
    }

    #[test]
    fn late_and_missing_reports_are_not_on_time() {
        assert!(!AgentOutcome::of(&args(), &course(&[0, 6_001])).every_report_on_time);
        let mut course = course(&[0, 5_000, 10_000]);
        course.reports.remove(1);
        course.reports[1].end = 5_000;
        assert!(!AgentOutcome::of(&args(), &course).every_report_on_time);
    }
}
