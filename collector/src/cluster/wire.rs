//! The form in which collectors talk: frames of a length, a kind and a body without names of fields.
//!
//! Both ends may be of different versions during an upgrade. The number of the form is in the first request, and a collector that
//! cannot read the leader's form does not follow it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ingest::commit_log::Entry;
use crate::ingest::committer::{AdministerError, Committed, NodeAction, SubmitError};
use crate::model::report::Submission;
use crate::model::{NodeKey, PendingEvent, PendingSample};

/// The number of this form. It grows when a later version could not read what an earlier one sends.
pub(crate) const FORMAT: u32 = 1;

/// The longest frame: the largest request of an agent, opened, several times over.
const MAX_FRAME_BYTES: usize = 256 << 20;

/// Length and kind.
const HEAD_BYTES: usize = 5;

/// A frame that cannot be read: the connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a frame has {0} bytes, more than {MAX_FRAME_BYTES}")]
    TooLong(usize),
    #[error("a frame has the unknown kind {0}")]
    Kind(u8),
    #[error("a frame cannot be read")]
    Body(#[source] postcard::Error),
}

/// The first frame of a leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub format: u32,
    pub leader: String,
    pub term: u64,
    /// The number of this connection, under which submissions are handed in.
    pub follower: u64,
    /// Records up to this one are sealed and not written whole; 0: none are.
    pub sealed_to: i64,
}

/// Samples of the transaction in the next frame.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SampleFrame {
    pub events: Vec<PendingEvent>,
    /// Without components, but for nodes that the follower hears.
    pub recent: Vec<PendingSample>,
}

/// What a leader sends.
#[derive(Debug)]
pub(crate) enum FromLeader {
    Welcome(Welcome),
    Samples(SampleFrame),
    Entry(Entry),
    Submitted(u64, Result<Committed, SubmitFailure>),
    Administered(u64, Result<Vec<String>, AdministerFailure>),
}

/// What a follower sends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToLeader<S = Submission> {
    /// An agent's request, under a number for its answer.
    Submit(u64, S),
    /// An administrator's.
    Administer(u64, NodeKey, NodeAction),
    /// Rollouts may have something to do.
    WakeRollouts,
    /// Whether samples of all nodes are wanted, or only those of nodes that the follower hears.
    WantSamples(bool),
}

/// [`SubmitError`], without its cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SubmitFailure {
    Busy,
    Stopping,
    UnknownNode,
    Store(String),
}

/// [`AdministerError`], without its cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AdministerFailure {
    UnknownNode,
    TooManyLabels,
    Stopping,
    Store(String),
}

mod kind {
    pub(super) const WELCOME: u8 = 1;
    pub(super) const SAMPLES: u8 = 2;
    pub(super) const ENTRY: u8 = 3;
    pub(super) const SUBMITTED: u8 = 4;
    pub(super) const ADMINISTERED: u8 = 5;
    pub(super) const TO_LEADER: u8 = 6;
}

impl From<SubmitError> for SubmitFailure {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Busy => SubmitFailure::Busy,
            SubmitError::Stopping | SubmitError::NoLeader => SubmitFailure::Stopping,
            SubmitError::UnknownNode => SubmitFailure::UnknownNode,
            SubmitError::Store(error) => SubmitFailure::Store(crate::telemetry::logging::chain(&error)),
            SubmitError::Leader(error) => SubmitFailure::Store(error),
        }
    }
}

impl From<SubmitFailure> for SubmitError {
    fn from(failure: SubmitFailure) -> Self {
        match failure {
            SubmitFailure::Busy => SubmitError::Busy,
            SubmitFailure::Stopping => SubmitError::NoLeader,
            SubmitFailure::UnknownNode => SubmitError::UnknownNode,
            SubmitFailure::Store(error) => SubmitError::Leader(error),
        }
    }
}

impl From<AdministerError> for AdministerFailure {
    fn from(error: AdministerError) -> Self {
        match error {
            AdministerError::UnknownNode => AdministerFailure::UnknownNode,
            AdministerError::Refused(_) => AdministerFailure::TooManyLabels,
            AdministerError::Stopping | AdministerError::NoLeader => AdministerFailure::Stopping,
            AdministerError::Store(error) => AdministerFailure::Store(crate::telemetry::logging::chain(&error)),
            AdministerError::Leader(error) => AdministerFailure::Store(error),
        }
    }
}

impl From<AdministerFailure> for AdministerError {
    fn from(failure: AdministerFailure) -> Self {
        match failure {
            AdministerFailure::UnknownNode => AdministerError::UnknownNode,
            AdministerFailure::TooManyLabels => {
                AdministerError::Refused(crate::ingest::administer::ChangeError::TooManyLabels)
            }
            AdministerFailure::Stopping => AdministerError::NoLeader,
            AdministerFailure::Store(error) => AdministerError::Leader(error),
        }
    }
}

/// Frames to send, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer(BytesMut);

impl Writer {
    pub(crate) fn welcome(&mut self, welcome: &Welcome) {
        self.frame(kind::WELCOME, welcome);
    }

    pub(crate) fn samples(&mut self, samples: &SampleFrame) {
        self.frame(kind::SAMPLES, samples);
    }

    pub(crate) fn entry(&mut self, entry: &Entry) {
        self.frame(kind::ENTRY, entry);
    }

    pub(crate) fn submitted(&mut self, request: u64, result: Result<Committed, SubmitError>) {
        self.frame(kind::SUBMITTED, &(request, result.map_err(SubmitFailure::from)));
    }

    pub(crate) fn administered(&mut self, request: u64, result: Result<Vec<String>, AdministerError>) {
        self.frame(kind::ADMINISTERED, &(request, result.map_err(AdministerFailure::from)));
    }

    fn message(&mut self, message: &ToLeader<&Submission>) {
        self.frame(kind::TO_LEADER, message);
    }

    /// Everything so far.
    pub(crate) fn take(&mut self) -> Bytes {
        self.0.split().freeze()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn frame(&mut self, kind: u8, body: &impl Serialize) {
        let begin = self.0.len();
        self.0.put_u32_le(0);
        self.0.put_u8(kind);
        let written = postcard::serialize_with_flavor(body, Tail(&mut self.0));
        // The types have no maps of unknown length and no floats that cannot be written.
        written.expect("frames can be written");
        let len = u32::try_from(self.0.len() - begin - HEAD_BYTES).unwrap_or(u32::MAX);
        self.0[begin..begin + 4].copy_from_slice(&len.to_le_bytes());
    }
}

/// Writes behind what is there.
struct Tail<'a>(&'a mut BytesMut);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Frames as they come in.
#[derive(Debug, Default)]
pub(crate) struct Reader(BytesMut);

impl Reader {
    /// Adds what has arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next frame of a leader, if it is complete.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(crate) fn next_from_leader(&mut self) -> Result<Option<FromLeader>, WireError> {
        let Some((kind, body)) = self.next_frame()? else { return Ok(None) };
        Ok(Some(match kind {
            kind::WELCOME => FromLeader::Welcome(read(&body)?),
            kind::SAMPLES => FromLeader::Samples(read(&body)?),
            kind::ENTRY => FromLeader::Entry(read(&body)?),
            kind::SUBMITTED => {
                let (request, result) = read(&body)?;
                FromLeader::Submitted(request, result)
            }
            kind::ADMINISTERED => {
                let (request, result) = read(&body)?;
                FromLeader::Administered(request, result)
            }
            other => return Err(WireError::Kind(other)),
        }))
    }

    /// The next frame of a follower, if it is complete.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(crate) fn next_to_leader(&mut self) -> Result<Option<ToLeader>, WireError> {
        match self.next_frame()? {
            Some((kind::TO_LEADER, body)) => Ok(Some(read(&body)?)),
            Some((other, _)) => Err(WireError::Kind(other)),
            None => Ok(None),
        }
    }

    fn next_frame(&mut self) -> Result<Option<(u8, Bytes)>, WireError> {
        let Some(head) = self.0.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let (len, kind) = (u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize, head[4]);
        if len > MAX_FRAME_BYTES {
            return Err(WireError::TooLong(len));
        }
        if self.0.len() < HEAD_BYTES + len {
            return Ok(None);
        }
        self.0.advance(HEAD_BYTES);
        Ok(Some((kind, self.0.split_to(len).freeze())))
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    postcard::from_bytes(body).map_err(WireError::Body)
}

/// The frame of one message.
pub(crate) fn message(message: &ToLeader<&Submission>) -> Bytes {
    let mut writer = Writer::default();
    writer.message(message);
    writer.take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::protocol::native;
    use crate::model::report::{Content, Refusals};

    /// Everything that an agent reports, absent values among it.
    const REQUEST: &str = r#"{"bootId":"01890a5d-ac96-774b-bcce-b302099a8057","sentAt":1790000000000,
        "reports":[{"seq":41,"start":1789999995000,"end":1790000000000,
            "agent":{"version":"0.1.0","labels":{"zone":"a"},"health":{"spoolReports":1,"lastSendError":"refused"}},
            "host":{"memoryUsedBytes":2,"cpuSecondsTotal":4.5,"loadAvg1":0.1},
            "pipelines":[{"id":"orders","name":"Orders","status":"RUNNING","pid":4242,"configChecksum":"abc",
                "sample":{"eventsIn":500,"eventsOut":498,"errors":0,"discarded":2,"bytesIn":1,"bytesOut":2,"latencyMs":1.2},
                "components":[{"id":"parse","kind":"transform","receivedEvents":500,"sentBytes":2,"bufferEvents":3}],
                "logs":[{"at":1789999996123,"stream":"stderr","level":"WARN","line":"late"},
                    {"at":1789999996124,"stream":"stdout","line":"started"}]},
                {"id":"gone","status":"CRASHED","scrapeError":"refused"}]}]}"#;

    fn submission() -> Submission {
        let decoded = native::decode(REQUEST.as_bytes()).unwrap();
        assert_eq!((decoded.reports[0].pipelines.len(), decoded.refusals.count), (2, 0), "nothing is left out");
        Submission {
            node: NodeKey(7),
            received_at: 1_790_000_000_000,
            address: Some([10, 0, 0, 7].into()),
            content: Content::Growth { boot: decoded.boot, sent_at: decoded.sent_at, reports: decoded.reports },
            refusals: Refusals::default(),
            heard_by: Some(3),
        }
    }

    #[test]
    fn submission_arrives_as_it_was_sent_in_any_pieces() {
        let sent = submission();
        let bytes = message(&ToLeader::Submit(9, &sent));
        let mut reader = Reader::default();
        for piece in bytes.chunks(100) {
            assert!(reader.next_to_leader().unwrap().is_none(), "it is not complete");
            reader.push(piece);
        }
        let Some(ToLeader::Submit(9, received)) = reader.next_to_leader().unwrap() else { panic!("another message") };
        let expected = Submission { heard_by: None, ..sent };
        assert_eq!(format!("{received:?}"), format!("{expected:?}"), "all but the number of the connection");
        assert!(reader.next_to_leader().unwrap().is_none());
    }

    #[test]
    fn unreadable_frame_is_an_error() {
        let mut reader = Reader::default();
        reader.push(&[1, 0, 0, 0, 99, 0]);
        assert!(matches!(reader.next_from_leader(), Err(WireError::Kind(99))));
        let mut reader = Reader::default();
        reader.push(&u32::MAX.to_le_bytes());
        reader.push(&[kind::ENTRY]);
        assert!(matches!(reader.next_from_leader(), Err(WireError::TooLong(_))));
        let mut reader = Reader::default();
        reader.push(&[1, 0, 0, 0, kind::ENTRY, 99]);
        assert!(matches!(reader.next_from_leader(), Err(WireError::Body(_))));
    }
}
