//! Where messages may go: `notify_allow`.
//!
//! Names are resolved here, and an address outside of the allowed networks is not connected to, whatever a name resolves to
//! and whenever. Redirects are not followed. Without `notify_allow` every address is allowed but those that only programs
//! on the same link or host should reach: the metadata services of clouds are among them.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The networks that targets may be in.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressPolicy {
    allow: Vec<IpNet>,
}

/// An address that is not allowed.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no address that notify_allow permits")]
pub(crate) struct NotAllowed(String);

impl AddressPolicy {
    /// Only these networks; none: every address that is not link-local.
    pub(crate) fn new(allow: Vec<IpNet>) -> Self {
        AddressPolicy { allow }
    }

    /// Whether the operator has named networks.
    pub(crate) fn is_strict(&self) -> bool {
        !self.allow.is_empty()
    }

    /// Whether an address may be connected to.
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.is_strict() {
            return self.allow.iter().any(|network| network.contains(&address));
        }
        let is_link_local = match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
            IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
        };
        !(is_link_local || address.is_unspecified() || address.is_multicast())
    }

    /// Checks a host that is an address; a name is checked when it is resolved.
    pub(crate) fn check_literal(&self, host: &str) -> Result<(), NotAllowed> {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(address) if !self.permits(address) => Err(NotAllowed(host.to_owned())),
            _ => Ok(()),
        }
    }

    /// Resolves a host and keeps what is allowed.
    ///
    /// # Errors
    ///
    /// When the host is not known, or has no allowed address.
    pub(crate) async fn resolve_host(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let found = tokio::net::lookup_host((host.trim_start_matches('[').trim_end_matches(']'), port)).await?;
        let allowed: Vec<_> = found.filter(|address| self.permits(address.ip())).collect();
        if allowed.is_empty() { Err(NotAllowed(host.to_owned()).into()) } else { Ok(allowed) }
    }
}

impl Resolve for AddressPolicy {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.clone();
        Box::pin(async move {
            let allowed = policy.resolve_host(name.as_str(), 0).await?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(allow: &[&str], address: &str) -> bool {
        let allow = allow.iter().map(|network| network.parse().unwrap()).collect();
        AddressPolicy::new(allow).permits(address.parse().unwrap())
    }

    #[test]
    fn link_local_addresses_are_never_a_target_by_default() {
        for address in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1"]
        {
            assert!(!permits(&[], address), "{address}");
        }
        for address in ["127.0.0.1", "10.0.0.5", "93.184.216.34", "::1", "2001:db8::1", "fd00::1"] {
            assert!(permits(&[], address), "{address}");
        }
    }

    #[test]
    fn only_named_networks_are_allowed() {
        let allow = ["10.0.0.0/8", "2001:db8::/32"];
        assert!(permits(&allow, "10.1.2.3") && permits(&allow, "2001:db8::5") && permits(&allow, "::ffff:10.1.2.3"));
        assert!(!permits(&allow, "127.0.0.1") && !permits(&allow, "11.0.0.1"));
        assert!(permits(&["169.254.0.0/16"], "169.254.169.254"), "an operator may name them");
        let policy = AddressPolicy::new(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(policy.check_literal("127.0.0.1").is_err() && policy.check_literal("[::1]").is_err());
        assert!(policy.check_literal("host.example").is_ok(), "it is checked when it is resolved");
    }

    #[tokio::test]
    async fn name_without_an_allowed_address_is_not_resolved() {
        let policy = AddressPolicy::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let fault = policy.resolve_host("localhost", 80).await.unwrap_err();
        assert_eq!(fault.to_string(), "localhost has no address that notify_allow permits");
        assert!(AddressPolicy::default().resolve_host("localhost", 80).await.is_ok());
    }
}
