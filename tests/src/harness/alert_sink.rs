//! Stand-ins for what alerts are sent to: an HTTP server that takes everything, and a mail server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::message::{body, length, read_message};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The path with its query.
    pub path: String,
    /// The header `idempotency-key`.
    pub key: Option<String>,
    /// The body.
    pub body: Value,
}

#[derive(Debug)]
struct State {
    sent: Vec<Sent>,
    status: u16,
}

/// A running HTTP server. It answers 200 unless another status is set.
#[derive(Debug)]
pub struct AlertSink {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl AlertSink {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State { sent: Vec::new(), status: 200 }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        AlertSink { address, state }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Answers with this status from now on. What it refuses is not recorded.
    pub fn answer_with(&self, status: u16) {
        self.lock().status = status;
    }

    /// Everything that it took.
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().sent.clone()
    }

    /// Messages in the form of Alertmanager's webhook, each key once, in the order in which they came. A message that comes
    /// twice with one key is one: a collector that is killed before it notes an answer sends it again.
    pub fn messages(&self) -> Vec<Value> {
        let mut seen = BTreeMap::new();
        let mut messages = Vec::new();
        for sent in self.sent() {
            let key = sent.key.clone().expect("a message has a key");
            if seen.insert(key, ()).is_none() {
                messages.push(sent.body);
            }
        }
        messages
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    loop {
        let mut message = Vec::new();
        if read_message(&mut stream, &mut message).await.is_err() {
            return;
        }
        message.truncate(length(&message).unwrap_or(message.len()));
        let text = String::from_utf8_lossy(&message).into_owned();
        let mut lines = text.lines();
        let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
        let key = lines
            .take_while(|line| !line.is_empty())
            .find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("idempotency-key")))
            .map(|(_, value)| value.trim().to_owned());
        let status = {
            let mut state = lock(&state);
            if state.status == 200 {
                let body = serde_json::from_slice(body(&message)).unwrap_or_default();
                state.sent.push(Sent { path, key, body });
            }
            state.status
        };
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A running mail server that takes everything.
#[derive(Debug)]
pub struct MailSink {
    address: SocketAddr,
    mails: Arc<Mutex<Vec<String>>>,
}

impl MailSink {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mails = Arc::<Mutex<Vec<String>>>::default();
        let shared = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // A client that goes away in the middle has sent nothing.
                tokio::spawn(async move { take_mails(stream, &shared).await.ok() });
            }
        });
        MailSink { address, mails }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every mail with its envelope.
    pub fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take_mails(stream: TcpStream, mails: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut mail = String::new();
    let mut in_data = false;
    writer.write_all(b"220 sink\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        mail.push_str(&line);
        mail.push('\n');
        let command = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let answer = match (in_data, command.as_str()) {
            (true, ".") => {
                in_data = false;
                mails.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut mail));
                "250 taken\r\n"
            }
            (true, _) => continue,
            (false, "DATA") => {
                in_data = true;
                "354 continue\r\n"
            }
            (false, "QUIT") => {
                writer.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            (false, _) => "250 ok\r\n",
        };
        writer.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
