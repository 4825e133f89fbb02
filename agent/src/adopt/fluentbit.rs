//! Where Fluent Bit serves its metrics: its HTTP server, which is off by default.

use std::path::Path;

use systole_shared::ConfigFormat;

use crate::model::pipeline::CommandConfig;
use crate::topology::document::Node;
use crate::topology::metrics::Metrics;

/// Names of its program.
pub(super) const PROGRAMS: [&str; 2] = ["fluent-bit", "td-agent-bit"];

/// Where its HTTP server is by default.
pub(super) const USUAL_URL: &str = "http://127.0.0.1:2020/api/v2/metrics/prometheus";

const PORT: &str = "2020";

const ADD: &str = "\
[SERVICE]
    HTTP_Server  On
    HTTP_Listen  127.0.0.1
    HTTP_Port    2020";

/// What the HTTP server is set to.
#[derive(Default)]
struct Server {
    is_on: bool,
    host: Option<String>,
    port: Option<String>,
}

impl Server {
    fn set(&mut self, key: &str, value: &str) {
        match key.to_ascii_lowercase().as_str() {
            "http_server" => self.is_on = ["on", "true", "yes"].contains(&value.to_ascii_lowercase().as_str()),
            "http_listen" => self.host = Some(value.to_owned()),
            "http_port" => self.port = Some(value.to_owned()),
            _ => {}
        }
    }
}

/// Reads it from the command and its configuration.
pub(super) fn metrics_of(command: &CommandConfig) -> Metrics {
    let mut server = Server::default();
    let mut args = command.args.iter();
    while let Some(arg) = args.next() {
        let (option, value) = match arg.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let mut value = || value.clone().or_else(|| args.next().cloned()).unwrap_or_default();
        match option {
            "-H" | "--http" => server.is_on = true,
            "-P" | "--port" => server.port = Some(value()),
            "-c" | "--config" => {
                let dir = command.working_dir.clone().unwrap_or_default();
                let path = dir.join(value());
                let Ok(text) = std::fs::read_to_string(&path) else { return Metrics::Unknown };
                read(&path, &text, &mut server);
            }
            _ => {}
        }
    }
    if !server.is_on {
        return Metrics::Missing(ADD);
    }
    let host = server.host.filter(|host| host != "0.0.0.0" && host != "::").unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = server.port.unwrap_or_else(|| PORT.to_owned());
    Metrics::At(format!("http://{host}:{port}/api/v2/metrics/prometheus"))
}

/// The section `service` of a file in YAML, or in the classic form.
fn read(path: &Path, text: &str, server: &mut Server) {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if let Some(format @ ConfigFormat::Yaml) = ConfigFormat::from_extension(extension) {
        let whole = Node::parse(text, format);
        let service = whole.as_ref().and_then(|whole| whole.get("service")?.table());
        for (key, value) in service.into_iter().flatten() {
            server.set(key, value.text().unwrap_or_default());
        }
        return;
    }
    let mut is_service = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            is_service = line.eq_ignore_ascii_case("[service]");
        } else if let Some((key, value)) = line.split_once(char::is_whitespace).filter(|_| is_service) {
            server.set(key, value.trim());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str, more: &[&str]) -> Metrics {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let args = ["-c", path.to_str().unwrap()].iter().chain(more).map(|arg| (*arg).to_owned()).collect();
        metrics_of(&CommandConfig {
            program: "fluent-bit".to_owned(),
            args,
            env: Default::default(),
            working_dir: None,
            config_file: None,
            limits: Default::default(),
            run_as: None,
            validate: None,
        })
    }

    #[test]
    fn server_is_found_in_both_forms_and_in_arguments() {
        let at = |port: &str| Metrics::At(format!("http://127.0.0.1:{port}/api/v2/metrics/prometheus"));
        let classic =
            "[SERVICE]\n    # HTTP_Server Off\n    HTTP_Server  On\n    http_port    2021\n[INPUT]\n    HTTP_Port 9\n";
        assert_eq!(found("fb.conf", classic, &[]), at("2021"));
        assert_eq!(found("fb.yaml", "service: {http_server: \"on\", http_listen: 0.0.0.0}", &[]), at("2020"));
        assert_eq!(found("fb.conf", "[SERVICE]\n", &["-H", "--port=2022"]), at("2022"));
        assert_eq!(found("fb.conf", "[INPUT]\n  http_server on\n", &[]), Metrics::Missing(ADD));
    }
}
