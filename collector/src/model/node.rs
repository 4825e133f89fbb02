//! What an administrator sets of a node at the collector. It wins over what the agent reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;

/// Labels of a node by their names.
pub(crate) type Labels = BTreeMap<String, String>;

/// The settings of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeSettings {
    pub name: Option<String>,
    pub labels: Labels,
    pub maintenance: Option<Maintenance>,
}

/// A time in which people work on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maintenance {
    pub until: UnixMillis,
    pub note: Option<String>,
}

/// A change of settings. `None` leaves a setting as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeUpdate {
    /// `Some(None)`: the name that the agent reports.
    pub name: Option<Option<String>>,
    pub labels: Option<LabelUpdate>,
    /// `Some(None)`: it ends.
    pub maintenance: Option<Option<Maintenance>>,
}

/// A change of labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LabelUpdate {
    /// Removes all that are set.
    Clear,
    /// Sets some; `None` removes one that is set.
    Merge(BTreeMap<String, Option<String>>),
}

impl NodeSettings {
    /// The settings after a change.
    pub(crate) fn updated(&self, update: &NodeUpdate) -> Self {
        let mut labels = self.labels.clone();
        match &update.labels {
            None => {}
            Some(LabelUpdate::Clear) => labels.clear(),
            Some(LabelUpdate::Merge(changes)) => {
                for (key, value) in changes {
                    match value {
                        Some(value) => labels.insert(key.clone(), value.clone()),
                        None => labels.remove(key),
                    };
                }
            }
        }
        NodeSettings {
            name: update.name.clone().unwrap_or_else(|| self.name.clone()),
            labels,
            maintenance: update.maintenance.clone().unwrap_or_else(|| self.maintenance.clone()),
        }
    }

    /// The labels that a node has: those that its agent reports, and over them those that are set.
    pub(crate) fn labels_over(&self, reported: &Labels) -> Labels {
        let mut labels = reported.clone();
        labels.extend(self.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn set_labels_win_and_null_shows_the_reported_one_again() {
        let reported = labels(&[("site", "lab"), ("role", "edge")]);
        let set = NodeSettings { labels: labels(&[("site", "plant"), ("canary", "true")]), ..NodeSettings::default() };
        assert_eq!(set.labels_over(&reported), labels(&[("site", "plant"), ("role", "edge"), ("canary", "true")]));
        let merge = LabelUpdate::Merge([("site".to_owned(), None), ("x".to_owned(), Some("1".to_owned()))].into());
        let after = set.updated(&NodeUpdate { labels: Some(merge), ..NodeUpdate::default() });
        assert_eq!(after.labels, labels(&[("canary", "true"), ("x", "1")]));
        assert_eq!(after.labels_over(&reported)["site"], "lab");
        let cleared = set.updated(&NodeUpdate { labels: Some(LabelUpdate::Clear), ..NodeUpdate::default() });
        assert!(cleared.labels.is_empty());
    }
}
