//! The bytes of a push stream: blocks of server-sent events, one form of the messages in each of `native` and
//! `vectorflow`. What is sent and when is the same in both.

mod native;
pub(crate) mod vectorflow;

use bytes::Bytes;
use systole_shared::action::PushMessage;

/// The form of a stream's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As [`PushMessage`] has them.
    Native,
    /// As VectorFlow's agents read them. They learn with the first message how often they should report.
    VectorFlow { report_every_ms: u64 },
}

impl Encoding {
    /// Whether the first message says which generation is the newest.
    pub(super) fn names_generations(self) -> bool {
        self == Encoding::Native
    }

    /// A message; empty when the form has none for it.
    pub(super) fn render(self, message: &PushMessage) -> Bytes {
        match self {
            Encoding::Native => native::render(message),
            Encoding::VectorFlow { report_every_ms } => vectorflow::render(message, report_every_ms),
        }
    }
}

/// `event`, `data`, blank line. JSON has no raw line ends, so data is one line.
fn block(event: &str, data: &impl serde::Serialize) -> String {
    let data = serde_json::to_string(data).expect("messages have string keys and finite numbers only");
    format!("event: {event}\ndata: {data}\n\n")
}
