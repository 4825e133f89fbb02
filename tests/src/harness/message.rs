//! HTTP/1.1 messages as bytes, for proxies between the programs and for stand-ins.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Longest message that is kept.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Reads to the end of the message that `message` begins with.
pub async fn read_message(stream: &mut TcpStream, message: &mut Vec<u8>) -> io::Result<()> {
    while length(message).is_none_or(|length| message.len() < length) {
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        read_some(stream, message).await?;
    }
    Ok(())
}

/// Reads what has come.
pub async fn read_some(stream: &mut TcpStream, message: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(message).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Length of the whole message, once its head is there. Agents and collectors say how long their
/// bodies are.
pub fn length(message: &[u8]) -> Option<usize> {
    let head = message.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&message[..head]).to_ascii_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Some(head + 4 + body.unwrap_or(0))
}

/// The bytes after the head.
pub fn body(message: &[u8]) -> &[u8] {
    let head = message.windows(4).position(|window| window == b"\r\n\r\n");
    head.map_or(&[], |head| &message[head + 4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_length_is_read_from_the_head() {
        assert_eq!(length(b"POST / HTTP/1.1\r\nContent-Le"), None);
        assert_eq!(length(b"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n{}"), Some(51));
        assert_eq!(body(b"POST / HTTP/1.1\r\n\r\n{}"), b"{}");
        assert_eq!(length(b"GET / HTTP/1.1\r\n\r\n"), Some(18));
    }
}
