//! Checks a page of metrics like `promtool check metrics`, without promtool.
//!
//! For tests of the collector and the agent. The rules are those of Prometheus: names and units that dashboards and
//! alerts of other people understand.

use std::collections::BTreeMap;

/// Units that are no base units, and what to use.
const UNITS: [(&str, &str); 14] = [
    ("milliseconds", "seconds"),
    ("microseconds", "seconds"),
    ("nanoseconds", "seconds"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("bits", "bytes"),
    ("kilobytes", "bytes"),
    ("megabytes", "bytes"),
    ("gigabytes", "bytes"),
    ("kibibytes", "bytes"),
    ("mebibytes", "bytes"),
    ("percent", "ratio"),
];

/// Abbreviated units.
const SHORT_UNITS: [&str; 11] = ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "m", "h"];

/// Types, which a name does not repeat.
const TYPES: [&str; 5] = ["gauge", "counter", "summary", "histogram", "untyped"];

#[derive(Default)]
struct Metric<'a> {
    help: Option<&'a str>,
    kind: Option<&'a str>,
    labels: Vec<&'a str>,
    samples: usize,
}

/// What is wrong with a page of Prometheus's text format; a sentence for each fault.
pub fn faults(page: &str) -> Vec<String> {
    let mut metrics: BTreeMap<&str, Metric<'_>> = BTreeMap::new();
    let mut faults = Vec::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name)) => metrics.entry(name).or_default().help = words.next(),
            (Some("#"), Some("TYPE"), Some(name)) => metrics.entry(name).or_default().kind = words.next(),
            (Some("#"), ..) => faults.push(format!("{line:?} is no comment of the format")),
            _ => {
                let end = line.find(['{', ' ']).unwrap_or(line.len());
                let name = &line[..end];
                let base = ["_bucket", "_sum", "_count"].iter().filter_map(|ending| name.strip_suffix(ending));
                let is_many = |base: &&str| {
                    let kind = metrics.get(base).and_then(|metric| metric.kind);
                    matches!(kind, Some("histogram" | "summary"))
                };
                let of = base.into_iter().find(is_many).unwrap_or(name);
                let metric = metrics.entry(of).or_default();
                metric.samples += 1;
                metric.labels.extend(labels(&line[end..]));
            }
        }
    }
    for (name, metric) in &metrics {
        faults.extend(of_metric(name, metric).into_iter().map(|fault| format!("{name} {fault}")));
    }
    faults
}

fn of_metric(name: &str, metric: &Metric<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fail = |is_wrong: bool, fault: &str| {
        if is_wrong {
            faults.push(fault.to_owned());
        }
    };
    fail(metric.help.is_none_or(|help| help.trim().is_empty()), "has no help");
    fail(metric.kind.is_none(), "has no type");
    let is_counter = metric.kind == Some("counter");
    fail(is_counter && !name.ends_with("_total"), "is a counter and does not end in _total");
    fail(!is_counter && name.ends_with("_total"), "ends in _total and is no counter");
    let is_plain = matches!(metric.kind, Some("gauge" | "counter"));
    let is_part = ["_bucket", "_sum", "_count"].iter().any(|ending| name.ends_with(ending));
    fail(is_plain && is_part, "has the ending of a histogram's part");
    fail(name.contains(':'), "has a colon");
    fail(name.chars().any(char::is_uppercase), "is not in snake_case");
    fail(metric.labels.iter().any(|label| label.chars().any(char::is_uppercase)), "has a label not in snake_case");
    for word in name.split('_') {
        fail(TYPES.contains(&word), "repeats a type");
        fail(SHORT_UNITS.contains(&word), "has an abbreviated unit");
        let other = UNITS.iter().find(|(unit, _)| *unit == word).map_or("", |(_, base)| base);
        fail(!other.is_empty(), &format!("has the unit {word}, use {other}"));
    }
    faults
}

/// Names of labels, out of `{name="value",…} 1`.
fn labels(rest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = rest.strip_prefix('{').unwrap_or_default();
    while let Some((name, value)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(','));
        let mut is_escaped = false;
        let end = value.find(|letter| {
            let is_end = letter == '"' && !is_escaped;
            is_escaped = letter == '\\' && !is_escaped;
            is_end
        });
        rest = end.map_or("", |end| &value[end + 1..]);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_page_has_no_faults() {
        let page = "# HELP a_total Count.\n# TYPE a_total counter\na_total{kind=\"x\\\"Y\",b=\"{\"} 1\n\
            # HELP wait_seconds Time.\n# TYPE wait_seconds histogram\nwait_seconds_bucket{le=\"1\"} 0\n\
            wait_seconds_sum 0\nwait_seconds_count 0\n";
        assert_eq!(faults(page), [""; 0]);
    }

    #[test]
    fn faults_name_the_metric() {
        for (page, fault) in [
            ("# TYPE a gauge\na 1\n", "a has no help"),
            ("# HELP a A.\na 1\n", "a has no type"),
            ("# HELP a A.\n# TYPE a counter\na 1\n", "a is a counter and does not end in _total"),
            ("# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n", "a_total ends in _total and is no counter"),
            ("# HELP a_count A.\n# TYPE a_count gauge\na_count 1\n", "a_count has the ending of a histogram's part"),
            ("# HELP aB A.\n# TYPE aB gauge\naB 1\n", "aB is not in snake_case"),
            ("# HELP a A.\n# TYPE a gauge\na{bC=\"x\"} 1\n", "a has a label not in snake_case"),
            ("# HELP a_ms A.\n# TYPE a_ms gauge\na_ms 1\n", "a_ms has an abbreviated unit"),
            ("# HELP a_days A.\n# TYPE a_days gauge\na_days 1\n", "a_days has the unit days, use seconds"),
            ("# HELP a_gauge A.\n# TYPE a_gauge gauge\na_gauge 1\n", "a_gauge repeats a type"),
            ("# HELP a A.\n# TYPE a gauge\na 1\n# EOF\n", "\"# EOF\" is no comment of the format"),
        ] {
            assert_eq!(faults(page), [fault]);
        }
    }
}
