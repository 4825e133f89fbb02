//! A way between two programs that can be cut: a TCP proxy without an opinion of what it carries.
//!
//! [`super::ChaosProxy`] decides for each connection; with this one a test sets what happens to all of them, also to
//! those that are open.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::ports::free_address;

/// Bytes under way in one direction.
const BUFFER: usize = 64 * 1024;

/// What happens to all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// Bytes pass.
    #[default]
    Open,
    /// Bytes wait, and new connections are not answered: packets are dropped. What waits comes when it is open again.
    Silent,
    /// Connections are reset, also new ones.
    Broken,
}

/// A running proxy; it ends, and cuts what it carries, when this is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: watch::Sender<LinkState>,
    task: JoinHandle<()>,
}

impl Link {
    /// Listens on a free port and forwards connections to `target`.
    ///
    /// # Panics
    ///
    /// When its port is taken.
    pub async fn start(target: SocketAddr) -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).await.expect("a port that was free");
        let state = watch::Sender::new(LinkState::Open);
        let changes = state.subscribe();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                if let Ok((client, _)) = listener.accept().await {
                    connections.spawn(carry(client, target, changes.clone()));
                }
            }
        });
        Link { address, state, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens to all connections from now on.
    pub fn set(&self, state: LinkState) {
        self.state.send_replace(state);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, state: watch::Receiver<LinkState>) {
    let mut upstream = None;
    tokio::select! {
        _ = pass(&mut client, &mut upstream, target, state.clone()) => {}
        () = until(LinkState::Broken, state.clone()) => {
            for stream in [Some(client), upstream].into_iter().flatten() {
                let _ = stream.set_zero_linger();
            }
        }
    }
}

async fn until(wanted: LinkState, mut state: watch::Receiver<LinkState>) {
    // The sender lives as long as the proxy.
    let _ = state.wait_for(|state| *state == wanted).await;
}

async fn pass(
    client: &mut TcpStream,
    upstream: &mut Option<TcpStream>,
    target: SocketAddr,
    state: watch::Receiver<LinkState>,
) -> io::Result<()> {
    until(LinkState::Open, state.clone()).await;
    let upstream = upstream.insert(TcpStream::connect(target).await?);
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let ((from_client, to_client), (from_upstream, to_upstream)) = (client.split(), upstream.split());
    let up = pump(from_client, to_upstream, state.clone());
    let down = pump(from_upstream, to_client, state);
    tokio::try_join!(up, down).map(drop)
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, state: watch::Receiver<LinkState>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        until(LinkState::Open, state.clone()).await;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        address
    }

    async fn say(stream: &mut TcpStream) -> Option<io::Result<u8>> {
        let _ = stream.write_u8(7).await;
        timeout(Duration::from_millis(300), stream.read_u8()).await.ok()
    }

    #[tokio::test]
    async fn silence_holds_bytes_and_a_break_resets() {
        let link = Link::start(echo().await).await;
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        assert_eq!(say(&mut stream).await.unwrap().unwrap(), 7);
        link.set(LinkState::Silent);
        let mut late = TcpStream::connect(link.address()).await.unwrap();
        assert!(say(&mut stream).await.is_none() && say(&mut late).await.is_none());
        link.set(LinkState::Open);
        assert_eq!((stream.read_u8().await.unwrap(), late.read_u8().await.unwrap()), (7, 7));
        link.set(LinkState::Broken);
        assert!(stream.read_u8().await.is_err());
        let mut refused = TcpStream::connect(link.address()).await.unwrap();
        assert!(matches!(say(&mut refused).await, Some(Err(_))));
    }
}
