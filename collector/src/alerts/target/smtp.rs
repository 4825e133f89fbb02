//! E-mails. The message id is the key of the message: many servers drop a second one with the same.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message as Mail, Tokio1Executor};

use super::SendError;
use crate::alerts::message::Message;
use crate::config::alerts::Smtp;

/// Longest wait for an answer of the mail server.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a message to one address.
pub(super) async fn send(server: &Smtp, to: &str, message: &Message) -> Result<(), SendError> {
    let mail = encode(server, to, message)?;
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(server.url.reveal())
        .map_err(|_| SendError::Message("smtp_url cannot be used".to_owned()))?
        .timeout(Some(TIMEOUT))
        .build();
    transport.send(mail).await.map(|_| ()).map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => SendError::Mail(cause.to_string()),
        None => SendError::Mail(error.to_string()),
    })
}

fn encode(server: &Smtp, to: &str, message: &Message) -> Result<Mail, SendError> {
    let mailbox = |text: &str| -> Result<Mailbox, SendError> {
        text.parse().map_err(|_| SendError::Message(format!("{text:?} is no address for e-mails")))
    };
    let mut text = message.lines.join("\n");
    if let Some(url) = &message.url {
        text.push_str(&format!("\n\n{url}"));
    }
    Mail::builder()
        .from(mailbox(&server.from)?)
        .to(mailbox(to)?)
        .subject(message.title.replace(char::is_control, " "))
        .message_id(Some(format!("<{}@{}>", message.key, server.host)))
        .header(ContentType::TEXT_PLAIN)
        .body(text)
        .map_err(|error| SendError::Message(error.to_string()))
}
