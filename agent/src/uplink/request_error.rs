//! Why a request failed, and what that means for its reports.
//!
//! Only the collector itself can reject a report permanently, and only in its own form, a problem+json.
//! A proxy's 404 or 413 says nothing about the report, and a 404 of the collector means that the address
//! is wrong: both wait for an operator, and no report is lost.

use std::time::Duration;

use reqwest::StatusCode;

/// An error of a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// No answer: the network, a time-out, TLS.
    #[error("the collector cannot be reached: {0}")]
    Network(String),
    /// The collector, or what precedes it, cannot now: 408, 429, 5xx.
    #[error("the collector answered {status}: {detail}")]
    Retryable {
        /// The status.
        status: StatusCode,
        /// Its text.
        detail: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The collector does not know the token: 401.
    #[error("the collector rejects the token (401): {0}")]
    Unauthorized(String),
    /// The request is too large: 413.
    #[error("the request is too large for {} (413)", if *.is_collectors { "the collector" } else { "a proxy in front of the collector" })]
    TooLarge {
        /// Whether the collector itself says so.
        is_collectors: bool,
    },
    /// The collector refuses the request: any other answer of its own that is no success.
    #[error("the collector refused the request with {status}: {detail}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Its text.
        detail: String,
    },
    /// An answer that is not the collector's.
    #[error("{status} from something that is not the collector: {detail}")]
    Foreign {
        /// The status.
        status: StatusCode,
        /// Its text.
        detail: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// A success that is not the collector's answer.
    #[error("the answer is not the collector's: {0}")]
    Unreadable(String),
}

/// How a collector writes its own errors: those of a proxy have another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorForm {
    /// A problem+json that names the same status: the native protocol.
    Problem,
    /// A JSON object with the text `error`: VectorFlow.
    Error,
}

/// An answer that is not 200.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailedResponse<'a> {
    /// The form of the collector's own errors.
    pub(crate) form: ErrorForm,
    /// The status.
    pub(crate) status: StatusCode,
    /// The header Retry-After.
    pub(crate) retry_after: Option<Duration>,
    /// The header Content-Type.
    pub(crate) content_type: &'a str,
    /// The beginning of the body.
    pub(crate) body: &'a [u8],
}

impl RequestError {
    /// Judges an answer that is not 200.
    pub(crate) fn of_answer(answer: FailedResponse<'_>) -> Self {
        let FailedResponse { status, retry_after, body, .. } = answer;
        let (detail, is_collectors) = (detail_of(body), is_collectors(&answer));
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => RequestError::TooLarge { is_collectors },
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                RequestError::Retryable { status, detail, retry_after }
            }
            StatusCode::UNAUTHORIZED if is_collectors => RequestError::Unauthorized(detail),
            status if status.is_client_error() && is_collectors => RequestError::Refused { status, detail },
            status if status.is_server_error() => RequestError::Retryable { status, detail, retry_after },
            // Also redirects, and a success that is none of ours.
            status => RequestError::Foreign { status, detail, retry_after },
        }
    }

    /// The wait that the answer asks for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            RequestError::Retryable { retry_after, .. } | RequestError::Foreign { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether a request with one report that failed like this will fail for ever because of the report.
    pub(crate) fn is_because_of_the_report(&self) -> bool {
        match self {
            RequestError::TooLarge { is_collectors } => *is_collectors,
            RequestError::Refused { status, .. } => {
                matches!(*status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY)
            }
            _ => false,
        }
    }

    /// Whether the collector refuses what was sent, and not the node: the same will be refused again.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, RequestError::TooLarge { .. }) || self.is_because_of_the_report()
    }

    /// Adds what an operator may have to change.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        match &mut self {
            RequestError::Network(detail)
            | RequestError::Unauthorized(detail)
            | RequestError::Unreadable(detail)
            | RequestError::Retryable { detail, .. }
            | RequestError::Refused { detail, .. }
            | RequestError::Foreign { detail, .. } => {
                detail.push_str("; ");
                detail.push_str(hint);
            }
            RequestError::TooLarge { .. } => {}
        }
        self
    }
}

/// Whether an answer has the collector's form. All versions of the collector answer like this.
fn is_collectors(answer: &FailedResponse<'_>) -> bool {
    let kind = answer.content_type.split(';').next().unwrap_or_default().trim();
    let body = || serde_json::from_slice::<serde_json::Value>(answer.body).ok();
    match answer.form {
        ErrorForm::Problem => {
            let status = || body()?.get("status")?.as_u64();
            kind.eq_ignore_ascii_case("application/problem+json") && status() == Some(u64::from(answer.status.as_u16()))
        }
        ErrorForm::Error => {
            let has_error = || Some(body()?.get("error")?.is_string());
            kind.eq_ignore_ascii_case("application/json") && has_error() == Some(true)
        }
    }
}

/// Bytes of an answer's text that are shown.
const MAX_DETAIL_BYTES: usize = 300;

/// The `detail` or `title` of a problem+json, the title of an HTML page, or the beginning of the text.
pub(crate) fn detail_of(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let field = |name| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let text = field("detail").or_else(|| field("title")).or_else(|| field("error"));
    let text = text.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body).into_owned();
        html_title(&text).map_or(text, |title| format!("an HTML page, \"{title}\""))
    });
    systole_shared::limits::cut(text.trim(), MAX_DETAIL_BYTES).replace(char::is_control, " ")
}

/// The title of an HTML page; empty for a page without one.
fn html_title(text: &str) -> Option<String> {
    let begin = text.trim_start().get(..MAX_DETAIL_BYTES.min(text.trim_start().len())).unwrap_or_default();
    let begin = begin.to_ascii_lowercase();
    if !(begin.starts_with("<!doctype html") || begin.starts_with("<html")) {
        return None;
    }
    let after = |text: &str, tag: &str| Some(text.split_once(tag)?.1.to_owned());
    let title = after(text, "<title>").or_else(|| after(text, "<TITLE>"));
    Some(title.map(|rest| rest.split('<').next().unwrap_or_default().trim().to_owned()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, content_type: &str, body: &str) -> RequestError {
        of_form(ErrorForm::Problem, status, content_type, body)
    }

    fn of_form(form: ErrorForm, status: u16, content_type: &str, body: &str) -> RequestError {
        let status = StatusCode::from_u16(status).unwrap();
        RequestError::of_answer(FailedResponse { form, status, retry_after: None, content_type, body: body.as_bytes() })
    }

    fn problem(status: u16) -> RequestError {
        error(status, "application/problem+json; charset=utf-8", &format!(r#"{{"status":{status},"detail":"d"}}"#))
    }

    #[test]
    fn answer_of_the_collector_is_known_by_its_form() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(matches!(problem(status), RequestError::Retryable { .. }), "{status}");
            assert!(matches!(error(status, "text/html", "<html>"), RequestError::Retryable { .. }), "{status}");
        }
        for status in [400, 403, 404, 409, 415, 422] {
            assert!(matches!(problem(status), RequestError::Refused { .. }), "{status}");
            assert_eq!(problem(status).is_because_of_the_report(), [400, 422].contains(&status), "{status}");
        }
        assert!(matches!(problem(401), RequestError::Unauthorized(_)));
        assert!(matches!(problem(413), RequestError::TooLarge { is_collectors: true }));
    }

    #[test]
    fn answer_of_something_else_is_never_because_of_the_report() {
        for status in [204, 301, 400, 401, 403, 404, 405, 422] {
            for (content_type, body) in [("text/html", "<html><title>x</title>"), ("application/json", "{}"), ("", "")]
            {
                let error = error(status, content_type, body);
                assert!(matches!(error, RequestError::Foreign { .. }) && !error.is_because_of_the_report(), "{status}");
            }
        }
        assert!(matches!(error(413, "text/html", "<html>"), RequestError::TooLarge { is_collectors: false }));
        let other = error(400, "application/problem+json", r#"{"title":"of another program"}"#);
        assert!(matches!(other, RequestError::Foreign { .. }));
    }

    #[test]
    fn answer_of_a_vectorflow_server_is_known_by_its_form() {
        let error = |status, kind, body| of_form(ErrorForm::Error, status, kind, body);
        let own = r#"{"error":"no such node"}"#;
        assert!(matches!(error(401, "application/json; charset=utf-8", own), RequestError::Unauthorized(_)));
        assert!(matches!(error(402, "application/json", own), RequestError::Refused { .. }));
        assert!(matches!(error(413, "application/json", own), RequestError::TooLarge { is_collectors: true }));
        for (kind, body) in [("text/html", "<html>"), ("application/json", "{}"), ("text/plain", own)] {
            assert!(matches!(error(401, kind, body), RequestError::Foreign { .. }), "{kind} {body}");
        }
    }

    #[test]
    fn detail_is_the_collectors_own_or_the_title_of_a_page() {
        let body = br#"{"type":"about:blank","title":"Bad Request","detail":"line\n7"}"#;
        assert_eq!(detail_of(body), "line 7");
        assert_eq!(detail_of(br#"{"error":"no"}"#), "no");
        assert_eq!(detail_of(b"plain"), "plain");
        let page = b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>";
        assert_eq!(detail_of(page), "an HTML page, \"413 Request Entity Too Large\"");
        assert_eq!(detail_of(b"<!DOCTYPE html><p>"), "an HTML page, \"\"");
    }
}
