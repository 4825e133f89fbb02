//! One table of several runs, with the machine that they were on.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use chrono::DateTime;
use serde::de::DeserializeOwned;

use super::args::ReportArgs;
use super::bare::{self, BareWork};
use super::feed::outcome::{self as feed, FeedOutcome};
use super::outcome::Outcome;
use crate::clock;

/// The table is between these lines of a file.
const FLEET: Marks = Marks("<!-- systole-bench report: begin -->", "<!-- systole-bench report: end -->");
const FEED: Marks =
    Marks("<!-- systole-bench report of the feed: begin -->", "<!-- systole-bench report of the feed: end -->");

/// Two lines.
#[derive(Clone, Copy, Debug)]
struct Marks(&'static str, &'static str);

/// Makes the tables of the existing runs, and writes each into its place.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let is_of_fleet = |name: &str| !name.starts_with(bare::PREFIX) && !name.starts_with(feed::PREFIX);
    let runs: Vec<(String, Outcome)> = read_all(&args.directory, is_of_fleet)?;
    let mut feeds: Vec<(String, FeedOutcome)> = read_all(&args.directory, |name| name.starts_with(feed::PREFIX))?;
    feeds.iter_mut().for_each(|(name, _)| *name = name.split_off(feed::PREFIX.len()));
    let mut bare: Vec<(String, BareWork)> = read_all(&args.directory, |name| name.starts_with(bare::PREFIX))?;
    bare.iter_mut().for_each(|(name, _)| *name = name.split_off(bare::PREFIX.len()));
    if runs.is_empty() && feeds.is_empty() {
        bail!("no JSON of any run in {}", args.directory.display());
    }
    if !runs.is_empty() {
        let runs_table = table(&columns(&runs, Outcome::rows));
        place(args, FLEET, &format!("{}\n\n{runs_table}{}", machine(), bare::table(&bare, &runs)))?;
    }
    if !feeds.is_empty() {
        place(args, FEED, &format!("{}\n\n{}", machine(), table(&columns(&feeds, FeedOutcome::rows))))?;
    }
    Ok(())
}

/// Into the file between the marks, or on standard output.
fn place(args: &ReportArgs, marks: Marks, table: &str) -> anyhow::Result<()> {
    let Some(path) = &args.into else { return Ok(write!(std::io::stdout(), "{table}")?) };
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let text = with_table(&text, marks, table).with_context(|| path.display().to_string())?;
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// A run's name and its lines.
type Column = (String, Vec<(String, String)>);

fn columns<T>(runs: &[(String, T)], rows: impl Fn(&T) -> Vec<(String, String)>) -> Vec<Column> {
    runs.iter().map(|(name, run)| (name.clone(), rows(run))).collect()
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
fn table(columns: &[Column]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flat_map(|(_, rows)| rows) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let heads: String = columns.iter().map(|(name, _)| format!(" {name} |")).collect();
    let line = |name: &str| {
        let cell = |(_, column): &Column| {
            let value = column.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value);
            format!(" {value} |")
        };
        format!("| {name} |{}\n", columns.iter().map(cell).collect::<String>())
    };
    let lines: String = names.into_iter().map(line).collect();
    format!("| |{heads}\n|---|{}\n{lines}", "---|".repeat(columns.len()))
}

fn with_table(text: &str, Marks(begin, end): Marks, table: &str) -> anyhow::Result<String> {
    let (before, rest) = text.split_once(begin).with_context(|| format!("no line {begin}"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("no line {end}"))?;
    Ok(format!("{before}{begin}\n{table}{end}{after}"))
}

/// What the figures depend on. Read from Linux; on other systems much of it is unknown.
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
    use crate::bench::args::{Args, Command};
    use crate::bench::outcome::Course;
    use crate::bench::tally::Tally;

    fn outcome(flags: &[&str], failures: u64) -> Outcome {
        let args = Args::try_parse_from(["systole-bench", "--spawn"].iter().chain(flags)).unwrap();
        let mut tally = Tally::new();
        (0..failures).for_each(|_| tally.fail("503"));
        let seconds = Duration::from_secs(1);
        Outcome::of(
            &args,
            &tally,
            Course { enrolment: seconds, elapsed: seconds, generator_cpu_seconds: 0.0, push: None },
        )
    }

    #[test]
    fn table_has_a_column_per_run_and_empty_cells() {
        let directory = tempfile::tempdir().unwrap();
        for (name, outcome) in [("b", outcome(&["--nodes", "7"], 2)), ("a", outcome(&[], 0))] {
            let text = serde_json::to_string(&outcome).unwrap();
            std::fs::write(directory.path().join(name).with_extension("json"), text).unwrap();
        }
        let runs: Vec<(String, Outcome)> = read_all(directory.path(), |_| true).unwrap();
        let table = table(&columns(&runs, Outcome::rows));
        assert!(table.starts_with("| | a | b |\n|---|---|---|\n| fleet | 50 nodes"), "{table}");
        assert!(table.contains("\n| failed: 503 |  | 2 |\n"), "{table}");
    }

    #[test]
    fn bare_work_is_compared_with_the_same_fleet() {
        let directory = tempfile::tempdir().unwrap();
        let bare = r#"{"reports": 1, "reportsPerSecond": 20000.0, "upsertingReportsPerSecond": 900.0, "upsertsPerSecond": 5.0,
            "microsecondsPerReport": {"open": 1.0, "decode": 20.04, "apply": 3.0, "commit": 4.0, "fold": 5.0}}"#;
        std::fs::write(directory.path().join("bare 10 × 5.json"), bare).unwrap();
        let mut run = outcome(&[], 0);
        run.reports_per_second = 11_000.0;
        let text = serde_json::to_string(&run).unwrap();
        std::fs::write(directory.path().join("1 saturation 10 × 5.json"), text).unwrap();
        let into = directory.path().join("page.md");
        std::fs::write(&into, format!("{}\n{}\n", FLEET.0, FLEET.1)).unwrap();
        super::run(&ReportArgs { directory: directory.path().to_owned(), into: Some(into.clone()) }).unwrap();
        let page = std::fs::read_to_string(into).unwrap();
        assert!(page.contains("\n| Without HTTP, per report | 10 × 5 |\n"), "{page}");
        assert!(page.contains("| decode (JSON) | 20.0 µs |"), "{page}");
        assert!(page.contains("| the collector's share of that | 0.55 |"), "{page}");
    }

    #[test]
    fn feed_runs_have_a_separate_table() {
        let directory = tempfile::tempdir().unwrap();
        let args = Args::try_parse_from(["systole-bench", "feed", "--subscribers", "7", "--stalled", "1"]).unwrap();
        let Some(Command::Feed(args)) = args.command else { panic!("a run of the feed") };
        let text = serde_json::to_string(&FeedOutcome::new(&args)).unwrap();
        std::fs::write(directory.path().join("feed 1 few.json"), text).unwrap();
        let into = directory.path().join("page.md");
        std::fs::write(&into, format!("{}\nkept\n{}\n{}\n{}\n", FLEET.0, FLEET.1, FEED.0, FEED.1)).unwrap();
        run(&ReportArgs { directory: directory.path().to_owned(), into: Some(into.clone()) }).unwrap();
        let page = std::fs::read_to_string(into).unwrap();
        assert!(page.contains("\n| | 1 few |\n|---|---|\n| subscribers | 7 of log_entry"), "{page}");
        assert!(page.contains("\n| stalled readers closed | no |\n") && page.contains("\nkept\n"), "{page}");
    }

    #[test]
    fn table_replaces_the_previous_one() {
        let Marks(begin, end) = FEED;
        let text = format!("before\n{begin}\nold\n{end}\nafter\n");
        let once = with_table(&text, FEED, "| a |\n").unwrap();
        assert_eq!(once, format!("before\n{begin}\n| a |\n{end}\nafter\n"));
        assert_eq!(with_table(&once, FEED, "| a |\n").unwrap(), once);
        assert!(with_table(&text, FLEET, "").is_err(), "these are the other marks");
    }
}
