//! The only list of layers.

use std::path::Path;

use systole_tests::layers::{Layers, check};

/// A module imports from lines above its own. `auth` stands on the store, beside the time series: streams
/// and queries ask it for scopes. `feed` is below `ingest`, which publishes to it.
const LAYERS: Layers = Layers {
    order: &[
        &["clock", "config"],
        &["telemetry"],
        &["model"],
        &["store"],
        &["auth", "timeseries"],
        &["feed"],
        &["ingest", "query"],
        &["tasks"],
        &["http"],
        &["app"],
        &["server"],
        &["cli"],
    ],
    pairs: &[("http", "app")],
};

#[test]
fn modules_import_only_from_layers_below() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let violations = check(&source, &LAYERS).unwrap();
    let told: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "\n{}", told.join("\n"));
}
