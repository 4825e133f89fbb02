//! CORS: the origins whose pages may read.

use actix_cors::Cors;
use actix_web::http::{Method, header};

/// Time for which a browser may cache the answer.
const MAX_AGE_SECONDS: usize = 3_600;

/// Lets pages of these origins send requests with a token. The session's cookie is of this site alone
/// (SameSite=Strict), so credentials are of no use to them.
pub(super) fn allow(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::POST, Method::DELETE])
        .allowed_headers([header::AUTHORIZATION, header::ACCEPT, header::CONTENT_TYPE, header::CACHE_CONTROL])
        .allowed_headers(["Last-Event-ID", "X-Systole-Client"])
        .expose_headers([header::RETRY_AFTER])
        // Requests without an origin, or of one that may not, are answered; the browser keeps the answer
        // from the page.
        .block_on_origin_mismatch(false)
        .max_age(MAX_AGE_SECONDS);
    origins.iter().fold(cors, |cors, origin| match origin.as_str() {
        "*" => cors.allow_any_origin().send_wildcard(),
        origin => cors.allowed_origin(origin),
    })
}
