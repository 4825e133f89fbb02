//! Labels of a node, within their bounds: each is kept for every node.

use std::collections::BTreeMap;

use systole_shared::Text;
use systole_shared::limits::{MAX_LABELS, MAX_LABELS_BYTES};

use super::text::short;
use crate::model::node::Labels;

/// The first labels, as many as fit.
pub(super) fn take_labels(labels: BTreeMap<Text<'_>, Text<'_>>) -> Labels {
    let mut bytes = 0;
    let fits = |(key, value): &(String, String)| {
        bytes += key.len() + value.len();
        bytes <= MAX_LABELS_BYTES
    };
    let label = |(key, value): (Text<'_>, Text<'_>)| (short(key.as_str()), short(value.as_str()));
    labels.into_iter().take(MAX_LABELS).map(label).take_while(fits).collect()
}
