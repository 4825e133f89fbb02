//! `GET /docs`: the contract for people, shown by Swagger UI out of this program. The page and its document
//! need no token; the requests that a user sends from the page do.
//!
//! Swagger UI comes from a crate that contains its archive. The build takes the two files that are
//! needed and the licence out of it, compressed (443 KB in the program). The policy of the page allows
//! nothing from other origins and nothing inline.

use actix_web::http::header;
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};

use super::{Content, respond};
use crate::http::error::ApiError;

/// The page loads from and sends to this server only, and no other page may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Time for which a browser caches a file: an upgrade is visible within the hour.
const KEEP: &str = "max-age=3600";

macro_rules! packed {
    ($name:literal) => {
        Content::Packed { gzip: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")), brotli: None }
    };
}

/// The files beside the page.
static ASSETS: [(&str, Content); 6] = [
    ("page.css", Content::Plain(include_bytes!("page.css"))),
    ("page.js", Content::Plain(include_bytes!("page.js"))),
    ("swagger-ui.css", packed!("swagger-ui.css")),
    ("swagger-ui-bundle.js", packed!("swagger-ui-bundle.js")),
    ("LICENSE", packed!("LICENSE")),
    ("NOTICE", packed!("NOTICE")),
];

/// `GET /docs`
pub(crate) async fn get_page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(include_str!("page.html"))
}

/// `GET /docs/{file}`
pub(crate) async fn get_asset(request: HttpRequest, file: Path<String>) -> Result<HttpResponse, ApiError> {
    let missing = || ApiError::not_found(format!("the path {}", request.path()));
    let (name, content) = ASSETS.iter().find(|(name, _)| *name == *file).ok_or_else(missing)?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_SECURITY_POLICY, POLICY)).insert_header((header::CACHE_CONTROL, KEEP));
    Ok(respond(&request, &mut response, name, content))
}
