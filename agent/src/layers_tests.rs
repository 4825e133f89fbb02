//! The only list of layers.

use std::path::Path;

use systole_tests::layers::{Layers, check};

/// A module imports from lines above its own. `http_client` is below `config`, which checks the files of
/// certificates with it. `status` and `report` read what all others know; `report` is above `status`,
/// because its heartbeat is the sign of life that `status` shows.
const LAYERS: Layers = Layers {
    order: &[
        &["clock", "files", "signals", "version"],
        &["data_dir_lock", "model"],
        &["http_client", "metrics"],
        &["config"],
        &["host", "logging", "logs", "scrape", "spool", "topology"],
        &["adopt", "supervise", "uplink"],
        &["upgrade"],
        &["actions", "desired"],
        &["cli"],
        &["status"],
        &["doctor", "report", "reload"],
        &["app", "fuzzing"],
    ],
    pairs: &[],
};

#[test]
fn modules_import_only_from_layers_below() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let violations = check(&source, &LAYERS).unwrap();
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}
