//! Publishes versions of the pipeline that comes from the centre, as an administrator's program would.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Url;
use serde_json::json;

use super::scenario::{ENGINE, MANAGED};

/// Time from the first version to the second one: its rollout is through by then.
const FIRST_PAUSE: Duration = Duration::from_secs(75);

/// Time between two later versions.
const PAUSE: Duration = Duration::from_secs(300);

/// Makes a version now and then, for ever.
///
/// # Errors
///
/// When the collector refuses one.
pub(super) async fn publish(client: &reqwest::Client, url: &str, admin_token: &str) -> anyhow::Result<()> {
    for release in 0_u64.. {
        let note = match release {
            0 => "first version".to_owned(),
            _ => format!("batches of at most {} s", batch_seconds(release)),
        };
        let body = json!({
            "name": "Orders",
            "selector": ["demo=simulated"],
            "engine": ENGINE,
            "format": "yaml",
            "config": configuration(release),
            "rollout": {"canary": ["canary=true"], "batch": "1", "healthyForMs": 10_000},
        });
        let address = format!("{url}/api/v1/pipelines/{MANAGED}/definition");
        let address = Url::parse_with_params(&address, [("note", note)]).context("an address makes a URL")?;
        let request = client
            .put(address)
            .bearer_auth(admin_token)
            .header("Content-Type", "application/json")
            .body(body.to_string());
        match request.send().await {
            Ok(answer) if answer.status().is_client_error() => {
                bail!("the collector refuses the demo's pipeline: {}", answer.text().await.unwrap_or_default());
            }
            // The next version comes all the same.
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(if release == 0 { FIRST_PAUSE } else { PAUSE }).await;
    }
    Ok(())
}

/// What differs from version to version.
fn batch_seconds(release: u64) -> u64 {
    2 + release % 5
}

fn configuration(release: u64) -> String {
    format!(
        "sources:
  shop_events:
    type: http_server
    address: 0.0.0.0:8088
transforms:
  parse:
    type: remap
    inputs: [shop_events]
    source: . = parse_json!(.message)
  only_valid:
    type: filter
    inputs: [parse]
    condition: exists(.order_id)
sinks:
  orders_topic:
    type: kafka
    inputs: [only_valid]
    bootstrap_servers: kafka.example:9092
    topic: orders
    encoding:
      codec: json
    batch:
      timeout_secs: {}
",
        batch_seconds(release)
    )
}
