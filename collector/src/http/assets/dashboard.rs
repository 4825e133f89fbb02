//! `GET /`: the dashboard, an application in the browser over the public API.
//!
//! `npm run build` in `dashboard/app` makes its files, and the build of this program embeds them. The names of all files but
//! the index contain a hash of their content, so a browser keeps them for ever and asks for the index each time. Addresses
//! inside the application are fragments (`/#/nodes/…`), so it also works below a path of a proxy.

use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use sha2::{Digest, Sha256};

use super::{Content, respond};
use crate::app::App;
use crate::http::error::ApiError;

/// All files, by their name below `dist`: gzip, brotli.
static FILES: &[(&str, &[u8], &[u8])] = &include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// The index is asked for each time; this says whether it is still the same.
static ETAG: LazyLock<String> = LazyLock::new(|| {
    let content = find("index.html").map_or(NOT_BUILT.as_bytes(), |(gzip, _)| gzip);
    let hash = Sha256::digest(content);
    let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
});

/// The page of a program that was built without Node.
const NOT_BUILT: &str = include_str!("not_built.html");

/// `GET /`
pub(crate) async fn get_index(app: Data<App>, request: HttpRequest) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    secure(&mut response, &app.config.frame_ancestors);
    response.insert_header((header::CACHE_CONTROL, "no-cache")).insert_header((header::ETAG, ETAG.as_str()));
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == ETAG.as_str())) {
        return response.status(actix_web::http::StatusCode::NOT_MODIFIED).finish();
    }
    match find("index.html") {
        Some((gzip, brotli)) => {
            respond(&request, &mut response, "index.html", &Content::Packed { gzip, brotli: Some(brotli) })
        }
        None => respond(&request, &mut response, "index.html", &Content::Plain(NOT_BUILT.as_bytes())),
    }
}

/// `GET /assets/{file}`
pub(crate) async fn get_asset(
    app: Data<App>,
    request: HttpRequest,
    file: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let name = format!("assets/{file}");
    let missing = || ApiError::not_found(format!("the path {}", request.path()));
    let (gzip, brotli) = find(&name).ok_or_else(missing)?;
    let mut response = HttpResponse::Ok();
    secure(&mut response, &app.config.frame_ancestors);
    response.insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"));
    Ok(respond(&request, &mut response, &name, &Content::Packed { gzip, brotli: Some(brotli) }))
}

fn find(name: &str) -> Option<(&'static [u8], &'static [u8])> {
    FILES.iter().find(|(known, ..)| *known == name).map(|(_, gzip, brotli)| (*gzip, *brotli))
}

/// The page loads from and sends to this server only, and nothing in it is inline.
fn secure(response: &mut HttpResponseBuilder, frame_ancestors: &[String]) {
    let ancestors = if frame_ancestors.is_empty() { "'none'".to_owned() } else { frame_ancestors.join(" ") };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
    );
    response
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
}
