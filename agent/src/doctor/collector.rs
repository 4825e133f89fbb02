//! The way to the collector: name, port, certificate, clock, version and token. Each step needs the one before.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::DATE;
use reqwest::tls::TlsInfo;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use systole_shared::{Finding, Token, UnixMillis};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::certificate;
use crate::clock;
use crate::config::Config;
use crate::http_client;
use crate::model::protocol::{Protocol, ProtocolSetting};
use crate::version::BUILD;

/// Longest wait for a name or a connection.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// A difference of the clocks that is shown as a warning: the date of an answer has whole seconds.
const WARN_SKEW_MS: i64 = 5_000;

/// A difference that makes minutes of nodes hard to compare.
const BAD_SKEW_MS: i64 = 60_000;

/// The largest description of the collector's interface.
const MAX_DOCUMENT_BYTES: usize = 16 << 20;

/// Checks each address.
pub(super) async fn check(config: &Config, token: Option<&Token>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for url in &config.urls {
        findings.extend(check_address(config, url, token).await);
    }
    findings
}

/// Checks step by step, up to the first one that fails.
async fn check_address(config: &Config, url: &Url, token: Option<&Token>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_proxied(url) {
        findings.push(Finding::ok("proxy", "requests go through the proxy of the environment"));
    } else {
        let addresses = match resolve(url).await {
            Ok(addresses) => addresses,
            Err(finding) => return vec![*finding],
        };
        let finding = connect(url, &addresses).await;
        let is_connected = finding.remedy.is_none();
        findings.push(finding);
        if !is_connected {
            return findings;
        }
    }
    http_client::install_tls();
    let client = match http_client::for_doctor(url.scheme() == "https", &config.tls) {
        Ok(client) => client,
        Err(error) => {
            findings.push(Finding::problem("tls", error.to_string(), "correct the file, or the setting that names it"));
            return findings;
        }
    };
    let asked_at = clock::unix_millis();
    let response = match client.get(path(url, "/healthz")).send().await {
        Ok(response) => response,
        Err(error) => {
            findings.push(judge_failure(url, &http_client::innermost(&error)));
            return findings;
        }
    };
    let now = clock::unix_millis();
    findings.extend(check_certificate(&response, now));
    findings.extend(check_clock(&response, asked_at, now));
    if config.protocol == ProtocolSetting::Fixed(Protocol::VectorFlow) {
        return findings;
    }
    if response.status() != StatusCode::OK {
        let message = format!("{url} answers {} to /healthz", response.status());
        findings.push(Finding::problem(
            "collector",
            message,
            "set url to a Systole collector; a path of it must be empty",
        ));
        return findings;
    }
    findings.push(check_version(&client, url).await);
    findings.push(check_token(&client, url, token).await);
    findings
}

fn path(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    let prefix = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{prefix}{path}"));
    url
}

fn is_proxied(url: &Url) -> bool {
    url.as_str().parse().is_ok_and(|uri| Matcher::from_env().intercept(&uri).is_some())
}

/// The addresses of the collector's name.
async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, Box<Finding>> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(80);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let why = match timeout(STEP_TIMEOUT, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => return Ok(addresses.collect()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    let remedy = "correct url, or the name servers of this host (/etc/resolv.conf)";
    Err(Box::new(Finding::problem("dns", format!("cannot resolve {host}: {why}"), remedy)))
}

/// Whether one of the addresses takes a connection.
async fn connect(url: &Url, addresses: &[SocketAddr]) -> Finding {
    let mut why = "it has no address".to_owned();
    for address in addresses {
        match timeout(STEP_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Finding::ok("port", format!("{address} takes connections")),
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address}: no answer in time"),
        }
    }
    let remedy =
        "start the collector, let it listen on an address that this host can reach (listen), or open the firewall";
    Finding::problem("port", format!("cannot connect to {url} ({why})"), remedy)
}

/// What a request without an answer means.
fn judge_failure(url: &Url, cause: &str) -> Finding {
    let has = |words: &str| cause.contains(words);
    let remedy = if has("UnknownIssuer") || has("BadSignature") {
        "set ca_file to the certificate of its authority; the collector must send its whole chain"
    } else if has("certificate expired") || has("certificate not valid yet") {
        "renew the certificate of the collector; if it is new, correct the clock of this host"
    } else if has("certificate not valid for name") {
        "write a name of the certificate in url"
    } else if has("CertificateRequired") {
        "set client_cert_file and client_key_file: the collector wants a certificate of this node"
    } else if url.scheme() == "https" {
        "if the collector has no certificate, begin url with http://"
    } else {
        "if the collector has a certificate, begin url with https://"
    };
    let check = if url.scheme() == "https" { "tls" } else { "collector" };
    Finding::problem(check, format!("{url} does not answer: {cause}"), remedy)
}

fn check_certificate(response: &Response, now: UnixMillis) -> Option<Finding> {
    let der = response.extensions().get::<TlsInfo>()?.peer_certificate()?;
    let remedy = "renew tls_cert_file of the collector, which reads it again by itself";
    Some(certificate::judge("tls", "the certificate of the collector", der, now, remedy))
}

fn check_clock(response: &Response, asked_at: UnixMillis, now: UnixMillis) -> Option<Finding> {
    let date = response.headers().get(DATE)?.to_str().ok()?;
    let date = chrono::DateTime::parse_from_rfc2822(date).ok()?.timestamp_millis();
    Some(judge_clock(asked_at, now, date))
}

/// Compares the clock with the date of an answer, which is cut to a second.
fn judge_clock(asked_at: UnixMillis, now: UnixMillis, date: UnixMillis) -> Finding {
    let ahead_ms = if asked_at > date + 999 {
        asked_at - date - 999
    } else {
        // Zero, or how far this clock is behind.
        (now - date).min(0)
    };
    let seconds = ahead_ms.unsigned_abs().div_ceil(1_000);
    let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let message = format!("the clock of this host is {seconds} s {side} that of the collector");
    let remedy = "synchronise both clocks (systemd-timesyncd, chrony); `timedatectl` shows whether this one is";
    match ahead_ms.abs() {
        BAD_SKEW_MS.. => Finding::problem("clock", message, remedy),
        WARN_SKEW_MS.. => Finding::warning("clock", message, remedy),
        _ => Finding::ok("clock", "the clock agrees with that of the collector"),
    }
}

/// The part of the collector's description that is read.
#[derive(Deserialize)]
struct Document {
    info: DocumentInfo,
}

#[derive(Deserialize)]
struct DocumentInfo {
    version: String,
}

async fn check_version(client: &Client, url: &Url) -> Finding {
    match fetch_version(client, url).await {
        Some(version) => judge_version(BUILD.version, &version),
        None => {
            let message = format!("{url} does not say its version: it is no Systole collector, or a very old one");
            Finding::warning("version", message, "check url")
        }
    }
}

async fn fetch_version(client: &Client, url: &Url) -> Option<String> {
    let mut response = client.get(path(url, "/api/v1/openapi.json")).send().await.ok()?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_DOCUMENT_BYTES {
            return None;
        }
    }
    Some(serde_json::from_slice::<Document>(&body).ok()?.info.version)
}

/// A collector is upgraded before its agents (docs/upgrading.md).
fn judge_version(agent: &str, collector: &str) -> Finding {
    let minor = |version: &str| {
        let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u64>().ok());
        Some((numbers.next()?, numbers.next()?))
    };
    let message = format!("agent {agent}, collector {collector}");
    match (minor(agent), minor(collector)) {
        (Some(own), Some(its)) if own > its => {
            let message = format!("{message}: the agent is newer");
            Finding::warning("version", message, "upgrade the collector first, see docs/upgrading.md")
        }
        _ => Finding::ok("version", message),
    }
}

async fn check_token(client: &Client, url: &Url, token: Option<&Token>) -> Finding {
    let Some(token) = token else {
        return Finding::ok("token", "the node is not enrolled yet; an enrolment token is configured");
    };
    let request = client.get(path(url, "/api/v1/agent/desired")).bearer_auth(token.reveal());
    match request.send().await.map(|response| response.status()) {
        Ok(status) => judge_token(status),
        Err(error) => {
            let message = format!("the collector does not answer: {}", http_client::innermost(&error));
            Finding::warning("token", message, "try again")
        }
    }
}

fn judge_token(status: StatusCode) -> Finding {
    match status {
        StatusCode::OK | StatusCode::NOT_MODIFIED => Finding::ok("token", "the collector accepts the node's token"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let message = "the collector refuses the node's token: the node was removed, or the token was revoked";
            let remedy = "create an enrolment token (systole-collector token create --kind enroll), set SYSTOLE_TOKEN to it, remove node-token from data_dir, and restart the agent";
            Finding::problem("token", message, remedy)
        }
        other => Finding::warning("token", format!("the collector answers {other} to the node"), "try again"),
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::Verdict;

    use super::*;

    #[test]
    fn clock_is_judged_within_the_second_of_the_date() {
        let judge = |asked, now, date| judge_clock(asked, now, date).verdict;
        assert_eq!(judge(10_900, 10_950, 10_000), Verdict::Ok);
        assert_eq!(judge(15_998, 15_998, 10_000), Verdict::Ok);
        assert_eq!(judge(15_999, 15_999, 10_000), Verdict::Warning);
        assert_eq!(judge(70_998, 70_999, 10_000), Verdict::Warning);
        assert_eq!(judge(70_999, 70_999, 10_000), Verdict::Problem);
        assert_eq!(judge(4_000, 5_001, 10_000), Verdict::Ok);
        assert_eq!(judge(4_000, 5_000, 10_000), Verdict::Warning);
        let behind = judge_clock(40_000, 40_000, 100_000);
        assert_eq!(behind.verdict, Verdict::Problem);
        assert!(behind.message.contains("60 s behind"), "{behind}");
        // A slow answer shows nothing.
        assert_eq!(judge(10_000, 90_000, 50_000), Verdict::Ok);
    }

    #[test]
    fn agent_must_not_be_newer_than_its_collector() {
        for (agent, collector, verdict) in [
            ("0.1.0", "0.1.9", Verdict::Ok),
            ("0.1.9", "0.1.0", Verdict::Ok),
            ("0.1.0", "0.10.0", Verdict::Ok),
            ("0.10.0-rc1", "0.9.3", Verdict::Warning),
            ("1.0.0", "0.9.3", Verdict::Warning),
            ("odd", "0.9.3", Verdict::Ok),
        ] {
            assert_eq!(judge_version(agent, collector).verdict, verdict, "{agent} {collector}");
        }
    }

    #[test]
    fn failure_names_its_remedy() {
        let https: Url = "https://c.example/".parse().unwrap();
        for (cause, remedy) in [
            ("invalid peer certificate: UnknownIssuer", "ca_file"),
            ("invalid peer certificate: certificate expired: verification time 1", "renew"),
            ("invalid peer certificate: certificate not valid for name \"x\"", "name of the certificate"),
            ("received corrupt message of type InvalidContentType", "http://"),
        ] {
            let finding = judge_failure(&https, cause);
            assert!(finding.remedy.as_deref().unwrap().contains(remedy), "{cause}: {finding}");
        }
        let plain = judge_failure(&"http://c.example/".parse().unwrap(), "connection closed");
        assert!(plain.remedy.unwrap().contains("https://"));
    }

    #[test]
    fn refused_token_is_a_problem() {
        assert_eq!(judge_token(StatusCode::OK).verdict, Verdict::Ok);
        assert_eq!(judge_token(StatusCode::UNAUTHORIZED).verdict, Verdict::Problem);
        assert_eq!(judge_token(StatusCode::SERVICE_UNAVAILABLE).verdict, Verdict::Warning);
    }
}
