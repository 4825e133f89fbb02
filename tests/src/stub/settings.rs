//! The settings of one run: flags, and what the configuration files say.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Parser;

use super::args::{Cli, Flags, LogFormat};

/// Exit code of a configuration that cannot be used, as Vector has it (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

/// Everything that a run needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where /metrics and /control answer.
    pub metrics_address: SocketAddr,
    /// Where the API answers, if it does.
    pub api_address: Option<SocketAddr>,
    /// File for the true totals.
    pub totals: Option<PathBuf>,
    /// Milliseconds between two moves of the counters.
    pub tick_ms: u64,
    /// Events that come with each scrape.
    pub events_per_scrape: u64,
    /// Events per second.
    pub rate: f64,
    /// Number of components.
    pub components: usize,
    /// Every so many events one fails; 0 is never.
    pub errors_every: u64,
    /// Every so many events one is discarded; 0 is never.
    pub discard_every: u64,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Numbered lines per second.
    pub log_rate: f64,
    /// Milliseconds before the metrics port opens.
    pub start_delay_ms: u64,
    /// Milliseconds between SIGTERM and the end.
    pub drain_ms: u64,
    /// Milliseconds until a crash.
    pub crash_after_ms: Option<u64>,
    /// The process that the stub must not outlive.
    pub lease_pid: Option<u32>,
    /// Whether `_tap` is exposed.
    pub tap: bool,
    /// Whether its own metrics are components of the user's own.
    pub internal_metrics: bool,
    /// Whether it starts without counting.
    pub paused: bool,
    /// Whether SIGTERM does nothing.
    pub ignore_sigterm: bool,
}

impl Settings {
    /// Puts the flags over what the configuration files say.
    pub fn load(cli: Cli) -> anyhow::Result<Self> {
        let mut flags = cli.flags;
        let mut api_address = None;
        for path in &cli.config {
            let text = read_config(path)?;
            let address = exporter_address(&text);
            api_address = api_address.or(api_address_of(&text));
            flags = flags.or(directives(&text).with_context(|| format!("{}: `# stub:`", path.display()))?);
            flags.metrics_address = flags.metrics_address.or(address);
        }
        let components = flags.components.unwrap_or(4);
        if components < 3 {
            bail!("--components {components}: at least a source, a transform and a sink");
        }
        Ok(Settings {
            metrics_address: flags.metrics_address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9598))),
            api_address,
            totals: flags.totals,
            tick_ms: flags.tick_ms.unwrap_or(50).max(1),
            events_per_scrape: flags.events_per_scrape.unwrap_or(0),
            rate: flags.rate.unwrap_or(50.0),
            components,
            errors_every: flags.errors_every.unwrap_or(0),
            discard_every: flags.discard_every.unwrap_or(0),
            log_format: flags.log_format.unwrap_or_default(),
            log_rate: flags.log_rate.unwrap_or(0.2),
            start_delay_ms: flags.start_delay_ms.unwrap_or(0),
            drain_ms: flags.drain_ms.unwrap_or(0),
            crash_after_ms: flags.crash_after_ms,
            lease_pid: flags.lease_pid,
            tap: flags.tap,
            internal_metrics: flags.internal_metrics,
            paused: flags.paused,
            ignore_sigterm: flags.ignore_sigterm,
        })
    }
}

/// Reads a configuration file and refuses one that says it is invalid.
pub fn read_config(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let text = with_variables(&text).with_context(|| path.display().to_string())?;
    if let Some(what) = stub_comments(&text).find_map(|comment| comment.strip_prefix("invalid")) {
        let variant = what.strip_prefix('=').unwrap_or("nonsense");
        bail!("{}: unknown variant `{variant}` in `sources.demo_in`", path.display());
    }
    Ok(text)
}

fn stub_comments(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("# stub:")).map(str::trim)
}

/// The flags that a configuration sets as `# stub: name=value` or `# stub: name`.
fn directives(text: &str) -> Result<Flags, clap::Error> {
    let flags = stub_comments(text).map(|comment| format!("--{comment}"));
    Ok(Cli::try_parse_from(std::iter::once("vector".to_owned()).chain(flags))?.flags)
}

/// The address of the Prometheus exporter: the first `address:` after its name. A search by lines
/// is enough for the files that an agent writes.
fn exporter_address(text: &str) -> Option<SocketAddr> {
    ["vf_metrics_exporter", "prometheus_exporter"].into_iter().find_map(|name| address_below(text, name))
}

fn address_below(text: &str, name: &str) -> Option<SocketAddr> {
    let after = &text[text.find(name)?..];
    let line = after.lines().find_map(|line| line.trim().strip_prefix("address:"))?;
    line.trim().trim_matches(['"', '\'']).parse().ok()
}

/// The address in the block `api:`.
fn api_address_of(text: &str) -> Option<SocketAddr> {
    let block = text.lines().skip_while(|line| line.trim_end() != "api:").skip(1);
    let mut block = block.take_while(|line| line.starts_with(' '));
    let address = block.find_map(|line| line.trim().strip_prefix("address:"))?;
    address.trim().trim_matches(['"', '\'']).parse().ok()
}

/// The text with the environment's values in the place of `${NAME}`.
fn with_variables(text: &str) -> anyhow::Result<String> {
    let mut parts = text.split("${");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        let Ok(value) = std::env::var(name) else {
            bail!("Missing environment variable in config. name = {name:?}");
        };
        filled.push_str(&value);
        filled.push_str(rest);
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_find_the_exporters_address() {
        let sidecar = "api:\n  enabled: true\n  address: 127.0.0.1:8688\nsinks:\n  vf_metrics_exporter:\n    \
                       type: prometheus_exporter\n    address: \"127.0.0.1:8689\"\n";
        assert_eq!(exporter_address(sidecar), Some("127.0.0.1:8689".parse().unwrap()));
        assert_eq!(exporter_address("api:\n  address: 127.0.0.1:8688\n"), None);
        assert_eq!(api_address_of(sidecar), Some("127.0.0.1:8688".parse().unwrap()));
        assert_eq!(api_address_of("api:\n  enabled: true\nsinks:\n  x:\n    address: 127.0.0.1:1\n"), None);
    }

    #[test]
    fn comment_sets_flags_missing_on_the_command_line() {
        let file = directives("sources: {}\n# stub: rate=7.5\n  # stub: paused\n# stub: components=9\n").unwrap();
        assert!(file.paused);
        let line = Flags { components: Some(5), ..Flags::default() };
        let both = line.or(file);
        assert_eq!((both.rate, both.components), (Some(7.5), Some(5)));
        assert!(directives("# stub: no-such-flag=1\n").is_err());
    }
}
