//! The database: whether it opens, its clock, its disk, and what it says of tokens, secrets and agents.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::HumanBytes;
use systole_shared::{Finding, TokenKind, UnixMillis};
use tokio::time::timeout;

use crate::app::open_database;
use crate::cli::no_database;
use crate::clock::{now_ms, to_rfc3339};
use crate::config::{Config, Database};
use crate::control::secrets::Secrets;
use crate::store::disk::{directory_of, space_under};
use crate::store::postgres::PostgresSide;
use crate::store::sqlite;
use crate::store::{Access, NodeQuery, Store, StoreError, StoredToken};
use crate::tasks::disk_guard::{Level, Room, judge};
use crate::tasks::growth::{self, Forecast, forecast};
use crate::telemetry::logging::chain;
use crate::timeseries::TimeSeries;
use crate::version::BUILD;

/// Longest time for a database to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// A difference of the clocks that is shown.
const WARN_SKEW_MS: i64 = 5_000;

/// A difference that makes times of tokens and minutes wrong.
const BAD_SKEW_MS: i64 = 60_000;

/// Tokens that end within a week are shown.
const TOKEN_END_MS: i64 = 7 * 86_400_000;

/// With less than this a disk needs an operator.
const FULL_SOON_DAYS: f64 = 14.0;

/// Nodes that are read for their versions.
const MAX_NODES: i64 = 100_000;

/// Everything that needs the database.
pub(super) async fn check(config: &Config, now: UnixMillis) -> Vec<Finding> {
    let shown = config.database.to_string();
    if let Some(fault) = no_database::explain(config) {
        let remedy = "name the data directory or the database of the service";
        return vec![Finding::problem("database", fault, remedy)];
    }
    // First of all, because a command that opens an earlier database brings it to its version.
    let inspected = timeout(OPEN_TIMEOUT, inspect(&config.database)).await;
    if let Ok(Err(error)) = inspected {
        return vec![Finding::problem("database", chain(&error), remedy_of(&error))];
    }
    let opened = timeout(OPEN_TIMEOUT, open_database(&config.database, Access::Shared)).await;
    let (store, timeseries) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return vec![Finding::problem("database", chain(&error), remedy_of(&error))],
        Err(_) => {
            let message = format!("{shown} does not open in time");
            return vec![Finding::problem("database", message, "check that the server of the database answers")];
        }
    };
    let mut findings = vec![Finding::ok("database", format!("{shown} opens"))];
    let asked = examine(config, &store, &timeseries, now, &mut findings).await;
    if let Err(error) = asked {
        findings.push(Finding::problem("database", chain(&error), remedy_of(&error)));
    }
    store.close().await;
    findings
}

async fn inspect(database: &Database) -> Result<(), StoreError> {
    match database {
        Database::Sqlite(path) => {
            let path = path.clone();
            tokio::task::spawn_blocking(move || sqlite::inspect(&path)).await.map_err(|_| StoreError::Closed)?
        }
        Database::Postgres(url) => PostgresSide::snapshot(url).await.map(drop),
    }
}

fn remedy_of(error: &StoreError) -> &'static str {
    match error {
        StoreError::Newer { .. } => "install the version that wrote it, or a newer one; see docs/upgrading.md",
        StoreError::Older { .. } => "start the collector once, which brings the database to this version",
        StoreError::Incomplete(_) => "run the same migrate-data or restore again",
        StoreError::NoRoom { .. } => "free space on the disk of the database",
        StoreError::Unreachable(_) => "start the server of the database, and check database_url",
        StoreError::Corrupt(_) | StoreError::Query(_) => "stop the collector and restore the last backup",
        _ => "check database_url, the rights of the file, and that it is a database of systole-collector",
    }
}

async fn examine(
    config: &Config,
    store: &Arc<dyn Store>,
    timeseries: &TimeSeries,
    now: UnixMillis,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let file = match &config.database {
        Database::Sqlite(path) => Some(path.as_path()),
        Database::Postgres(_) => None,
    };
    let asked_at = now_ms();
    findings.push(match store.clock_ms().await? {
        Some(clock) => judge_clock(asked_at, now_ms(), clock),
        None => check_own_clock(file, now),
    });
    if let (Some(path), Some(size)) = (file, store.file_size().await?) {
        findings.push(check_disk(config, path, size.reusable_bytes));
    }
    let (_, room) = growth::measure(&**store, file).await?;
    findings.push(judge_growth(forecast(&growth::read(&config.data_dir), room)));
    let secrets = Secrets::new(Arc::clone(store), config.secret_key_file());
    findings.push(match secrets.check().await {
        Ok(()) => Finding::ok("secrets", "every stored secret can be opened"),
        Err(error) => {
            let message = chain(&error);
            Finding::problem(
                "secrets",
                message,
                format!("restore {} from its copy", config.secret_key_file().display()),
            )
        }
    });
    let tokens = store.list_tokens(TokenKind::ALL.to_vec()).await?;
    let nodes = timeseries.list_nodes(NodeQuery { limit: MAX_NODES, ..NodeQuery::default() }).await?;
    findings.extend(judge_tokens(&tokens, nodes.len(), now));
    findings.push(judge_versions(nodes.iter().filter_map(|node| node.agent_version.as_deref())));
    Ok(())
}

/// Compares this clock with that of the server, which was read between the two times.
fn judge_clock(asked_at: UnixMillis, now: UnixMillis, server: UnixMillis) -> Finding {
    let ahead_ms = if server < asked_at { asked_at - server } else { (now - server).min(0) };
    let seconds = ahead_ms.unsigned_abs().div_ceil(1_000);
    let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let message = format!("the clock of this host is {seconds} s {side} that of the database");
    let remedy = "synchronise both clocks (systemd-timesyncd, chrony); `timedatectl` shows whether this one is";
    match ahead_ms.abs() {
        BAD_SKEW_MS.. => Finding::problem("clock", message, remedy),
        WARN_SKEW_MS.. => Finding::warning("clock", message, remedy),
        _ => Finding::ok("clock", "the clock agrees with that of the database"),
    }
}

/// A clock that went back is before the last change of the database.
fn check_own_clock(database: Option<&Path>, now: UnixMillis) -> Finding {
    let changed = database.and_then(|path| path.metadata().ok()?.modified().ok());
    let changed = changed.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let changed = changed.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(now);
    if changed - now >= BAD_SKEW_MS {
        let message = format!("the database was last changed in the future, at {}", to_rfc3339(changed));
        return Finding::problem("clock", message, "correct the clock of this host (`timedatectl`)");
    }
    Finding::ok("clock", "the clock is after the last change of the database")
}

fn check_disk(config: &Config, path: &Path, reusable_bytes: u64) -> Finding {
    let directory = directory_of(path);
    let space = match space_under(directory) {
        Ok(space) => space,
        Err(error) => {
            let message = format!("cannot measure the disk of {}: {error}", directory.display());
            return Finding::problem("disk", message, "run doctor as root or as the collector's user");
        }
    };
    let level = judge(config.low_disk, Room { free_bytes: space.free_bytes, reusable_bytes }, space.total_bytes);
    let message = format!("the disk of {} has {} free", directory.display(), HumanBytes(space.free_bytes));
    let remedy = "free space, shorten retention_logs, set retention_logs_bytes, or move the database to a larger disk";
    match level {
        Level::Enough => Finding::ok("disk", message),
        Level::Low => Finding::warning("disk", format!("{message}: log lines are removed early"), remedy),
        Level::Full => Finding::problem("disk", format!("{message}: reports are refused"), remedy),
    }
}

fn judge_growth(forecast: Option<Forecast>) -> Finding {
    let Some(Forecast { bytes_per_day, days_until_full }) = forecast else {
        return Finding::ok("growth", "unknown: the collector has not run for six hours yet");
    };
    let rate = format!("data grows by {} a day", HumanBytes(bytes_per_day.max(0.0) as u64));
    match days_until_full {
        Some(days) if days < FULL_SOON_DAYS => {
            let remedy = "shorten retention_*, set retention_logs_bytes, or give the database more disk";
            Finding::warning("growth", format!("{rate}: the disk is full in {days:.0} days"), remedy)
        }
        Some(days) => Finding::ok("growth", format!("{rate}: the disk is enough for {days:.0} days")),
        None => Finding::ok("growth", rate),
    }
}

fn judge_tokens(tokens: &[StoredToken], nodes: usize, now: UnixMillis) -> Vec<Finding> {
    let is_valid =
        |token: &StoredToken| token.revoked_at.is_none() && token.expires_at.is_none_or(|expires_at| expires_at > now);
    let of_kind = |kind| tokens.iter().filter(move |token| token.kind == kind && is_valid(token)).count();
    let mut findings = Vec::new();
    if of_kind(TokenKind::Enroll) == 0 && nodes == 0 {
        let remedy = "systole-collector token create --kind enroll --expires 24h";
        findings.push(Finding::warning("token", "no agent can enrol: there is no valid enrolment token", remedy));
    }
    let made_by_people = |token: &&StoredToken| {
        matches!(token.kind, TokenKind::Viewer | TokenKind::Operator | TokenKind::Admin | TokenKind::Scrape)
    };
    let ends_soon = |token: &&StoredToken| token.expires_at.is_some_and(|expires_at| expires_at - now < TOKEN_END_MS);
    for token in tokens.iter().filter(|token| is_valid(token)).filter(made_by_people).filter(ends_soon) {
        let name = token.label.name.clone().unwrap_or_else(|| token.id.to_string());
        let end = token.expires_at.map(to_rfc3339).unwrap_or_default();
        let message = format!("the {} token {name} expires at {end}", token.kind);
        let remedy = format!("systole-collector token create --kind {}, and use it where this one is", token.kind);
        findings.push(Finding::warning("token", message, remedy));
    }
    if findings.is_empty() {
        let readers = tokens.iter().filter(|token| is_valid(token)).filter(made_by_people).count();
        findings.push(Finding::ok("token", format!("{nodes} nodes, {readers} tokens of readers")));
    }
    findings
}

/// A collector is upgraded before its agents (docs/upgrading.md).
fn judge_versions<'a>(agents: impl Iterator<Item = &'a str>) -> Finding {
    let minor = |version: &str| {
        let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u64>().ok());
        Some((numbers.next()?, numbers.next()?))
    };
    let own = minor(BUILD.version);
    let newer: Vec<&str> = agents.filter(|version| minor(version).is_some_and(|agent| Some(agent) > own)).collect();
    match newer.iter().max() {
        Some(newest) => {
            let message = format!("{} agents are newer ({newest}) than this program ({})", newer.len(), BUILD.version);
            Finding::warning("version", message, "upgrade the collector, see docs/upgrading.md")
        }
        None => Finding::ok("version", format!("no agent is newer than {}", BUILD.version)),
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::Verdict;

    use super::*;

    #[test]
    fn clock_of_the_server_is_compared_within_the_time_of_the_question() {
        assert_eq!(judge_clock(1_000, 90_000, 50_000).verdict, Verdict::Ok);
        assert_eq!(judge_clock(10_000, 10_001, 5_000).verdict, Verdict::Warning);
        assert_eq!(judge_clock(10_000, 10_001, 70_001).verdict, Verdict::Problem);
    }

    #[test]
    fn database_from_the_future_shows_a_clock_that_went_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("collector.db");
        std::fs::write(&path, "").unwrap();
        assert_eq!(check_own_clock(Some(&path), now_ms()).verdict, Verdict::Ok);
        assert_eq!(check_own_clock(Some(&path), now_ms() - 2 * BAD_SKEW_MS).verdict, Verdict::Problem);
    }

    #[test]
    fn growth_is_a_warning_when_the_disk_is_full_soon() {
        let judge = |days| judge_growth(Some(Forecast { bytes_per_day: 1e9, days_until_full: days }));
        assert_eq!(judge(Some(13.0)).verdict, Verdict::Warning);
        assert_eq!(judge(Some(15.0)).verdict, Verdict::Ok);
        assert_eq!(judge(None).verdict, Verdict::Ok);
        assert_eq!(judge_growth(None).verdict, Verdict::Ok);
    }

    #[test]
    fn agents_must_not_be_newer() {
        assert_eq!(judge_versions([BUILD.version, "0.0.1", "odd"].into_iter()).verdict, Verdict::Ok);
        let newer = judge_versions(["999.1.0", "0.0.1"].into_iter());
        assert!(newer.message.starts_with("1 agents are newer (999.1.0)"), "{newer}");
    }
}
