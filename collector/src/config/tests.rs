use std::collections::BTreeMap;
use std::ffi::OsString;

use super::lookup::own_variables;
use super::*;

fn sources(flags: &[(&'static str, &str)], environment: &[(&str, &str)], file: &str) -> Sources {
    Sources {
        flags: flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
        environment: environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        file: Some((PathBuf::from("collector.toml"), file.to_owned())),
    }
}

#[test]
fn flags_precede_environment_precedes_file() {
    let file = "listen = '127.0.0.1:1'\ndata_dir = '/file'\ninterval = '10s'\n";
    let environment = [("SYSTOLE_LISTEN", "127.0.0.1:2"), ("SYSTOLE_DATA_DIR", "/env")];
    let config = Config::read(&sources(&[("listen", "127.0.0.1:3")], &environment, file)).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.data_dir, PathBuf::from("/env"));
    assert_eq!(config.interval, Duration::from_secs(10));
    assert_eq!(config.database, Database::Sqlite("/env/collector.db".into()));
}

#[test]
fn configuration_reports_all_errors_with_their_place() {
    let file = "interval = '7 parsecs'\nretention_logs = true\nlisten_on = 1\n";
    let environment = [("SYSTOLE_LOG_FORMAT", "xml"), ("SYSTOLE_DATABASE_URL", "mysql://x")];
    let ConfigErrors(errors) = Config::read(&sources(&[("listen", "nowhere")], &environment, file)).unwrap_err();
    let places: Vec<_> = errors.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        places,
        ["--listen", "SYSTOLE_DATABASE_URL", "interval", "retention_logs", "SYSTOLE_LOG_FORMAT", "listen_on"]
    );
}

#[test]
fn stop_bound_must_be_below_the_warn_bound() {
    let low_disk = |file| Config::read(&sources(&[], &[], file)).map(|config| config.low_disk);
    let ConfigErrors(errors) = low_disk("low_disk_warn_bytes = 10\nlow_disk_stop_bytes = 11").unwrap_err();
    assert!(errors[0].starts_with("low_disk_stop_bytes: "), "{errors:?}");
    low_disk("low_disk_warn_bytes = 10\nlow_disk_stop_bytes = 10").unwrap();
    let never = low_disk("low_disk_warn_bytes = 0\nlow_disk_stop_bytes = 11").unwrap();
    assert_eq!(never, LowDisk { warn_bytes: Some(0), stop_bytes: Some(11) });
    low_disk("low_disk_warn_bytes = -1").unwrap_err();
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    let ConfigErrors(errors) = Config::read(&sources(&[], &[], "listen = \n")).unwrap_err();
    assert!(errors[0].contains("collector.toml") && errors[0].contains("line 1"), "{errors:?}");
}

#[test]
fn printed_configuration_parses_to_the_same() {
    let odd = "data_dir = 'C:\\with \"quotes\"'\ninterval = '1500ms'\nstartup_grace = '0s'\n\
        retention_logs = '90m'\nretention_hours = '100d'\nretention_days = '900d'\nretention_events = '36h'\nlow_disk_warn_bytes = 4096\nlow_disk_stop_bytes = '0'\nlog_level = 'debug'\nlog_format = 'json'\nlog_search = 'scan'\nretention_logs_bytes = 4096\n\
        max_enrolments_per_minute = 1\nmax_sessions_per_minute = 2\nmax_unknown_tokens_per_minute = 3\n\
        max_queries_per_token = 4\nmax_log_lines_per_second = 5\nmax_log_bytes_per_second = 0\n";
    for file in ["", odd] {
        let config = Config::read(&sources(&[], &[], file)).unwrap();
        let printed = config.to_string();
        assert_eq!(Config::read(&sources(&[], &[], &printed)).unwrap(), config, "{printed}");
    }
}

#[cfg(unix)]
#[test]
fn variable_that_is_not_utf8_is_an_error_only_if_ours() {
    use std::os::unix::ffi::OsStringExt;
    let broken = || OsString::from_vec(vec![0xff]);
    let foreign = own_variables([(broken(), broken()), ("HOME".into(), broken())].into_iter());
    assert_eq!(foreign, Ok(BTreeMap::new()));
    let ConfigErrors(errors) = own_variables([("SYSTOLE_LISTEN".into(), broken())].into_iter()).unwrap_err();
    assert!(errors[0].starts_with("SYSTOLE_LISTEN: "), "{errors:?}");
}

#[test]
fn database_of_sqlite_is_a_file() {
    for url in ["sqlite://", "sqlite://:memory:", "sqlite://file:x?mode=memory"] {
        assert!(parse_database(url).is_err(), "{url}");
    }
    assert_eq!(parse_database("sqlite:///var/x.db"), Ok(Database::Sqlite("/var/x.db".into())));
}

#[test]
fn password_is_never_printed() {
    let url = "postgres://me:hunter2@db/fleet?sslmode=verify-full";
    let config = Config::read(&sources(&[("database_url", url)], &[], "")).unwrap();
    let shown = "postgres://me:***@db/fleet?sslmode=verify-full";
    assert!(config.to_string().contains(shown) && !format!("{config:?}").contains("hunter2"));
    let broken = Config::read(&sources(&[("database_url", &url.replace("sslmode", "ssl"))], &[], ""));
    let ConfigErrors(errors) = broken.unwrap_err();
    assert!(errors[0].starts_with("--database-url: ") && !errors[0].contains("hunter2"), "{errors:?}");
}

#[test]
fn durations_need_a_unit() {
    assert_eq!(parse_duration("24h"), Some(Duration::from_secs(86_400)));
    assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
    for text in ["", "5", "h", "-5s", "5 s", "99999999999999999999d", "1.5h"] {
        assert_eq!(parse_duration(text), None, "{text:?}");
    }
}

#[test]
fn certificate_needs_its_key() {
    let errors = |file| Config::read(&sources(&[], &[], file)).unwrap_err().0;
    assert!(errors("tls_cert_file = 'a.pem'")[0].starts_with("tls_key_file: is missing"));
    assert!(errors("tls_key_file = 'a.key'")[0].starts_with("tls_cert_file: is missing"));
    assert!(errors("max_streams = 0")[0].starts_with("max_streams: "));
    assert!(errors("max_new_streams_per_second = 'many'")[0].starts_with("max_new_streams_per_second: "));
}

#[test]
fn origins_are_parsed_as_browsers_send_them() {
    let origins = |text: &str| Config::read(&sources(&[("cors_origins", text)], &[], "")).map(|it| it.cors_origins);
    assert_eq!(origins("https://a.example, http://b:81").unwrap(), ["https://a.example", "http://b:81"]);
    assert_eq!(origins("*").unwrap(), ["*"]);
    for wrong in ["a.example", "https://a.example/page", "https://"] {
        assert!(origins(wrong).unwrap_err().0[0].contains("invalid origin"), "{wrong}");
    }
}
