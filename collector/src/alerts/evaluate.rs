//! What a rule says of one subject. Pure.

use systole_shared::{NodeStatus, PipelineStatus, UnixMillis};

use super::engine::{Verdict, ms};
use crate::config::alerts::builtin::LOST_REPORTS_FOR;
use crate::config::alerts::expression::{Expression, Metric};
use crate::config::alerts::rule::{CollectorFault, Condition};
use crate::model::watched::{WatchedNode, WatchedPipeline};
use crate::store::NodeMinuteRow;
use crate::timeseries::minute_windows::{MinuteWindows, SeriesMinutes, WindowSums};

/// The reason that `ingest` gives a node with two agents.
const DUPLICATE_IDENTITY: &str = "duplicate identity";

/// Part of the minutes before a gap that must have carried events: a collector that restarts misses one.
const CARRIED_PART: f64 = 0.9;

/// What is known of the collector itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CollectorFacts {
    pub is_disk_low: bool,
    pub refuses_reports: bool,
    pub is_wal_full: bool,
    pub certificate_ends_at: Option<UnixMillis>,
    /// Targets that fail, since when, and why.
    pub failing_targets: Vec<(String, UnixMillis, String)>,
}

/// How long before its end a certificate is reported.
const CERTIFICATE_ENDS_MS: i64 = 14 * 86_400_000;

/// Whether people work on a node.
pub(crate) fn is_in_maintenance(node: &WatchedNode, now: UnixMillis) -> bool {
    node.maintenance_until.is_some_and(|until| until > now)
}

/// What is new about a node in maintenance is not known; what is fixed meanwhile is.
fn unless_in_maintenance(verdict: Verdict, node: &WatchedNode, now: UnixMillis) -> Verdict {
    match verdict {
        Verdict::Holds { .. } if is_in_maintenance(node, now) => Verdict::Unknown,
        verdict => verdict,
    }
}

/// What a rule about states says of a node. `None`: it is of another kind. `started_at`: since when this process knows
/// what agents drop.
pub(crate) fn node(
    condition: &Condition,
    node: &WatchedNode,
    started_at: UnixMillis,
    now: UnixMillis,
) -> Option<Verdict> {
    let holds = |since, text: String| Verdict::Holds { since, value: None, text };
    let verdict = match condition {
        Condition::NodeStatus(statuses) => node_status(statuses, node),
        Condition::DuplicateIdentity => match node.reason == DUPLICATE_IDENTITY {
            true => holds(Some(node.since), "two agents report as this node".to_owned()),
            // A node that is silent has another reason.
            false if node.status.is_silent() => Verdict::Unknown,
            false => Verdict::Clear { since: None },
        },
        Condition::LostReports => match node.lost_reports_at {
            Some(at) if now.saturating_sub(at) < ms(LOST_REPORTS_FOR) => {
                holds(Some(at), "its agent dropped reports that were never sent".to_owned())
            }
            // Before that it is not known what an earlier process has seen.
            _ if now.saturating_sub(started_at) < ms(LOST_REPORTS_FOR) => Verdict::Unknown,
            _ => Verdict::Clear { since: None },
        },
        Condition::ClockSkew { skew } => match node.clock_skew_ms {
            Some(off) if off.saturating_abs() > ms(*skew) => Verdict::Holds {
                since: None,
                value: Some(off as f64 / 1_000.0),
                text: format!("its clock is {} s {}", off.abs() / 1_000, if off > 0 { "behind" } else { "ahead" }),
            },
            Some(_) if !node.status.is_silent() => Verdict::Clear { since: None },
            _ => Verdict::Unknown,
        },
        Condition::PipelineStatus(_)
        | Condition::Rate { .. }
        | Condition::Gap { .. }
        | Condition::Host { .. }
        | Condition::Collector(_) => return None,
    };
    Some(unless_in_maintenance(verdict, node, now))
}

fn node_status(statuses: &[NodeStatus], node: &WatchedNode) -> Verdict {
    if statuses.contains(&node.status) {
        let text = if node.reason.is_empty() { node.status.as_str().to_owned() } else { node.reason.clone() };
        return Verdict::Holds { since: Some(node.since), value: None, text };
    }
    match node.status {
        NodeStatus::Unknown | NodeStatus::Unrecognized => Verdict::Unknown,
        _ => Verdict::Clear { since: Some(node.since) },
    }
}

/// What a rule about states says of a pipeline on a node. `None`: it is of another kind.
pub(crate) fn pipeline(
    condition: &Condition,
    node: &WatchedNode,
    pipeline: &WatchedPipeline,
    now: UnixMillis,
) -> Option<Verdict> {
    let Condition::PipelineStatus(statuses) = condition else { return None };
    let verdict = if statuses.contains(&pipeline.status) {
        let status = pipeline.status.as_str();
        let text = match pipeline.reason.as_str() {
            "" => status.to_owned(),
            reason => format!("{status}: {reason}"),
        };
        Verdict::Holds { since: Some(pipeline.since), value: None, text }
    } else if pipeline.status == PipelineStatus::Unknown {
        Verdict::Unknown
    } else {
        Verdict::Clear { since: Some(pipeline.since) }
    };
    Some(unless_in_maintenance(verdict, node, now))
}

/// What a rule over minutes says of a pipeline on a node at the end of a minute. `None`: it is of another kind.
/// `is_active`: whether the alert exists already.
pub(crate) fn minutes(
    condition: &Condition,
    node: &WatchedNode,
    minutes: Option<&SeriesMinutes>,
    minute: i64,
    is_active: bool,
) -> Option<Verdict> {
    let end = end_of(minute);
    let verdict = match condition {
        Condition::Rate { expression, over } => {
            let over_minutes = whole_minutes(over.as_secs());
            match minutes.and_then(|minutes| minutes.window(minute, over_minutes)) {
                Some(window) => judged(expression, over.as_secs(), end, &|metric| pipeline_metric(metric, &window)),
                None => Verdict::Unknown,
            }
        }
        Condition::Gap { after } => gap(minutes, minute, whole_minutes(after.as_secs()), is_active),
        _ => return None,
    };
    Some(unless_in_maintenance(verdict, node, end))
}

/// The same for the host of a node.
pub(crate) fn host(condition: &Condition, node: &WatchedNode, windows: &MinuteWindows, minute: i64) -> Option<Verdict> {
    let Condition::Host { expression, over } = condition else { return None };
    let end = end_of(minute);
    let verdict = match windows.host(node.key.0, minute, whole_minutes(over.as_secs())) {
        Some((first, last)) => judged(expression, over.as_secs(), end, &|metric| host_metric(metric, first, last)),
        None => Verdict::Unknown,
    };
    Some(unless_in_maintenance(verdict, node, end))
}

/// What a rule says of the collector: of each of its parts that has a fault, and what to say of parts that have none.
pub(crate) fn collector(
    fault: CollectorFault,
    facts: &CollectorFacts,
    now: UnixMillis,
) -> (Vec<(String, Verdict)>, Verdict) {
    let holds = |since, text: &str| Verdict::Holds { since, value: None, text: text.to_owned() };
    let whole = |is_so: bool, text: &str| {
        let found = is_so.then(|| (String::new(), holds(None, text)));
        (found.into_iter().collect(), Verdict::Clear { since: None })
    };
    match fault {
        CollectorFault::DiskLow => whole(facts.is_disk_low, "the disk of the database has little room"),
        CollectorFault::ReportsRefused => whole(facts.refuses_reports, "reports of agents are refused"),
        CollectorFault::WalFull => whole(facts.is_wal_full, "reports wait until the write-ahead log is flushed"),
        CollectorFault::CertificateEnds => {
            let left = facts.certificate_ends_at.map(|end| end.saturating_sub(now));
            let ends_soon = left.is_some_and(|left| left < CERTIFICATE_ENDS_MS);
            let days = left.unwrap_or(0).max(0) / 86_400_000;
            whole(ends_soon, &format!("the certificate ends in {days} days"))
        }
        CollectorFault::TargetFails => {
            let failing = facts.failing_targets.iter();
            let failing = failing.map(|(name, since, why)| (name.clone(), holds(Some(*since), why)));
            (failing.collect(), Verdict::Clear { since: None })
        }
    }
}

/// The time at which a minute ends.
pub(crate) fn end_of(minute: i64) -> UnixMillis {
    minute.saturating_add(1).saturating_mul(60_000)
}

fn whole_minutes(seconds: u64) -> i64 {
    i64::try_from(seconds / 60).unwrap_or(1).max(1)
}

fn judged(
    expression: &Expression,
    over_seconds: u64,
    end: UnixMillis,
    metric: &dyn Fn(Metric) -> Option<f64>,
) -> Verdict {
    match expression.evaluate(metric) {
        None => Verdict::Unknown,
        Some(found) if found.holds => Verdict::Holds {
            since: Some(end),
            value: Some(found.value),
            text: format!("{expression} over {} min: {}", over_seconds / 60, number(found.value)),
        },
        Some(_) => Verdict::Clear { since: Some(end) },
    }
}

/// A number with as many digits as people read.
fn number(value: f64) -> String {
    let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn gap(minutes: Option<&SeriesMinutes>, minute: i64, after: i64, is_active: bool) -> Verdict {
    let Some(minutes) = minutes.filter(|minutes| minutes.is_sampled(minute)) else { return Verdict::Unknown };
    let end = end_of(minute);
    let Some(last) = minutes.last_carried(minute) else {
        // It carried none for as long as is known: a gap that has begun continues.
        return if is_active { quiet(end, end) } else { Verdict::Clear { since: Some(end) } };
    };
    if last == minute {
        return Verdict::Clear { since: Some(end) };
    }
    let carried = (last - after + 1..=last).filter(|minute| minutes.has_carried(*minute)).count();
    if is_active || carried as f64 >= after as f64 * CARRIED_PART {
        return quiet(end_of(last), end);
    }
    Verdict::Clear { since: Some(end) }
}

fn quiet(since: UnixMillis, now: UnixMillis) -> Verdict {
    let silent_minutes = now.saturating_sub(since) / 60_000;
    Verdict::Holds {
        since: Some(since),
        value: Some(silent_minutes as f64),
        text: "no events, although it carried events before".to_owned(),
    }
}

fn pipeline_metric(metric: Metric, window: &WindowSums) -> Option<f64> {
    let mean = |(sum, weight): (f64, f64)| (weight > 0.0).then(|| sum / weight);
    Some(match metric {
        Metric::EventsIn => window.events_in as f64,
        Metric::EventsOut => window.events_out as f64,
        Metric::Errors => window.errors as f64,
        Metric::Discarded => window.discarded as f64,
        Metric::BytesIn => window.bytes_in as f64,
        Metric::BytesOut => window.bytes_out as f64,
        Metric::LogsDropped => window.logs_dropped as f64,
        Metric::Resets => window.resets as f64,
        Metric::Gaps => window.gaps as f64,
        Metric::Samples => window.samples as f64,
        Metric::Utilization => mean(window.utilization)?,
        Metric::LatencyMs => mean(window.latency)? / 1_000.0,
        Metric::BufferFill => f64::from(window.buffer_fill?),
        Metric::Cpu | Metric::Memory | Metric::Disk | Metric::Load1 | Metric::Load5 | Metric::Load15 => return None,
    })
}

fn host_metric(metric: Metric, first: &NodeMinuteRow, last: &NodeMinuteRow) -> Option<f64> {
    let part = |used: Option<i64>, total: Option<i64>| Some(used? as f64 / total.filter(|total| *total > 0)? as f64);
    match metric {
        Metric::Cpu => {
            let grown = |of: fn(&NodeMinuteRow) -> Option<f64>| Some(of(last)? - of(first)?);
            let total = grown(|row| row.cpu_seconds_total).filter(|total| *total > 0.0)?;
            Some((1.0 - grown(|row| row.cpu_seconds_idle)? / total).clamp(0.0, 1.0))
        }
        Metric::Memory => part(last.memory_used_bytes, last.memory_total_bytes),
        Metric::Disk => part(last.fs_used_bytes, last.fs_total_bytes),
        Metric::Load1 => last.load_avg_1,
        Metric::Load5 => last.load_avg_5,
        Metric::Load15 => last.load_avg_15,
        _ => None,
    }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
