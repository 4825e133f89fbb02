//! The configurations in the documents are valid, and say what the text says.

use std::path::Path;

use super::of_command;
use crate::config::{Config, Overrides, load_offline};
use crate::model::pipeline::CommandConfig;

/// The blocks of a language in a document.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let start = format!("\n```{language}\n");
    text.split(&start).skip(1).map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

fn read(toml: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    std::fs::write(&file, toml).unwrap();
    let flags = Overrides { config: Some(file), ..Overrides::default() };
    let env =
        |name: &str| (name == "SYSTOLE_URL" && !toml.contains("url = \"http://coll")).then(|| "http://c".to_owned());
    load_offline(&flags, &env).unwrap_or_else(|errors| panic!("{errors}\n{toml}"))
}

#[test]
fn configurations_of_the_engine_pages_are_valid() {
    for (document, mapping, count) in
        [("vector.md", "vector", 3), ("otelcol.md", "otelcol", 2), ("fluent-bit.md", "fluentbit", 2)]
    {
        let configs: Vec<_> = blocks(document, "toml").iter().map(|toml| read(toml)).collect();
        assert_eq!(configs.len(), count, "{document}");
        let pipelines: Vec<_> = configs.iter().flat_map(|config| &config.pipelines).collect();
        assert_eq!(pipelines.len(), 2, "{document}");
        for pipeline in &pipelines {
            assert_eq!(pipeline.metrics.as_ref().unwrap().mapping.name(), mapping, "{document}");
        }
        let [supervised, watched] = pipelines[..] else { panic!("{document}") };
        assert!(supervised.is_supervised() && !watched.is_supervised(), "{document}");
        assert!(
            supervised.command.as_ref().unwrap().config_file.is_some(),
            "{document}: the configuration is validated"
        );
        assert!(supervised.command.as_ref().unwrap().validate.is_some(), "{document}");
        assert!(watched.log_files.journal_unit.is_some(), "{document}");
    }
    let fleet = read(&blocks("vector.md", "toml")[2]);
    assert!(fleet.centre.accepts && fleet.centre.engines["vector"].ports.is_some());
}

#[test]
fn vector_of_the_document_exposes_its_metrics_where_the_agent_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("orders.yaml");
    let yaml = &blocks("vector.md", "yaml")[0];
    std::fs::write(&file, yaml).unwrap();
    let command = read(&blocks("vector.md", "toml")[0]).pipelines[0].command.clone().unwrap();
    let args = vec!["--config".to_owned(), file.display().to_string()];
    let command = CommandConfig { args, config_file: None, ..command };
    let topology = of_command(&command, None).unwrap().topology;
    let edges: Vec<_> = topology.edges.iter().map(|edge| (&*edge.from, &*edge.to)).collect();
    for edge in [("orders", "parse"), ("parse", "out"), ("metrics", "exporter")] {
        assert!(edges.contains(&edge), "{edges:?}");
    }
    assert!(yaml.contains("address: 127.0.0.1:9598"));
}
