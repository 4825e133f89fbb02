//! Names the proxy in the message of a request that failed.
//!
//! A proxy of the environment may stand in front of a collector that it cannot reach, such as one on
//! this host. Its refusal looks like the collector's own, so the message says where it may be from.

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use super::request_error::RequestError;

/// The proxy of the environment that requests to `url` go through, without its credentials.
fn proxy_of(url: &Url, proxies: &Matcher) -> Option<String> {
    let proxy = proxies.intercept(&url.as_str().parse().ok()?)?;
    let uri = proxy.uri();
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", uri.scheme_str().unwrap_or("http"), uri.host()?))
}

fn name_with(text: String, url: Option<&Url>, proxies: &Matcher) -> String {
    match url.and_then(|url| proxy_of(url, proxies)) {
        Some(proxy) => format!("{text} (through the proxy {proxy} of the environment; NO_PROXY excepts hosts)"),
        None => text,
    }
}

/// The message of a request to `url` that had no answer, with its proxy.
pub(super) fn name(text: String, url: Option<&Url>) -> String {
    name_with(text, url, &Matcher::from_env())
}

/// The fault of an answer from `url`, with its proxy.
pub(super) fn name_in(mut error: RequestError, url: &Url) -> RequestError {
    if let RequestError::Retryable { detail, .. }
    | RequestError::Unauthorized(detail)
    | RequestError::Refused { detail, .. }
    | RequestError::Foreign { detail, .. } = &mut error
    {
        *detail = name(std::mem::take(detail), Some(url));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_without_its_password_and_only_where_it_is_used() {
        let proxies = Matcher::builder().http("http://me:secret@proxy:3128").no("10.0.0.1").build();
        let url = |text: &str| text.parse::<Url>().unwrap();
        assert_eq!(proxy_of(&url("http://127.0.0.1:8080/api"), &proxies).as_deref(), Some("http://proxy:3128"));
        assert_eq!(proxy_of(&url("http://10.0.0.1:8080/api"), &proxies), None);
        assert_eq!(proxy_of(&url("https://127.0.0.1/"), &proxies), None);
        let named = name_with("refused".to_owned(), Some(&url("http://127.0.0.1:8080/")), &proxies);
        assert!(named.starts_with("refused (through the proxy http://proxy:3128 "), "{named}");
    }
}
