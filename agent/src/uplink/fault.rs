//! What went wrong with a request, and what that means for it.

use std::time::Duration;

use reqwest::StatusCode;

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// No answer: the network, a time-out, TLS.
    #[error("the collector cannot be reached: {0}")]
    Network(String),
    /// The collector cannot now: 408, 429, 5xx.
    #[error("the collector answered {status}: {detail}")]
    NotNow {
        /// What it answered.
        status: StatusCode,
        /// In its words.
        detail: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// It does not know the token: 401.
    #[error("the collector does not accept the token (401): {0}")]
    Unauthorized(String),
    /// The request is too large: 413.
    #[error("the request is too large for the collector (413)")]
    TooLarge,
    /// It will never take this request: any other answer that is no success.
    #[error("the collector refused the request with {status}: {detail}")]
    Refused {
        /// What it answered.
        status: StatusCode,
        /// In its words.
        detail: String,
    },
    /// It said 200, but not in a way that can be read.
    #[error("the collector's answer cannot be read: {0}")]
    Unreadable(#[source] serde_json::Error),
}

impl Fault {
    /// Judges an answer that is not 200.
    pub(crate) fn of_status(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let detail = detail_of(body);
        match status {
            StatusCode::UNAUTHORIZED => Fault::Unauthorized(detail),
            StatusCode::PAYLOAD_TOO_LARGE => Fault::TooLarge,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Fault::NotNow { status, detail, retry_after }
            }
            status if status.is_client_error() => Fault::Refused { status, detail },
            // Also redirects and the like: whoever answers there is not the collector, now.
            status => Fault::NotNow { status, detail, retry_after },
        }
    }
}

/// Bytes of the collector's own words that are shown.
const MAX_DETAIL_BYTES: usize = 300;

/// The `detail` or `title` of a problem+json, the `error` of VectorFlow's, or the beginning of the text.
fn detail_of(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let field = |name| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let text = field("detail").or_else(|| field("title")).or_else(|| field("error"));
    let text = text.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    systole_shared::limits::cut(text.trim(), MAX_DETAIL_BYTES).replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16) -> Fault {
        Fault::of_status(StatusCode::from_u16(status).unwrap(), None, b"")
    }

    #[test]
    fn what_may_pass_is_repeated_and_what_never_will_is_not() {
        for status in [408, 429, 500, 502, 503, 504, 301] {
            assert!(matches!(fault(status), Fault::NotNow { .. }), "{status}");
        }
        for status in [400, 403, 404, 409, 415, 422] {
            assert!(matches!(fault(status), Fault::Refused { .. }), "{status}");
        }
        assert!(matches!(fault(401), Fault::Unauthorized(_)));
        assert!(matches!(fault(413), Fault::TooLarge));
    }

    #[test]
    fn the_collectors_own_words_are_kept() {
        let body = br#"{"type":"about:blank","title":"Bad Request","detail":"line\n7"}"#;
        assert_eq!(detail_of(body), "line 7");
        assert_eq!(detail_of(br#"{"error":"no"}"#), "no");
        assert_eq!(detail_of(b"<html>"), "<html>");
    }
}
