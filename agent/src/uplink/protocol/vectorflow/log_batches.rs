//! The bodies of `/api/agent/logs`, made of the lines of reports: their order, their size, and how they are split
//! when the server refuses one. Pure.

use serde::Serialize;
use systole_shared::vectorflow::{LogBatch, MAX_LINES_PER_BATCH};
use systole_shared::{Report, Text};

use super::log_cursor::LinePlace;
use crate::spool::Queued;

/// Bytes of text in one request: an eighth of what the server takes, so that JSON's escapes have room.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// Lines of one pipeline, at most [`MAX_LINES_PER_BATCH`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) pipeline: String,
    pub(super) lines: Vec<String>,
}

/// Batches that go out in one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group(pub(super) Vec<Batch>);

/// A request: its lines, and where they end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogRequest {
    pub(super) group: Group,
    /// The lines before this place are in it, or were before it.
    pub(super) end: LinePlace,
    /// Lines that were left out.
    pub(super) muted_lines: u64,
}

/// The next lines of the reports, oldest first. `lines_before` says how many of a report's the server has;
/// `is_muted` leaves a pipeline's out. None when there are no more.
pub(super) fn next_request(
    reports: &[Queued],
    lines_before: impl Fn(&Queued) -> usize,
    is_muted: impl Fn(&str) -> bool,
) -> Option<LogRequest> {
    let mut group = Group::default();
    let (mut bytes, mut muted_lines, mut end) = (0, 0, None);
    'reports: for queued in reports {
        let known = lines_before(queued);
        // A report without lines need not be parsed for them.
        if known == usize::MAX || queued.log_lines == 0 {
            continue;
        }
        // The spool has checked that it is one.
        let Ok(report) = serde_json::from_slice::<Report<'_>>(&queued.body) else { continue };
        let lines = report
            .pipelines
            .iter()
            .flat_map(|pipeline| pipeline.logs.iter().map(|line| (pipeline.id.as_str(), line.line.as_str())));
        for (index, (pipeline, line)) in lines.enumerate().skip(known) {
            if bytes > 0 && bytes + line.len() > MAX_REQUEST_BYTES {
                break 'reports;
            }
            end = Some(LinePlace { boot: queued.boot, seq: queued.seq, lines: index + 1 });
            if is_muted(pipeline) {
                muted_lines += 1;
            } else {
                bytes += line.len();
                group.push(pipeline, line);
            }
        }
    }
    Some(LogRequest { group, end: end?, muted_lines })
}

impl Group {
    /// Adds a line behind the others of its pipeline.
    fn push(&mut self, pipeline: &str, line: &str) {
        let open = self.0.iter_mut().rev().find(|batch| batch.pipeline == pipeline);
        match open.filter(|batch| batch.lines.len() < MAX_LINES_PER_BATCH) {
            Some(batch) => batch.lines.push(line.to_owned()),
            None => self.0.push(Batch { pipeline: pipeline.to_owned(), lines: vec![line.to_owned()] }),
        }
    }

    /// How many lines it has.
    pub(super) fn lines(&self) -> u64 {
        self.0.iter().map(|batch| batch.lines.len() as u64).sum()
    }

    /// The two halves of a group that was refused: of its batches, or of the lines of its only one. None when it is a
    /// single line. A pipeline's batches stay in order.
    pub(super) fn halves(mut self) -> Option<(Group, Group)> {
        if self.0.len() > 1 {
            let second = self.0.split_off(self.0.len() / 2);
            return Some((self, Group(second)));
        }
        let batch = self.0.pop()?;
        let Batch { pipeline, mut lines } = batch;
        if lines.len() < 2 {
            return None;
        }
        let second = lines.split_off(lines.len() / 2);
        let half = |lines| Group(vec![Batch { pipeline: pipeline.clone(), lines }]);
        Some((half(lines), half(second)))
    }

    /// As it is sent.
    pub(super) fn body(&self) -> impl Serialize + '_ {
        self.0.iter().map(Batch::as_sent).collect::<Vec<_>>()
    }
}

impl Batch {
    fn as_sent(&self) -> LogBatch<'_> {
        let lines = self.lines.iter().map(|line| Text(line.as_str().into())).collect();
        LogBatch { pipeline_id: Text(self.pipeline.as_str().into()), lines }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use systole_shared::BootId;
    use uuid::Uuid;

    use super::*;

    fn queued(seq: u64, lines: &[(&str, Vec<String>)]) -> Queued {
        let pipelines: Vec<_> = lines
            .iter()
            .map(|(id, lines)| {
                let logs: Vec<_> =
                    lines.iter().map(|line| json!({"at": 1, "stream": "stdout", "line": line})).collect();
                json!({"id": id, "status": "RUNNING", "logs": logs})
            })
            .collect();
        let body = json!({"seq": seq, "start": 1, "end": 2, "pipelines": pipelines}).to_string();
        let log_lines = lines.iter().map(|(_, lines)| lines.len() as u64).sum();
        Queued { boot: BootId(Uuid::nil()), seq, body: Arc::from(body.into_bytes()), log_lines }
    }

    fn numbered(from: usize, to: usize) -> Vec<String> {
        (from..to).map(|number| format!("line {number}")).collect()
    }

    #[test]
    fn lines_keep_their_order_in_batches_of_500() {
        let reports = [
            queued(1, &[("a", numbered(0, 499)), ("b", numbered(0, 2))]),
            queued(2, &[("a", numbered(499, 1_100)), ("c", vec![])]),
        ];
        let request = next_request(&reports, |_| 0, |_| false).unwrap();
        let sizes: Vec<_> = request.group.0.iter().map(|batch| (batch.pipeline.as_str(), batch.lines.len())).collect();
        assert_eq!(sizes, [("a", 500), ("b", 2), ("a", 500), ("a", 100)]);
        let lines = request.group.0.iter().filter(|batch| batch.pipeline == "a").flat_map(|batch| batch.lines.clone());
        assert_eq!(lines.collect::<Vec<_>>(), numbered(0, 1_100));
        assert_eq!((request.end.seq, request.end.lines), (2, 601));
        assert_eq!(next_request(&reports, |_| usize::MAX, |_| false), None);
    }

    #[test]
    fn request_is_bounded_and_the_next_one_goes_on_within_the_report() {
        let long = || "x".repeat(400_000);
        let reports = [queued(1, &[("a", vec![long(), long(), long(), "end".to_owned()])])];
        let first = next_request(&reports, |_| 0, |_| false).unwrap();
        assert_eq!((first.group.lines(), first.end.lines), (2, 2));
        let second = next_request(&reports, |_| first.end.lines, |_| false).unwrap();
        assert_eq!((second.group.lines(), second.end.lines), (2, 4));
        let huge = [queued(1, &[("a", vec!["x".repeat(3_000_000), "end".to_owned()])])];
        assert_eq!(next_request(&huge, |_| 0, |_| false).unwrap().group.lines(), 1, "never none");
    }

    #[test]
    fn lines_of_a_muted_pipeline_are_counted_and_left_out() {
        let reports = [queued(1, &[("a", numbered(0, 3)), ("b", numbered(0, 2))])];
        let request = next_request(&reports, |_| 0, |pipeline| pipeline == "a").unwrap();
        assert_eq!((request.group.lines(), request.muted_lines, request.end.lines), (2, 3, 5));
        let request = next_request(&reports, |_| 0, |_| true).unwrap();
        assert_eq!((request.group.lines(), request.muted_lines), (0, 5));
    }

    #[test]
    fn refused_group_is_halved_down_to_a_line() {
        let reports = [queued(1, &[("a", numbered(0, 3)), ("b", numbered(0, 1))])];
        let whole = next_request(&reports, |_| 0, |_| false).unwrap().group;
        let mut waiting = vec![whole];
        let mut single = Vec::new();
        while let Some(group) = waiting.pop() {
            match group.clone().halves() {
                Some((first, second)) => waiting.extend([second, first]),
                None => single.push((group.0[0].pipeline.clone(), group.0[0].lines[0].clone())),
            }
        }
        let line = |pipeline: &str, number| (pipeline.to_owned(), format!("line {number}"));
        assert_eq!(single, [line("a", 0), line("a", 1), line("a", 2), line("b", 0)]);
    }

    #[test]
    fn body_is_a_bare_array() {
        let group = Group(vec![Batch { pipeline: "p".to_owned(), lines: vec!["a\n".to_owned()] }]);
        let body = serde_json::to_value(group.body()).unwrap();
        assert_eq!(body, json!([{"pipelineId": "p", "lines": ["a\n"]}]));
    }
}
