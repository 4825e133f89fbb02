//! Arithmetic of counters.

/// A sum is unknown only as long as nothing of it is known.
pub(crate) fn add_known(sum: Option<i64>, more: Option<i64>) -> Option<i64> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
        (known, None) | (None, known) => known,
    }
}
