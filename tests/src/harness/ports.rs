//! Free ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Below the range that Linux takes for outgoing connections, so that a port that was free is not
/// taken by one of those a moment later.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// An address on the loopback that is free now. For programs that need their port before
/// they open it; where port 0 works that is better.
pub fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rand::random_range(RANGE)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
