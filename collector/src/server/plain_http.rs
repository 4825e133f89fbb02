//! Plain HTTP on the port of HTTPS: the most common mistake after `tls_cert_file` is set.
//!
//! TLS would answer with an alert, which clients show as "invalid HTTP version" or "empty reply". The first byte of a connection
//! says what it is: 0x16 begins a handshake, a letter begins a request. It is only looked at, so that TLS still finds it.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// The answer to any request. The connection ends with it.
const BODY: &str = r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"this port speaks HTTPS; the address must begin with https://"}"#;

/// Answers a client that speaks plain HTTP, and returns the stream of any other one.
///
/// It waits for the first byte without a limit of its own: the caller limits the whole handshake.
pub(super) async fn refuse(mut stream: TcpStream) -> Option<TcpStream> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first[0].is_ascii_uppercase() => {}
        _ => return Some(stream),
    }
    // What has arrived is read: with unread bytes the kernel would reset the connection, and the answer would be lost.
    let mut request = [0; 4096];
    let _ = stream.try_read(&mut request);
    let head =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length: ";
    let answer = format!("{head}{}\r\n\r\n{BODY}", BODY.len());
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    None
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn plain_request_is_answered_and_a_handshake_is_left_alone() {
        let (mut client, server) = connection().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: c\r\n\r\n").await.unwrap();
        assert!(refuse(server).await.is_none());
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 400 ") && head.ends_with(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        let problem: Value = serde_json::from_str(body).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("https://"), "{problem}");

        let (mut client, server) = connection().await;
        client.write_all(&[0x16, 3, 1]).await.unwrap();
        let mut found = [0; 3];
        refuse(server).await.unwrap().read_exact(&mut found).await.unwrap();
        assert_eq!(found, [0x16, 3, 1]);
    }
}
