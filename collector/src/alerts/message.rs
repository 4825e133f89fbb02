//! A message about alerts, before it has the form of a target.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use systole_shared::{AlertSeverity, AlertState, UnixMillis};

use super::engine::Alert;
use super::group::MessageKind;
use super::subject::Subject;

/// Subjects that are listed one by one; of more there is a sum.
const LISTED: usize = 10;

/// Names in a sum.
const NAMED: usize = 5;

/// Alerts that a message has whole.
const WHOLE: usize = 100;

/// A message. It is stored until it is delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Unique: a receiver that gets it twice can drop one.
    pub key: String,
    /// The same for all messages of a group while it has alerts.
    pub group: String,
    pub kind: MessageKind,
    /// `None`: the collector itself.
    pub environment: Option<String>,
    pub severity: AlertSeverity,
    pub title: String,
    pub lines: Vec<String>,
    pub url: Option<String>,
    pub created_at: UnixMillis,
    /// Some of the alerts, those that fire first.
    pub alerts: Vec<MessageAlert>,
    pub firing: usize,
    pub ended: usize,
}

/// An alert of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MessageAlert {
    /// The same for all messages about the alert.
    pub fingerprint: String,
    pub rule: String,
    pub severity: AlertSeverity,
    pub state: AlertState,
    pub subject: String,
    pub environment: Option<String>,
    pub node: Option<String>,
    pub pipeline: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub text: String,
    pub value: Option<f64>,
    pub since: UnixMillis,
    pub ended_at: Option<UnixMillis>,
}

impl MessageAlert {
    /// An alert in an environment.
    pub(crate) fn new(alert: &Alert, environment: Option<&str>) -> Self {
        MessageAlert {
            fingerprint: fingerprint(&alert.key().to_string()),
            rule: alert.rule.name.clone(),
            severity: alert.rule.severity,
            state: alert.state,
            subject: alert.about.name.clone(),
            environment: environment.map(str::to_owned),
            node: alert.about.node_name.clone(),
            pipeline: alert.subject.pipeline().map(ToString::to_string),
            labels: (*alert.about.labels).clone(),
            text: alert.text.clone(),
            value: alert.value.filter(|value| value.is_finite()),
            since: alert.since,
            ended_at: alert.ended_at,
        }
    }

    /// Labels as Alertmanager has them.
    pub(crate) fn prometheus_labels(&self) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &self.labels {
            labels.insert(format!("label_{}", plain(name)), value.clone());
        }
        labels.insert("alertname".to_owned(), self.rule.clone());
        labels.insert("severity".to_owned(), self.severity.as_str().to_owned());
        labels.insert("subject".to_owned(), self.subject.clone());
        let own = [("environment", &self.environment), ("node", &self.node), ("pipeline", &self.pipeline)];
        for (name, value) in own {
            labels.extend(value.clone().map(|value| (name.to_owned(), value)));
        }
        labels
    }
}

/// A name that Prometheus takes for a label.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// A short text that stands for a long one: FNV-1a.
fn fingerprint(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// What a message is made of.
pub(crate) struct Parts<'a> {
    pub kind: MessageKind,
    pub group: String,
    pub key: String,
    pub environment: Option<&'a str>,
    /// Nodes of the environment.
    pub nodes: usize,
    pub severity: AlertSeverity,
    pub firing: Vec<&'a Alert>,
    pub ended: Vec<&'a Alert>,
    /// The address of the dashboard.
    pub url: Option<&'a str>,
    pub now: UnixMillis,
}

/// Writes a message.
pub(crate) fn write(parts: &Parts<'_>) -> Message {
    let firing = by_rule(&parts.firing);
    let ended = by_rule(&parts.ended);
    let place = parts.environment.map_or_else(|| "collector".to_owned(), str::to_owned);
    let mark = match parts.kind {
        MessageKind::Recovery => "RESOLVED".to_owned(),
        MessageKind::Test => "TEST".to_owned(),
        _ => parts.severity.as_str().to_uppercase(),
    };
    let told = if parts.kind == MessageKind::Recovery { &ended } else { &firing };
    let what = match told.as_slice() {
        [(_, alerts)] => sum(alerts, parts.nodes),
        several => format!("{} alerts", several.iter().map(|(_, alerts)| alerts.len()).sum::<usize>()),
    };
    let still = if parts.kind == MessageKind::Repeat { " still" } else { "" };
    let title = format!("[{mark}] {place}:{still} {what}");
    let mut lines = Vec::new();
    for (_, alerts) in &firing {
        list(alerts, parts.nodes, "", &mut lines);
    }
    for (_, alerts) in &ended {
        list(alerts, parts.nodes, "resolved: ", &mut lines);
    }
    let whole = parts.firing.iter().chain(&parts.ended).take(WHOLE);
    Message {
        key: parts.key.clone(),
        group: parts.group.clone(),
        kind: parts.kind,
        environment: parts.environment.map(str::to_owned),
        severity: parts.severity,
        title,
        lines,
        url: parts.url.map(|url| format!("{url}/#/alerts")),
        created_at: parts.now,
        alerts: whole.map(|alert| MessageAlert::new(alert, parts.environment)).collect(),
        firing: parts.firing.len(),
        ended: parts.ended.len(),
    }
}

fn by_rule<'a>(alerts: &[&'a Alert]) -> Vec<(&'a str, Vec<&'a Alert>)> {
    let mut rules: BTreeMap<&str, Vec<&Alert>> = BTreeMap::new();
    for alert in alerts {
        rules.entry(&alert.rule.name).or_default().push(alert);
    }
    for alerts in rules.values_mut() {
        alerts.sort_by(|a, b| a.about.name.cmp(&b.about.name));
    }
    rules.into_iter().collect()
}

/// "34 of 10,000 nodes UNREACHABLE".
fn sum(alerts: &[&Alert], nodes: usize) -> String {
    let Some(first) = alerts.first() else { return "nothing".to_owned() };
    let (count, summary) = (alerts.len(), &first.rule.summary);
    let thing = match first.subject {
        Subject::Collector(_) => return summary.clone(),
        Subject::Node(_) => "node",
        Subject::Pipeline(..) => "pipeline",
    };
    if count == 1 {
        return format!("{} {summary}", first.about.name);
    }
    let of = match first.subject {
        Subject::Node(_) if nodes >= count => format!(" of {}", grouped(nodes)),
        _ => String::new(),
    };
    format!("{}{of} {thing}s {summary}", grouped(count))
}

fn list(alerts: &[&Alert], nodes: usize, mark: &str, lines: &mut Vec<String>) {
    if alerts.len() <= LISTED {
        let one = |alert: &&Alert| match alert.state {
            AlertState::Firing => format!("{mark}{}: {}", alert.about.name, alert.text),
            _ => format!("{mark}{} {}", alert.about.name, alert.rule.summary),
        };
        lines.extend(alerts.iter().map(one));
        return;
    }
    let names: Vec<_> = alerts.iter().take(NAMED).map(|alert| alert.about.name.as_str()).collect();
    let more = grouped(alerts.len() - names.len());
    lines.push(format!("{mark}{}: {} … and {more} more", sum(alerts, nodes), names.join(", ")));
}

/// A number with commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|part| std::str::from_utf8(part).ok()).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alerts::engine::tests::{about, rule};
    use crate::model::NodeKey;

    fn alert(node: i64, state: AlertState) -> Alert {
        Alert {
            rule: rule("node-unreachable", 0, 0),
            subject: Subject::Node(NodeKey(node)),
            about: about(node),
            state,
            since: 1,
            fired_at: Some(2),
            ended_at: (state == AlertState::Resolved).then_some(3),
            clear_since: None,
            value: None,
            text: "no report for 15 s".into(),
            is_unknown: false,
            is_notified: false,
            notified_at: None,
        }
    }

    fn message(kind: MessageKind, firing: &[Alert], ended: &[Alert]) -> Message {
        write(&Parts {
            kind,
            group: "g".into(),
            key: "k".into(),
            environment: Some("default"),
            nodes: 10_000,
            severity: AlertSeverity::Critical,
            firing: firing.iter().collect(),
            ended: ended.iter().collect(),
            url: Some("https://systole.example"),
            now: 5,
        })
    }

    #[test]
    fn few_subjects_are_listed_and_many_are_summed() {
        let firing: Vec<_> = (1..=2).map(|node| alert(node, AlertState::Firing)).collect();
        let few = message(MessageKind::Firing, &firing, &[]);
        assert_eq!(few.title, "[CRITICAL] default: 2 of 10,000 nodes UNREACHABLE");
        assert_eq!(few.lines, ["n1: no report for 15 s", "n2: no report for 15 s"]);
        assert_eq!(message(MessageKind::Firing, &firing[..1], &[]).title, "[CRITICAL] default: n1 UNREACHABLE");
        let firing: Vec<_> = (1_000..4_000).map(|node| alert(node, AlertState::Firing)).collect();
        let many = message(MessageKind::Firing, &firing, &[]);
        assert_eq!(many.title, "[CRITICAL] default: 3,000 of 10,000 nodes UNREACHABLE");
        let line = "3,000 of 10,000 nodes UNREACHABLE: n1000, n1001, n1002, n1003, n1004 … and 2,995 more";
        assert_eq!(many.lines, [line]);
        assert_eq!((many.alerts.len(), many.firing), (WHOLE, 3_000));
        assert_eq!(many.url.as_deref(), Some("https://systole.example/#/alerts"));
    }

    #[test]
    fn recovery_and_update_say_what_ended() {
        let ended = [alert(1, AlertState::Resolved)];
        let recovery = message(MessageKind::Recovery, &[], &ended);
        assert_eq!(recovery.title, "[RESOLVED] default: n1 UNREACHABLE");
        assert_eq!(recovery.lines, ["resolved: n1 UNREACHABLE"]);
        let update = message(MessageKind::Update, &[alert(2, AlertState::Firing)], &ended);
        assert_eq!(update.lines, ["n2: no report for 15 s", "resolved: n1 UNREACHABLE"]);
        assert!(message(MessageKind::Repeat, &[alert(2, AlertState::Firing)], &[]).title.contains("still n2"));
    }

    #[test]
    fn labels_have_names_that_prometheus_takes() {
        let mut alert = alert(1, AlertState::Firing);
        alert.about.labels = Arc::new([("rack-row.1".to_owned(), "x".to_owned())].into());
        let labels = MessageAlert::new(&alert, Some("default")).prometheus_labels();
        assert_eq!(labels["label_rack_row_1"], "x");
        assert_eq!((labels["alertname"].as_str(), labels["node"].as_str()), ("node-unreachable", "n1"));
        assert!(!labels.contains_key("pipeline"));
    }
}
