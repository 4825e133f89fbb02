use std::collections::BTreeMap;

use systole_shared::desired::{ConfigFormat, DesiredState, SecretValue};

use super::*;
use crate::files::checksum_of;
use crate::model::centre::{DedicatedConfig, PortRange};
use crate::model::wanted::WantedFile;

fn engine() -> EngineConfig {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    EngineConfig {
        command: CommandConfig {
            program: "vector".into(),
            args: words("--config {config} --port {port}"),
            env: [("REGION".to_owned(), "eu".to_owned())].into(),
            working_dir: None,
            config_file: None,
            limits: Default::default(),
            run_as: None,
            validate: Some(words("vector validate {config} {api_port}")),
        },
        ports: Some(PortRange { first: 20_000, last: 20_005 }),
        metrics: None,
        api_url: Some("http://127.0.0.1:{api_port}".into()),
    }
}

fn centre(accepts: bool) -> CentreConfig {
    CentreConfig { accepts, engines: [("vector".to_owned(), engine())].into(), ..CentreConfig::default() }
}

fn wanted(id: &str, version: i64) -> DesiredPipeline {
    let config = format!("# {version}\n");
    DesiredPipeline {
        id: PipelineId::parse(id).unwrap(),
        name: String::new(),
        version,
        checksum: checksum_of(config.as_bytes()),
        engine: "vector".into(),
        config,
        format: ConfigFormat::Yaml,
        env: BTreeMap::new(),
        log_level: Some("debug".into()),
        healthy_for_ms: 2_000,
        paused: false,
    }
}

fn state(pipelines: &[DesiredPipeline]) -> WantedState {
    DesiredState { generation: 1, pipelines: pipelines.to_vec(), agent_update: None }.into()
}

fn dedicated(pipelines: Vec<WantedPipeline>) -> WantedState {
    WantedState { generation: 1, terms: CentreTerms::Dedicated, pipelines, agent_update: None }
}

struct Scene {
    merger: Merger,
    _dir: tempfile::TempDir,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    // Other programs of this host may have any port.
    let ports = Ports::load_with(dir.path(), |_| true);
    Scene { merger: Merger { ports, ..Merger::new(dir.path(), dir.path()) }, _dir: dir }
}

fn rejection(merged: &Merged, index: usize) -> &str {
    let Standing::Rejected(reason) = &merged.entries[index].standing else { panic!("{merged:?}") };
    reason
}

#[test]
fn pipeline_of_the_centre_gets_its_engines_command() {
    let mut scene = scene();
    let merged = scene.merger.merge(&centre(true), &[], &state(&[wanted("a/b", 1), wanted("c", 7)]));
    assert_eq!(merged.entries.iter().map(|entry| entry.version).collect::<Vec<_>>(), [1, 7]);
    let command = merged.pipelines[1].command.as_ref().unwrap();
    assert_eq!(command.args, ["--config", "{config}", "--port", "20002"]);
    assert_eq!(command.validate.as_ref().unwrap()[3], "20003");
    assert_eq!(merged.pipelines[0].command.as_ref().unwrap().config_file, Some("a%2Fb.yaml".into()));
    let env: Vec<_> = command.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["REGION=eu", "SYSTOLE_API_PORT=20003", "SYSTOLE_METRICS_PORT=20002", "VECTOR_LOG=debug"]);
    assert_eq!(merged.pipelines[1].api_url.as_deref(), Some("http://127.0.0.1:20003"));
}

#[test]
fn nothing_is_taken_without_consent_or_against_the_own_file() {
    let mut scene = scene();
    let own = scene.merger.merge(&centre(true), &[], &state(&[wanted("a", 1)])).pipelines;
    let merged = scene.merger.merge(&centre(true), &own, &state(&[wanted("a", 2)]));
    assert_eq!((merged.pipelines.len(), rejection(&merged, 0)), (1, OWN_FILE_WINS));
    let merged = scene.merger.merge(&centre(false), &[], &state(&[wanted("b", 1)]));
    assert_eq!((merged.pipelines.len(), rejection(&merged, 0)), (0, NOT_ACCEPTED));
}

#[test]
fn rejected_version_leaves_the_one_before() {
    let mut scene = scene();
    scene.merger.merge(&centre(true), &[], &state(&[wanted("a", 1)]));
    let broken = DesiredPipeline { config: "# other\n".into(), ..wanted("a", 2) };
    let merged = scene.merger.merge(&centre(true), &[], &state(&[broken]));
    assert!(rejection(&merged, 0).contains("checksum"));
    assert_eq!(merged.pipelines[0].centre.as_ref().unwrap().version, 1);
    let other = DesiredPipeline { engine: "otelcol".into(), ..wanted("b", 1) };
    let merged = scene.merger.merge(&centre(true), &[], &state(&[other]));
    assert_eq!(rejection(&merged, 0), "this node has no engine \"otelcol\"; its engines: vector");
    assert!(merged.pipelines.is_empty(), "a was removed");
}

#[test]
fn variables_that_choose_code_are_refused() {
    let mut scene = scene();
    for name in ["LD_PRELOAD", "PATH", "REGION", "SYSTOLE_TOKEN", "A=B", ""] {
        let env = [(name.to_owned(), SecretValue::new("hunter2".into()))].into();
        let merged = scene.merger.merge(&centre(true), &[], &state(&[DesiredPipeline { env, ..wanted("a", 1) }]));
        assert!(rejection(&merged, 0).contains(name), "{name}");
        assert!(!rejection(&merged, 0).contains("hunter2"), "{name}");
    }
}

#[test]
fn paused_pipeline_keeps_its_port_and_has_no_command() {
    let mut scene = scene();
    scene.merger.merge(&centre(true), &[], &state(&[wanted("a", 1), wanted("b", 1)]));
    let paused = DesiredPipeline { paused: true, ..wanted("a", 1) };
    let merged = scene.merger.merge(&centre(true), &[], &state(&[paused, wanted("c", 1)]));
    assert_eq!(merged.entries[0].standing, Standing::Paused);
    assert!(merged.pipelines[0].hold() == Some(&Hold::Paused) && !merged.pipelines[0].is_supervised());
    assert_eq!(
        merged.pipelines[1].api_url.as_deref(),
        Some("http://127.0.0.1:20005"),
        "the ports of b may be in use still"
    );
}

#[test]
fn dedicated_node_needs_no_file() {
    let mut scene = scene();
    let centre = CentreConfig {
        dedicated: DedicatedConfig { accepts: true, engine: Some(engine()), is_inherited: false },
        ..CentreConfig::default()
    };
    let merged = scene.merger.merge(&centre, &[], &dedicated(vec![wanted("a", 1).into()]));
    assert_eq!(merged.pipelines[0].centre.as_ref().unwrap().place, CopyPlace::DataDir);
    assert_eq!(merged.pipelines[0].command.as_ref().unwrap().program, "vector");
    let merged = scene.merger.merge(&centre, &[], &state(&[wanted("a", 1)]));
    assert_eq!(rejection(&merged, 0), NOT_ACCEPTED, "another centre needs consent");
    let dedicated = DedicatedConfig { is_inherited: true, ..centre.dedicated };
    let merged = scene.merger.merge(&CentreConfig { dedicated, ..centre }, &[], &state(&[wanted("a", 1)]));
    assert_eq!(merged.entries[0].standing, Standing::Taken, "the node worked for a centre before");
}

#[test]
fn pipeline_that_waits_or_is_refused_is_shown_without_a_process() {
    let mut scene = scene();
    let centre = CentreConfig {
        dedicated: DedicatedConfig { accepts: true, engine: Some(engine()), is_inherited: false },
        ..CentreConfig::default()
    };
    let waiting = WantedPipeline { waits_for: Some("its secrets".into()), ..wanted("a", 1).into() };
    let broken = WantedPipeline { fault: Some("no such secret".into()), ..wanted("b", 1).into() };
    let merged = scene.merger.merge(&centre, &[], &dedicated(vec![waiting, broken.clone()]));
    let holds: Vec<_> = merged.pipelines.iter().map(|pipeline| pipeline.hold().unwrap().reason()).collect();
    assert_eq!(holds, ["waits for its secrets", "no such secret"]);
    // What ran before runs on.
    scene.merger.merge(&centre, &[], &dedicated(vec![wanted("b", 1).into()]));
    let merged = scene.merger.merge(&centre, &[], &dedicated(vec![broken]));
    assert_eq!((rejection(&merged, 0), merged.pipelines[0].hold()), ("no such secret", None));
    let merged = scene.merger.merge(&centre, &[], &state(&[]));
    assert!(merged.pipelines.is_empty());
}

#[test]
fn other_files_mean_another_start_and_a_wrong_name_costs_its_pipeline_alone() {
    let mut scene = scene();
    let centre = CentreConfig {
        dedicated: DedicatedConfig { accepts: true, engine: Some(engine()), is_inherited: false },
        ..CentreConfig::default()
    };
    let with = |id: &str, name: &str, data: &str| WantedPipeline {
        files: vec![WantedFile { name: name.into(), data: data.into() }],
        ..wanted(id, 1).into()
    };
    let mut digest_of = |data: &str| {
        let pipelines = vec![with("a", "ca.pem", data), with("b", "..", "AA=="), with("c", "other.pem", "AA==")];
        let merged = scene.merger.merge(&centre, &[], &dedicated(pipelines));
        assert_eq!(rejection(&merged, 1), "\"..\" is no name of a file");
        let digests = merged.pipelines.iter().map(|pipeline| pipeline.centre.as_ref().unwrap().files_digest.clone());
        digests.collect::<Vec<_>>()
    };
    let (first, second) = (digest_of("AA=="), digest_of("AQ=="));
    assert!(first[0] != second[0] && first[2] == second[2], "{first:?} {second:?}");
}

#[test]
fn secrets_of_vectorflow_have_their_names() {
    let mut scene = scene();
    let env = [("VF_SECRET_DB".to_owned(), SecretValue::new("x".into()))].into();
    let merged = scene.merger.merge(&centre(true), &[], &state(&[DesiredPipeline { env, ..wanted("a", 1) }]));
    assert_eq!(merged.pipelines[0].command.as_ref().unwrap().env["VF_SECRET_DB"], "x");
}
