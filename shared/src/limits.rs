//! The protocol's bounds, each with its reason.

/// Largest request body after decompression. A larger one is answered 413, and the agent splits it.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Reports in one request; an hour of backlog is then eight requests.
pub const MAX_REPORTS_PER_REQUEST: usize = 100;

/// Pipelines in one report; further ones are refused one by one.
pub const MAX_PIPELINES_PER_REPORT: usize = 1_000;

/// Components in one report, over all its pipelines.
pub const MAX_COMPONENTS_PER_REPORT: usize = 10_000;

/// Log lines in one report, over all its pipelines.
pub const MAX_LOG_LINES_PER_REPORT: usize = 5_000;

/// Bytes of one log line; a longer one is cut and ends with [`CUT_MARK`].
pub const MAX_LOG_LINE_BYTES: usize = 64 * 1024;

/// The end of a line that was cut.
pub const CUT_MARK: &str = "…[cut]";

/// Bytes of a pipeline's or component's id.
pub const MAX_ID_BYTES: usize = 256;

/// Bytes of other short texts (names, versions, reasons, label values); longer ones are cut.
pub const MAX_SHORT_TEXT_BYTES: usize = 1_024;

/// Labels of one node; further ones are left out.
pub const MAX_LABELS: usize = 64;

/// Bytes of all labels of one node, names and values; further ones are left out. Each is kept in memory and in the
/// database for every node.
pub const MAX_LABELS_BYTES: usize = 16 * 1024;

/// The interval at which an agent reports, unless the collector sets another one.
pub const DEFAULT_INTERVAL_MS: u64 = 5_000;

/// Log lines a second that an agent reports of one pipeline on average.
pub const LOG_LINES_PER_SECOND: u32 = 200;

/// Log lines of one pipeline that may arrive at once before the oldest are dropped.
pub const LOG_LINES_BURST: u32 = 1_000;

/// Clock difference of an agent that counts as noise; the times of a larger one are corrected.
pub const SKEW_TOLERANCE_MS: i64 = 2_000;

/// The longest time in the future at which a report may end, after the correction.
pub const MAX_FUTURE_MS: i64 = 3_600_000;

/// A report that ended longer ago than this when it arrives is a back-fill: it is stored as usual, but
/// not sent as a change.
pub const BACKFILL_AFTER_MS: i64 = 60_000;

/// Number of a node's boots with progress in the collector.
pub const REMEMBERED_BOOTS: usize = 8;

/// Cuts `text` to at most `max_bytes`, the mark included, between two characters.
pub fn cut(text: &str, max_bytes: usize) -> std::borrow::Cow<'_, str> {
    if text.len() <= max_bytes {
        return text.into();
    }
    let end = text.floor_char_boundary(max_bytes.saturating_sub(CUT_MARK.len()));
    format!("{}{CUT_MARK}", &text[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_keeps_the_bound_and_whole_characters() {
        assert_eq!(cut("short", 10), "short");
        for max in CUT_MARK.len()..60 {
            let text = "äöü€😀".repeat(10);
            let cut = cut(&text, max);
            assert!(cut.len() <= max, "{max}: {}", cut.len());
            assert!(cut.ends_with(CUT_MARK));
        }
    }
}
