//! The node's labels: the automatic ones, and the user's over them.

use std::collections::BTreeMap;

use systole_shared::limits::MAX_LABELS;

use super::machine::Machine;

/// Labels of this node, whose host has this name now. The user's own win, and with too many of them automatic ones give way.
pub(crate) fn labels_of(machine: &Machine, hostname: &str, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let automatic = [
        ("vf.io/os", machine.os),
        ("vf.io/arch", machine.arch),
        ("vf.io/deployment-mode", machine.deployment_mode),
        ("vf.io/hostname", hostname),
    ];
    let mut labels = own.clone();
    for (name, value) in automatic {
        if labels.len() < MAX_LABELS {
            labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_labels_precede_automatic_ones() {
        let machine = Machine::detect(Some("m"), super::super::machine::MachineIdSource::default());
        let own = BTreeMap::from([("vf.io/os".to_owned(), "mine".to_owned()), ("site".to_owned(), "b".to_owned())]);
        let labels = labels_of(&machine, "web-1", &own);
        assert_eq!(labels["vf.io/os"], "mine");
        assert_eq!(labels["vf.io/hostname"], "web-1");
        assert_eq!(labels.len(), 5);
    }
}
