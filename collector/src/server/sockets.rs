//! Socket options for connections whose clients read nothing.
//!
//! The kernel closes a connection that takes no bytes for 30 s (TCP_USER_TIMEOUT). Only the kernel knows
//! whether bytes are taken, and a client that is gone looks the same as one that does not read. At most
//! 64 KiB wait in the kernel for one client (TCP_NOTSENT_LOWAT). Over HTTP/2 one stream that is not read
//! is not noticed while its connection makes progress otherwise.

use std::any::Any;
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use socket2::SockRef;
use tokio_rustls::server::TlsStream;

/// A client that takes nothing for so long is cut off: bytes that it does not acknowledge, or a window
/// that it does not open. Pings see to it that there always are some.
const TAKES_NOTHING: Duration = Duration::from_secs(30);

/// Bytes that wait in the kernel for a client. What is not there yet can still be joined, or replaced by
/// something newer; and a thousand slow clients cost no more than some megabytes.
const WAITING_BYTES: u32 = 64 * 1024;

/// Called with every connection.
pub(super) fn tune(connection: &dyn Any) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>().or_else(|| tls_stream(connection)) {
        apply(stream);
    }
}

fn tls_stream(connection: &dyn Any) -> Option<&TcpStream> {
    connection.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref().0)
}

#[cfg(target_os = "linux")]
fn apply(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let done =
        socket.set_tcp_user_timeout(Some(TAKES_NOTHING)).and_then(|()| socket.set_tcp_notsent_lowat(WAITING_BYTES));
    if let Err(error) = done {
        tracing::debug!(%error, "a connection could not be tuned");
    }
}

/// Elsewhere the system's own, longer patience has to do.
#[cfg(not(target_os = "linux"))]
fn apply(_: &TcpStream) {}
