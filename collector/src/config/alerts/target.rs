//! Targets of notifications, as `notify` names them. Their addresses are secrets: with one a program can write there.

use std::fmt;

use reqwest::Url;

use crate::config::lookup::ListEntry;

/// Targets in all: each has a task.
const MAX_TARGETS: usize = 20;

/// The address of PagerDuty's Events API v2.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

/// The kind of a target, which says how a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TargetKind {
    Alertmanager,
    Webhook,
    Slack,
    Ntfy,
    Pagerduty,
    Email,
}

impl TargetKind {
    /// The kind as it is printed.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            TargetKind::Alertmanager => "alertmanager",
            TargetKind::Webhook => "webhook",
            TargetKind::Slack => "slack",
            TargetKind::Ntfy => "ntfy",
            TargetKind::Pagerduty => "pagerduty",
            TargetKind::Email => "email",
        }
    }
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hidden(String);

impl Hidden {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Hidden(text.into())
    }

    /// The text, for the request alone.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Unique, without a secret.
    pub name: String,
    pub kind: TargetKind,
    /// A URL; for an e-mail the address.
    pub address: Hidden,
    /// The routing key of PagerDuty.
    pub key: Option<Hidden>,
    /// The host of the address.
    pub host: String,
}

/// Reads the list of targets.
pub(super) fn read(entries: Vec<ListEntry>, errors: &mut Vec<String>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for ListEntry { index, name, url } in entries {
        let place = format!("notify[{index}]");
        match parse(&url) {
            Ok(mut target) => {
                let wanted = name.unwrap_or(target.name);
                let is_taken = |name: &str| targets.iter().any(|target| target.name == name);
                let mut number = 1;
                target.name = wanted.clone();
                while is_taken(&target.name) {
                    number += 1;
                    target.name = format!("{wanted}#{number}");
                }
                if target.name.is_empty() || target.name.len() > 128 || target.name.contains(char::is_control) {
                    errors.push(format!("{place}.name: must have 1 to 128 characters"));
                }
                targets.push(target);
            }
            Err(fault) => errors.push(format!("{place}: {fault}")),
        }
    }
    if targets.len() > MAX_TARGETS {
        errors.push(format!("notify: there are {} targets, at most {MAX_TARGETS} are possible", targets.len()));
    }
    targets
}

/// The message must not repeat the address, which is a secret.
fn parse(text: &str) -> Result<Target, String> {
    const EXPECTED: &str = "expected https://…, slack+https://…, webhook+https://…, alertmanager+http://…, ntfy://host/topic, \
        pagerduty://KEY or mailto:address";
    let (scheme, rest) = text.split_once(':').ok_or_else(|| format!("is no address, {EXPECTED}"))?;
    if scheme == "mailto" {
        return email(rest);
    }
    let (kind, transport) = match scheme.split_once('+') {
        Some((kind, transport)) => (Some(kind), transport),
        None => (None, scheme),
    };
    if !matches!(transport, "http" | "https") && kind.is_some() {
        return Err(format!("the scheme {scheme:?} is not known, {EXPECTED}"));
    }
    let kind = match (kind, scheme) {
        (Some("alertmanager"), _) => TargetKind::Alertmanager,
        (Some("webhook"), _) => TargetKind::Webhook,
        (Some("slack"), _) => TargetKind::Slack,
        (Some("ntfy"), _) | (None, "ntfy") => TargetKind::Ntfy,
        (Some("pagerduty"), _) | (None, "pagerduty") => TargetKind::Pagerduty,
        (None, "http" | "https") => TargetKind::Webhook,
        _ => return Err(format!("the scheme {scheme:?} is not known, {EXPECTED}")),
    };
    if (kind, scheme) == (TargetKind::Pagerduty, "pagerduty") {
        let key = rest.trim_start_matches('/').trim_end_matches('/');
        return pagerduty(PAGERDUTY.parse().map_err(|_| "is no address".to_owned())?, key);
    }
    let transport = if matches!(transport, "http" | "https") { transport } else { "https" };
    let mut url: Url =
        format!("{transport}:{rest}").parse().map_err(|_| "the address after the scheme is not valid".to_owned())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the address has no host")?.to_owned();
    let kind = match kind {
        TargetKind::Webhook if scheme == "https" && speaks_slack(&host, url.path()) => TargetKind::Slack,
        kind => kind,
    };
    match kind {
        TargetKind::Pagerduty => {
            let key = url.path().trim_matches('/').to_owned();
            url.set_path("/v2/enqueue");
            return pagerduty(url, &key);
        }
        TargetKind::Alertmanager => {
            let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
            url.set_path(&path);
        }
        TargetKind::Ntfy if url.path().trim_matches('/').is_empty() || url.path().trim_matches('/').contains('/') => {
            return Err("the topic is missing, expected e.g. ntfy://ntfy.example/fleet".to_owned());
        }
        _ => {}
    }
    Ok(Target { name: format!("{}:{host}", kind.as_str()), kind, address: Hidden::new(url), key: None, host })
}

/// Slack's own address, and those of services that take the same.
fn speaks_slack(host: &str, path: &str) -> bool {
    host == "hooks.slack.com" || (matches!(host, "discord.com" | "discordapp.com") && path.ends_with("/slack"))
}

fn pagerduty(url: Url, key: &str) -> Result<Target, String> {
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err("the routing key must be letters and digits: pagerduty://KEY".to_owned());
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    let name = format!("pagerduty:{host}");
    Ok(Target { name, kind: TargetKind::Pagerduty, address: Hidden::new(url), key: Some(Hidden::new(key)), host })
}

fn email(address: &str) -> Result<Target, String> {
    let is_plain = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control());
    match address.split_once('@') {
        Some((name, host)) if is_plain(name) && is_plain(host) && !address.contains(['?', '<', ',']) => Ok(Target {
            name: format!("email:{host}"),
            kind: TargetKind::Email,
            address: Hidden::new(address),
            key: None,
            host: host.to_owned(),
        }),
        _ => Err("expected one address, e.g. mailto:ops@example.org".to_owned()),
    }
}

impl From<Url> for Hidden {
    fn from(url: Url) -> Self {
        Hidden(url.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (TargetKind, String, String) {
        let target = parse(url).unwrap();
        (target.kind, target.address.reveal().to_owned(), target.name)
    }

    #[test]
    fn scheme_and_host_say_what_a_target_is() {
        use TargetKind::*;
        for (url, kind, address, name) in [
            (
                "https://hooks.slack.com/services/T/B/x",
                Slack,
                "https://hooks.slack.com/services/T/B/x",
                "slack:hooks.slack.com",
            ),
            (
                "https://discord.com/api/webhooks/1/x/slack",
                Slack,
                "https://discord.com/api/webhooks/1/x/slack",
                "slack:discord.com",
            ),
            ("slack+http://chat:81/hooks/x", Slack, "http://chat:81/hooks/x", "slack:chat"),
            ("https://ops.example/in", Webhook, "https://ops.example/in", "webhook:ops.example"),
            ("alertmanager+http://am:9093", Alertmanager, "http://am:9093/api/v2/alerts", "alertmanager:am"),
            ("alertmanager+https://x/am/", Alertmanager, "https://x/am/api/v2/alerts", "alertmanager:x"),
            ("ntfy://ntfy.example/fleet", Ntfy, "https://ntfy.example/fleet", "ntfy:ntfy.example"),
            ("ntfy+http://n:1/fleet", Ntfy, "http://n:1/fleet", "ntfy:n"),
            ("pagerduty://R0UTE", Pagerduty, PAGERDUTY, "pagerduty:events.pagerduty.com"),
            ("pagerduty+http://p:1/R0UTE", Pagerduty, "http://p:1/v2/enqueue", "pagerduty:p"),
            ("mailto:ops@example.org", Email, "ops@example.org", "email:example.org"),
        ] {
            assert_eq!(parsed(url), (kind, address.to_owned(), name.to_owned()), "{url}");
        }
    }

    #[test]
    fn secrets_are_in_no_message_and_no_debug_output() {
        for url in ["ntfy://h3x", "pagerduty://s3cret!", "gopher+x://s3cret", "mailto:s3cret", "https://", "s3cret"] {
            let fault = parse(url).unwrap_err();
            assert!(!fault.contains("s3cret") && !fault.contains("h3x") || fault.contains("gopher"), "{fault}");
        }
        let shown = format!("{:?}", parse("https://hooks.slack.com/services/s3cret").unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn names_are_unique() {
        let mut errors = Vec::new();
        let entry = |index, name: Option<&str>| ListEntry {
            index,
            name: name.map(str::to_owned),
            url: "https://ops.example/in".to_owned(),
        };
        let targets = read(vec![entry(0, None), entry(1, None), entry(2, Some("ops"))], &mut errors);
        let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["webhook:ops.example", "webhook:ops.example#2", "ops"]);
        assert!(errors.is_empty());
    }
}
