//! Labels of the cloud that the host is in, from its metadata service: asked once, beside everything else.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use crate::http_client;

/// The metadata service of all three clouds.
const SERVICE: &str = "http://169.254.169.254";

/// Longest wait for an answer. A host outside of a cloud has none.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Longest text of an answer; the labels are short.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Asks for the labels; none outside of a cloud.
pub(super) async fn labels() -> BTreeMap<String, String> {
    labels_from(SERVICE).await
}

async fn labels_from(service: &str) -> BTreeMap<String, String> {
    let client = match http_client::for_metadata_service(TIMEOUT) {
        Ok(client) => MetadataService { client, address: service },
        Err(error) => {
            tracing::debug!(%error, "cannot ask for the cloud of this host");
            return BTreeMap::new();
        }
    };
    let labels = match client.aws().await {
        Some(labels) => Some(labels),
        None => match client.gcp().await {
            Some(labels) => Some(labels),
            None => client.azure().await,
        },
    };
    let named = labels.into_iter().flatten().filter(|(_, value)| !value.is_empty());
    named.map(|(name, value)| (format!("vf.io/{name}"), value)).collect()
}

type Labels = [(&'static str, String); 5];

struct MetadataService<'a> {
    client: Client,
    address: &'a str,
}

impl MetadataService<'_> {
    async fn aws(&self) -> Option<Labels> {
        let session = self.request(Method::PUT, "/latest/api/token");
        let session = text_of(session.header("X-aws-ec2-metadata-token-ttl-seconds", "60")).await?;
        let document = self.request(Method::GET, "/latest/dynamic/instance-identity/document");
        let document = json_of(document.header("X-aws-ec2-metadata-token", session)).await?;
        Some(labels_of(
            "aws",
            ["region", "availabilityZone", "instanceType", "instanceId"].map(|key| field(&document, key)),
        ))
    }

    /// One value at a time: all values together have the instance's attributes, which may hold secrets.
    async fn gcp(&self) -> Option<Labels> {
        let value = async |name: &str| {
            let request = self.request(Method::GET, &format!("/computeMetadata/v1/instance/{name}"));
            text_of(request.header("Metadata-Flavor", "Google")).await
        };
        let last = |path: String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let zone = last(value("zone").await?);
        let region = zone.rsplit_once('-').map_or(String::new(), |(region, _)| region.to_owned());
        let machine_type = value("machine-type").await.map(last).unwrap_or_default();
        let id = value("id").await.unwrap_or_default();
        Some(labels_of("gcp", [region, zone, machine_type, id]))
    }

    async fn azure(&self) -> Option<Labels> {
        let request = self.request(Method::GET, "/metadata/instance/compute?api-version=2021-02-01");
        let compute = json_of(request.header("Metadata", "true")).await?;
        Some(labels_of("azure", ["location", "zone", "vmSize", "vmId"].map(|key| field(&compute, key))))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.address))
    }
}

fn labels_of(provider: &str, [region, zone, instance_type, instance_id]: [String; 4]) -> Labels {
    [
        ("cloud-provider", provider.to_owned()),
        ("region", region),
        ("zone", zone),
        ("instance-type", instance_type),
        ("instance-id", instance_id),
    ]
}

async fn text_of(request: RequestBuilder) -> Option<String> {
    let mut response = request.send().await.ok()?.error_for_status().ok()?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return None;
        }
    }
    let text = String::from_utf8(body).ok()?;
    // A captive portal answers to everything.
    (!text.trim_start().starts_with('<')).then(|| text.trim().to_owned())
}

async fn json_of(request: RequestBuilder) -> Option<Value> {
    serde_json::from_str(&text_of(request).await?).ok().filter(Value::is_object)
}

fn field(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A metadata service that answers to these paths, by their beginnings.
    async fn service(answers: &'static [(&'static str, &'static str)]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 4_096];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let found = answers.iter().find(|(begin, _)| head.starts_with(begin));
                let (status, body) = found.map_or((404, ""), |(_, body)| (200, *body));
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    async fn labels_with(answers: &'static [(&'static str, &'static str)]) -> Vec<String> {
        http_client::install_tls();
        let labels = labels_from(&service(answers).await).await;
        labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[tokio::test]
    async fn each_cloud_is_known_by_its_own_service() {
        let aws = labels_with(&[
            ("PUT /latest/api/token ", "session"),
            (
                "GET /latest/dynamic/",
                r#"{"region":"r1","availabilityZone":"r1a","instanceType":"m5","instanceId":"i-1"}"#,
            ),
        ]);
        let expected = [
            "vf.io/cloud-provider=aws",
            "vf.io/instance-id=i-1",
            "vf.io/instance-type=m5",
            "vf.io/region=r1",
            "vf.io/zone=r1a",
        ];
        assert_eq!(aws.await, expected);
        let gcp = labels_with(&[
            ("GET /computeMetadata/v1/instance/zone ", "projects/1/zones/us-east1-b"),
            ("GET /computeMetadata/v1/instance/machine-type ", "projects/1/machineTypes/e2"),
        ]);
        let expected =
            ["vf.io/cloud-provider=gcp", "vf.io/instance-type=e2", "vf.io/region=us-east1", "vf.io/zone=us-east1-b"];
        assert_eq!(gcp.await, expected);
        let azure =
            labels_with(&[("GET /metadata/instance/compute", r#"{"location":"west","vmSize":"D2","vmId":"v"}"#)]);
        let expected =
            ["vf.io/cloud-provider=azure", "vf.io/instance-id=v", "vf.io/instance-type=D2", "vf.io/region=west"];
        assert_eq!(azure.await, expected);
    }

    #[tokio::test]
    async fn host_outside_of_a_cloud_has_no_labels_of_one() {
        assert_eq!(labels_with(&[]).await, [""; 0]);
        let portal = labels_with(&[("PUT ", "<html>sign in</html>"), ("GET ", "<html>sign in</html>")]);
        assert_eq!(portal.await, [""; 0]);
    }
}
