//! Checks the imports of every module against the only list of layers.

use std::path::{Path, PathBuf};

use systole_tests::layers::{Layers, check};

/// A module imports from lines above its own. `auth` stands on the store, beside the time series: streams
/// and queries ask it for scopes. `feed` is below `ingest`, which publishes to it.
const LAYERS: Layers = Layers {
    order: &[
        &["clock", "config", "version"],
        &["telemetry"],
        &["model"],
        &["store"],
        &["auth", "timeseries"],
        &["feed"],
        &["ingest", "query", "control", "alerts"],
        &["tasks"],
        &["cluster"],
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

/// Traits of a store that only the time series may use: their rows alone are up to a minute old. A trait that is
/// not named is not in scope, so what is called on a store elsewhere is not one of its methods.
const TIMESERIES_ONLY: [&str; 3] = ["MinuteStore", "IngestStore", "TimeSeriesStore"];

#[test]
fn minutes_are_read_through_the_time_series_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_exempt = |path: &Path| {
        let path = path.strip_prefix(&source).unwrap();
        path.starts_with("store")
            || path.starts_with("timeseries")
            // Tests may prepare a database and look into it.
            || path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests"))
    };
    let mut violations = Vec::new();
    for file in sources(&source).into_iter().filter(|file| !is_exempt(file)) {
        let text = std::fs::read_to_string(&file).unwrap();
        let named = TIMESERIES_ONLY.into_iter().chain(["store::*"]).filter(|name| text.contains(name));
        violations.extend(named.map(|name| format!("{} names {name}", file.display())));
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}
