//! The rules that are on without configuration.

use std::time::Duration;

use systole_shared::{AlertSeverity, NodeStatus, PipelineStatus};

use super::expression::{Expression, MetricOf};
use super::rule::{CollectorFault, Condition, Rule};

const MINUTE: Duration = Duration::from_secs(60);

/// What is wrong is fixed when an agent did not drop a report for this long.
pub(crate) const LOST_REPORTS_FOR: Duration = Duration::from_secs(600);

/// All of them.
pub(super) fn rules() -> Vec<Rule> {
    use AlertSeverity::{Critical, Warning};
    let collector =
        |name, severity, hold, fault, summary| rule(name, severity, hold, MINUTE, Condition::Collector(fault), summary);
    vec![
        rule(
            "node-unreachable",
            Critical,
            MINUTE,
            MINUTE / 2,
            Condition::NodeStatus(vec![NodeStatus::Unreachable]),
            "UNREACHABLE",
        ),
        rule(
            "pipeline-crash-loop",
            Critical,
            Duration::ZERO,
            MINUTE / 2,
            Condition::PipelineStatus(vec![PipelineStatus::CrashLoop]),
            "in CRASH_LOOP",
        ),
        rule(
            "pipeline-unhealthy",
            Warning,
            MINUTE * 2,
            MINUTE,
            Condition::PipelineStatus(vec![PipelineStatus::Crashed, PipelineStatus::Degraded]),
            "CRASHED or DEGRADED",
        ),
        rate("errors", Warning, Duration::ZERO, 5, "errors / events_in > 0.01", "with errors above 1 % of events"),
        rule(
            "no-events",
            Warning,
            MINUTE * 10,
            Duration::ZERO,
            Condition::Gap { after: MINUTE * 60 },
            "without events, after an hour with events",
        ),
        rate("buffer-full", Warning, MINUTE * 5, 1, "buffer_fill > 0.9", "with a buffer above 90 %"),
        rate("events-discarded", Warning, MINUTE * 5, 1, "discarded > 0", "that discard events"),
        rule(
            "reports-lost",
            Warning,
            Duration::ZERO,
            Duration::ZERO,
            Condition::LostReports,
            "whose agent dropped reports",
        ),
        rate("log-lines-lost", Warning, Duration::ZERO, 5, "logs_dropped > 0", "whose log lines were dropped"),
        rule(
            "duplicate-identity",
            Critical,
            Duration::ZERO,
            MINUTE,
            Condition::DuplicateIdentity,
            "with two agents of one identity",
        ),
        rule(
            "clock-skew",
            Warning,
            MINUTE,
            MINUTE,
            Condition::ClockSkew { skew: MINUTE / 2 },
            "whose clock is off by more than 30 s",
        ),
        collector("collector-disk-low", Critical, Duration::ZERO, CollectorFault::DiskLow, "the disk is low"),
        collector("collector-reports-refused", Critical, MINUTE, CollectorFault::ReportsRefused, "reports are refused"),
        collector(
            "collector-wal-full",
            Critical,
            Duration::ZERO,
            CollectorFault::WalFull,
            "the write-ahead log is full",
        ),
        collector(
            "collector-certificate",
            Warning,
            Duration::ZERO,
            CollectorFault::CertificateEnds,
            "the certificate ends within 14 days",
        ),
        collector(
            "target-failing",
            Warning,
            MINUTE * 10,
            CollectorFault::TargetFails,
            "a target of notifications fails",
        ),
    ]
}

fn rate(name: &str, severity: AlertSeverity, hold: Duration, minutes: u32, expression: &str, summary: &str) -> Rule {
    let expression = Expression::parse(expression, MetricOf::Pipeline).expect("a built-in expression is valid");
    let condition = Condition::Rate { expression, over: MINUTE * minutes };
    rule(name, severity, hold, MINUTE * 2, condition, summary)
}

fn rule(
    name: &str,
    severity: AlertSeverity,
    hold: Duration,
    clear: Duration,
    condition: Condition,
    summary: &str,
) -> Rule {
    Rule {
        name: name.to_owned(),
        is_builtin: true,
        condition,
        matchers: Vec::new(),
        hold,
        clear,
        severity,
        notify: Vec::new(),
        summary: summary.to_owned(),
    }
}
