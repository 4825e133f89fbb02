//! Which protocol a collector speaks, by two requests without a token, which change nothing there.
//!
//! Only an answer in a collector's own form decides: its refusal of the request. A proxy's page, an error of a server,
//! and silence decide nothing, and the agent asks again.

use reqwest::StatusCode;

use crate::model::protocol::Protocol;
use crate::uplink::request_error::{ErrorForm, RequestError};
use crate::uplink::transport::{MAX_ANSWER_BYTES, Transport};

/// A route of the native protocol that takes POST: a collector answers 405 to GET, in its own form, and does not log it
/// as it logs a missing token.
const NATIVE_ROUTE: &str = "api/v1/agent/enroll";

/// A route of VectorFlow's protocol.
const VECTORFLOW_ROUTE: &str = "api/agent/config";

/// Asks.
///
/// # Errors
///
/// When no answer shows a protocol.
pub(super) async fn detect(transport: &Transport) -> Result<Protocol, RequestError> {
    // First: a Systole collector also serves VectorFlow's agents.
    let native = match ask(transport, NATIVE_ROUTE, ErrorForm::Problem).await {
        Err(error) if is_own_refusal(&error) => return Ok(Protocol::Native),
        Err(error) if !is_answer(&error) => return Err(error),
        Err(error) => error,
        // No collector has a success for a request without a token.
        Ok(answer) => transport.unexpected(&answer),
    };
    match ask(transport, VECTORFLOW_ROUTE, ErrorForm::Error).await {
        Err(RequestError::Unauthorized(_)) => Ok(Protocol::VectorFlow),
        Err(error) if !is_answer(&error) => Err(error),
        _ => Err(native),
    }
}

async fn ask(transport: &Transport, path: &str, form: ErrorForm) -> Result<Vec<u8>, RequestError> {
    transport.exchange(|to| transport.get(to, path, None), form, MAX_ANSWER_BYTES).await.map(|answer| answer.body)
}

/// Whether the collector itself refused.
fn is_own_refusal(error: &RequestError) -> bool {
    let refusals = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_FOUND, StatusCode::FORBIDDEN];
    matches!(error, RequestError::Refused { status, .. } if refusals.contains(status))
        || matches!(error, RequestError::Unauthorized(_))
}

/// Whether something has answered for good, and not only for now.
fn is_answer(error: &RequestError) -> bool {
    !matches!(error, RequestError::Network(_) | RequestError::Retryable { .. })
}
