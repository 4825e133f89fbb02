//! A client that costs next to nothing: one connection per node that stays open, requests made of
//! ready pieces, and of an answer only what is needed.
//!
//! The generator shares the machine with the collector that it measures. A full HTTP client took as
//! much of it as the collector itself.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest time until an answer is whole, or a connection is made.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// What an acknowledgement takes, with its head.
const USUAL_ANSWER_BYTES: usize = 512;

/// A node's connection; opened at the first request, and again after a failure.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    stream: Option<TcpStream>,
    message: Vec<u8>,
    answer: Vec<u8>,
}

/// An answer that came whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Status code.
    pub status: u16,
    /// The header of this name.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: &'a [u8],
}

/// The head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    body_bytes: usize,
    retry_after: Option<Duration>,
    closes: bool,
}

impl Wire {
    /// To `address`, not connected yet.
    pub fn to(address: SocketAddr) -> Self {
        Wire { address, stream: None, message: Vec::new(), answer: Vec::with_capacity(USUAL_ANSWER_BYTES) }
    }

    /// Sends a request, `head` being its lines up to `Content-Length: `, and reads the answer.
    pub async fn post(&mut self, head: &str, body: &[&[u8]]) -> io::Result<Reply<'_>> {
        let length: usize = body.iter().map(|piece| piece.len()).sum();
        self.message.clear();
        self.message.extend_from_slice(head.as_bytes());
        self.message.extend_from_slice(length.to_string().as_bytes());
        self.message.extend_from_slice(b"\r\n\r\n");
        body.iter().for_each(|piece| self.message.extend_from_slice(piece));
        // Gone unless the answer comes whole.
        let mut stream = self.stream.take();
        let head = timeout(TIMEOUT, exchange(self.address, &mut stream, &self.message, &mut self.answer)).await??;
        self.stream = stream.filter(|_| !head.closes);
        let body = &self.answer[head.length..head.length + head.body_bytes];
        Ok(Reply { status: head.status, retry_after: head.retry_after, body })
    }
}

async fn exchange(
    address: SocketAddr,
    stream: &mut Option<TcpStream>,
    message: &[u8],
    answer: &mut Vec<u8>,
) -> io::Result<Head> {
    let stream = match stream {
        Some(stream) => stream,
        None => {
            let new = TcpStream::connect(address).await?;
            new.set_nodelay(true)?;
            stream.insert(new)
        }
    };
    stream.write_all(message).await?;
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(head) = read_head(answer)?
            && answer.len() >= head.length + head.body_bytes
        {
            return Ok(head);
        }
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
    }
}

/// The head, once it is there. Every answer of the collector that is read here has a length.
fn read_head(answer: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let strange = || io::Error::from(io::ErrorKind::InvalidData);
    let text = std::str::from_utf8(&answer[..end]).map_err(|_| strange())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let (mut body_bytes, mut retry_after, mut closes) = (None, None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            body_bytes = value.parse().ok();
        } else if name.eq_ignore_ascii_case("retry-after") {
            retry_after = value.parse().ok().map(Duration::from_secs);
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(Head {
        status: status.ok_or_else(strange)?,
        length: end + 4,
        body_bytes: body_bytes.ok_or_else(strange)?,
        retry_after,
        closes,
    }))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn head_is_parsed_once_complete() {
        let text =
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\nRetry-After: 7\r\nConnection: close\r\n\r\n{}";
        assert_eq!(read_head(&text[..60]).unwrap(), None);
        let head = read_head(text).unwrap().unwrap();
        assert_eq!((head.status, head.length + head.body_bytes, head.closes), (503, text.len(), true));
        assert_eq!(head.retry_after, Some(Duration::from_secs(7)));
        assert!(read_head(b"SSH-2.0\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn requests_reuse_a_connection_until_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut wire = Wire::to(listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let request = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
            for answers in [2, 1] {
                let (mut stream, _) = listener.accept().await.unwrap();
                for number in 0..answers {
                    let mut got = vec![0; request.len()];
                    stream.read_exact(&mut got).await.unwrap();
                    assert_eq!(got, request.as_bytes());
                    // In two pieces.
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await.unwrap();
                    stream.write_all(format!("ngth: 1\r\n\r\n{number}").as_bytes()).await.unwrap();
                }
            }
        });
        let head = "POST / HTTP/1.1\r\nContent-Length: ";
        for expected in [b"0", b"1"] {
            let reply = wire.post(head, &[b"ab", b"c"]).await.unwrap();
            assert_eq!((reply.status, reply.body), (200, &expected[..]));
        }
        assert!(wire.post(head, &[b"abc"]).await.is_err(), "the server has closed it");
        assert_eq!(wire.post(head, &[b"abc"]).await.unwrap().body, b"0", "on a new connection");
        server.await.unwrap();
    }
}
