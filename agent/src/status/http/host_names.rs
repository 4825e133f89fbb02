//! The names under which the agent's port answers.
//!
//! A web page can point a name of its own at the loopback (DNS rebinding), and so read what answers
//! there. The browser sends the page's name as `Host`, so a name that is not this agent's is refused.

use std::net::{IpAddr, SocketAddr};

use hyper::header::HOST;
use hyper::{HeaderMap, Uri};

/// Whether a request that came to `listen` names this agent. `hostname` is the host's name. A request
/// without a name is not a browser's.
pub(super) fn is_ours(uri: &Uri, headers: &HeaderMap, listen: SocketAddr, hostname: &str) -> bool {
    let named = match uri.host() {
        Some(host) => Some(host),
        None => headers.get(HOST).map(|value| without_port(value.to_str().unwrap_or("?"))),
    };
    named.is_none_or(|name| is_own_name(name, listen, hostname))
}

fn is_own_name(name: &str, listen: SocketAddr, hostname: &str) -> bool {
    let name = name.trim_end_matches('.');
    let address: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
    match address {
        // No name can be pointed elsewhere here; on all addresses any of them may be meant.
        Some(address) => address.is_loopback() || address == listen.ip() || listen.ip().is_unspecified(),
        None => {
            let is = |own: &str| name.eq_ignore_ascii_case(own);
            // A port that is open to others is scraped by the host's name, short or whole.
            let is_host = || {
                let (name, own) = (name.to_ascii_lowercase(), hostname.to_ascii_lowercase());
                name == own || name.strip_prefix(&own).is_some_and(|domain| domain.starts_with('.'))
            };
            is("localhost") || (!listen.ip().is_loopback() && is_host())
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(host: &str, listen: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        is_ours(&Uri::from_static("/metrics"), &headers, listen.parse().unwrap(), "web-1")
    }

    #[test]
    fn only_own_names_are_answered() {
        for host in ["localhost", "localhost:9090", "LocalHost.", "127.0.0.1:9090", "[::1]:9090", "[::1]"] {
            assert!(answers(host, "127.0.0.1:9090"), "{host}");
        }
        for host in ["evil.example:9090", "localhost.evil.example", "10.0.0.1", "web-1", "", "[::1].evil.example"] {
            assert!(!answers(host, "127.0.0.1:9090"), "{host}");
        }
        for host in ["10.0.0.5:9090", "web-1:9090", "web-1.example", "localhost"] {
            assert!(answers(host, "10.0.0.5:9090") && answers(host, "0.0.0.0:9090"), "{host}");
        }
        assert!(!answers("10.0.0.6", "10.0.0.5:9090") && answers("10.0.0.6", "0.0.0.0:9090"));
        assert!(!answers("evil.example", "0.0.0.0:9090") && !answers("web-10", "10.0.0.5:9090"));
    }

    #[test]
    fn name_in_the_request_line_counts_and_none_at_all_is_no_browsers() {
        let listen = "127.0.0.1:1".parse().unwrap();
        let absolute = Uri::from_static("http://evil.example/metrics");
        assert!(!is_ours(&absolute, &HeaderMap::new(), listen, "web-1"));
        assert!(is_ours(&Uri::from_static("/metrics"), &HeaderMap::new(), listen, "web-1"));
    }
}
