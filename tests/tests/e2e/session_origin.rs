//! Pages that open a session, and parameters with no value.

use reqwest::Method;
use serde_json::json;
use systole_tests::harness::{Answer, TestCollector};

#[tokio::test]
async fn session_is_opened_with_json_by_pages_of_this_site_only() {
    let collector = TestCollector::start().await;
    let token = collector.create_token("viewer", None).await;
    let body = json!({"token": token.token.reveal()}).to_string();
    let own = collector.url();
    let json = ("content-type", "application/json");
    for (headers, status) in [
        (vec![json], 204),
        (vec![json, ("origin", &own)], 204),
        (vec![json, ("origin", "http://127.0.0.1:3000"), ("sec-fetch-site", "same-site")], 204),
        (vec![], 415),
        (vec![("content-type", "text/plain")], 415),
        (vec![("content-type", "application/x-www-form-urlencoded"), ("origin", "https://evil.example")], 415),
        (vec![json, ("origin", "https://evil.example")], 403),
        (vec![json, ("origin", "null")], 403),
        (vec![json, ("sec-fetch-site", "cross-site")], 403),
        (vec![json, ("origin", &own), ("sec-fetch-site", "cross-site")], 403),
    ] {
        let request = collector.client().request(Method::POST, "/api/v1/session").body(body.clone());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{headers:?}");
        assert_eq!(response.headers().contains_key("set-cookie"), status == 204, "{headers:?}");
    }
}

#[tokio::test]
async fn session_is_opened_by_pages_of_allowed_origins() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("collector.toml");
    std::fs::write(&config, "cors_origins = \"https://dashboard.example\"").unwrap();
    let collector = TestCollector::start_with(&["--config", &config.display().to_string()]).await;
    let token = collector.create_token("viewer", None).await;
    let status = async |origin: &str| {
        let request = collector.client().request(Method::POST, "/api/v1/session");
        let request = request.header("content-type", "application/json").header("origin", origin);
        Answer::of(request.body(json!({"token": token.token.reveal()}).to_string())).await.status
    };
    assert_eq!((status("https://dashboard.example").await, status("https://other.example").await), (204, 403));
}

#[tokio::test]
async fn empty_and_unknown_parameters_are_refused_by_name() {
    let mut collector = TestCollector::start().await;
    let viewer = collector.viewer().await;
    for path in ["/api/v1/logs", "/api/v1/status-changes", "/api/v1/events"] {
        for name in ["node", "pipeline", "environment"] {
            let problem = viewer.get(&format!("{path}?{name}=")).await.problem(400);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.starts_with(&format!("{name}: ")), "{path}: {detail}");
        }
    }
    for path in ["/api/v1/nodes", "/api/v1/pipelines"] {
        let problem = viewer.get(&format!("{path}?environment=")).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().starts_with("environment: "), "{path}: {problem}");
    }
    for path in ["/api/v1/logs", "/api/v1/status-changes", "/api/v1/nodes", "/api/v1/pipelines", "/api/v1/events"] {
        let problem = viewer.get(&format!("{path}?labels=x")).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().starts_with("labels: "), "{path}: {problem}");
    }
}
