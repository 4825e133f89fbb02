//! Prometheus's own text format, out of the OpenMetrics text that the metrics library writes.
//!
//! The formats differ in the comments only: OpenMetrics names a counter there without `_total`. Programs that read the
//! older format, such as `promtool check metrics`, then miss its help and its type. Prometheus reads both.

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same page in Prometheus's format.
pub(super) fn of_openmetrics(page: &str) -> String {
    let is_counter = |name: &str| page.contains(&format!("# TYPE {name} counter\n"));
    let mut text = String::with_capacity(page.len());
    for line in page.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(kind @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                let ending = if is_counter(name) { "_total" } else { "" };
                text.extend(["# ", kind, " ", name, ending, " ", rest, "\n"]);
            }
            // `# UNIT` and `# EOF`, which the format does not have.
            (Some("#"), ..) => {}
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_their_whole_name_in_comments() {
        let page = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\na_seconds_sum 0.0\n\
            # HELP b Count of b.\n# TYPE b counter\nb_total{x=\"# TYPE\"} 1\n# EOF\n";
        let expected = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\na_seconds_sum 0.0\n\
            # HELP b_total Count of b.\n# TYPE b_total counter\nb_total{x=\"# TYPE\"} 1\n";
        assert_eq!(of_openmetrics(page), expected);
    }

    #[test]
    fn metrics_follow_the_conventions_of_prometheus() {
        let page = crate::telemetry::Telemetry::new().encode().unwrap();
        assert_eq!(systole_tests::metrics_lint::faults(&page), [""; 0]);
    }
}
