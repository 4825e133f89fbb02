//! Limits unfinished TLS handshakes, and closes the oldest ones to make room.
//!
//! actix-tls has places for 256 handshakes a worker and accepts no client while they are taken: 3,000
//! clients that sent nothing blocked all new ones for 14 s. Here a new client is always accepted. When the
//! places are taken, the oldest handshake of the address with the most of them is closed: those of a flood
//! wait for good, an honest one takes some milliseconds.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::plain_http;
use crate::auth::rate_limit::ClientAddress;
use crate::telemetry::{ReasonLabel, Telemetry};

/// Time for a handshake: two round trips, also over a bad line.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Handshakes at a time. Each takes a socket and some 10 KB; 10,000 agents that come back together need
/// fewer, because each takes milliseconds.
const MAX_HANDSHAKES: usize = 4_096;

/// Of one address: a fleet behind a NAT or a proxy has one address.
const MAX_OF_ADDRESS: usize = 2_048;

/// A handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HandshakeFailed;

/// All handshakes, of every worker.
#[derive(Debug)]
pub(super) struct Handshakes {
    pending: Mutex<Pending>,
    telemetry: Arc<Telemetry>,
}

#[derive(Debug, Default)]
struct Pending {
    /// In the order in which they began. A dropped sender ends its handshake.
    by_address: HashMap<ClientAddress, BTreeMap<u64, oneshot::Sender<()>>>,
    count: usize,
    next_number: u64,
}

/// The place of a handshake; its drop frees the place.
#[derive(Debug)]
struct Place<'a> {
    handshakes: &'a Handshakes,
    address: ClientAddress,
    number: u64,
}

impl Pending {
    fn remove(&mut self, address: ClientAddress, number: u64) {
        let Some(own) = self.by_address.get_mut(&address) else { return };
        if own.remove(&number).is_some() {
            self.count -= 1;
        }
        if own.is_empty() {
            self.by_address.remove(&address);
        }
    }

    /// Ends the oldest handshake of an address.
    fn evict(&mut self, address: ClientAddress) {
        let oldest = self.by_address.get(&address).and_then(|own| own.first_key_value()).map(|(number, _)| *number);
        if let Some(oldest) = oldest {
            self.remove(address, oldest);
        }
    }

    fn make_room(&mut self, address: ClientAddress) {
        if self.by_address.get(&address).is_some_and(|own| own.len() >= MAX_OF_ADDRESS) {
            self.evict(address);
        } else if self.count >= MAX_HANDSHAKES {
            let most = self.by_address.iter().max_by_key(|(_, own)| own.len()).map(|(address, _)| *address);
            most.into_iter().for_each(|most| self.evict(most));
        }
    }
}

impl Handshakes {
    pub(super) fn new(telemetry: Arc<Telemetry>) -> Self {
        Handshakes { pending: Mutex::default(), telemetry }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, address: ClientAddress) -> (Place<'_>, oneshot::Receiver<()>) {
        let (end, ended) = oneshot::channel();
        let mut pending = self.lock();
        pending.make_room(address);
        let number = pending.next_number;
        pending.next_number += 1;
        pending.count += 1;
        pending.by_address.entry(address).or_default().insert(number, end);
        self.telemetry.tls_handshakes.inc();
        (Place { handshakes: self, address, number }, ended)
    }

    /// Does the handshake of a new connection.
    ///
    /// # Errors
    ///
    /// When it fails, takes too long, or makes room for others.
    pub(super) async fn accept(
        &self,
        acceptor: &TlsAcceptor,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<SocketAddr>), HandshakeFailed> {
        let peer = stream.peer_addr().ok();
        let address = peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
        let (_place, ended) = self.begin(address.into());
        let handshake = async {
            match plain_http::refuse(stream).await {
                Some(stream) => acceptor.accept(stream).await.map(Some),
                None => Ok(None),
            }
        };
        let reason = tokio::select! {
            handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake) => match handshake {
                Ok(Ok(Some(stream))) => return Ok((stream, peer)),
                Ok(Ok(None)) => "plain_http",
                Ok(Err(_)) => "failed",
                Err(_) => "timeout",
            },
            _ = ended => "too_many",
        };
        self.telemetry.tls_handshakes_failed.get_or_create(&ReasonLabel { reason }).inc();
        Err(HandshakeFailed)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.handshakes.lock().remove(self.address, self.number);
        self.handshakes.telemetry.tls_handshakes.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> ClientAddress {
        IpAddr::from([10, 0, 0, last]).into()
    }

    #[test]
    fn handshake_of_a_flood_makes_room_for_an_honest_one() {
        let handshakes = Handshakes::new(Arc::new(Telemetry::new()));
        let (_honest, mut honest) = handshakes.begin(address(1));
        let mut flood: Vec<_> = (0..MAX_OF_ADDRESS).map(|_| handshakes.begin(address(2))).collect();
        let is_open = |ended: &mut oneshot::Receiver<()>| ended.try_recv() == Err(oneshot::error::TryRecvError::Empty);
        let open = |flood: &mut Vec<(Place<'_>, oneshot::Receiver<()>)>| {
            flood.iter_mut().map(|(_, ended)| is_open(ended)).filter(|is_open| *is_open).count()
        };
        assert_eq!(open(&mut flood), MAX_OF_ADDRESS);
        flood.push(handshakes.begin(address(2)));
        assert_eq!(open(&mut flood), MAX_OF_ADDRESS, "an address has its places");
        let mut second: Vec<_> = (0..MAX_HANDSHAKES).map(|_| handshakes.begin(address(3))).collect();
        assert!(open(&mut flood) + open(&mut second) < MAX_HANDSHAKES);
        let (_late, mut late) = handshakes.begin(address(4));
        for honest in [&mut honest, &mut late] {
            assert!(is_open(honest));
        }
        assert_eq!(handshakes.lock().count, MAX_HANDSHAKES);
        drop((flood, second, _honest, _late));
        let pending = handshakes.lock();
        assert!(pending.count == 0 && pending.by_address.is_empty());
    }
}
