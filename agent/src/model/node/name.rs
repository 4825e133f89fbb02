//! The node's name: the operator's, or else the host's, which may change while the agent runs.

use std::collections::BTreeMap;

use super::NodeIdentity;
use super::labels::labels_of;
use super::machine::{self, Machine};

/// What a node is called, and what its labels are made of.
#[derive(Clone, Debug)]
pub(crate) struct NodeNames {
    /// The machine it runs on.
    pub(crate) machine: Machine,
    /// The operator's name for the node.
    pub(crate) name: Option<String>,
    /// The operator's labels.
    pub(crate) labels: BTreeMap<String, String>,
}

impl NodeNames {
    /// The node's name while its host has this one.
    pub(crate) fn name(&self, hostname: &str) -> String {
        self.name.clone().unwrap_or_else(|| hostname.to_owned())
    }

    /// The node's labels while its host has this name.
    pub(crate) fn labels(&self, hostname: &str) -> BTreeMap<String, String> {
        labels_of(&self.machine, hostname, &self.labels)
    }

    /// What is different for each node: its id, or that of its machine before it is enrolled.
    pub(crate) fn key(&self, node: Option<&NodeIdentity>) -> String {
        let id = node.map(|node| node.node_id.clone());
        id.or_else(|| self.machine.id.clone()).unwrap_or_else(|| self.name(&self.hostname()))
    }

    /// The host's name as it is now.
    pub(crate) fn hostname(&self) -> String {
        machine::host_name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_the_operator_wins_and_else_the_hosts_name_is_followed() {
        let mut names = NodeNames {
            machine: Machine::detect(Some("m"), machine::MachineIdSource::default()),
            name: None,
            labels: BTreeMap::new(),
        };
        assert_eq!((names.name("a"), names.name("b")), ("a".to_owned(), "b".to_owned()));
        assert_eq!(names.labels("b")["vf.io/hostname"], "b");
        names.name = Some("mine".to_owned());
        assert_eq!((names.name("b"), names.labels("b")["vf.io/hostname"].as_str()), ("mine".to_owned(), "b"));
    }
}
