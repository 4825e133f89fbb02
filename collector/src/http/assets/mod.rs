//! `GET /docs`: the contract for people, shown by Swagger UI out of this program. The page and its document
//! need no token; the requests that a user sends from the page do.
//!
//! Swagger UI comes from a crate that contains its archive. The build takes the two files that are
//! needed and the licence out of it, compressed (443 KB in the program). The policy of the page allows
//! nothing from other origins and nothing inline.

use std::io::Read;

use actix_web::http::header::{self, AcceptEncoding, Encoding, Header};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use flate2::read::GzDecoder;

use crate::http::error::ApiError;

/// The page loads from and sends to this server only, and no other page may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Time for which a browser caches a file: an upgrade is visible within the hour.
const KEEP: &str = "max-age=3600";

/// A file beside the page.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: Content,
}

enum Content {
    Plain(&'static [u8]),
    /// Packed by the build.
    Gzip(&'static [u8]),
}

macro_rules! packed {
    ($name:literal) => {
        Content::Gzip(include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")))
    };
}

static ASSETS: [Asset; 6] = [
    Asset { name: "page.css", media_type: "text/css", content: Content::Plain(include_bytes!("page.css")) },
    Asset { name: "page.js", media_type: "text/javascript", content: Content::Plain(include_bytes!("page.js")) },
    Asset { name: "swagger-ui.css", media_type: "text/css", content: packed!("swagger-ui.css") },
    Asset { name: "swagger-ui-bundle.js", media_type: "text/javascript", content: packed!("swagger-ui-bundle.js") },
    Asset { name: "LICENSE", media_type: "text/plain", content: packed!("LICENSE") },
    Asset { name: "NOTICE", media_type: "text/plain", content: packed!("NOTICE") },
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
    let asset = ASSETS.iter().find(|asset| asset.name == *file).ok_or_else(missing)?;
    let mut response = HttpResponse::Ok();
    response
        .content_type(format!("{}; charset=utf-8", asset.media_type))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::CACHE_CONTROL, KEEP))
        .insert_header((header::VARY, "Accept-Encoding"));
    match asset.content {
        Content::Plain(bytes) => Ok(response.body(bytes)),
        Content::Gzip(bytes) if takes_gzip(&request) => {
            Ok(response.insert_header((header::CONTENT_ENCODING, "gzip")).body(bytes))
        }
        Content::Gzip(bytes) => {
            let mut opened = Vec::new();
            GzDecoder::new(bytes).read_to_end(&mut opened).expect("what the build has packed opens");
            Ok(response.body(opened))
        }
    }
}

fn takes_gzip(request: &HttpRequest) -> bool {
    let known = [Encoding::gzip(), Encoding::identity()];
    let accepted = AcceptEncoding::parse(request).ok();
    accepted.and_then(|accepted| accepted.negotiate(known.iter())) == Some(Encoding::gzip())
}
