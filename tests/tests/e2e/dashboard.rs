//! The page at `/`, and what it asks about its session. The page itself is tested in a browser, in `collector/dashboard/app/tests`.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH};
use systole_tests::harness::TestCollector;
use systole_tests::harness::client::http;

#[tokio::test]
async fn index_is_asked_for_each_time_and_sent_once() {
    let collector = TestCollector::start().await;
    let get = async |known: &str| http().get(collector.url()).header(IF_NONE_MATCH, known).send().await.unwrap();
    let first = get("\"other\"").await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
    let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
    assert!(first.text().await.unwrap().contains("<title>Systole</title>"));
    let again = get(&format!("W/{tag}, \"other\"")).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(again.text().await.unwrap().is_empty());
}

#[tokio::test]
async fn files_of_the_page_are_kept_for_ever_and_sent_packed() {
    let collector = TestCollector::start().await;
    let page = http().get(collector.url()).send().await.unwrap().text().await.unwrap();
    // A program that was built without Node has a page without files, which says so.
    let links: Vec<&str> = page.split('"').filter(|text| text.starts_with("assets/")).collect();
    assert!(!links.is_empty() || page.contains("without its dashboard"), "{page}");
    for link in links {
        let get = async |encoding| {
            let request = http().get(format!("{}/{link}", collector.url())).header(ACCEPT_ENCODING, encoding);
            let response = request.send().await.unwrap();
            assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable", "{link}");
            response.bytes().await.unwrap()
        };
        let (plain, gzip, brotli) = (get("identity").await, get("gzip").await, get("br, gzip").await);
        let mut opened = Vec::new();
        GzDecoder::new(&*gzip).read_to_end(&mut opened).unwrap();
        assert_eq!(opened, plain, "{link}");
        assert!(brotli.len() < plain.len(), "{link}");
    }
    assert_eq!(collector.client().get("/assets/elsewhere.js").await.problem(404)["status"], 404);
}

#[tokio::test]
async fn page_is_framed_by_the_origins_of_the_settings_only() {
    let policy = async |collector: &TestCollector| {
        let response = http().get(collector.url()).send().await.unwrap();
        response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned()
    };
    let closed = policy(&TestCollector::start().await).await;
    assert!(closed.starts_with("default-src 'none';") && !closed.contains("unsafe"), "{closed}");
    assert!(closed.ends_with("frame-ancestors 'none'"), "{closed}");
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("collector.toml");
    std::fs::write(&config, "frame_ancestors = \"https://wiki.example, https://b.example:8443\"").unwrap();
    let collector = TestCollector::start_with(&["--config", &config.display().to_string()]).await;
    let open = policy(&collector).await;
    assert!(open.ends_with("frame-ancestors https://wiki.example https://b.example:8443"), "{open}");
}

#[tokio::test]
async fn session_says_what_it_may_do() {
    let collector = TestCollector::start().await;
    for role in ["viewer", "operator", "admin"] {
        let token = collector.create_token(role, Some("default")).await;
        let session = collector.client().with_token(token.token.reveal()).get_json("/api/v1/session").await;
        assert_eq!(session["role"], role);
        assert_eq!(session["environmentName"], "default");
        assert!(session["expiresAt"].is_null());
    }
}
