//! What each kind of target receives.

use serde_json::Value;
use systole_tests::harness::{AlertSink, Alertmanager, DatabaseKind, MailSink, SOON, eventually, eventually_true};

use super::alert_scene::{Scene, report_state};

#[tokio::test]
async fn each_kind_of_target_receives_its_own_form() {
    let (sink, mail) = (AlertSink::start().await, MailSink::start().await);
    let at = sink.address();
    let settings = format!(
        "notify = ['slack+http://{at}/slack', 'webhook+http://{at}/hook', 'ntfy+http://{at}/fleet', \
         'pagerduty+http://{at}/R0UTE', 'mailto:ops@example.org', 'alertmanager+http://{at}']\n\
         smtp_url = 'smtp://{}'\nsmtp_from = 'systole@example.org'\nexternal_url = 'https://systole.example'\n",
        mail.address()
    );
    let scene = Scene::start_with_targets(DatabaseKind::Sqlite, &settings).await;
    scene.silence("rule=node-unreachable").await;
    let mut node = scene.node("edge-1").await;
    report_state(&mut node, "orders", "CRASH_LOOP").await;
    let first = |path: &str, is_wanted: &dyn Fn(&Value) -> bool| {
        sink.sent().into_iter().filter(|sent| sent.path == path).map(|sent| sent.body).find(|body| is_wanted(body))
    };
    let any = |_: &Value| true;
    let slack = eventually("slack", SOON, async || first("/slack", &any)).await;
    assert_eq!(slack["text"], "<https://systole.example/#/alerts|[CRITICAL] default: edge-1/orders in CRASH_LOOP>");
    let ntfy = eventually("ntfy", SOON, async || first("/", &any)).await;
    assert_eq!((&ntfy["topic"], &ntfy["priority"]), (&"fleet".into(), &5.into()));
    let pager = eventually("pagerduty", SOON, async || first("/v2/enqueue", &any)).await;
    assert_eq!((&pager["routing_key"], &pager["event_action"]), (&"R0UTE".into(), &"trigger".into()));
    let hook = eventually("webhook", SOON, async || first("/hook", &any)).await;
    assert_eq!((&hook["version"], &hook["status"]), (&"4".into(), &"firing".into()));
    let manager = eventually("alertmanager", SOON, async || {
        first("/api/v2/alerts", &|body| body[0]["labels"]["alertname"] == "pipeline-crash-loop")
    })
    .await;
    assert_eq!(
        (&manager[0]["labels"]["node"], &manager[0]["labels"]["pipeline"]),
        (&"edge-1".into(), &"orders".into())
    );
    let mails = eventually("a mail", SOON, async || Some(mail.mails()).filter(|mails| !mails.is_empty())).await;
    for part in [
        "RCPT TO:<ops@example.org>",
        "Subject: [CRITICAL] default: edge-1/orders in CRASH_LOOP",
        "Message-ID: <",
        "https://systole.example/#/alerts",
    ] {
        assert!(mails[0].contains(part), "{part} is not in {}", mails[0]);
    }

    // The end closes the same incident.
    report_state(&mut node, "orders", "RUNNING").await;
    let resolved = eventually("the incident is closed", SOON, async || {
        first("/v2/enqueue", &|body| body["event_action"] == "resolve")
    })
    .await;
    assert_eq!(resolved["dedup_key"], pager["dedup_key"]);
    eventually("a second mail", SOON, async || {
        mail.mails().into_iter().find(|mail| mail.contains("Subject: [RESOLVED]"))
    })
    .await;
}

#[tokio::test]
async fn alertmanager_knows_what_fires_and_what_has_ended() {
    let manager = Alertmanager::start().await;
    let settings = format!("notify = ['alertmanager+http://{}']\n", manager.address());
    let scene = Scene::start_with_targets(DatabaseKind::Sqlite, &settings).await;
    scene.silence("rule=node-unreachable").await;
    let mut node = scene.node("edge-1").await;
    report_state(&mut node, "orders", "CRASH_LOOP").await;
    let known = eventually("Alertmanager has the alert", SOON, async || {
        let alerts = manager.alerts().await;
        alerts.into_iter().find(|alert| alert["labels"]["alertname"] == "pipeline-crash-loop")
    })
    .await;
    assert_eq!((&known["labels"]["node"], &known["labels"]["severity"]), (&"edge-1".into(), &"critical".into()));
    assert_eq!(known["status"]["state"], "active");
    assert_eq!(known["annotations"]["summary"], "edge-1/orders");
    report_state(&mut node, "orders", "RUNNING").await;
    eventually_true("Alertmanager has its end", SOON, async || {
        let alerts = manager.alerts().await;
        !alerts.iter().any(|alert| alert["labels"]["alertname"] == "pipeline-crash-loop")
    })
    .await;
    let targets = scene.operator.list("/api/v1/alerts/targets").await;
    assert!(targets[0]["failingSince"].is_null() && targets[0]["sent"].as_i64().unwrap() >= 2, "{targets:?}");
}

#[tokio::test]
async fn target_outside_of_the_allowed_networks_is_not_connected_to() {
    let sink = AlertSink::start().await;
    let settings =
        format!("notify = ['webhook+http://localhost:{}/hook']\nnotify_allow = '10.0.0.0/8'\n", sink.address().port());
    let scene = Scene::start_with_targets(DatabaseKind::Sqlite, &settings).await;
    let refused = scene.collector.try_cli(&["alert", "test", "webhook:localhost"]).await;
    let text = String::from_utf8_lossy(&refused.stdout);
    assert!(text.contains("notify_allow"), "{text}");
    assert!(sink.sent().is_empty());
}
