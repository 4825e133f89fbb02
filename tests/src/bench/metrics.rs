//! What a collector counts of itself, over a time.

use std::collections::BTreeMap;

use crate::harness::ApiClient;

/// Its counters now: those without labels, by name.
pub async fn counters(viewer: &ApiClient) -> BTreeMap<String, f64> {
    read(&String::from_utf8_lossy(&viewer.get("/metrics").await.body))
}

/// The growth of each value.
pub fn growth(before: &BTreeMap<String, f64>, mut after: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    for (name, value) in &mut after {
        *value -= before.get(name).copied().unwrap_or_default();
    }
    after.retain(|_, value| *value != 0.0);
    after
}

fn read(page: &str) -> BTreeMap<String, f64> {
    let counter = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        let counts = ["_total", "_sum", "_count"].iter().any(|end| name.ends_with(end));
        Some((name.to_owned(), value.parse().ok().filter(|_| counts)?))
    };
    page.lines().filter_map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unchanged_counters_are_omitted() {
        let before = read("# HELP a_total A.\na_total 3\nb_seconds_sum 0.5\nc 7\n");
        let after = read("a_total 3\nb_seconds_sum 2.0\nb_seconds_bucket{le=\"1\"} 9\nc 8\nd_total 1\n");
        let expected = [("b_seconds_sum", 1.5), ("d_total", 1.0)].map(|(name, value)| (name.to_owned(), value));
        assert_eq!(growth(&before, after), expected.into());
    }
}
