//! Settings of alerts: targets, rules, and how often messages are sent.

pub(crate) mod builtin;
pub(crate) mod expression;
pub(crate) mod matcher;
pub(crate) mod rule;
pub(crate) mod target;

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::Url;

pub(crate) use self::rule::Rule;
use self::target::{Hidden, Target, TargetKind};
use super::lookup::Lookup;
use super::values::{parse_duration_in, write_duration};

/// What alerts need to know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AlertSettings {
    /// `notify`: targets of notifications. Default none.
    pub targets: Vec<Target>,
    /// `[alerts]`: the built-in rules and the own ones.
    pub rules: Vec<Rule>,
    /// `notify_allow`: networks that targets may be in, e.g. 10.0.0.0/8. Default: every address but link-local ones.
    pub allow: Vec<IpNet>,
    /// `alert_group_wait`: time in which alerts are gathered into one message, up to 10m. Default 30s.
    pub group_wait: Duration,
    /// `alert_update_every`: least time between two messages of a group, up to 1d. Default 5m.
    pub update_every: Duration,
    /// `alert_repeat_every`: a message is repeated this often while its alerts fire, 1m to 30d. Default 4h.
    pub repeat_every: Duration,
    /// `external_url`: address of the dashboard in messages. Default none.
    pub external_url: Option<String>,
    /// `smtp_url` and `smtp_from`: how e-mails are sent. Default none.
    pub smtp: Option<Smtp>,
}

/// A server that takes e-mails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Smtp {
    /// `smtp://`, `smtps://`, with user and password.
    pub url: Hidden,
    pub host: String,
    pub port: u16,
    pub from: String,
}

impl AlertSettings {
    pub(super) fn read(lookup: &mut Lookup<'_>) -> Self {
        let day = Duration::from_secs(86_400);
        let entries = lookup.entries("notify");
        let targets = target::read(entries, lookup.errors());
        let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
        let table = lookup.table("alerts");
        let rules = rule::read(table.as_ref(), &names, lookup.errors());
        let allow = lookup.get("notify_allow", Vec::new(), parse_networks);
        let group_wait = lookup.get("alert_group_wait", Duration::from_secs(30), |text| {
            parse_duration_in(text, Duration::ZERO, Duration::from_secs(600))
        });
        let update_every = lookup
            .get("alert_update_every", Duration::from_secs(300), |text| parse_duration_in(text, Duration::ZERO, day));
        let repeat_every = lookup.get("alert_repeat_every", Duration::from_secs(4 * 3_600), |text| {
            parse_duration_in(text, Duration::from_secs(60), day * 30)
        });
        let external_url = lookup.get("external_url", None, |text| match text.parse::<Url>() {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                Ok(Some(text.trim_end_matches('/').to_owned()))
            }
            _ => Err("expected an address, e.g. https://systole.example".to_owned()),
        });
        let smtp = read_smtp(lookup);
        let has_email = targets.iter().any(|target| target.kind == TargetKind::Email);
        if has_email && smtp.is_none() {
            lookup.errors().push("smtp_url: is missing or not valid, but notify has a mailto: address".to_owned());
        }
        AlertSettings { targets, rules, allow, group_wait, update_every, repeat_every, external_url, smtp }
    }

    /// As a file. Targets and rules are comments: their addresses are secrets, and a rule is more than a line.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in [
            ("alert_group_wait", self.group_wait),
            ("alert_update_every", self.update_every),
            ("alert_repeat_every", self.repeat_every),
        ] {
            writeln!(f, "{key} = \"{}\"", write_duration(value))?;
        }
        let networks: Vec<_> = self.allow.iter().map(IpNet::to_string).collect();
        writeln!(f, "notify_allow = \"{}\"", networks.join(","))?;
        if let Some(url) = &self.external_url {
            writeln!(f, "external_url = {}", serde_json::Value::String(url.clone()))?;
        }
        if let Some(smtp) = &self.smtp {
            writeln!(f, "# smtp_url: {}:{}, smtp_from: {}", smtp.host, smtp.port, smtp.from)?;
        }
        for target in &self.targets {
            writeln!(f, "# notify: {}", target.name)?;
        }
        for rule in &self.rules {
            let (hold, severity) = (write_duration(rule.hold), rule.severity.as_str());
            writeln!(f, "# alert {}: {}, for {hold}, {severity}", rule.name, rule.condition.describe())?;
        }
        Ok(())
    }
}

fn parse_networks(text: &str) -> Result<Vec<IpNet>, String> {
    let networks = text.split([',', ' ']).map(str::trim).filter(|network| !network.is_empty());
    let parse = |text: &str| {
        let host = text.parse::<std::net::IpAddr>().map(IpNet::from);
        text.parse().or(host).map_err(|_| format!("{text:?} is no network, expected e.g. 10.0.0.0/8"))
    };
    networks.map(parse).collect()
}

fn read_smtp(lookup: &mut Lookup<'_>) -> Option<Smtp> {
    let url = lookup.get_hidden("smtp_url", None, |text| {
        let url: Url = text.parse().map_err(|_| "expected e.g. smtps://user:password@mail.example".to_owned())?;
        let port = match url.scheme() {
            "smtp" => 25,
            "smtps" => 465,
            _ => return Err("expected a smtp:// or smtps:// address".to_owned()),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("has no host")?.to_owned();
        let port = url.port().unwrap_or(port);
        Ok(Some((Hidden::new(text), host, port)))
    });
    let from = lookup.get("smtp_from", None, |text| match text.split_once('@') {
        Some((name, host)) if !name.is_empty() && !host.is_empty() => Ok(Some(text.to_owned())),
        _ => Err("expected an address, e.g. systole@example.org".to_owned()),
    });
    match (url, from) {
        (Some((url, host, port)), Some(from)) => Some(Smtp { url, host, port, from }),
        (Some((url, host, port)), None) => {
            let from = format!("systole@{host}");
            Some(Smtp { url, host, port, from })
        }
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::{Config, ConfigErrors, Sources};

    fn read(variable: Option<&str>, file: &str) -> Result<Config, ConfigErrors> {
        let environment = variable.map(|value| ("SYSTOLE_NOTIFY".to_owned(), value.to_owned())).into_iter().collect();
        let file = Some((PathBuf::from("collector.toml"), file.to_owned()));
        Config::read(&Sources { environment, file, ..Sources::default() })
    }

    fn names(config: &Config) -> Vec<&str> {
        config.alerts.targets.iter().map(|target| target.name.as_str()).collect()
    }

    #[test]
    fn targets_come_from_the_file_or_the_variable() {
        let file = "notify = ['https://a.example/x', { name = 'ops', url = 'ntfy://n.example/fleet' }]";
        assert_eq!(names(&read(None, file).unwrap()), ["webhook:a.example", "ops"]);
        assert_eq!(
            names(&read(Some("https://b.example/x  pagerduty://KEY"), file).unwrap()),
            ["webhook:b.example", "pagerduty:events.pagerduty.com"]
        );
        assert_eq!(names(&read(None, "notify = 'https://c.example/x'").unwrap()), ["webhook:c.example"]);
        assert!(names(&read(None, "").unwrap()).is_empty());
    }

    #[test]
    fn email_needs_a_server_and_secrets_are_not_printed() {
        let ConfigErrors(errors) = read(None, "notify = ['mailto:ops@example.org']").unwrap_err();
        assert!(errors[0].starts_with("smtp_url: is missing"), "{errors:?}");
        let file = "notify = ['mailto:ops@example.org', 'https://hooks.slack.com/services/s3cret']\n\
            smtp_url = 'smtps://me:s3cret@mail.example'";
        let config = read(None, file).unwrap();
        let smtp = config.alerts.smtp.as_ref().unwrap();
        assert_eq!((smtp.host.as_str(), smtp.port, smtp.from.as_str()), ("mail.example", 465, "systole@mail.example"));
        assert!(!config.to_string().contains("s3cret") && !format!("{config:?}").contains("s3cret"));
        let ConfigErrors(errors) = read(None, "smtp_url = 'imap://me:s3cret@mail.example'").unwrap_err();
        assert!(errors[0].starts_with("smtp_url: ") && !errors[0].contains("s3cret"), "{errors:?}");
    }

    #[test]
    fn every_wrong_entry_is_reported() {
        let file = "notify = [5, { name = 'x' }, { url = 'https://x', colour = 1 }, 'gopher:x']\nnotify_allow = '10.0.0.0/33'\n\
            external_url = 'systole.example'\nalert_group_wait = '1h'";
        let ConfigErrors(errors) = read(None, file).unwrap_err();
        let places: Vec<_> = errors.iter().map(|error| error.split(':').next().unwrap()).collect();
        let expected = [
            "notify[0]",
            "notify[1].url",
            "notify[2]",
            "notify[3]",
            "notify_allow",
            "alert_group_wait",
            "external_url",
        ];
        assert_eq!(places, expected, "{errors:?}");
    }
}
