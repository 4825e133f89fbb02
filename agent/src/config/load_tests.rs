use std::collections::HashMap;
use std::path::Path;

use super::*;
use crate::model::centre::CentreTerms;
use crate::model::log_files::Links;
use crate::model::multiline::MultilineRule;
use crate::model::node::machine::MachineIdSource;
use crate::model::pattern::Pattern;
use crate::model::protocol::{Protocol, ProtocolSetting};

/// A configuration out of a file's text and variables; the token is there unless taken away.
fn load_with(file: &str, variables: &[(&str, &str)], flags: Overrides) -> Result<Config, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.toml");
    std::fs::write(&path, file).unwrap();
    let mut variables: HashMap<&str, &str> = variables.iter().copied().collect();
    variables.entry("SYSTOLE_TOKEN").or_insert("secret-of-the-environment");
    let flags = Overrides { config: Some(path), ..flags };
    load(&flags, &|name| variables.get(name).map(|value| (*value).to_owned()))
}

fn good(file: &str) -> Config {
    load_with(file, &[("SYSTOLE_URL", "http://c:1")], Overrides::default()).unwrap()
}

fn errors(file: &str) -> ConfigErrors {
    load_with(file, &[("SYSTOLE_URL", "http://c:1")], Overrides::default()).unwrap_err()
}

#[test]
fn flags_precede_variables_precede_file_precedes_defaults() {
    let file = "url = \"http://file:1\"\ndata_dir = \"/file\"\nlog_level = \"warn\"";
    let variables = [("SYSTOLE_URL", "http://env:1"), ("VF_URL", "http://vf:1"), ("VF_DATA_DIR", "/vf")];
    let flags = Overrides { urls: vec!["http://flag:1/".to_owned()], ..Overrides::default() };
    let config = load_with(file, &variables, flags).unwrap();
    assert_eq!(config.urls[0].as_str(), "http://flag:1/");
    assert_eq!(config.data_dir, Path::new("/vf"));
    assert_eq!(config.log, LogConfig { level: tracing::Level::WARN, format: LogFormat::Text });
    assert_eq!(load_with(file, &variables, Overrides::default()).unwrap().urls[0].host_str(), Some("env"));
    assert_eq!(load_with("", &variables[1..], Overrides::default()).unwrap().urls[0].host_str(), Some("vf"));
    assert_eq!(good("").data_dir, Path::new(DEFAULT_DATA_DIR));
}

#[test]
fn vectorflow_variables_are_compatible() {
    let variables = [
        ("VF_URL", "http://vf:1/"),
        ("VF_LOG_LEVEL", "loud"),
        ("VF_NODE_LABELS", " a = b=c , broken, =x, d="),
        ("VF_TOKEN", "t"),
    ];
    let config = load_with("[labels]\na = \"file\"\nsite = \"x\"", &variables, Overrides::default()).unwrap();
    assert_eq!(config.log.level, tracing::Level::INFO);
    let labels: Vec<_> = config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["a=b=c", "d=", "site=x"]);
}

#[test]
fn environment_of_the_vectorflow_agent_is_enough() {
    let variables = HashMap::from([
        ("VF_URL", "https://vf.example/"),
        ("VF_TOKEN", "vf_enroll_x"),
        ("VF_VECTOR_BIN", "/opt/vector/bin/vector"),
        ("VF_POLL_INTERVAL", "1m30s"),
        ("VF_LOG_FLUSH_INTERVAL", "500ms"),
        ("VF_METRICS_PORT", "0"),
        ("VF_UPDATE_PUBLIC_KEY", " 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"),
    ]);
    let read = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    let config = load(&Overrides::default(), &read).unwrap();
    assert_eq!((config.data_dir.as_path(), config.metrics_listen), (Path::new(VECTORFLOW_DATA_DIR), None));
    let vectorflow = &config.vectorflow;
    let flush = vectorflow.log_flush_interval.map(|interval| interval.as_millis());
    assert_eq!((vectorflow.poll_interval.as_secs(), flush), (90, Some(500)));
    let both = [CentreTerms::Consent, CentreTerms::Dedicated];
    assert_eq!(both.map(|terms| config.centre.accepts(terms)), [true, true], "of any centre that the variables name");
    let engines = both.map(|terms| config.centre.engine("vector", terms).unwrap().command.program.clone());
    assert_eq!(engines, ["/opt/vector/bin/vector", "/opt/vector/bin/vector"]);
    assert_eq!(config.upgrade.key.as_ref().map(|key| key.bytes()[0]), Some(0xd7));
    assert_eq!(config.protocol, ProtocolSetting::Auto);
    assert_eq!(find_data_dir(&Overrides::default(), &read).unwrap(), Path::new(VECTORFLOW_DATA_DIR));
    let own = |name: &str| if name == "SYSTOLE_URL" { Some("http://c:1".to_owned()) } else { read(name) };
    let config = load(&Overrides::default(), &own).unwrap();
    assert_eq!(config.data_dir, Path::new(DEFAULT_DATA_DIR), "SYSTOLE_URL wins");
}

#[test]
fn pipelines_of_a_vectorflow_server_need_its_environment_or_vector_bin() {
    let accepts = |file: &str, variables: &[(&str, &str)]| {
        let config = load_with(file, variables, Overrides::default()).unwrap();
        [CentreTerms::Dedicated, CentreTerms::Consent].map(|terms| config.centre.accepts(terms))
    };
    assert_eq!(accepts("", &[("SYSTOLE_URL", "http://c:1")]), [false, false]);
    assert_eq!(accepts("", &[("VF_URL", "http://c:1")]), [true, true]);
    assert_eq!(accepts("vector_bin = \"vector\"", &[("SYSTOLE_URL", "http://c:1")]), [true, false]);
    assert_eq!(accepts("accept_pipelines = false", &[("VF_URL", "http://c:1")]), [false, false]);
    let file = "[engine.vector]\ncommand = [\"/own/vector\", \"--config\", \"{config}\"]";
    let config = load_with(file, &[("VF_URL", "http://c:1")], Overrides::default()).unwrap();
    let engine = config.centre.engine("vector", CentreTerms::Dedicated).unwrap();
    assert_eq!(engine.command.program, "/own/vector", "the file's own wins");
}

#[test]
fn settings_of_systole_precede_those_of_vectorflow() {
    let file = "poll_interval = \"9s\"\nprotocol = \"native\"\ncloud_labels = false";
    let variables = [
        ("SYSTOLE_URL", "http://c:1"),
        ("VF_POLL_INTERVAL", "7s"),
        ("SYSTOLE_POLL_INTERVAL", "8s"),
        ("SYSTOLE_PROTOCOL", "vectorflow"),
    ];
    let config = load_with(file, &variables, Overrides::default()).unwrap();
    assert_eq!((config.vectorflow.poll_interval.as_secs(), config.vectorflow.cloud_labels), (8, false));
    assert_eq!(config.protocol, ProtocolSetting::Fixed(Protocol::VectorFlow));
    assert_eq!(
        errors("protocol = \"v1\"\npoll_interval = \"0\"\nlog_flush_interval = \"-1s\"").keys(),
        ["protocol", "poll_interval", "log_flush_interval"]
    );
}

#[test]
fn full_file_is_parsed() {
    let config = good(
        r#"
        machine_id = "m-1"
        machine_id_from = "cloud"
        [[pipeline]]
        id = "orders"
        name = "Orders"
        labels = { team = "a" }
        command = ["vector", "--config", "x.yaml"]
        env = { VECTOR_LOG = "info", N = 3 }
        working_dir = "/tmp"
        multiline = true
        metrics_url = "http://127.0.0.1:9598/metrics"
        [[pipeline]]
        id = "watched"
        metrics_url = "https://[::1]:9598/metrics"
        metrics = "own"
        metrics_bearer_token = "b"
        log_files = "/var/log/**/*.log"
        follow_symlinks = true
        multiline = { start = "^[0-9]{4}-" }
        [metrics.own]
        component_label = "plugin"
        sent_events = ["out_total", "out_retried_total"]
        "#,
    );
    let [orders, watched] = &config.pipelines[..] else { panic!("two pipelines") };
    let command = orders.command.as_ref().unwrap();
    assert_eq!((command.program.as_str(), command.args.len(), command.env["N"].as_str()), ("vector", 2, "3"));
    assert_eq!(orders.metrics.as_ref().unwrap().mapping.name(), "vector");
    let metrics = watched.metrics.as_ref().unwrap();
    assert_eq!((metrics.mapping.name(), metrics.bearer_token.as_ref().unwrap().reveal()), ("own", "b"));
    assert!(watched.command.is_none());
    assert_eq!(watched.log_files.patterns, [Pattern::parse("/var/log/**/*.log").unwrap()]);
    assert_eq!(watched.log_files.links, Links::Followed);
    assert!(matches!(watched.multiline.as_deref(), Some(MultilineRule::Start(start)) if start.is_match("2026-01")));
    assert!(matches!(orders.multiline.as_deref(), Some(MultilineRule::StackTraces)));
    assert_eq!((config.machine_id.as_deref(), config.machine_id_from), (Some("m-1"), MachineIdSource::Cloud));
    assert_eq!(errors("machine_id_from = \"mac\"").keys(), ["machine_id_from"]);
}

#[test]
fn configuration_reports_all_errors_with_their_keys() {
    let found = errors(
        r#"
        colour = "red"
        log_level = "loud"
        log_format = 7
        [[pipeline]]
        id = "a"
        [[pipeline]]
        id = "b"
        command = "vector"
        log_files = ["x/*.log", "/x/[", "/x/", "/good/*.log"]
        multiline = { start = "(", end = "" }
        working_dir = "here"
        metrics = "nope"
        metrics_url = "127.0.0.1:9598"
        [[pipeline]]
        id = "b"
        command = []
        [[pipeline]]
        metric_url = "http://h"
        [metrics.x]
        received_events = "a"
        "#,
    );
    let mut keys = found.keys();
    keys.sort_unstable();
    let expected = [
        "colour",
        "log_format",
        "log_level",
        "metrics.x: component_label",
        "pipeline \"a\": command",
        "pipeline \"b\": command",
        "pipeline \"b\": command",
        "pipeline \"b\": id",
        "pipeline \"b\": log_files",
        "pipeline \"b\": log_files",
        "pipeline \"b\": log_files",
        "pipeline \"b\": metrics",
        "pipeline \"b\": metrics_url",
        "pipeline \"b\": multiline: end",
        "pipeline \"b\": multiline: start",
        "pipeline \"b\": working_dir",
        "pipeline 4: command",
        "pipeline 4: id",
        "pipeline 4: metric_url",
    ];
    assert_eq!(keys, expected, "{found}");
    assert!(found.to_string().contains("did you mean `metrics_url`?"));
}

#[test]
fn endpoint_shared_by_two_commands_is_an_error() {
    let pipeline =
        |id: &str, more: &str| format!("[[pipeline]]\nid = \"{id}\"\nmetrics_url = \"http://h:1/m\"\n{more}\n");
    let command = "command = [\"x\"]";
    let found = errors(&format!("{}{}", pipeline("a", command), pipeline("b", command)));
    assert_eq!(found.keys(), ["pipeline \"b\": metrics_url"], "{found}");
    assert_eq!(good(&format!("{}{}", pipeline("a", ""), pipeline("b", ""))).pipelines.len(), 2);
}

#[test]
fn missing_url_or_token_is_an_error_before_enrolment() {
    let variables = [("SYSTOLE_TOKEN", "")];
    let dir = tempfile::tempdir().unwrap();
    let file = format!("data_dir = {:?}", dir.path().display().to_string());
    assert_eq!(load_with(&file, &variables, Overrides::default()).unwrap_err().keys(), ["url", "token"]);
    node_token::write(dir.path(), &Token::new("n")).unwrap();
    assert_eq!(load_with(&file, &variables, Overrides::default()).unwrap_err().keys(), ["url"]);
}

#[test]
fn token_can_be_in_a_separate_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let file = format!("url = \"http://c:1\"\ntoken_file = {:?}", path.display().to_string());
    let variables = [("SYSTOLE_TOKEN", "")];
    assert_eq!(load_with(&file, &variables, Overrides::default()).unwrap_err().keys(), ["token_file"]);
    std::fs::write(&path, "  in-a-file\n").unwrap();
    let config = load_with(&file, &variables, Overrides::default()).unwrap();
    assert_eq!(config.token.unwrap().reveal(), "in-a-file");
}

#[test]
fn bearer_token_invalid_in_a_header_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "two\nlines\n").unwrap();
    let pipeline = |more: &str| format!("[[pipeline]]\nid = \"a\"\nmetrics_url = \"http://h:1\"\n{more}");
    let found = errors(&pipeline("metrics_bearer_token = \"two words\""));
    assert_eq!(found.keys(), ["pipeline \"a\": metrics_bearer_token"]);
    let found = errors(&pipeline(&format!("metrics_bearer_token_file = {:?}", file.path().display().to_string())));
    assert_eq!(found.keys(), ["pipeline \"a\": metrics_bearer_token_file"]);
}

#[test]
fn broken_file_is_one_error_without_its_text() {
    let found = load_with("a = 1\ntoken = \"hunter2", &[("SYSTOLE_TOKEN", "")], Overrides::default()).unwrap_err();
    assert_eq!(found.keys().len(), 1, "{found}");
    assert!(found.to_string().contains("line 2") && !found.to_string().contains("hunter2"), "{found}");
}

#[test]
fn printed_configuration_has_no_secret() {
    let file = r#"
        token = "enrol-secret"
        [[pipeline]]
        id = "a"
        command = ["x"]
        env = { PASSWORD = "env-secret" }
        metrics_url = "http://h"
        metrics_bearer_token = "bearer-secret"
        "#;
    let config = good(file);
    let shown = format!("{config} {config:?}");
    assert!(shown.contains("PASSWORD") && shown.contains("metrics_bearer_token"));
    for secret in ["enrol-secret", "bearer-secret", "secret-of-the-environment", "env-secret"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn vector_config_file_is_found_in_its_command() {
    let of = |command: &str| {
        let config = good(&format!("[[pipeline]]\nid = \"p\"\ncommand = {command}\n"));
        config.pipelines[0].command.clone().unwrap()
    };
    let command = of(r#"["/opt/vector", "--config", "/etc/p.yaml"]"#);
    assert_eq!(command.config_file.as_deref(), Some(Path::new("/etc/p.yaml")));
    assert_eq!(command.validate.unwrap(), ["/opt/vector", "validate", "--no-environment", "{config}"]);
    for several_or_none in [
        r#"["vector", "-c", "/a.yaml", "-c", "/b.yaml"]"#,
        r#"["vector", "-c", "/etc/*.yaml"]"#,
        r#"["vector", "--config-dir", "/etc", "-c", "/a.yaml"]"#,
        r#"["vector"]"#,
        r#"["not-vector", "--config", "/a.yaml"]"#,
    ] {
        let command = of(several_or_none);
        assert_eq!((command.config_file, command.validate), (None, None), "{several_or_none}");
    }
    let off = good("[[pipeline]]\nid = \"p\"\ncommand = [\"vector\", \"-c\", \"/a\"]\nvalidate = []\n");
    assert_eq!(off.pipelines[0].command.as_ref().unwrap().validate, None);
}

#[test]
fn config_file_missing_in_the_command_is_an_error() {
    let file = "[[pipeline]]\nid = \"p\"\ncommand = [\"run\", \"/b\"]\nconfig_file = \"/a\"\n\
                [[pipeline]]\nid = \"q\"\nmetrics_url = \"http://h:1\"\nvalidate = [\"x\"]\n";
    let errors = errors(file);
    assert_eq!(errors.keys(), ["pipeline \"p\": config_file", "pipeline \"q\": validate"]);
}

#[test]
fn last_valid_file_belongs_to_its_original() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("agent.toml"), dir.path().join("data"));
    let line = format!("data_dir = \"{}\"\n", data.display());
    let flags = |file: &Path| Overrides { config: Some(file.to_owned()), ..Overrides::default() };
    let env = |name: &str| (name == "SYSTOLE_TOKEN").then(|| "t".to_owned());
    let last_known_good = |file: &Path| super::super::last_known_good(&flags(file), &env, ConfigErrors::default());
    std::fs::write(
        &file,
        format!("{line}url = \"http://c:1\"\n[[pipeline]]\nid = \"p\"\nmetrics_url = \"http://h:1\"\n"),
    )
    .unwrap();
    let config = load(&flags(&file), &env).unwrap();
    config.remember();
    for broken in [format!("{line}url = [broken"), format!("{line}nonsense = 1")] {
        std::fs::write(&file, broken).unwrap();
        let valid = last_known_good(&file).unwrap();
        assert_eq!((valid.pipelines, valid.file.as_deref()), (config.pipelines.clone(), Some(file.as_path())));
        assert!(valid.errors.is_some());
    }
    let other = dir.path().join("other.toml");
    std::fs::write(&other, &line).unwrap();
    assert!(last_known_good(&other).is_err());
    std::fs::remove_file(&file).unwrap();
    assert!(last_known_good(&file).is_err(), "a file that is not there at all is rather a wrong path");
}

#[test]
fn metrics_listen_defaults_to_loopback() {
    let listen = |file: &str, variables: &[(&str, &str)]| {
        let variables: Vec<_> = variables.iter().copied().chain([("SYSTOLE_URL", "http://c:1")]).collect();
        load_with(file, &variables, Overrides::default()).map(|config| config.metrics_listen.map(|at| at.to_string()))
    };
    assert_eq!(listen("", &[]).unwrap().as_deref(), Some("127.0.0.1:9090"));
    assert_eq!(listen("", &[("VF_METRICS_PORT", "9100")]).unwrap().as_deref(), Some("127.0.0.1:9100"));
    assert_eq!(listen("", &[("VF_METRICS_PORT", "0")]).unwrap(), None);
    assert_eq!(listen("metrics_listen = \"[::]:1\"", &[]).unwrap().as_deref(), Some("[::]:1"));
    assert_eq!(listen("metrics_listen = \"[::]:1\"", &[("SYSTOLE_METRICS_LISTEN", "off")]).unwrap(), None);
    assert_eq!(listen("metrics_listen = \"9090\"", &[]).unwrap_err().keys(), ["metrics_listen"]);
    assert_eq!(listen("", &[("VF_METRICS_PORT", "65536")]).unwrap_err().keys(), ["VF_METRICS_PORT"]);
}

#[test]
fn data_directory_is_found_without_a_valid_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.toml");
    std::fs::write(&path, "data_dir = \"/in-the-file\"\nurl = 7\nno_such_key = 1").unwrap();
    let flags = |config: &Path| Overrides { config: Some(config.to_owned()), ..Overrides::default() };
    let find = |flags: &Overrides, variable: Option<&str>| {
        find_data_dir(flags, &|name| variable.filter(|_| name == "SYSTOLE_DATA_DIR").map(str::to_owned))
    };
    assert_eq!(find(&flags(&path), None).unwrap(), Path::new("/in-the-file"));
    assert_eq!(find(&flags(&path), Some("/env")).unwrap(), Path::new("/env"));
    assert!(find(&flags(&dir.path().join("none")), None).is_err(), "a file that was named must be there");
}

#[test]
fn data_dir_that_cannot_be_the_agents_is_named_and_name_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = |path: &Path| format!("data_dir = {:?}\nname = \"web-7\"", path.display().to_string());
    assert_eq!(good(&data_dir(dir.path())).name.as_deref(), Some("web-7"));
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert_eq!(errors(&data_dir(&dir.path().join("file"))).keys(), ["data_dir"]);
    std::fs::write(dir.path().join("collector.db"), "").unwrap();
    assert_eq!(errors(&data_dir(dir.path())).keys(), ["data_dir"]);
    assert_eq!(errors("name = \"a\\nb\"").keys(), ["name"]);
}

#[test]
fn engines_are_read_and_shown() {
    let config = good(
        r#"
        accept_pipelines = true
        push = false
        tap_redact = ["password", "*.token"]
        [engine.vector]
        command = ["/usr/bin/vector", "--config", "{config}"]
        run_as = "root"
        port_range = "20000-20999"
        metrics_url = "http://127.0.0.1:{port}/metrics"
        api_url = "http://127.0.0.1:{api_port}"
        env = { PASSWORD = "env-secret" }
        nice = 5
        "#,
    );
    let engine = &config.centre.engines["vector"];
    assert_eq!(engine.command.validate.as_ref().unwrap()[1..], ["validate", "--no-environment", "{config}"]);
    assert_eq!((engine.command.run_as.as_deref(), engine.command.limits.nice), (Some("root"), Some(5)));
    assert!(config.centre.accepts && !config.centre.push);
    assert_eq!(config.centre.dir, Path::new(DEFAULT_DATA_DIR).join("desired"));
    let shown = config.to_string();
    assert!(shown.contains("[engine.\"vector\"]") && shown.contains("accept_pipelines = true"), "{shown}");
    assert!(!format!("{config:?}{shown}").contains("env-secret"));
    let default = good("").centre;
    assert!(!default.accepts && default.push && default.engines.is_empty());
}

#[test]
fn errors_of_engines_are_reported_together() {
    let errors = errors(
        r#"
        accept_pipelines = true
        accept_pipeline = true
        tap_redact = ["a..b"]
        desired_dir = "relative"
        [engine.vector]
        comand = ["vector"]
        run_as = "no-such-user-here"
        port_range = "80"
        metrics_url = "http://127.0.0.1:9598/metrics"
        metrics = "nonsense"
        [engine.other]
        command = ["other", "--port={port}"]
        "#,
    );
    let text = errors.to_string();
    for expected in [
        "accept_pipeline: unknown key; did you mean `accept_pipelines`?",
        "tap_redact: invalid path `a..b`",
        "desired_dir: `relative` must be an absolute path",
        "engine \"vector\": command: is missing",
        "engine \"vector\": comand: unknown key; did you mean `command`?",
        "engine \"vector\": run_as: there is no user `no-such-user-here` on this host",
        "engine \"vector\": port_range: invalid range `80`",
        "engine \"vector\": metrics_url: must contain {port}",
        "engine \"vector\": metrics: unknown mapping `nonsense`",
        "engine \"other\": command: must contain {config}",
        "engine \"other\": port_range: is missing",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(self::errors("accept_pipelines = true").to_string().contains("accept_pipelines: needs an engine"));
}

#[test]
fn offline_check_ignores_what_another_host_has() {
    let file = "url = \"http://c:1\"\ntoken_file = \"/none/token\"\nca_file = \"/none/ca.pem\"\n\
        client_cert_file = \"/none/a.crt\"\nclient_key_file = \"/none/a.key\"\n\
        [[pipeline]]\nid = \"orders\"\nmetrics_url = \"http://127.0.0.1:1/metrics\"\n\
        metrics_bearer_token_file = \"/none/bearer\"\n";
    let offline = Overrides { offline: true, ..Overrides::default() };
    let no_token = [("SYSTOLE_TOKEN", "")];
    let keys = load_with(file, &no_token, Overrides::default()).unwrap_err().keys().len();
    assert!(keys >= 3, "{keys}");
    assert_eq!(load_with(file, &no_token, offline.clone()).unwrap().pipelines.len(), 1);
    let wrong = format!("no_such_key = 1\n{file}");
    assert_eq!(load_with(&wrong, &no_token, offline).unwrap_err().keys(), ["no_such_key"]);
}
