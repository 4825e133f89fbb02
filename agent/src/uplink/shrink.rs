//! A report that is too large alone is made smaller by leaving out lines: counts and states matter more,
//! and reports after it must not wait for ever.

use systole_shared::Report;

/// The report with half of its lines left out so many times, the oldest ones first, and how many are
/// missing. They count as dropped by the report itself. `None` when there is nothing more to leave out.
pub(super) fn without_lines(body: &[u8], halvings: u32) -> Option<(Vec<u8>, u64)> {
    let mut report: Report<'_> = serde_json::from_slice(body).ok()?;
    let most = report.pipelines.iter().map(|pipeline| pipeline.logs.len()).max().unwrap_or(0);
    if kept(most, halvings.saturating_sub(1)) == 0 {
        return None;
    }
    let mut left_out = 0;
    for pipeline in &mut report.pipelines {
        let dropped = pipeline.logs.len() - kept(pipeline.logs.len(), halvings);
        pipeline.logs.drain(..dropped);
        pipeline.logs_dropped = pipeline.logs_dropped.saturating_add(dropped as u64);
        left_out += dropped as u64;
    }
    Some((serde_json::to_vec(&report).ok()?, left_out))
}

fn kept(lines: usize, halvings: u32) -> usize {
    lines.checked_shr(halvings).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_lines_are_left_out_and_counted_until_none_is_left() {
        let line = |text: &str| format!(r#"{{"at":1,"stream":"stdout","line":"{text}"}}"#);
        let body = format!(
            r#"{{"seq":7,"start":1,"end":2,"pipelines":[{{"id":"a","status":"RUNNING","logs":[{},{},{}],"logsDropped":2}}]}}"#,
            line("one"),
            line("two"),
            line("three"),
        );
        let (smaller, left_out) = without_lines(body.as_bytes(), 1).unwrap();
        let report: Report<'_> = serde_json::from_slice(&smaller).unwrap();
        assert_eq!((report.seq, report.pipelines[0].logs[0].line.as_str()), (7, "three"));
        assert_eq!((report.pipelines[0].logs.len(), report.pipelines[0].logs_dropped, left_out), (1, 4, 2));
        assert_eq!(without_lines(body.as_bytes(), 2).unwrap().1, 3);
        assert_eq!(without_lines(body.as_bytes(), 3), None);
    }
}
