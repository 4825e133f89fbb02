//! The types that all layers share: keys, reports, events, samples and resolutions. Nothing here reads a
//! clock, a file or a database.

mod agent_kind;
pub(crate) mod alert;
pub(crate) mod as_json;
pub(crate) mod compact_float;
pub(crate) mod counters;
pub(crate) mod definition;
pub(crate) mod directory;
mod event;
mod keys;
pub(crate) mod live;
pub(crate) mod node;
pub(crate) mod packed;
pub(crate) mod packed_bytes;
pub(crate) mod report;
mod resolution;
mod sample;
pub(crate) mod selector;
mod throughput;
mod token_bucket;
pub(crate) mod watched;

pub(crate) use self::agent_kind::AgentKind;
pub(crate) use self::counters::add_known;
pub(crate) use self::event::{Payload, PendingEvent, to_json};
pub(crate) use self::keys::{DefinitionKey, EnvironmentKey, NodeKey, PipelineKey, RolloutKey, SeriesKey};
pub(crate) use self::resolution::{BucketRange, Resolution};
pub(crate) use self::sample::PendingSample;
pub(crate) use self::throughput::Throughput;
pub(crate) use self::token_bucket::{Rate, TokenBucket};
