use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use systole_shared::ComponentKind;
use systole_shared::topology::TopologyEdge;

use super::*;

fn command(program: &str, args: &[&str]) -> CommandConfig {
    CommandConfig {
        program: program.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: BTreeMap::new(),
        working_dir: None,
        config_file: None,
        limits: Default::default(),
        run_as: None,
        validate: None,
    }
}

fn testdata(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/topology").join(name).display().to_string()
}

fn edge(from: &str, output: Option<&str>, to: &str) -> TopologyEdge {
    TopologyEdge { from: from.to_owned(), output: output.map(str::to_owned), to: to.to_owned() }
}

/// Components with their kinds, and edges, of what `vector graph` prints.
fn read_dot(dot: &str) -> (BTreeMap<String, ComponentKind>, BTreeSet<TopologyEdge>) {
    let (mut components, mut edges) = (BTreeMap::new(), BTreeSet::new());
    for line in dot.lines() {
        let parts: Vec<&str> = line.split('"').collect();
        match parts[..] {
            [_, id, " [shape=", shape, _] => {
                let kind = match shape {
                    "trapezium" => ComponentKind::Source,
                    "diamond" => ComponentKind::Transform,
                    _ => ComponentKind::Sink,
                };
                components.insert(id.to_owned(), kind);
            }
            [_, from, " -> ", to, _] => drop(edges.insert(edge(from, None, to))),
            [_, from, " -> ", to, " [label=", label, _] => drop(edges.insert(edge(from, Some(label), to))),
            _ => {}
        }
    }
    (components, edges)
}

#[test]
fn vector_configuration_has_the_graph_of_vector() {
    let topology = of_command(&command("/usr/bin/vector", &["-c", &testdata("orders.yaml")]), None).unwrap().topology;
    let (components, edges) = read_dot(&std::fs::read_to_string(testdata("orders.dot")).unwrap());
    let kinds = topology.components.iter().map(|component| (component.id.clone(), component.kind)).collect();
    assert_eq!((components.len(), &components), (12, &kinds));
    assert_eq!(edges, topology.edges.iter().cloned().collect());
    let types: Vec<_> = topology.components.iter().map(|component| component.component_type.as_str()).collect();
    assert!(types.contains(&"http_server") && types.iter().all(|name| !name.is_empty()), "{types:?}");
}

#[test]
fn formats_files_and_directories_make_one_graph() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let toml = write("a/in.toml", "[sources.in]\ntype = \"file\"\nport = ${NOT_SET_HERE}\n");
    write("a/mid.json", r#"{"transforms": {"mid": {"type": "filter", "inputs": ["in"]}}}"#);
    write("a/notes.txt", "no configuration");
    let yaml = write("out.yml", "sinks:\n  out:\n    type: console\n    inputs: [mid]\n");
    write("conf.d/sources/in.yaml", "type: demo_logs\n");
    write("conf.d/transforms/mid.toml", "type = \"remap\"\ninputs = [\"in\"]\n");
    write("conf.d/all.yaml", "sinks:\n  out: {type: console, inputs: [mid]}\n");
    write("conf.d/sinks/.hidden.yaml", "type: x\n");
    let expected = vec![edge("in", None, "mid"), edge("mid", None, "out")];
    let graph = |args: &[&str]| of_command(&command("vector", args), None).unwrap().topology.edges;
    let pattern = toml.replace("in.toml", "*.[tj]*");
    assert_eq!(graph(&["--config", &pattern, "--config", &yaml]), expected);
    assert_eq!(graph(&[&format!("--config={pattern},{yaml}")]), expected);
    assert_eq!(graph(&["-C", &dir.path().join("conf.d").display().to_string()]), expected);
}

#[test]
fn content_of_the_revision_counts_and_not_the_file() {
    let file = "/nowhere/orders.yaml";
    let content = b"sources: {in: {type: stdin}}\nsinks: {out: {type: console, inputs: [in]}}\n";
    for args in [["--config", file], ["--config", "{config}"]] {
        let command = CommandConfig { config_file: Some(file.into()), ..command("vector", &args) };
        let found = of_command(&command, Some(content)).unwrap();
        assert_eq!(found.topology.edges, [edge("in", None, "out")]);
    }
    assert_eq!(of_command(&command("vector", &["--config", file]), None), None);
    assert_eq!(of_command(&command("/opt/run.sh", &["--config", file]), None), None, "an unknown engine");
}

#[test]
fn broken_configuration_has_no_graph() {
    let command = CommandConfig { config_file: Some("/x.yaml".into()), ..command("vector", &["-c", "/x.yaml"]) };
    assert_eq!(of_command(&command, Some(b"sources: [")), None);
    assert_eq!(of_command(&command, Some(b"\xff\xfe")), None);
    let unknown = b"sinks: {out: {type: console, inputs: [nowhere, out]}}";
    assert_eq!(of_command(&command, Some(unknown)).unwrap().topology.edges, []);
}

#[test]
fn service_of_otelcol_is_its_graph() {
    let config = b"
receivers: {otlp: {}, hostmetrics: {}}
processors: {batch: {}, memory_limiter: {}}
exporters: {otlp/eu: {}, debug: {}}
connectors: {spanmetrics: {}}
service:
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [otlp/eu, spanmetrics]
    metrics:
      receivers: [hostmetrics, spanmetrics]
      exporters: [debug]
";
    let path = "/etc/otelcol/config.yaml";
    let command = CommandConfig {
        config_file: Some(path.into()),
        ..command("otelcol-contrib", &[&format!("--config=file:{path}")])
    };
    let topology = of_command(&command, Some(config)).unwrap().topology;
    let expected: BTreeSet<_> = [
        edge("receiver/otlp", None, "processor/memory_limiter"),
        edge("processor/memory_limiter", None, "processor/batch"),
        edge("processor/batch", None, "exporter/otlp/eu"),
        edge("processor/batch", None, "connector/spanmetrics"),
        edge("receiver/hostmetrics", None, "exporter/debug"),
        edge("connector/spanmetrics", None, "exporter/debug"),
    ]
    .into();
    assert_eq!(topology.edges.iter().cloned().collect::<BTreeSet<_>>(), expected);
    let kinds: Vec<_> = topology.components.iter().map(|one| (one.id.as_str(), one.kind)).collect();
    assert_eq!(kinds[0], ("receiver/hostmetrics", ComponentKind::Source));
    assert!(kinds.contains(&("connector/spanmetrics", ComponentKind::Transform)), "{kinds:?}");
}
