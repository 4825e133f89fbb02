//! The result of `systole-collector ingest-bench`, as a table beside the runs.

use serde::Deserialize;

use super::outcome::Outcome;

/// The prefix of its files; the rest is the name of the runs that it is compared with.
pub(super) const PREFIX: &str = "bare ";

/// The way of a report without HTTP.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BareWork {
    reports_per_second: f64,
    microseconds_per_report: Cost,
    upserting_reports_per_second: f64,
    upserts_per_second: f64,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Cost {
    open: f64,
    decode: f64,
    apply: f64,
    commit: f64,
    fold: f64,
}

impl BareWork {
    fn cells(&self, run: Option<&Outcome>) -> [(&'static str, String); 9] {
        let cost = self.microseconds_per_report;
        let us = |value: f64| format!("{value:.1} µs");
        let per_second = |value: f64| format!("{value:.0}/s");
        let share = |against: f64| run.map_or(String::new(), |run| format!("{:.2}", run.reports_per_second / against));
        [
            ("open (zstd)", us(cost.open)),
            ("decode (JSON)", us(cost.decode)),
            ("apply", us(cost.apply)),
            ("commit (journal)", us(cost.commit)),
            ("fold (rows)", us(cost.fold)),
            ("reports, one thread", per_second(self.reports_per_second)),
            ("the collector's share of that", share(self.reports_per_second)),
            ("with plain upserts instead", per_second(self.upserting_reports_per_second)),
            ("rows upserted", per_second(self.upserts_per_second)),
        ]
    }
}

/// A column for each, with the share that the run of the same fleet reached.
pub(super) fn table(bare: &[(String, BareWork)], runs: &[(String, Outcome)]) -> String {
    let columns: Vec<_> = bare
        .iter()
        .map(|(name, work)| {
            let run = runs.iter().find(|(run, _)| run.ends_with(&format!("saturation {name}"))).map(|(_, run)| run);
            work.cells(run)
        })
        .collect();
    let heads: String = bare.iter().map(|(name, _)| format!(" {name} |")).collect();
    let Some(first) = columns.first() else { return String::new() };
    let lines = (0..first.len()).map(|line| {
        let cells: String = columns.iter().map(|column| format!(" {} |", column[line].1)).collect();
        format!("| {} |{cells}\n", first[line].0)
    });
    format!("\n| Without HTTP, per report |{heads}\n|---|{}\n{}", "---|".repeat(bare.len()), lines.collect::<String>())
}
