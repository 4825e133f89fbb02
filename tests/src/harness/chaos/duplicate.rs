//! A request that arrives twice: the one place in which the proxy knows HTTP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Fate, Shared, Twin, connect, reset, tunnel};

/// Longest message that is kept to be sent again.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Longest that a message may take.
const MESSAGE: Duration = Duration::from_secs(30);

/// Takes one request; a POST is sent twice, and the connection closed after its answer. Anything else
/// may have an answer without an end, and is carried as it is.
pub(super) async fn carry(shared: &Shared, mut client: TcpStream, twin: Twin) -> io::Result<()> {
    let mut request = Vec::new();
    timeout(MESSAGE, read_some(&mut client, &mut request)).await??;
    if !request.starts_with(b"POST ") {
        let upstream = connect(shared.target).await?;
        return tunnel::carry(shared, client, upstream, Fate::Pass { exchanges: 0 }, request).await;
    }
    timeout(MESSAGE, read_message(&mut client, &mut request)).await??;
    let answers = if twin.together {
        tokio::join!(exchange(shared.target, &request), exchange(shared.target, &request))
    } else {
        (exchange(shared.target, &request).await, exchange(shared.target, &request).await)
    };
    if answers.0.is_ok() && answers.1.is_ok() {
        shared.strike(&Fate::Duplicate(twin));
    }
    match if twin.second_answers { answers.1 } else { answers.0 } {
        Ok(answer) => {
            client.write_all(&answer).await?;
            client.shutdown().await
        }
        Err(error) => {
            reset(client);
            Err(error)
        }
    }
}

async fn exchange(target: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut upstream = connect(target).await?;
    let mut answer = Vec::new();
    timeout(MESSAGE, async {
        upstream.write_all(request).await?;
        read_message(&mut upstream, &mut answer).await
    })
    .await??;
    Ok(answer)
}

/// Reads to the end of the message that `message` begins with.
async fn read_message(stream: &mut TcpStream, message: &mut Vec<u8>) -> io::Result<()> {
    while length(message).is_none_or(|length| message.len() < length) {
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        read_some(stream, message).await?;
    }
    Ok(())
}

async fn read_some(stream: &mut TcpStream, message: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(message).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Length of the whole message, once its head is there. Agents and collectors say how long their
/// bodies are.
fn length(message: &[u8]) -> Option<usize> {
    let head = message.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&message[..head]).to_ascii_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Some(head + 4 + body.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_head_says() {
        assert_eq!(length(b"POST / HTTP/1.1\r\nContent-Le"), None);
        assert_eq!(length(b"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n{}"), Some(51));
        assert_eq!(length(b"GET / HTTP/1.1\r\n\r\n"), Some(18));
    }
}
