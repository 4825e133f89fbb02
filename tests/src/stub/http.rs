//! Just enough HTTP/1.1 to answer a scraper: one request per connection, no bodies.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest head of a request.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// A request's first line.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Like `GET`.
    pub method: String,
    /// Path with query.
    pub target: String,
}

/// Reads a request's head; none when the peer goes away or sends something else.
pub async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD_BYTES {
            return None;
        }
        let mut chunk = [0; 1024];
        let count = stream.read(&mut chunk).await.ok()?;
        if count == 0 {
            return None;
        }
        head.extend_from_slice(&chunk[..count]);
    }
    let head = String::from_utf8(head).ok()?;
    let mut words = head.lines().next()?.split(' ');
    Some(Request { method: words.next()?.to_owned(), target: words.next()?.to_owned() })
}

/// Answers and closes.
pub async fn respond(mut stream: TcpStream, status: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // A scraper that left before the answer is its own business.
    if stream.write_all(head.as_bytes()).await.is_ok() && stream.write_all(body.as_bytes()).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}
