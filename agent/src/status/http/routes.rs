//! Which page a request gets.

use std::fmt::Write;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};

use crate::status::metrics::exposition;
use crate::status::monitor::{Monitor, Readiness};
use crate::upgrade::Upgrades;
use crate::uplink::ConnectionState;

/// Prometheus's own text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const TEXT_TYPE: &str = "text/plain; charset=utf-8";

const PAGES: &str = "systole-agent: /metrics /healthz /readyz /status\n";

/// Answers a request; its body is not read.
pub(super) fn respond(monitor: &Monitor, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, TEXT_TYPE, "GET and HEAD only\n".to_owned());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/metrics" => page(StatusCode::OK, METRICS_TYPE, exposition::page_of(monitor)),
        // That it is answered is the answer.
        "/healthz" => page(StatusCode::OK, TEXT_TYPE, "ok\n".to_owned()),
        "/readyz" => readiness(monitor),
        "/status" => match serde_json::to_string(&monitor.status()) {
            Ok(json) => page(StatusCode::OK, "application/json", json),
            Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT_TYPE, format!("{error}\n")),
        },
        "/" => page(StatusCode::OK, TEXT_TYPE, PAGES.to_owned()),
        _ => page(StatusCode::NOT_FOUND, TEXT_TYPE, PAGES.to_owned()),
    }
}

/// Upgrades of the agent: how they stand, and the wish to become the program that was installed.
pub(super) fn respond_to_upgrade(upgrades: &Arc<Upgrades>, method: &Method, uri: &Uri) -> Response<Full<Bytes>> {
    if *method != Method::POST {
        return match serde_json::to_string(&upgrades.view()) {
            Ok(json) => page(StatusCode::OK, "application/json", json),
            Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT_TYPE, format!("{error}\n")),
        };
    }
    let value = |name: &str| {
        let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find_map(|(key, value)| (key == name).then(|| value.to_owned()))
    };
    let (Some(sha256), Some(version)) = (value("sha256"), value("version")) else {
        return page(StatusCode::BAD_REQUEST, TEXT_TYPE, "sha256 and version are required\n".to_owned());
    };
    match upgrades.switch(sha256, version) {
        Ok(()) => page(StatusCode::ACCEPTED, TEXT_TYPE, "the agent becomes the new program\n".to_owned()),
        Err(error) => page(StatusCode::CONFLICT, TEXT_TYPE, format!("{error}\n")),
    }
}

/// Refuses a request that names another host.
pub(super) fn wrong_name() -> Response<Full<Bytes>> {
    let text = "this is systole-agent; use localhost, 127.0.0.1, [::1], or the address of metrics_listen\n";
    page(StatusCode::MISDIRECTED_REQUEST, TEXT_TYPE, text.to_owned())
}

/// An unreachable collector does not make the agent unready: a restart would fix nothing.
fn readiness(monitor: &Monitor) -> Response<Full<Bytes>> {
    let (status, mut text) = match monitor.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready: reports are made\n".to_owned()),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "not ready: no report was made yet\n".to_owned()),
        Readiness::Stuck => (StatusCode::SERVICE_UNAVAILABLE, "not ready: no recent report\n".to_owned()),
    };
    let connection = monitor.connection.facts();
    let collector = match connection.state {
        ConnectionState::Connected => "connected",
        ConnectionState::Connecting => "no answer yet",
        ConnectionState::Disconnected => "not reachable, reports wait",
        ConnectionState::Refused => "refuses this node, reports wait",
    };
    let _ = writeln!(text, "collector: {collector}");
    if let (ConnectionState::Disconnected | ConnectionState::Refused, Some((error, _))) =
        (connection.state, connection.last_error)
    {
        let _ = writeln!(text, "{error}");
    }
    page(status, TEXT_TYPE, text)
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
