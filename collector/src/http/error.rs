//! Errors at the HTTP edge.
//!
//! The policy: inside, every module has an error of its own with its cause; here it becomes one
//! [`ApiError`] with a detail for the caller and, when the fault is ours, a cause for the log. The
//! caller sees `application/problem+json` (RFC 9457) and nothing of our insides. Faults of the caller are
//! not logged as errors: they need no action here.
//!
//! A database that cannot be reached is a 503: a later try can succeed. A query that the database refuses is
//! a 500.

use std::fmt;
use std::time::Duration;

use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, ResponseError};
use rand::RngExt;
use serde::Serialize;
use systole_shared::vectorflow::ErrorBody;
use utoipa::ToSchema;

use crate::auth::IdentifyError;
use crate::auth::rate_limit::RateLimited;
use crate::control::secrets::SecretError;
use crate::control::versions::ChangeError;
use crate::feed::Overloaded;
use crate::http::body_budget::BudgetError;
use crate::ingest::committer::{AdministerError, SubmitError};
use crate::ingest::decompress::BodyError;
use crate::ingest::long_work::LongWorkError;
use crate::ingest::protocol::{native, vectorflow};
use crate::query::share::TooManyQueries;
use crate::store::StoreError;
use crate::telemetry::logging::chain;

/// Retry time of an agent that was refused because the disk is full.
const DISK_FULL_RETRY_SECONDS: u32 = 15;

/// An answer that is not a success.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    detail: String,
    /// Seconds until it makes sense to try again.
    retry_after: Option<u32>,
    /// Methods that the resource has.
    allow: Option<String>,
}

/// The body of an answer that is not a success (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem<'a> {
    /// Always `about:blank`: the status says what kind it is.
    r#type: &'static str,
    /// The status in words.
    title: &'a str,
    /// The status.
    status: u16,
    /// The fault of this request, and its place.
    detail: &'a str,
}

impl ApiError {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        ApiError { status, detail: detail.into(), retry_after: None, allow: None }
    }

    /// 400: a parameter has a value that it cannot have.
    pub(crate) fn bad_parameter(name: &str, detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("{name}: {detail}"))
    }

    /// 400: the request as a whole.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: no valid token.
    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 401: the token is not of this database, or no longer valid. The response does not say which: a guess
    /// must not learn it.
    pub(crate) fn unknown_token() -> Self {
        Self::unauthorized(
            "the collector does not know this token; it was made in another database, or it has expired or was revoked or removed",
        )
    }

    /// 403: a valid token without the right.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: nothing there, or nothing that the caller may see.
    pub(crate) fn not_found(what: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} does not exist"))
    }

    /// 404: a part of this collector that is turned off.
    pub(crate) fn off(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 404: no route has this path.
    pub(crate) fn no_such_path(path: &str, hint: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("the path {path} does not exist; {hint}"))
    }

    /// 405: the resource exists, the method does not.
    pub(crate) fn method_not_allowed(methods: &[Method]) -> Self {
        let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let detail = format!("this resource supports only {allow}");
        ApiError { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 408: the client was too slow.
    pub(crate) fn timed_out(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, detail)
    }

    /// 409: the question has several answers.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 413: the body is larger than the cap as it was sent.
    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 415: the body is of another type.
    pub(crate) fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 429: the client has sent too many requests.
    pub(crate) fn too_many(detail: impl Into<String>, retry_after: Duration) -> Self {
        // Rounded up: an earlier try would be refused again.
        let seconds = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        ApiError { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// 500: the response cannot be encoded.
    pub(crate) fn unwritable(error: impl std::error::Error) -> Self {
        tracing::error!(error = %chain(&error), "cannot encode a response");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the response cannot be encoded")
    }

    /// 503: try again later.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        ApiError { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 503: no collector of the cluster leads at the moment.
    pub(crate) fn no_leader() -> Self {
        Self::unavailable("no collector leads at the moment; send it again, or to another collector")
    }

    /// 503: there is no disk space for reports. No report is lost, because agents keep them and retry later.
    pub(crate) fn disk_full() -> Self {
        let detail = "the collector's disk is almost full; nothing is taken until there is room";
        ApiError { retry_after: Some(DISK_FULL_RETRY_SECONDS), ..Self::unavailable(detail) }
    }

    fn answer(&self, content_type: &'static str, body: &impl Serialize) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(content_type)));
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(methods) = &self.allow {
            response.insert_header((header::ALLOW, methods.as_str()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        response.body(serde_json::to_string(body).unwrap_or_default())
    }

    /// The detail for the caller.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The status, for counting.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let problem = Problem {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        self.answer("application/problem+json", &problem)
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::UnknownEncoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            BodyError::TooLarge | BodyError::TooManyParts => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Broken { .. } => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

impl From<BudgetError> for ApiError {
    fn from(error: BudgetError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<LongWorkError> for ApiError {
    fn from(error: LongWorkError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<native::DecodeError> for ApiError {
    fn from(error: native::DecodeError) -> Self {
        use native::DecodeError::{Malformed, SeqOutOfOrder, TooManyReports, TooManyUnreadable};
        let status = match error {
            Malformed(_) | SeqOutOfOrder { .. } => StatusCode::BAD_REQUEST,
            TooManyReports(_) | TooManyUnreadable => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<vectorflow::DecodeError> for ApiError {
    fn from(error: vectorflow::DecodeError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            // Logged where it happened.
            SubmitError::Busy | SubmitError::Stopping | SubmitError::Store(_) | SubmitError::Leader(_) => {
                Self::unavailable(error.to_string())
            }
            SubmitError::NoLeader => Self::no_leader(),
            SubmitError::UnknownNode => Self::unauthorized(error.to_string()),
        }
    }
}

impl From<AdministerError> for ApiError {
    fn from(error: AdministerError) -> Self {
        match error {
            AdministerError::UnknownNode => Self::not_found("this node"),
            AdministerError::Refused(fault) => Self::bad_parameter("labels", fault),
            // Logged where it happened.
            AdministerError::Stopping | AdministerError::Store(_) | AdministerError::Leader(_) => {
                Self::unavailable(error.to_string())
            }
            AdministerError::NoLeader => Self::no_leader(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::unavailable("the collector is stopping"),
            StoreError::Unreachable(_) => {
                tracing::error!(error = %chain(&error), "a query failed");
                Self::unavailable(error.to_string())
            }
            StoreError::TimedOut => Self::unavailable("the query takes too long; narrow it down"),
            StoreError::Revoked => Self::unauthorized(error.to_string()),
            error => {
                tracing::error!(error = %chain(&error), "a query failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the database cannot be read")
            }
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => error.into(),
            ChangeError::Invalid(_) => Self::bad_request(error.to_string()),
            ChangeError::UnknownVersion(_) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            ChangeError::OtherVersion { .. } | ChangeError::NothingBefore | ChangeError::TooMany => {
                Self::conflict(error.to_string())
            }
            ChangeError::Busy => Self::unavailable(error.to_string()),
        }
    }
}

impl From<SecretError> for ApiError {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Store(error) => error.into(),
            SecretError::Name(_) | SecretError::Value(_) => Self::bad_request(error.to_string()),
            SecretError::Unknown { .. } => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            SecretError::TooMany => Self::conflict(error.to_string()),
            SecretError::Busy => Self::unavailable(error.to_string()),
            SecretError::KeyFile(_) | SecretError::WrongKeyFile { .. } | SecretError::Damaged { .. } => {
                tracing::error!(error = %chain(&error), "the secrets cannot be used");
                Self::unavailable(chain(&error))
            }
        }
    }
}

impl From<RateLimited> for ApiError {
    fn from(error: RateLimited) -> Self {
        Self::too_many(error.to_string(), error.retry_after)
    }
}

impl From<IdentifyError> for ApiError {
    fn from(error: IdentifyError) -> Self {
        match error {
            IdentifyError::Store(error) => error.into(),
            IdentifyError::TooManyUnknown(error) => error.into(),
        }
    }
}

impl From<TooManyQueries> for ApiError {
    fn from(error: TooManyQueries) -> Self {
        // Different for each, so that they do not come back together.
        Self::too_many(error.to_string(), Duration::from_millis(rand::rng().random_range(0..3_000)))
    }
}

impl From<Overloaded> for ApiError {
    fn from(error: Overloaded) -> Self {
        let retry_ms = rand::rng().random_range(error.retry_ms());
        let retry_after = Some(u32::try_from(retry_ms / 1_000).unwrap_or(u32::MAX));
        ApiError { retry_after, ..Self::unavailable(error.to_string()) }
    }
}

/// An [`ApiError`] that is answered as VectorFlow's clients read it: `{error, details?}`.
#[derive(Debug)]
pub(crate) struct VectorFlowError(pub ApiError);

impl From<ApiError> for VectorFlowError {
    fn from(error: ApiError) -> Self {
        VectorFlowError(error)
    }
}

impl fmt::Display for VectorFlowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for VectorFlowError {
    fn status_code(&self) -> StatusCode {
        self.0.status
    }

    fn error_response(&self) -> HttpResponse {
        self.0.answer("application/json", &ErrorBody { error: self.0.detail.clone(), details: None })
    }
}
