//! Converts the native protocol to [`NodeReport`]s.
//!
//! The whole body is read into borrowed structs at once. Only when that fails is it read again item
//! by item (`item_by_item`), so that one pipeline with a wrong type is refused alone; a healthy report pays nothing
//! for it. Both readings stop at their bounds. The structs end at the first report or pipeline too many.
//!
//! Each report then passes `report` and `pipeline`, which apply the limits and check each item.
//!
//! Unknown fields of a report are ignored, because a newer agent can send them. Unknown settings, in
//! contrast, are errors.

mod deployments;
mod item_by_item;
mod pipeline;
mod report;
#[cfg(test)]
mod tests;
mod topology;

use systole_shared::limits::MAX_REPORTS_PER_REQUEST;
use systole_shared::{BootId, ReportRequest, UnixMillis};

use self::item_by_item::{MAX_UNREADABLE_ITEMS, decode_item_by_item};
use self::report::{Complete, take_report};
use crate::model::report::{NodeReport, Refusals};

/// A reason to refuse a whole request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// No JSON, or not of a request's shape.
    #[error("{0}")]
    Malformed(String),
    /// More reports than one request may have.
    #[error("{0} reports in one request, at most {MAX_REPORTS_PER_REQUEST}; split it")]
    TooManyReports(usize),
    /// More unreadable pipelines than one request may have.
    #[error("more than {MAX_UNREADABLE_ITEMS} pipelines of this request cannot be read; split it")]
    TooManyUnreadable,
    /// Numbers of reports must grow within a request.
    #[error("reports[{index}].seq is {seq}; it must be at least 1 and above the one before")]
    SeqOutOfOrder { index: usize, seq: u64 },
}

/// A request that was read: its items judged one by one.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub boot: BootId,
    pub sent_at: UnixMillis,
    pub reports: Vec<NodeReport>,
    pub refusals: Refusals,
}

impl Decoded {
    /// What it takes of memory, about: its structs, without long texts.
    pub(crate) fn bytes(&self) -> usize {
        let pipelines = self.reports.iter().flat_map(|report| &report.pipelines);
        pipelines
            .map(|pipeline| size_of_val(pipeline) + size_of_val(&*pipeline.components) + size_of_val(&*pipeline.logs))
            .sum()
    }
}

/// Reads a request.
pub(crate) fn decode(body: &[u8]) -> Result<Decoded, DecodeError> {
    let mut refusals = Refusals::default();
    let (boot, sent_at, reports) = match serde_json::from_slice::<ReportRequest<'_>>(body) {
        Ok(request) => {
            check_reports(request.reports.iter().map(|report| report.seq))?;
            let reports =
                request.reports.into_iter().map(|report| take_report(report, Complete::BOTH, &mut refusals)).collect();
            (request.boot_id, request.sent_at, reports)
        }
        Err(_) => decode_item_by_item(body, &mut refusals)?,
    };
    Ok(Decoded { boot, sent_at, reports, refusals })
}

fn check_reports(seqs: impl ExactSizeIterator<Item = u64>) -> Result<(), DecodeError> {
    if seqs.len() > MAX_REPORTS_PER_REQUEST {
        return Err(DecodeError::TooManyReports(seqs.len()));
    }
    let mut last = 0;
    for (index, seq) in seqs.enumerate() {
        if seq <= last || seq > i64::MAX as u64 {
            return Err(DecodeError::SeqOutOfOrder { index, seq });
        }
        last = seq;
    }
    Ok(())
}
