//! Formats events as lines: time, kind, subject, and details.
//!
//! Escape sequences in texts of others are removed; other control characters are shown as U+FFFD.
//! `--json` changes nothing.

use std::fmt::Write;
use std::io::IsTerminal;

use anstyle::Style;
use chrono::{DateTime, Local};
use systole_shared::events::{Event, FleetTotals};
use systole_shared::{LogLevel, NodeId, PipelineId, RateSample, UnixMillis};

use super::super::remote::color::{self, DIM, PLAIN};
use super::super::text::numbers::{bytes_rate, short};
use super::super::text::{clean, shortened};
use super::names::Names;

/// Columns of a terminal below which lines are shorter.
const NARROW_BELOW: u16 = 120;

/// Characters of a node and a pipeline in a narrow terminal.
const SUBJECT_WIDTH: usize = 26;

/// Formats lines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    pub in_colour: bool,
    /// So that an ordinary line fits 80 columns: without milliseconds, bytes and the middle of long names.
    pub is_narrow: bool,
}

/// The node and the pipeline of an event; `None` when it is about all nodes.
pub(super) fn subject(event: &Event) -> Option<(NodeId, Option<&PipelineId>)> {
    Some(match event {
        Event::FleetTotals(_) => return None,
        Event::Alert(alert) => (alert.node_id?, alert.pipeline_id.as_ref()),
        Event::FleetStatus(status) => (status.node_id, None),
        Event::MetricUpdate(update) => (update.node_id, Some(&update.pipeline_id)),
        Event::StatusChange(change) => (change.node_id, change.pipeline_id.as_ref()),
        Event::LogEntry(entry) => (entry.node_id, Some(&entry.pipeline_id)),
        Event::Deployment(deployment) => (deployment.node_id, Some(&deployment.pipeline_id)),
    })
}

/// The event without log lines below a level, and those that name none; nothing when none is left.
pub(super) fn filtered(mut event: Event, min_level: Option<LogLevel>) -> Option<Event> {
    if let (Event::LogEntry(entry), Some(min)) = (&mut event, min_level) {
        entry.entries.retain(|line| line.level.is_some_and(|level| level >= min));
        if entry.entries.is_empty() {
            return None;
        }
    }
    Some(event)
}

impl Lines {
    /// For the terminal as wide as it is now. Files and pipes have no width.
    pub(super) fn in_terminal(self) -> Self {
        let columns = std::io::stdout().is_terminal().then(crossterm::terminal::size).and_then(Result::ok);
        Lines { is_narrow: columns.is_some_and(|(columns, _)| columns > 0 && columns < NARROW_BELOW), ..self }
    }

    /// The event's lines, each with its end.
    pub(super) fn of(self, event: &Event, names: &Names, now: UnixMillis) -> String {
        let subject =
            subject(event).map_or("fleet".to_owned(), |(node, pipeline)| clean(&names.subject(node, pipeline)));
        let subject = if self.is_narrow { shortened(&subject, SUBJECT_WIDTH) } else { subject };
        let mut text = String::new();
        match event {
            Event::FleetTotals(totals) => {
                self.write(&mut text, totals.timestamp, now, (DIM, "TOTALS"), &subject, &self.totals(totals));
            }
            Event::FleetStatus(status) => {
                let state = status.status.as_str();
                let rest = format!(
                    "{}, {} running",
                    self.paint(color::of_status(state), state),
                    count(status.pipelines_running)
                );
                self.write(&mut text, status.timestamp, now, (DIM, "NODE"), &subject, &rest);
            }
            Event::StatusChange(change) => {
                let [from, to] = [&change.from_status, &change.to_status]
                    .map(|status| self.paint(color::of_status(status), &clean(status)));
                let reason =
                    if change.reason.is_empty() { String::new() } else { format!(" ({})", clean(&change.reason)) };
                let label = (color::of_status(&change.to_status), "STATUS");
                self.write(&mut text, change.timestamp, now, label, &subject, &format!("{from} → {to}{reason}"));
            }
            Event::MetricUpdate(update) => {
                self.write(&mut text, update.timestamp, now, (DIM, "RATES"), &subject, &self.rates(&update.sample));
            }
            Event::Deployment(deployment) => {
                let reason = match deployment.reason.as_str() {
                    "" => String::new(),
                    reason => format!(" ({})", clean(reason)),
                };
                let rest = format!("version {} {}{reason}", deployment.version, deployment.phase.as_str());
                let style = color::of_phase(deployment.phase);
                self.write(&mut text, deployment.timestamp, now, (style, "DEPLOY"), &subject, &rest);
            }
            Event::Alert(alert) => {
                // It has the names that its subject had.
                let subject = clean(&alert.subject);
                let (style, state) = (color::of_alert(alert.state, alert.severity), alert.state.as_str());
                let rest = format!("{} {} ({})", clean(&alert.rule), self.paint(style, state), clean(&alert.text));
                self.write(&mut text, alert.timestamp, now, (style, "ALERT"), &subject, &rest);
            }
            Event::LogEntry(entry) => {
                for line in &entry.entries {
                    let label = (color::of_level(line.level), line.level.map_or("LOG", LogLevel::as_str));
                    self.write(&mut text, line.at, now, label, &subject, &clean(&line.line));
                }
            }
        }
        text
    }

    fn totals(self, totals: &FleetTotals) -> String {
        let states = |states: &mut dyn Iterator<Item = (&'static str, u64)>| {
            let states = states.map(|(state, count)| format!("{count} {}", self.paint(color::of_status(state), state)));
            states.collect::<Vec<_>>().join(", ")
        };
        format!(
            "nodes: {}; pipelines: {}; in {}/s, out {}/s, errors {}/s, discarded {}/s",
            states(&mut totals.nodes.iter().map(|(status, count)| (status.as_str(), *count))),
            states(&mut totals.pipelines.iter().map(|(status, count)| (status.as_str(), *count))),
            short(totals.events_in_rate),
            short(totals.events_out_rate),
            short(totals.errors_rate),
            short(totals.discarded_rate),
        )
    }

    fn write(
        self,
        text: &mut String,
        at: UnixMillis,
        now: UnixMillis,
        label: (Style, &str),
        subject: &str,
        rest: &str,
    ) {
        let time = self.paint(DIM, &local(at, now, self.is_narrow));
        let label = self.paint(label.0, &format!("{:6}", label.1));
        let _ = writeln!(text, "{time} {label} {subject}: {rest}");
    }

    fn rates(self, sample: &RateSample) -> String {
        let [received, sent] = [
            (sample.received_events_rate, sample.received_bytes_rate),
            (sample.sent_events_rate, sample.sent_bytes_rate),
        ]
        .map(|(events, bytes)| match self.is_narrow {
            true => format!("{}/s", short(events)),
            false => format!("{}/s ({})", short(events), bytes_rate(bytes)),
        });
        let (errors, discarded) = (short(sample.errors_rate), short(sample.discarded_rate));
        let mut text = match self.is_narrow {
            true => format!("in {received} out {sent} err {errors}/s disc {discarded}/s"),
            false => format!("in {received}, out {sent}, errors {errors}/s, discarded {discarded}/s"),
        };
        if let Some(latency) = sample.latency_mean_ms.filter(|_| !self.is_narrow) {
            let _ = write!(text, ", latency {} ms", short(latency));
        }
        text
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.in_colour && style != PLAIN { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

fn count(pipelines: u32) -> String {
    if pipelines == 1 { "1 pipeline".to_owned() } else { format!("{pipelines} pipelines") }
}

/// The time of day where the reader is, and the day unless it is today.
fn local(at: UnixMillis, now: UnixMillis, is_narrow: bool) -> String {
    let time = |at| DateTime::from_timestamp_millis(at).map(|time| time.with_timezone(&Local));
    let (Some(at), Some(now)) = (time(at), time(now)) else { return format!("{at} ms") };
    let form = match (at.date_naive() == now.date_naive(), is_narrow) {
        (true, false) => "%H:%M:%S%.3f",
        (true, true) => "%H:%M:%S",
        (false, false) => "%Y-%m-%d %H:%M:%S%.3f",
        (false, true) => "%m-%d %H:%M:%S",
    };
    at.format(form).to_string()
}

/// The time of day, for the messages on standard error.
pub(super) fn time_of_day(now: UnixMillis) -> String {
    local(now, now, false)
}

#[cfg(test)]
mod tests {
    use systole_shared::events::{FleetStatus, LogEntry, LogEntryLine, StatusChange};
    use systole_shared::{LogStream, NodeStatus};

    use super::*;

    const NODE: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn change(to: &str, reason: &str) -> Event {
        Event::StatusChange(StatusChange {
            node_name: None,
            node_id: NODE.parse().unwrap(),
            pipeline_id: Some(PipelineId::parse("orders").unwrap()),
            pipeline_name: None,
            from_status: "RUNNING".into(),
            to_status: to.into(),
            reason: reason.into(),
            timestamp: 1_000,
        })
    }

    fn lines(in_colour: bool, event: &Event) -> String {
        Lines { in_colour, is_narrow: false }.of(event, &Names::default(), 2_000)
    }

    fn log(levels: &[Option<LogLevel>]) -> Event {
        let line = |level: &Option<LogLevel>| LogEntryLine {
            at: 0,
            stream: LogStream::Stdout,
            level: *level,
            line: "x".into(),
        };
        let entries = levels.iter().map(line).collect();
        Event::LogEntry(LogEntry {
            node_id: NODE.parse().unwrap(),
            pipeline_id: PipelineId::parse("orders").unwrap(),
            entries,
        })
    }

    #[test]
    fn colours_follow_severity_and_the_option() {
        let plain = lines(false, &change("CRASHED", "exit 1"));
        assert!(plain.ends_with(&format!(" STATUS {NODE}/orders: RUNNING → CRASHED (exit 1)\n")), "{plain}");
        assert!(!plain.contains('\u{1b}'));
        let painted = lines(true, &change("CRASHED", ""));
        assert!(painted.contains("\u{1b}[32mRUNNING\u{1b}[0m → \u{1b}[1m\u{1b}[31mCRASHED\u{1b}[0m\n"), "{painted:?}");
        let fleet = FleetStatus {
            node_id: NODE.parse().unwrap(),
            status: NodeStatus::Degraded,
            timestamp: 0,
            pipelines_running: 1,
        };
        assert!(lines(true, &Event::FleetStatus(fleet)).contains("\u{1b}[33mDEGRADED\u{1b}[0m, 1 pipeline running"));
    }

    #[test]
    fn foreign_text_cannot_control_the_terminal() {
        let status = lines(false, &change("\u{1b}[2JX", "\n\u{1b}c"));
        assert_eq!(status.matches('\n').count(), 1, "{status:?}");
        assert!(!status.contains('\u{1b}'));
    }

    #[test]
    fn level_filter_keeps_higher_levels_only() {
        let levels = [Some(LogLevel::Info), Some(LogLevel::Warn), None, Some(LogLevel::Error)];
        let Some(Event::LogEntry(left)) = filtered(log(&levels), Some(LogLevel::Warn)) else { panic!() };
        assert_eq!(left.entries.iter().map(|line| line.level).collect::<Vec<_>>(), [levels[1], levels[3]]);
        assert_eq!(filtered(log(&levels[..1]), Some(LogLevel::Warn)), None);
        assert_eq!(filtered(log(&levels), None), Some(log(&levels)));
        assert!(filtered(change("CRASHED", ""), Some(LogLevel::Error)).is_some());
    }

    #[test]
    fn date_is_printed_unless_it_is_today() {
        let day = 86_400_000;
        assert_eq!(local(10 * day, 10 * day, false).len(), "12:34:56.789".len());
        assert_eq!(local(10 * day, 12 * day, false).len(), "2026-11-21 12:34:56.789".len());
    }

    #[test]
    fn ordinary_line_fits_80_columns_of_a_terminal() {
        let narrow = Lines { in_colour: false, is_narrow: true };
        let text = narrow.of(&change("CRASH_LOOP", "exit code 78"), &Names::default(), 2_000);
        assert!(text.contains(" STATUS 01890a5d-ac96…a8057/orders: RUNNING → CRASH_LOOP"), "{text}");
        assert!(text.trim_end().chars().count() <= 80, "{text}");
        let sample = RateSample {
            timestamp: 0,
            received_events_rate: 12_345.0,
            sent_events_rate: 12_345.0,
            received_bytes_rate: 1e9,
            sent_bytes_rate: 1e9,
            error_count: 0.0,
            errors_rate: 0.1234,
            discarded_rate: 123.4,
            latency_mean_ms: Some(1.0),
        };
        let rates = narrow.rates(&sample);
        assert_eq!(rates, "in 12.3k/s out 12.3k/s err 0.12/s disc 123/s");
        assert!("12:34:56 RATES  edge-oslo-1/orders: ".len() + rates.len() <= 80);
    }
}
