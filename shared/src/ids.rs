//! Typed identifiers, so that a node cannot be taken for a pipeline.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::MAX_ID_BYTES;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// A node: one host with one agent. The collector makes the id at enrolment.
    NodeId
}
uuid_id! {
    /// An environment: a token of one environment sees nothing of another.
    EnvironmentId
}
uuid_id! {
    /// One run of an agent process: a UUID v7, new at each start.
    BootId
}
uuid_id! {
    /// A token's public name, to list and revoke it. Not the secret.
    TokenId
}

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdFault {
    /// It is empty.
    Empty,
    /// Longer than [`MAX_ID_BYTES`].
    TooLong,
    /// A control character, NUL among them: it would break frames and log lines.
    ControlCharacter,
}

impl fmt::Display for IdFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdFault::Empty => f.write_str("is empty"),
            IdFault::TooLong => write!(f, "is longer than {MAX_ID_BYTES} bytes"),
            IdFault::ControlCharacter => f.write_str("has a control character"),
        }
    }
}

impl std::error::Error for IdFault {}

/// Whether there is a control character. Most ids are ASCII, which is faster to check.
fn has_control(text: &str) -> bool {
    if text.is_ascii() { text.bytes().any(|byte| byte.is_ascii_control()) } else { text.chars().any(char::is_control) }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, min_length = 1, max_length = 256))]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text of 1 to [`MAX_ID_BYTES`] bytes without control characters.
            ///
            /// # Errors
            ///
            /// [`IdFault`] when the text is empty, longer, or has a control character.
            pub fn parse(text: &str) -> Result<Self, IdFault> {
                if text.is_empty() {
                    Err(IdFault::Empty)
                } else if text.len() > MAX_ID_BYTES {
                    Err(IdFault::TooLong)
                } else if has_control(text) {
                    Err(IdFault::ControlCharacter)
                } else {
                    Ok(Self(text.into()))
                }
            }

            /// The id as it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id! {
    /// A pipeline, named by the user; unique in its environment.
    PipelineId
}
text_id! {
    /// A component of a pipeline, as the engine names it.
    ComponentId
}

/// The id of an event of the feed: `<epoch>-<seq>`.
///
/// A database has one epoch from its creation; seq is the order of commit. Events of one epoch are
/// ordered by seq; ids of different epochs have no order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    /// Lower-case letters and digits; changes when the database is wiped or restored.
    pub epoch: Arc<str>,
    /// The order of commit, from 1.
    pub seq: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

/// A text that is not `<epoch>-<seq>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventIdFault;

impl fmt::Display for EventIdFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not of the form <epoch>-<seq>")
    }
}

impl std::error::Error for EventIdFault {}

impl FromStr for EventId {
    type Err = EventIdFault;

    fn from_str(text: &str) -> Result<Self, EventIdFault> {
        let (epoch, seq) = text.split_once('-').ok_or(EventIdFault)?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if epoch.is_empty() || epoch.len() > 32 || !epoch.chars().all(plain) {
            return Err(EventIdFault);
        }
        if seq.is_empty() || !seq.bytes().all(|b| b.is_ascii_digit()) {
            return Err(EventIdFault);
        }
        let seq = seq.parse().map_err(|_| EventIdFault)?;
        Ok(EventId { epoch: epoch.into(), seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_id_parses_what_it_prints() {
        let id = EventId { epoch: "k3x9".into(), seq: 41 };
        assert_eq!(id.to_string(), "k3x9-41");
        assert_eq!("k3x9-41".parse(), Ok(id));
    }

    #[test]
    fn event_id_refuses_other_forms() {
        for text in ["", "-", "41", "k3x9-", "-41", "K3-1", "k3--1", "k3-1\n", "k3-99999999999999999999", "k3-+1"] {
            assert_eq!(text.parse::<EventId>(), Err(EventIdFault), "{text:?}");
        }
    }

    #[test]
    fn id_has_bounded_length_and_no_control_characters() {
        assert_eq!(PipelineId::parse("orders").unwrap().as_str(), "orders");
        assert_eq!(PipelineId::parse(""), Err(IdFault::Empty));
        assert_eq!(PipelineId::parse("a\0b"), Err(IdFault::ControlCharacter));
        assert_eq!(PipelineId::parse(&"x".repeat(MAX_ID_BYTES + 1)), Err(IdFault::TooLong));
    }
}
