//! One table of several runs, with the machine that they were on.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use chrono::DateTime;
use serde::de::DeserializeOwned;

use super::args::ReportArgs;
use super::bare::{self, BareWork};
use super::outcome::Outcome;
use crate::clock;

/// Between these lines of a file stands the table.
const BEGIN: &str = "<!-- systole-bench report: begin -->";
const END: &str = "<!-- systole-bench report: end -->";

/// Makes the table, and puts it where it belongs.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let runs: Vec<(String, Outcome)> = read_all(&args.directory, |name| !name.starts_with(bare::PREFIX))?;
    if runs.is_empty() {
        bail!("no JSON of any run in {}", args.directory.display());
    }
    let mut bare: Vec<(String, BareWork)> = read_all(&args.directory, |name| name.starts_with(bare::PREFIX))?;
    bare.iter_mut().for_each(|(name, _)| *name = name.split_off(bare::PREFIX.len()));
    let table = format!("{}\n\n{}{}", machine(), table(&runs), bare::table(&bare, &runs));
    match &args.into {
        None => write!(std::io::stdout(), "{table}")?,
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            let text = with_table(&text, &table).with_context(|| path.display().to_string())?;
            std::fs::write(path, text).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn read_all<T: DeserializeOwned>(
    directory: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<(String, T)>> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let name_of = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    paths.retain(|path| is_wanted(&name_of(path)));
    let read = |path: std::path::PathBuf| {
        let name = name_of(&path);
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let outcome = serde_json::from_slice(&text).with_context(|| format!("{} is of no run", path.display()))?;
        Ok((name, outcome))
    };
    paths.into_iter().map(read).collect()
}

/// A column for each run, a line for each figure; where one has none the cell is empty.
fn table(outcomes: &[(String, Outcome)]) -> String {
    let columns: Vec<Vec<(String, String)>> = outcomes.iter().map(|(_, outcome)| outcome.rows()).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let heads: String = outcomes.iter().map(|(name, _)| format!(" {name} |")).collect();
    let line = |name: &str| {
        let cell = |column: &Vec<(String, String)>| {
            let value = column.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value);
            format!(" {value} |")
        };
        format!("| {name} |{}\n", columns.iter().map(cell).collect::<String>())
    };
    let lines: String = names.into_iter().map(line).collect();
    format!("| |{heads}\n|---|{}\n{lines}", "---|".repeat(columns.len()))
}

fn with_table(text: &str, table: &str) -> anyhow::Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no line {END}"))?;
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

/// What the figures depend on. Linux tells; elsewhere much of it is unknown.
fn machine() -> String {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::trim));
        line.map(str::to_owned)
    };
    let unknown = || "unknown".to_owned();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let processor = value(&file("/proc/cpuinfo"), "model name").unwrap_or_else(unknown);
    let memory = value(&file("/proc/meminfo"), "MemTotal");
    let memory = memory.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    let memory = memory.map_or_else(unknown, |kib| format!("{:.1} GiB", kib / f64::from(1 << 20)));
    let kernel = file("/proc/sys/kernel/osrelease");
    let date = DateTime::from_timestamp_millis(clock::now_ms()).map(|now| now.format("%Y-%m-%d").to_string());
    format!(
        "{}: {cores} cores ({processor}), {memory} of memory, Linux {}. Generator and collector share the machine.",
        date.unwrap_or_else(unknown),
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::bench::args::Args;
    use crate::bench::outcome::Course;
    use crate::bench::tally::Tally;

    fn outcome(flags: &[&str], failures: u64) -> Outcome {
        let args = Args::try_parse_from(["systole-bench", "--spawn"].iter().chain(flags)).unwrap();
        let mut tally = Tally::new();
        (0..failures).for_each(|_| tally.fail("503"));
        let seconds = Duration::from_secs(1);
        Outcome::of(&args, &tally, Course { enrolment: seconds, elapsed: seconds, generator_cpu_seconds: 0.0 })
    }

    #[test]
    fn every_run_has_a_column_and_a_figure_that_only_one_has_leaves_the_others_empty() {
        let directory = tempfile::tempdir().unwrap();
        for (name, outcome) in [("b", outcome(&["--nodes", "7"], 2)), ("a", outcome(&[], 0))] {
            let text = serde_json::to_string(&outcome).unwrap();
            std::fs::write(directory.path().join(name).with_extension("json"), text).unwrap();
        }
        let table = table(&read_all(directory.path(), |_| true).unwrap());
        assert!(table.starts_with("| | a | b |\n|---|---|---|\n| fleet | 50 nodes"), "{table}");
        assert!(table.contains("\n| failed: 503 |  | 2 |\n"), "{table}");
    }

    #[test]
    fn bare_work_stands_against_the_run_of_the_same_fleet() {
        let directory = tempfile::tempdir().unwrap();
        let bare = r#"{"reports": 1, "reportsPerSecond": 20000.0, "upsertingReportsPerSecond": 900.0, "upsertsPerSecond": 5.0,
            "microsecondsPerReport": {"open": 1.0, "decode": 20.04, "apply": 3.0, "commit": 4.0, "fold": 5.0}}"#;
        std::fs::write(directory.path().join("bare 10 × 5.json"), bare).unwrap();
        let mut run = outcome(&[], 0);
        run.reports_per_second = 11_000.0;
        let text = serde_json::to_string(&run).unwrap();
        std::fs::write(directory.path().join("1 saturation 10 × 5.json"), text).unwrap();
        let into = directory.path().join("page.md");
        std::fs::write(&into, format!("{BEGIN}\n{END}\n")).unwrap();
        super::run(&ReportArgs { directory: directory.path().to_owned(), into: Some(into.clone()) }).unwrap();
        let page = std::fs::read_to_string(into).unwrap();
        assert!(page.contains("\n| Without HTTP, per report | 10 × 5 |\n"), "{page}");
        assert!(page.contains("| decode (JSON) | 20.0 µs |"), "{page}");
        assert!(page.contains("| the collector's share of that | 0.55 |"), "{page}");
    }

    #[test]
    fn a_table_takes_the_place_of_the_last_one() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = with_table(&text, "| a |\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\n| a |\n{END}\nafter\n"));
        assert_eq!(with_table(&once, "| a |\n").unwrap(), once);
        assert!(with_table("no marks", "").is_err());
    }
}
