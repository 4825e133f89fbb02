//! Checks the page that opens a session.
//!
//! A page of another site must not put its own token into a browser: the person would then look at the fleet of a stranger.
//! The cookie's SameSite attribute does not prevent this, because the request needs no cookie. A body of `application/json` makes
//! a browser ask first (CORS), and the headers that a page cannot write say where it comes from.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_TYPE, HOST, HeaderMap, ORIGIN};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};

use crate::app::App;
use crate::http::error::ApiError;

/// Proof that a request with a JSON body comes from a page of this site, of an allowed origin, or from no page at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FromThisSite;

impl FromRequest for FromThisSite {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let app = request.app_data::<Data<App>>().expect("each route is configured with the app");
        ready(check(request.headers(), request.uri().authority().map(|host| host.as_str()), &app.config.cors_origins))
    }
}

/// Checks that a request with a session's cookie comes from a page of this site or of an allowed origin.
///
/// # Errors
///
/// When another site sends it.
pub(crate) fn check_origin(request: &HttpRequest) -> Result<(), ApiError> {
    let app = request.app_data::<Data<App>>().expect("each route is configured with the app");
    let authority = request.uri().authority().map(|host| host.as_str());
    check_headers(request.headers(), authority, &app.config.cors_origins, "act with a session")
}

/// `authority` is the host of an HTTP/2 request, which has no Host header.
fn check(headers: &HeaderMap, authority: Option<&str>, allowed: &[String]) -> Result<FromThisSite, ApiError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let media_type = text(CONTENT_TYPE).unwrap_or("").split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::unsupported_media_type("Content-Type: must be application/json"));
    }
    check_headers(headers, authority, allowed, "open a session").map(|()| FromThisSite)
}

fn check_headers(
    headers: &HeaderMap,
    authority: Option<&str>,
    allowed: &[String],
    purpose: &str,
) -> Result<(), ApiError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let origin = text(ORIGIN);
    // A page cannot write it: a browser would ask first, and it is not among the headers that are allowed.
    let forwarded = headers.get("X-Forwarded-Host").and_then(|host| host.to_str().ok());
    // `*` in the settings is not meant here: it lets all pages read with a token, and a session needs none.
    if origin.is_some_and(|origin| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))) {
        return Ok(());
    }
    let is_own = match headers.get("Sec-Fetch-Site").map(|value| value.as_bytes()) {
        // Written by the browser, and right behind each proxy.
        Some(b"same-origin" | b"same-site" | b"none") => true,
        Some(_) => false,
        None => origin.is_none_or(|origin| {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some()
                && [text(HOST), forwarded, authority].iter().flatten().any(|own| is_same_host(own, host.unwrap_or("")))
        }),
    };
    if is_own {
        return Ok(());
    }
    let origin = origin.unwrap_or("another site");
    Err(ApiError::forbidden(format!(
        "Origin: a page of {origin} cannot {purpose} here; only pages of this site and of cors_origins can"
    )))
}

/// An origin leaves out the port of its scheme, and a proxy may add it.
fn is_same_host(one: &str, other: &str) -> bool {
    let bare = |host: &str| {
        let host = host.strip_suffix(":443").or_else(|| host.strip_suffix(":80")).unwrap_or(host);
        host.to_ascii_lowercase()
    };
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn status(headers: &[(&'static str, &'static str)], allowed: &[&str]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let allowed: Vec<String> = allowed.iter().map(|&origin| origin.to_owned()).collect();
        check(&map, None, &allowed).map_or_else(|error| error.status().as_u16(), |_| 204)
    }

    #[test]
    fn session_is_opened_by_pages_of_this_site_only() {
        let json = ("content-type", "application/json; charset=utf-8");
        let host = ("host", "collector.example:8080");
        for (headers, expected) in [
            (vec![json, host], 204),
            (vec![host], 415),
            (vec![("content-type", "text/plain"), host], 415),
            (vec![("content-type", "application/jsonx"), host], 415),
            (vec![json, host, ("origin", "http://collector.example:8080")], 204),
            (vec![json, host, ("origin", "http://Collector.example:8080")], 204),
            (vec![json, host, ("origin", "http://collector.example:8081")], 403),
            (vec![json, host, ("origin", "https://evil.example")], 403),
            (vec![json, host, ("origin", "null")], 403),
            (vec![json, ("host", "a:443"), ("origin", "https://a")], 204),
            (vec![json, host, ("x-forwarded-host", "a"), ("origin", "https://a")], 204),
            (vec![json, host, ("origin", "https://other.example"), ("sec-fetch-site", "same-origin")], 204),
            (vec![json, host, ("origin", "http://collector.example:8080"), ("sec-fetch-site", "cross-site")], 403),
            (vec![json, host, ("sec-fetch-site", "cross-site")], 403),
            (vec![json, host, ("origin", "https://dashboard.example"), ("sec-fetch-site", "cross-site")], 204),
        ] {
            assert_eq!(status(&headers, &["https://dashboard.example", "*"]), expected, "{headers:?}");
        }
    }
}
