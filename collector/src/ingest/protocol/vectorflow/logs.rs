//! Lines of pipelines. They have neither time nor stream: the time is that of their arrival.

use serde::Deserialize;
use serde_json::value::RawValue;
use systole_shared::limits::{MAX_LOG_LINE_BYTES, MAX_LOG_LINES_PER_REPORT, MAX_PIPELINES_PER_REPORT, cut};
use systole_shared::{LogStream, PipelineId, RefusalCode, Refused, Text, UnixMillis, level};

use super::{DecodeError, MAX_UNREADABLE_ITEMS};
use crate::ingest::protocol::Fault;
use crate::ingest::protocol::first::First;
use crate::ingest::protocol::json::{id_of, parse};
use crate::ingest::protocol::text::without_nul;
use crate::model::report::{Refusals, ReportedLine, ReportedLines};

/// Lines that were read: those of each pipeline judged alone.
#[derive(Debug)]
pub(crate) struct DecodedLogs {
    pub lines: Vec<ReportedLines>,
    pub refusals: Refusals,
}

impl DecodedLogs {
    /// What it takes of memory, about: its structs, without long texts.
    pub(crate) fn bytes(&self) -> usize {
        self.lines.iter().map(|lines| size_of_val(lines) + size_of_val(&*lines.lines)).sum()
    }
}

/// Lines of a pipeline, as they come.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a, L> {
    #[serde(borrow)]
    pipeline_id: Text<'a>,
    lines: Option<First<L, MAX_LOG_LINES_PER_REPORT>>,
}

/// Reads lines that came at a time. More than a report may have are dropped, and counted as dropped.
///
/// # Errors
///
/// When the body is no array, or too many of its items cannot be read.
pub(crate) fn decode_logs(body: &[u8], received_at: UnixMillis) -> Result<DecodedLogs, DecodeError> {
    let batches: First<&RawValue, MAX_PIPELINES_PER_REPORT> =
        serde_json::from_slice(body).or_else(|_| parse(body)).map_err(DecodeError::Malformed)?;
    let mut reader =
        Reader { received_at, lines_left: MAX_LOG_LINES_PER_REPORT, unreadable: 0, refusals: Refusals::default() };
    let mut lines = Vec::with_capacity(batches.items.len());
    for raw in batches.items {
        match reader.read_batch(raw) {
            Ok(read) => lines.push(read),
            Err((code, detail)) => {
                reader.count_unreadable()?;
                reader.refusals.push(Refused { seq: 0, pipeline_id: id_of(raw), component_id: None, code, detail });
            }
        }
        if reader.unreadable > MAX_UNREADABLE_ITEMS {
            return Err(DecodeError::TooManyUnreadable);
        }
    }
    reader.refusals.count += batches.beyond as u64;
    Ok(DecodedLogs { lines, refusals: reader.refusals })
}

struct Reader {
    received_at: UnixMillis,
    lines_left: usize,
    unreadable: usize,
    refusals: Refusals,
}

impl Reader {
    fn count_unreadable(&mut self) -> Result<(), DecodeError> {
        self.unreadable += 1;
        if self.unreadable > MAX_UNREADABLE_ITEMS { Err(DecodeError::TooManyUnreadable) } else { Ok(()) }
    }

    fn read_batch(&mut self, raw: &RawValue) -> Result<ReportedLines, Fault> {
        if let Ok(batch) = serde_json::from_str::<Batch<'_, Text<'_>>>(raw.get()) {
            let pipeline = pipeline_id(&batch.pipeline_id)?;
            let First { items, beyond } = batch.lines.unwrap_or_default();
            return Ok(self.take(pipeline, items, beyond));
        }
        let batch: Batch<'_, &RawValue> =
            parse(raw.get().as_bytes()).map_err(|detail| (RefusalCode::InvalidItem, detail))?;
        let pipeline = pipeline_id(&batch.pipeline_id)?;
        let First { items, beyond } = batch.lines.unwrap_or_default();
        let mut lines = Vec::with_capacity(items.len());
        for (index, line) in items.into_iter().enumerate() {
            match parse::<Text<'_>>(line.get().as_bytes()) {
                Ok(line) => lines.push(line),
                Err(detail) => {
                    self.unreadable += 1;
                    self.refuse(&pipeline, RefusalCode::InvalidItem, || format!("lines[{index}]: {detail}"));
                }
            }
        }
        Ok(self.take(pipeline, lines, beyond))
    }

    fn take(&mut self, pipeline: PipelineId, lines: Vec<Text<'_>>, beyond: usize) -> ReportedLines {
        let dropped = lines.len().saturating_sub(self.lines_left) + beyond;
        if dropped > 0 {
            let detail = || format!("{dropped} lines beyond the {MAX_LOG_LINES_PER_REPORT} of a request were dropped");
            self.refuse(&pipeline, RefusalCode::TooManyLogLines, detail);
        }
        let read = |line: Text<'_>| ReportedLine {
            at: self.received_at,
            stream: LogStream::Unknown,
            level: level::find(line.as_str()),
            line: without_nul(cut(line.as_str(), MAX_LOG_LINE_BYTES)),
        };
        let lines: Vec<ReportedLine> = lines.into_iter().take(self.lines_left).map(read).collect();
        self.lines_left -= lines.len();
        ReportedLines { pipeline, lines, dropped: i64::try_from(dropped).unwrap_or(i64::MAX) }
    }

    fn refuse(&mut self, pipeline: &PipelineId, code: RefusalCode, detail: impl FnOnce() -> String) {
        self.refusals.push_with(|| Refused {
            seq: 0,
            pipeline_id: Some(pipeline.to_string()),
            component_id: None,
            code,
            detail: detail(),
        });
    }
}

fn pipeline_id(text: &Text<'_>) -> Result<PipelineId, Fault> {
    PipelineId::parse(text.as_str()).map_err(|fault| (RefusalCode::InvalidId, format!("pipelineId {fault}")))
}
