//! The way to the collector through TLS and proxies.

use std::path::Path;

use serde_json::Value;
use systole_tests::harness::agent::AgentSetup;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::tls::{Authority, ConnectProxy, TlsFront};
use systole_tests::harness::{SOON, TestAgent, TestCollector, eventually};
use tokio::process::Command;

fn text(path: &Path) -> Value {
    path.display().to_string().into()
}

async fn agent_through(collector: &TestCollector, front: &TlsFront, settings: Vec<(&'static str, Value)>) -> TestAgent {
    let setup = AgentSetup { url: Some(front.url()), settings, ..AgentSetup::default() };
    TestAgent::start_with(collector, setup, &[]).await
}

async fn status_when(agent: &TestAgent, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, async || {
        let mut command = Command::new(binary("systole-agent"));
        let output =
            command.args(["status", "--json", "--data-dir"]).arg(agent.data_dir()).output().await.expect("it starts");
        serde_json::from_slice(&output.stdout).ok().filter(|status| is_so(status))
    })
    .await
}

fn is_connected(status: &Value) -> bool {
    status["collector"]["state"] == "connected"
}

fn error_of(status: &Value) -> &str {
    status["health"]["lastSendError"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn private_authority_is_trusted_and_another_is_an_error() {
    let collector = TestCollector::start().await;
    let good = Authority::new(collector.directory(), "good");
    let wrong = Authority::new(collector.directory(), "wrong");
    let front = TlsFront::start(&collector.url(), &good.sign("server"), None).await;
    let agent = agent_through(&collector, &front, vec![("ca_file", text(&good.certificate))]).await;
    status_when(&agent, "connected", is_connected).await;

    // The file is read again when the collector cannot be reached with what was in it.
    let changing = collector.directory().join("changing.pem");
    std::fs::copy(&wrong.certificate, &changing).unwrap();
    let agent = agent_through(&collector, &front, vec![("ca_file", text(&changing))]).await;
    let away = status_when(&agent, "refused by the agent", |status| error_of(status).contains("ca_file")).await;
    assert!(error_of(&away).contains("UnknownIssuer"), "{away}");
    assert_eq!(away["collector"]["state"], "away");
    std::fs::copy(&good.certificate, &changing).unwrap();
    status_when(&agent, "connected with the new file", is_connected).await;
}

#[tokio::test]
async fn agent_presents_its_client_certificate() {
    let collector = TestCollector::start().await;
    let authority = Authority::new(collector.directory(), "authority");
    let front = TlsFront::start(&collector.url(), &authority.sign("server"), Some(&authority)).await;
    let ca = ("ca_file", text(&authority.certificate));
    let (certificate, key) = authority.sign("agent");
    let own = vec![ca.clone(), ("client_cert_file", text(&certificate)), ("client_key_file", text(&key))];
    let agent = agent_through(&collector, &front, own).await;
    status_when(&agent, "connected", is_connected).await;
    let nameless = agent_through(&collector, &front, vec![ca]).await;
    let away = status_when(&nameless, "not accepted", |status| !error_of(status).is_empty()).await;
    assert!(away["collector"]["lastAcknowledgedAt"].is_null(), "{away}");
}

#[tokio::test]
async fn proxy_variable_is_used_unless_excepted() {
    let collector = TestCollector::start().await;
    let authority = Authority::new(collector.directory(), "authority");
    let front = TlsFront::start(&collector.url(), &authority.sign("server"), None).await;
    let proxy = ConnectProxy::start().await;
    let setup = |except: &str| AgentSetup {
        url: Some(front.url()),
        settings: vec![("ca_file", text(&authority.certificate))],
        variables: vec![("HTTPS_PROXY", proxy.url()), ("NO_PROXY", except.to_owned())],
        ..AgentSetup::default()
    };
    let direct = TestAgent::start_with(&collector, setup("127.0.0.1"), &[]).await;
    status_when(&direct, "connected without the proxy", is_connected).await;
    assert_eq!(proxy.asked(), [""; 0]);
    let agent = TestAgent::start_with(&collector, setup(""), &[]).await;
    status_when(&agent, "connected through the proxy", is_connected).await;
    assert_eq!(proxy.asked()[0], format!("CONNECT {} HTTP/1.1", front.authority()));
}

#[tokio::test]
async fn unusable_certificates_are_configuration_errors() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let (certificate, key) = authority.sign("one");
    let (_, other_key) = authority.sign("other");
    let nothing = directory.path().join("nothing.pem");
    std::fs::write(&nothing, "no certificate").unwrap();
    let missing = directory.path().join("missing.pem");
    let check = async |variables: &[(&str, &Path)]| {
        let mut command = Command::new(binary("systole-agent"));
        command.env_clear().args(["check-config", "--url", "https://c:1", "--token", "t"]);
        command.envs(variables.iter().copied());
        let output = command.output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (ca, client, client_key) = ("SYSTOLE_CA_FILE", "SYSTOLE_CLIENT_CERT_FILE", "SYSTOLE_CLIENT_KEY_FILE");
    let good: [(&str, &Path); 3] = [(ca, &authority.certificate), (client, &certificate), (client_key, &key)];
    assert_eq!(check(&good).await, (Some(0), String::new()));
    for (named, variables) in [
        (ca, &[(ca, missing.as_path())][..]),
        (ca, &[(ca, &nothing)]),
        (client, &[(client, &certificate)]),
        (client_key, &[(client_key, &key)]),
        (client, &[(client, &nothing), (client_key, &key)]),
        (client, &[(client, &certificate), (client_key, &other_key)]),
    ] {
        let (code, said) = check(variables).await;
        assert_eq!(code, Some(78), "{variables:?}: {said}");
        assert!(said.contains(named), "{variables:?}: {said}");
    }
}
