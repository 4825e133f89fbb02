//! The log lines of simulated pipelines.

use systole_shared::{LogLevel, LogLine, LogStream, UnixMillis};

use super::scenario::{Course, PipelineSpec};

/// Lines of one report: what happened, and some of the ordinary course. `draw` is 0 to 1.
pub(super) fn of_report(
    spec: &PipelineSpec,
    at: UnixMillis,
    course: (Course, Course),
    is_buffer_full: bool,
    draw: f64,
) -> Vec<LogLine<'static>> {
    let sink = spec.components.last().map_or("sink", |component| component.id);
    let source = spec.components.first().map_or("source", |component| component.id);
    let mut lines = Vec::new();
    let mut add = |level, stream, line: String| {
        let at = at.saturating_add(i64::try_from(lines.len()).unwrap_or(0));
        lines.push(LogLine { at, stream, level: Some(level), line: line.into() });
    };
    let (out, err) = (LogStream::Stdout, LogStream::Stderr);
    match course {
        (Course::Runs, Course::Crashed) => {
            add(LogLevel::Warn, out, format!("sink {sink}: connection reset by peer, retrying in 1s"));
            add(LogLevel::Error, err, format!("sink {sink}: connection refused (os error 111)"));
            add(LogLevel::Error, err, format!("thread 'sink-{sink}' panicked: retries exhausted after 5 attempts"));
        }
        (Course::Crashed, Course::Starts | Course::Runs) => {
            add(LogLevel::Info, out, "starting with 1 configuration file".to_owned());
            add(LogLevel::Info, out, format!("sink {sink}: healthcheck passed"));
        }
        (_, Course::Runs) => {
            if is_buffer_full {
                add(LogLevel::Warn, out, format!("sink {sink}: buffer is almost full, upstream components wait"));
            }
            match (draw * 20.0) as u32 {
                0..4 => add(
                    LogLevel::Info,
                    out,
                    format!("source {source}: 1 connection opened, {} open", (draw * 97.0) as u32),
                ),
                4..6 => add(
                    LogLevel::Debug,
                    out,
                    format!(
                        "sink {sink}: batch of {} events sent in {} ms",
                        200 + (draw * 900.0) as u32,
                        3 + (draw * 30.0) as u32
                    ),
                ),
                6 => add(LogLevel::Warn, err, format!("source {source}: invalid UTF-8 in 1 event, replaced")),
                _ => {}
            }
        }
        _ => {}
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::scenario::NODES;
    use super::*;

    #[test]
    fn crash_explains_itself_and_ordinary_reports_are_mostly_quiet() {
        let spec = &NODES[0].pipelines[1];
        let crash = of_report(spec, 0, (Course::Runs, Course::Crashed), false, 0.99);
        assert!(crash.iter().any(|line| line.level == Some(LogLevel::Error)));
        let quiet = (0..100).filter(|step| {
            of_report(spec, 0, (Course::Runs, Course::Runs), false, f64::from(*step) / 100.0).is_empty()
        });
        assert!((50..80).contains(&quiet.count()));
    }
}
