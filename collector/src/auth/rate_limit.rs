//! Limits the rate of requests that cost database work: enrolment, sessions, and look-ups of unknown tokens.
//!
//! A client is a token and an address. The address is the one of the connection: any client can write
//! `X-Forwarded-For`. Behind a proxy or a NAT many clients share an address, so an address has four times
//! as much as a token. The networks of IPv6 count by their first 64 bits, which one host has to itself.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use systole_shared::TokenId;
use tokio::time::Instant;

use crate::config::RequestLimits;
use crate::model::{Rate, TokenBucket};

/// Clients to remember. A forgotten one starts with a full bucket; at 80 bytes each this is 1 MB.
const MAX_CLIENTS: usize = 10_000;

/// The least time between two searches for buckets that are full again: under a flood of addresses each
/// search finds little and costs some 100 µs.
const CLEANING_PAUSE: Duration = Duration::from_secs(1);

/// The limit of an address, as a multiple of a token's limit.
const TOKENS_PER_ADDRESS: u32 = 4;

/// A client has sent too many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests of this kind come from {client}")]
pub(crate) struct RateLimited {
    /// The client that the limit counts.
    pub client: &'static str,
    /// The time until the next request is accepted.
    pub retry_after: Duration,
}

/// The network of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientAddress(IpAddr);

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        ClientAddress(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address => address,
        })
    }
}

/// A bucket for each client.
#[derive(Debug)]
struct RateLimiter<K> {
    /// `None`: no limit.
    rate: Option<Rate>,
    buckets: Mutex<Buckets<K>>,
}

#[derive(Debug)]
struct Buckets<K> {
    by_client: HashMap<K, TokenBucket>,
    /// Shared by all that there is no place for.
    others: Option<TokenBucket>,
    began: Instant,
    cleaned_at: Option<Instant>,
}

impl<K: Hash + Eq> RateLimiter<K> {
    fn new(per_minute: u32) -> Self {
        let buckets = Buckets { by_client: HashMap::new(), others: None, began: Instant::now(), cleaned_at: None };
        RateLimiter { rate: Rate::per_minute(per_minute), buckets: Mutex::new(buckets) }
    }

    fn take(&self, client: K, now: Instant) -> Result<(), Duration> {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = i64::try_from(now.duration_since(buckets.began).as_millis()).unwrap_or(i64::MAX);
        if let Some(bucket) = buckets.by_client.get_mut(&client) {
            return bucket.take_one(rate, now_ms);
        }
        if buckets.by_client.len() >= MAX_CLIENTS && buckets.cleaned_at.is_none_or(|at| now >= at + CLEANING_PAUSE) {
            buckets.by_client.retain(|_, bucket| !bucket.is_full(rate, now_ms));
            buckets.cleaned_at = Some(now);
        }
        let full = TokenBucket::full(rate, now_ms);
        if buckets.by_client.len() < MAX_CLIENTS {
            buckets.by_client.entry(client).or_insert(full).take_one(rate, now_ms)
        } else {
            buckets.others.get_or_insert(full).take_one(rate, now_ms)
        }
    }
}

/// The same for a token and its address.
#[derive(Debug)]
pub(crate) struct RequestLimiter {
    tokens: RateLimiter<TokenId>,
    addresses: RateLimiter<ClientAddress>,
}

impl RequestLimiter {
    fn new(per_minute: u32) -> Self {
        RequestLimiter {
            tokens: RateLimiter::new(per_minute),
            addresses: RateLimiter::new(per_minute.saturating_mul(TOKENS_PER_ADDRESS)),
        }
    }

    /// Counts a request. What a token has too much does not count for its address, which others share.
    ///
    /// # Errors
    ///
    /// When the token or the address has sent too many.
    pub(crate) fn take(&self, token: TokenId, address: ClientAddress, now: Instant) -> Result<(), RateLimited> {
        let limited = |client| move |retry_after| RateLimited { client, retry_after };
        self.tokens.take(token, now).map_err(limited("this token"))?;
        self.addresses.take(address, now).map_err(limited("this address"))
    }
}

/// The rate limits of clients.
#[derive(Debug)]
pub(crate) struct AccessLimits {
    pub enrolments: RequestLimiter,
    pub sessions: RequestLimiter,
    unknown_tokens: RateLimiter<ClientAddress>,
}

impl AccessLimits {
    /// As configured.
    pub(crate) fn new(limits: RequestLimits) -> Self {
        AccessLimits {
            enrolments: RequestLimiter::new(limits.enrolments_per_minute),
            sessions: RequestLimiter::new(limits.sessions_per_minute),
            unknown_tokens: RateLimiter::new(limits.unknown_tokens_per_minute),
        }
    }

    /// Counts a request with a token that only the database may know.
    ///
    /// # Errors
    ///
    /// When the address has sent too many.
    pub(crate) fn take_unknown(&self, address: ClientAddress, now: Instant) -> Result<(), RateLimited> {
        let limited = |retry_after| RateLimited { client: "this address", retry_after };
        self.unknown_tokens.take(address, now).map_err(limited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ClientAddress {
        ClientAddress::from(text.parse::<IpAddr>().unwrap())
    }

    fn token() -> TokenId {
        TokenId(uuid::Uuid::now_v7())
    }

    #[test]
    fn limiter_of_requests_keeps_tokens_of_one_address_apart() {
        let (limiter, now) = (RequestLimiter::new(60), Instant::now());
        let (one, other, home) = (token(), token(), address("10.0.0.1"));
        let taken = (0..1_000).filter(|_| limiter.take(one, home, now).is_ok()).count();
        assert_eq!(taken, 20);
        assert_eq!(limiter.take(one, home, now).unwrap_err().retry_after, Duration::from_secs(1));
        assert_eq!(limiter.take(other, home, now), Ok(()));
        let all = (0..1_000).filter(|_| limiter.take(token(), home, now).is_ok()).count();
        assert_eq!(all, 80 - 21, "an address has four times as much");
        assert_eq!(limiter.take(token(), address("10.0.0.2"), now), Ok(()));
        assert_eq!(limiter.take(token(), home, now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn limiter_without_a_rate_takes_everything() {
        let limiter = RequestLimiter::new(0);
        let (token, home) = (token(), address("::1"));
        assert!((0..10_000).all(|_| limiter.take(token, home, Instant::now()).is_ok()));
    }

    #[test]
    fn networks_of_ipv6_count_by_their_prefix() {
        assert_eq!(address("2001:db8:1:2:aaaa::1"), address("2001:db8:1:2:bbbb::2"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }

    #[test]
    fn clients_without_a_place_share_a_bucket_until_places_come_back() {
        let (limiter, now) = (RateLimiter::new(60), Instant::now());
        for number in 0..MAX_CLIENTS {
            limiter.take(number, now).unwrap();
        }
        let taken = (MAX_CLIENTS..2 * MAX_CLIENTS).filter(|number| limiter.take(*number, now).is_ok()).count();
        assert_eq!(taken, 20);
        let later = now + Duration::from_secs(60);
        assert_eq!(limiter.take(0, later), Ok(()), "one that is known");
        assert_eq!(limiter.take(3 * MAX_CLIENTS, later), Ok(()));
        assert_eq!(limiter.buckets.lock().unwrap().by_client.len(), 2, "what is full again is forgotten");
    }
}
