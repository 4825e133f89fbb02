//! Rules, typed: what `[alerts.NAME]` and `[[alerts.rules]]` say.

use std::collections::BTreeSet;
use std::time::Duration;

use systole_shared::{AlertSeverity, NodeStatus, PipelineStatus};
use toml::{Table, Value};

use super::builtin;
use super::expression::{Expression, MetricOf};
use super::matcher::{Glob, Matcher};
use crate::config::values::{parse_duration_in, write_duration};

/// Rules in all: each is evaluated for every pipeline.
const MAX_RULES: usize = 200;

/// Characters of the name of a rule.
const MAX_NAME_CHARS: usize = 64;

/// The longest `for`, `clear_for` and others.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// The longest window of a rate, of which the minutes are in memory.
const LONGEST_WINDOW: Duration = Duration::from_secs(600);

/// The longest time of a gap, of which the minutes are in memory.
const LONGEST_GAP: Duration = Duration::from_secs(3_600);

/// When an alert begins, and how it is reported.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub name: String,
    /// Whether it is on without configuration.
    pub is_builtin: bool,
    pub condition: Condition,
    /// Only nodes and pipelines for which each holds.
    pub matchers: Vec<Matcher>,
    /// The condition must hold for this long before the alert fires.
    pub hold: Duration,
    /// It must not hold for this long before the alert is resolved.
    pub clear: Duration,
    pub severity: AlertSeverity,
    /// Names of targets; empty: every target.
    pub notify: Vec<String>,
    /// What is wrong, after the number of subjects: "3 nodes UNREACHABLE".
    pub summary: String,
}

/// What a rule looks at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    NodeStatus(Vec<NodeStatus>),
    PipelineStatus(Vec<PipelineStatus>),
    /// Over the last minutes of a pipeline on a node.
    Rate {
        expression: Expression,
        over: Duration,
    },
    /// A pipeline that carried events all the time of `after`, and carries none.
    Gap {
        after: Duration,
    },
    /// Over the last minutes of a host.
    Host {
        expression: Expression,
        over: Duration,
    },
    DuplicateIdentity,
    LostReports,
    ClockSkew {
        skew: Duration,
    },
    Collector(CollectorFault),
}

/// What can be wrong with the collector itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CollectorFault {
    DiskLow,
    ReportsRefused,
    WalFull,
    CertificateEnds,
    TargetFails,
}

impl Condition {
    /// The kind, as `on` has it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Condition::NodeStatus(_) | Condition::PipelineStatus(_) => "status",
            Condition::Rate { .. } => "rate",
            Condition::Gap { .. } => "gap",
            Condition::Host { .. } => "host",
            Condition::DuplicateIdentity | Condition::LostReports | Condition::ClockSkew { .. } => "agent",
            Condition::Collector(_) => "collector",
        }
    }

    /// What it looks at, for people.
    pub(crate) fn describe(&self) -> String {
        let join = |names: Vec<&str>| names.join(" or ");
        match self {
            Condition::NodeStatus(statuses) => {
                format!("node is {}", join(statuses.iter().map(|status| status.as_str()).collect()))
            }
            Condition::PipelineStatus(statuses) => {
                format!("pipeline is {}", join(statuses.iter().map(|status| status.as_str()).collect()))
            }
            Condition::Rate { expression, over } | Condition::Host { expression, over } => {
                format!("{expression} over {}", write_duration(*over))
            }
            Condition::Gap { after } => format!("no events, after events in each minute of {}", write_duration(*after)),
            Condition::DuplicateIdentity => "two agents report as one node".to_owned(),
            Condition::LostReports => "the agent dropped reports".to_owned(),
            Condition::ClockSkew { skew } => format!("the clock is off by more than {}", write_duration(*skew)),
            Condition::Collector(fault) => match fault {
                CollectorFault::DiskLow => "the disk of the collector is low",
                CollectorFault::ReportsRefused => "the collector refuses reports",
                CollectorFault::WalFull => "the write-ahead log is full",
                CollectorFault::CertificateEnds => "the certificate ends within 14 days",
                CollectorFault::TargetFails => "a target of notifications fails",
            }
            .to_owned(),
        }
    }

    /// Whether its subjects are pipelines on nodes.
    pub(crate) fn is_of_pipelines(&self) -> bool {
        matches!(self, Condition::PipelineStatus(_) | Condition::Rate { .. } | Condition::Gap { .. })
    }

    /// Whether it is evaluated at the end of each minute.
    pub(crate) fn is_over_minutes(&self) -> bool {
        matches!(self, Condition::Rate { .. } | Condition::Gap { .. } | Condition::Host { .. })
    }

    /// Whether its subjects are nodes.
    pub(crate) fn is_of_nodes(&self) -> bool {
        !self.is_of_pipelines() && !matches!(self, Condition::Collector(_))
    }
}

/// Reads the table `alerts`: the built-in rules as it changes them, then its own.
pub(super) fn read(table: Option<&Value>, targets: &[String], errors: &mut Vec<String>) -> Vec<Rule> {
    let mut rules = builtin::rules();
    let table = match table {
        None => return rules,
        Some(Value::Table(table)) => table,
        Some(other) => {
            errors.push(format!("alerts: must be a table, is a {}", other.type_str()));
            return rules;
        }
    };
    for (name, value) in table.iter().filter(|(name, _)| *name != "rules") {
        let place = format!("alerts.{name}");
        let Some(index) = rules.iter().position(|rule| rule.name == *name) else {
            let known: Vec<_> = builtin::rules().into_iter().map(|rule| rule.name).collect();
            errors.push(format!(
                "{place}: unknown built-in rule, expected one of {}; an own rule is in [[alerts.rules]]",
                known.join(", ")
            ));
            continue;
        };
        let Value::Table(change) = value else {
            errors.push(format!("{place}: must be a table, is a {}", value.type_str()));
            continue;
        };
        let mut fields = Fields::new(change, place, errors);
        let is_on = fields.flag("enabled", true);
        change_rule(&mut rules[index], &mut fields, targets);
        fields.finish();
        if !is_on {
            rules.remove(index);
        }
    }
    match table.get("rules") {
        None => {}
        Some(Value::Array(own)) => {
            for (index, value) in own.iter().enumerate() {
                let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
                let place = match name {
                    "" => format!("alerts.rules[{index}]"),
                    name => format!("alerts.rules.{name}"),
                };
                let Value::Table(own) = value else {
                    errors.push(format!("{place}: must be a table, is a {}", value.type_str()));
                    continue;
                };
                let fault = name_fault(name, &rules);
                if let Some(fault) = fault {
                    errors.push(format!("{place}.name: {fault}"));
                }
                let mut fields = Fields::new(own, place, errors);
                fields.known.insert("name");
                let is_on = fields.flag("enabled", true);
                let rule = own_rule(name, &mut fields, targets);
                fields.finish();
                rules.extend(rule.filter(|_| is_on));
            }
        }
        Some(other) => errors.push(format!("alerts.rules: must be a list of tables, is a {}", other.type_str())),
    }
    if rules.len() > MAX_RULES {
        errors.push(format!("alerts: there are {} rules, at most {MAX_RULES} are possible", rules.len()));
    }
    rules
}

fn name_fault(name: &str, rules: &[Rule]) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if name.is_empty() {
        return Some("is missing".to_owned());
    }
    if name.len() > MAX_NAME_CHARS || !name.chars().all(is_plain) {
        return Some(format!("has at most {MAX_NAME_CHARS} of a-z, 0-9, `-`, `_` and `.`"));
    }
    let is_taken = rules.iter().any(|rule| rule.name == name) || builtin::rules().iter().any(|rule| rule.name == name);
    is_taken.then(|| "another rule has this name".to_owned())
}

fn own_rule(name: &str, fields: &mut Fields<'_>, targets: &[String]) -> Option<Rule> {
    let before = fields.errors.len();
    let condition = match fields.text("on").as_deref() {
        Some("status") => read_status(fields),
        Some("rate") => read_expression(fields, MetricOf::Pipeline)
            .map(|expression| Condition::Rate { expression, over: Duration::from_secs(300) }),
        Some("host") => read_expression(fields, MetricOf::Host)
            .map(|expression| Condition::Host { expression, over: Duration::from_secs(300) }),
        Some("gap") => Some(Condition::Gap { after: Duration::from_secs(3_600) }),
        Some(other) => fields.fault("on", format!("invalid value {other:?}, expected status, rate, gap or host")),
        None => fields.fault("on", "is missing, expected status, rate, gap or host"),
    };
    let summary = name.to_owned();
    let mut rule = Rule {
        name: name.to_owned(),
        is_builtin: false,
        condition: condition.unwrap_or(Condition::Gap { after: LONGEST_GAP }),
        matchers: Vec::new(),
        hold: Duration::ZERO,
        clear: Duration::ZERO,
        severity: AlertSeverity::Warning,
        notify: Vec::new(),
        summary,
    };
    if matches!(rule.condition, Condition::Gap { .. }) {
        rule.hold = Duration::from_secs(600);
    }
    change_rule(&mut rule, fields, targets);
    (fields.errors.len() == before).then_some(rule)
}

fn read_expression(fields: &mut Fields<'_>, of: MetricOf) -> Option<Expression> {
    match fields.text("expr") {
        Some(text) => match Expression::parse(&text, of) {
            Ok(expression) => Some(expression),
            Err(fault) => fields.fault("expr", fault.to_string()),
        },
        None => fields.fault("expr", "is missing, e.g. \"errors / events_in > 0.01\""),
    }
}

fn read_status(fields: &mut Fields<'_>) -> Option<Condition> {
    let of_node = match fields.text("subject").as_deref() {
        Some("node") => true,
        Some("pipeline") | None => false,
        Some(other) => return fields.fault("subject", format!("invalid value {other:?}, expected node or pipeline")),
    };
    let names = fields.texts("status");
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        return fields.fault("status", "is missing, e.g. [\"CRASHED\"]");
    };
    if of_node { node_statuses(fields, &names) } else { pipeline_statuses(fields, &names) }
}

fn node_statuses(fields: &mut Fields<'_>, names: &[String]) -> Option<Condition> {
    let found: Option<Vec<_>> = names.iter().map(|name| NodeStatus::from_wire(name)).collect();
    match found {
        Some(statuses) => Some(Condition::NodeStatus(statuses)),
        None => {
            let known = NodeStatus::ALL.map(NodeStatus::as_str).join(", ");
            fields.fault("status", format!("{names:?} has an unknown state of a node, expected {known}"))
        }
    }
}

fn pipeline_statuses(fields: &mut Fields<'_>, names: &[String]) -> Option<Condition> {
    const KNOWN: [PipelineStatus; 7] = [
        PipelineStatus::Pending,
        PipelineStatus::Starting,
        PipelineStatus::Running,
        PipelineStatus::Degraded,
        PipelineStatus::Stopped,
        PipelineStatus::Crashed,
        PipelineStatus::CrashLoop,
    ];
    let find = |name: &String| KNOWN.into_iter().find(|status| status.as_str() == name);
    match names.iter().map(find).collect() {
        Some(statuses) => Some(Condition::PipelineStatus(statuses)),
        None => {
            let known = KNOWN.map(PipelineStatus::as_str).join(", ");
            fields.fault("status", format!("{names:?} has an unknown state of a pipeline, expected {known}"))
        }
    }
}

/// What can be set of a built-in rule and of an own one.
fn change_rule(rule: &mut Rule, fields: &mut Fields<'_>, targets: &[String]) {
    match &mut rule.condition {
        Condition::Rate { expression, over } => {
            if rule.is_builtin && fields.has("expr") {
                *expression = read_expression(fields, MetricOf::Pipeline).unwrap_or_else(|| expression.clone());
            }
            *over = fields.minutes("over", *over, LONGEST_WINDOW);
        }
        Condition::Host { over, .. } => *over = fields.minutes("over", *over, LONGEST_WINDOW),
        Condition::Gap { after } => *after = fields.minutes("after", *after, LONGEST_GAP),
        Condition::ClockSkew { skew } => {
            *skew = fields.duration("skew", *skew, Duration::from_secs(5), LONGEST_GAP);
        }
        Condition::NodeStatus(statuses) if rule.is_builtin && fields.has("status") => {
            let names = fields.texts("status").unwrap_or_default();
            if let Some(Condition::NodeStatus(found)) = node_statuses(fields, &names) {
                *statuses = found;
            }
        }
        Condition::PipelineStatus(statuses) if rule.is_builtin && fields.has("status") => {
            let names = fields.texts("status").unwrap_or_default();
            if let Some(Condition::PipelineStatus(found)) = pipeline_statuses(fields, &names) {
                *statuses = found;
            }
        }
        _ => {}
    }
    let longest = if matches!(rule.condition, Condition::Gap { .. }) { LONGEST_GAP } else { LONGEST };
    let before = rule.hold;
    rule.hold = fields.duration("for", rule.hold, Duration::ZERO, longest);
    // A built-in rule whose `for` is changed has half of that too.
    let clear = if rule.is_builtin && rule.hold == before { rule.clear } else { rule.hold / 2 };
    rule.clear = fields.duration("clear_for", clear, Duration::ZERO, LONGEST);
    if let Some(text) = fields.text("severity") {
        match AlertSeverity::from_wire(&text) {
            Some(severity) => rule.severity = severity,
            None => {
                fields.fault::<()>("severity", format!("invalid value {text:?}, expected info, warning or critical"));
            }
        }
    }
    if let Some(text) = fields.text("text") {
        rule.summary = text;
    } else if rule.is_builtin && ["expr", "status", "skew"].iter().any(|key| fields.has(key)) {
        rule.summary = format!("with {}", rule.condition.describe());
    }
    if let Some(notify) = fields.texts("notify") {
        for name in notify.iter().filter(|name| !targets.contains(name)) {
            let known = targets.join(", ");
            fields.fault::<()>("notify", format!("no target has the name {name:?}, expected one of {known}"));
        }
        rule.notify = notify;
    }
    for text in fields.texts("match").unwrap_or_default() {
        match Matcher::parse(&text) {
            Ok(matcher) => rule.matchers.push(matcher),
            Err(fault) => {
                fields.fault::<()>("match", fault);
            }
        }
    }
    for key in ["node", "pipeline", "environment"] {
        if let Some(text) = fields.text(key) {
            rule.matchers.push(Matcher { key: key.to_owned(), negated: false, value: Glob::new(&text) });
        }
    }
}

/// The keys of one table, with all that is wrong with them.
struct Fields<'a> {
    table: &'a Table,
    place: String,
    known: BTreeSet<&'static str>,
    errors: &'a mut Vec<String>,
}

impl<'a> Fields<'a> {
    fn new(table: &'a Table, place: String, errors: &'a mut Vec<String>) -> Self {
        Fields { table, place, known: BTreeSet::new(), errors }
    }

    fn fault<T>(&mut self, key: &str, detail: impl Into<String>) -> Option<T> {
        self.errors.push(format!("{}.{key}: {}", self.place, detail.into()));
        None
    }

    fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.known.insert(key);
        match self.table.get(key) {
            None => default,
            Some(Value::Boolean(flag)) => *flag,
            Some(_) => self.fault(key, "must be true or false").unwrap_or(default),
        }
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        self.known.insert(key);
        match self.table.get(key) {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => self.fault(key, "must be a text"),
        }
    }

    fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.known.insert(key);
        match self.table.get(key)? {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(list) => {
                let texts: Option<Vec<_>> = list.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                if texts.is_none() { self.fault(key, "must be a list of texts") } else { texts }
            }
            _ => self.fault(key, "must be a list of texts"),
        }
    }

    fn duration(&mut self, key: &'static str, default: Duration, least: Duration, most: Duration) -> Duration {
        let Some(text) = self.text(key) else { return default };
        match parse_duration_in(&text, least, most) {
            Ok(duration) => duration,
            Err(fault) => self.fault(key, format!("invalid value {text:?}: {fault}")).unwrap_or(default),
        }
    }

    fn minutes(&mut self, key: &'static str, default: Duration, most: Duration) -> Duration {
        const MINUTE: Duration = Duration::from_secs(60);
        let duration = self.duration(key, default, MINUTE, most);
        if duration.as_secs().is_multiple_of(60) {
            return duration;
        }
        self.fault(key, "must be whole minutes").unwrap_or(default)
    }

    fn finish(self) {
        for key in self.table.keys().filter(|key| !self.known.contains(key.as_str())) {
            let known: Vec<_> = self.known.iter().copied().collect();
            self.errors.push(format!("{}.{key}: unknown key, expected one of {}", self.place, known.join(", ")));
        }
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
