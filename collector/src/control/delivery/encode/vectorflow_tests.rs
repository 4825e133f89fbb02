use systole_shared::ConfigFormat;
use systole_shared::desired::SecretValue;
use uuid::Uuid;

use super::*;

fn text(request: ActionRequest) -> String {
    let pipeline_id = PipelineId::parse("orders").unwrap();
    let action = AgentAction { action_id: Uuid::nil(), pipeline_id, request };
    String::from_utf8(render(&PushMessage::Action(action), 5_000).to_vec()).unwrap()
}

const ID: &str = "00000000-0000-0000-0000-000000000000";

#[test]
fn actions_have_the_names_of_the_protocol() {
    let restart = "event: action\ndata: {\"type\":\"action\",\"action\":\"restart\",\"pipelineId\":\"orders\"}\n\n";
    assert_eq!(text(ActionRequest::Restart), restart);
    let sample = text(ActionRequest::Sample { components: vec!["a".into(), "b".into()], limit: 5, duration_ms: 1 });
    let expected = format!(
        "event: sample_request\ndata: {{\"type\":\"sample_request\",\"requestId\":\"{ID}\",\"pipelineId\":\"orders\",\
         \"componentKeys\":[\"a\",\"b\"],\"limit\":3}}\n\n"
    );
    assert_eq!(sample, expected);
    let tap = text(ActionRequest::Tap { component: "a".into(), duration_ms: 1 });
    let expected = format!(
        "event: tap_start\ndata: {{\"type\":\"tap_start\",\"requestId\":\"{ID}\",\"pipelineId\":\"orders\",\
         \"componentId\":\"a\"}}\n\n"
    );
    assert_eq!(tap, expected);
    let stop = format!("event: tap_stop\ndata: {{\"type\":\"tap_stop\",\"requestId\":\"{ID}\"}}\n\n");
    assert_eq!(text(ActionRequest::StopTap), stop);
}

fn desired(id: &str) -> DesiredPipeline {
    DesiredPipeline {
        id: PipelineId::parse(id).unwrap(),
        name: "Orders".into(),
        version: 3,
        checksum: "of the applied text".into(),
        engine: "vector".into(),
        config: "sources: {}\n".into(),
        format: ConfigFormat::Yaml,
        env: BTreeMap::new(),
        log_level: None,
        healthy_for_ms: 1_000,
        paused: false,
    }
}

#[test]
fn pipeline_keeps_its_text_and_has_secrets_apart() {
    let (plain, given) = pipeline(desired("orders"), 0).unwrap();
    let plain = plain.unwrap();
    assert_eq!((plain.config_yaml.as_str(), plain.version, plain.secrets.as_ref()), ("sources: {}\n", 3, None));
    assert_eq!(given.given, Given::Run { checksum: plain.checksum.clone() });
    let json = serde_json::to_value(&plain).unwrap();
    for absent in ["secrets", "logLevel", "certFiles"] {
        assert!(json.get(absent).is_none(), "{json}");
    }
    let env = [("DB".to_owned(), SecretValue::new("hunter2".to_owned()))];
    let (secret, _) = pipeline(DesiredPipeline { env: env.into(), ..desired("orders") }, 0).unwrap();
    let secret = secret.unwrap();
    assert!(!secret.config_yaml.contains("hunter2"));
    assert_eq!(secret.secrets.as_ref().unwrap()["DB"], "hunter2");
    assert_ne!(secret.checksum, plain.checksum, "another value restarts the pipeline");
}

#[test]
fn log_level_is_part_of_the_checksum() {
    let level = |level: &str| {
        let (pipeline, _) =
            pipeline(DesiredPipeline { log_level: Some(level.into()), ..desired("orders") }, 0).unwrap();
        pipeline.unwrap()
    };
    let (info, debug) = (level("info"), level("debug"));
    assert_eq!(info.log_level.as_deref(), Some("info"));
    assert!(info.config_yaml.ends_with("\nsources: {}\n") && info.config_yaml.starts_with('#'), "{}", info.config_yaml);
    assert_ne!(info.checksum, debug.checksum);
}

#[test]
fn pipeline_that_the_agent_cannot_run_is_withheld() {
    let given = |desired| match pipeline(desired, 0).unwrap() {
        (None, GivenVersion { given, .. }) => given,
        other => panic!("{other:?}"),
    };
    assert_eq!(given(DesiredPipeline { paused: true, ..desired("orders") }), Given::Paused);
    let Given::Withheld(reason) = given(DesiredPipeline { engine: "otelcol".into(), ..desired("orders") }) else {
        panic!("it runs Vector only");
    };
    assert!(reason.contains("\"otelcol\""), "{reason}");
    for id in ["a/b", "../orders", ".hidden", &"x".repeat(201)] {
        assert!(matches!(given(desired(id)), Given::Withheld(_)), "{id}");
    }
}
