//! The contract of a collector (`/api/v1/openapi.json`, `/docs`), compared with its behaviour.

use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_SECURITY_POLICY};
use serde_json::{Value, json};
use systole_shared::events::{Control, EventType, GapReason};
use systole_shared::{AgentInfo, DeploymentReport, HostMetrics};
use systole_tests::clock;
use systole_tests::harness::client::http;
use systole_tests::harness::control::definition;
use systole_tests::harness::reports::{distinct_counts, pipeline, running, with_lines};
use systole_tests::harness::{Answer, ApiClient, Feed, NodeClient, SOON, TestCollector};

/// The OpenAPI Initiative's own schema of OpenAPI 3.1 (spec.openapis.org/oas/3.1/schema/2026-08-03,
/// Apache-2.0).
const OPENAPI_3_1: &str = include_str!("../../data/openapi-3.1.schema.json");

/// Streams, which have no end to wait for.
const STREAMS: [&str; 2] = ["/api/v1/events", "/api/sse"];

/// What a viewer may not ask: routes of agents, of operators and of administrators.
const NOT_OF_VIEWERS: [&str; 4] =
    ["/api/v1/agent/desired", "/api/v1/agent/push", "/api/v1/pipelines/{id}/tap", "/api/v1/audit"];

struct Contract {
    document: Value,
    /// The schemas, none of which takes a field that it does not name.
    strict: Value,
}

impl Contract {
    async fn of(collector: &TestCollector) -> Self {
        let document = collector.client().get_json("/api/v1/openapi.json").await;
        let strict = strict(&document["components"]);
        Contract { document, strict }
    }

    fn assert_valid(&self, what: &str, schema: &Value, value: &Value) {
        let mut whole = schema.clone();
        close(&mut whole);
        whole["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
        whole["components"] = self.strict.clone();
        let validator = jsonschema::validator_for(&whole).expect("a schema");
        let faults: Vec<String> =
            validator.iter_errors(value).map(|fault| format!("{fault} at {}", fault.instance_path())).collect();
        assert_eq!(faults, [""; 0], "{what}: {value:#}");
    }

    fn assert_is(&self, name: &str, value: &Value) {
        self.assert_valid(name, &json!({"$ref": format!("#/components/schemas/{name}")}), value);
    }

    /// The documented response, also behind a reference.
    fn response<'a>(&'a self, operation: &'a Value, status: u16) -> &'a Value {
        let documented = &operation["responses"][status.to_string()];
        let documented = documented["$ref"]
            .as_str()
            .map_or(documented, |target| self.document.pointer(&target[1..]).expect("it is there"));
        assert!(documented.is_object(), "{status} is not documented in {}", operation["operationId"]);
        documented
    }

    fn assert_answer(&self, what: &str, operation: &Value, answer: &Answer) {
        let documented = self.response(operation, answer.status);
        let Some(content) = documented["content"].as_object() else {
            return assert!(answer.body.is_empty(), "{what}: {answer:?}");
        };
        let essence = answer.content_type.split(';').next().unwrap_or_default().trim();
        let content = content.get(essence).unwrap_or_else(|| panic!("{what}: {essence} is not documented"));
        if essence.ends_with("json") {
            self.assert_valid(what, &content["schema"], &answer.json());
        }
    }

    /// Operations that read and come to an end.
    fn queries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.gets().filter(|(path, _)| !STREAMS.contains(path))
    }

    fn gets(&self) -> impl Iterator<Item = (&str, &Value)> {
        let paths = self.document["paths"].as_object().expect("paths");
        let gets = paths.iter().filter_map(|(path, item)| Some((path.as_str(), item.get("get")?)));
        gets.filter(|(path, _)| !NOT_OF_VIEWERS.contains(path))
    }
}

/// Forbids undocumented fields in every object, so that a response with one fails.
fn strict(components: &Value) -> Value {
    fn find_parts(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                let parts = fields.get("allOf").and_then(Value::as_array).into_iter().flatten();
                found.extend(parts.filter_map(|part| Some(part["$ref"].as_str()?.rsplit('/').next()?.to_owned())));
                fields.values().for_each(|value| find_parts(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| find_parts(item, found)),
            _ => {}
        }
    }
    // What is a part of another schema cannot refuse the fields of the rest.
    let mut parts = BTreeSet::new();
    find_parts(components, &mut parts);
    let mut components = components.clone();
    for (name, schema) in components["schemas"].as_object_mut().expect("schemas") {
        close(schema);
        if parts.contains(name) {
            schema.as_object_mut().expect("a schema of an object").remove("unevaluatedProperties");
        }
    }
    components
}

fn close(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    for key in ["oneOf", "anyOf"] {
        fields.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().for_each(close);
    }
    for key in ["items", "additionalProperties"] {
        fields.get_mut(key).into_iter().for_each(close);
    }
    fields
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(|all| all.values_mut())
        .for_each(close);
    if fields.contains_key("properties") || fields.contains_key("allOf") {
        fields.insert("unevaluatedProperties".to_owned(), false.into());
    }
}

/// A node that has reported everything that can be reported, with a hole before its last report.
async fn full_node(collector: &TestCollector) -> NodeClient {
    let mut node = NodeClient::enroll(collector, None, "web-1").await;
    let mut request = node.next_request(vec![report_of_all()]);
    request.reports[0].agent = Some(AgentInfo {
        version: Some("0.1.0".to_owned().into()),
        vector_version: Some("0.58.0".to_owned().into()),
        deployment_mode: Some("STANDALONE".to_owned().into()),
        running_as: Some("systole".to_owned().into()),
        labels: [("zone".to_owned().into(), "a".to_owned().into())].into(),
        ..AgentInfo::default()
    });
    request.reports[0].host = Some(HostMetrics {
        memory_total_bytes: Some(8),
        cpu_seconds_total: Some(2.5),
        load_avg_1: Some(0.5),
        net_rx_bytes: Some(9),
        ..HostMetrics::default()
    });
    node.post(&request).await;
    node.next_seq += 2;
    let mut odd = pipeline("odd", "PAUSED");
    odd.scrape_error = Some("connection refused".to_owned().into());
    let mut request = node.next_request(vec![report_of_all(), odd]);
    request.reports[0].deployments = vec![DeploymentReport {
        pipeline_id: "orders".to_owned().into(),
        version: 1,
        phase: "healthy".to_owned().into(),
        running_version: Some(1),
        reason: String::new().into(),
    }];
    node.post(&request).await;
    node
}

fn report_of_all() -> systole_shared::PipelineReport<'static> {
    let lines = ["a line".to_owned(), "another".to_owned()];
    let mut orders = with_lines(running("orders", distinct_counts(1)), clock::now_ms(), lines);
    orders.logs[1].level = None;
    orders
}

/// The pipeline of the node, as the centre defines it, with a secret.
async fn define(collector: &TestCollector) {
    let admin = collector.client().with_token(collector.create_token("admin", None).await.token.reveal());
    admin.set_secret("db", "value").await;
    let mut orders = definition("sources: {}\n");
    orders["secrets"] = json!({"DB": "db"});
    admin.apply("orders", "", &orders).await;
}

/// Where an operation's parameters lead to something.
fn address(path: &str, operation: &Value, node: &NodeClient) -> String {
    let id = node.id.to_string();
    let thing = match path {
        path if path.contains("/nodes/") => &id,
        path if path.contains("/rollouts/") => "1",
        _ => "orders",
    };
    let filled = path.replace("{id}", thing).replace("{version}", "1").replace("{name}", "node-unreachable");
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let required = parameters.filter(|parameter| parameter["in"] == "query" && parameter["required"] == true);
    let query = required.map(|parameter| match parameter["name"].as_str().expect("a name") {
        "node" => format!("node={id}"),
        "pipeline" => "pipeline=orders".to_owned(),
        name => panic!("{path} needs a {name}"),
    });
    format!("{filled}?{}", query.collect::<Vec<_>>().join("&"))
}

#[tokio::test]
async fn openapi_document_is_3_1_and_needs_no_token() {
    let collector = TestCollector::start().await;
    let document = Contract::of(&collector).await.document;
    let schema: Value = serde_json::from_str(OPENAPI_3_1).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> =
        validator.iter_errors(&document).map(|fault| format!("{fault} at {}", fault.instance_path())).collect();
    assert_eq!(faults, [""; 0]);
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}: {schema:#}");
    }
    let paths = document["paths"].as_object().unwrap();
    let operations: Vec<&Value> = paths.values().flat_map(|item| item.as_object().unwrap().values()).collect();
    let ids: BTreeSet<&str> = operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len(), "every operation has a name of its own: {ids:?}");
}

#[tokio::test]
async fn queries_answer_as_documented() {
    let mut collector = TestCollector::start().await;
    let node = full_node(&collector).await;
    define(&collector).await;
    let viewer = collector.viewer().await;
    let contract = Contract::of(&collector).await;
    let mut with_items = 0;
    for (path, operation) in contract.queries() {
        let address = address(path, operation, &node);
        let answer = viewer.get(&address).await;
        assert_eq!(answer.status, 200, "GET {address}: {answer:?}");
        contract.assert_answer(&address, operation, &answer);
        if contract.response(operation, 200)["content"].get("text/csv").is_some() {
            // Nothing fires here: `alerts` checks those lists with items.
            let may_be_empty = path.starts_with("/api/v1/alerts") || path.starts_with("/api/v1/silences");
            if !may_be_empty {
                assert_ne!(answer.json::<Value>()["items"], json!([]), "{address} returned no items to check");
                with_items += 1;
            }
            let csv = viewer.get(&format!("{address}&format=csv")).await;
            contract.assert_answer(&address, operation, &csv);
        }
        let is_open = operation["security"] == json!([{}]);
        let unknown = collector.client().get(&address).await;
        assert_eq!(unknown.status, if is_open { 200 } else { 401 }, "{address} without a token");
        contract.assert_answer(&address, operation, &unknown);
        if path.contains("{id}") {
            let other = address.replace("orders", "x").replace(&node.id.to_string(), "x");
            let missing = viewer.get(&other.replace("/rollouts/1", "/rollouts/x")).await;
            assert_eq!(missing.status, 404, "{address}");
            contract.assert_answer(&address, operation, &missing);
        }
    }
    assert_eq!(with_items, 16, "lists");
}

#[tokio::test]
async fn parameters_accept_only_documented_values() {
    let mut collector = TestCollector::start().await;
    let node = full_node(&collector).await;
    define(&collector).await;
    let viewer = collector.viewer().await;
    let contract = Contract::of(&collector).await;
    let mut tried = 0;
    for (path, operation) in contract.gets() {
        let address = address(path, operation, &node);
        for parameter in
            operation["parameters"].as_array().into_iter().flatten().filter(|documented| documented["in"] == "query")
        {
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            let mut good: Vec<String> = Vec::new();
            let mut bad: Vec<String> = Vec::new();
            if let (Some(least), Some(most)) = (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
                good.extend([least, most].map(|value| value.to_string()));
                bad.extend([least - 1, most + 1].map(|value| value.to_string()));
            }
            for values in [&schema["enum"], &schema["items"]["enum"]].into_iter().filter_map(Value::as_array) {
                good.extend(values.iter().map(|value| value.as_str().unwrap().to_owned()));
                bad.push("gossip".to_owned());
            }
            if schema["format"] == "uuid" || schema["items"]["format"] == "uuid" || schema["pattern"].is_string() {
                bad.push("x".to_owned());
            }
            if schema["$ref"] == "#/components/schemas/UnixMillis" {
                good.push(clock::now_ms().to_string());
                bad.push("today".to_owned());
            }
            if let Some(most) = schema["maxLength"].as_u64() {
                bad.push("x".repeat(most as usize + 1));
            }
            // A stream that is opened has no end.
            good.retain(|_| !STREAMS.contains(&path));
            for value in good {
                let answer = viewer.get(&format!("{address}&{name}={value}")).await;
                assert_eq!(answer.status, 200, "{address}&{name}={value}: {answer:?}");
                tried += 1;
            }
            // When it occurs twice, the last one is tried.
            let address = address.replace(&format!("{name}="), "other=");
            for value in bad {
                let answer = viewer.get(&format!("{address}&{name}={value}")).await;
                let is_search = name == "pipeline" && answer.status == 404;
                assert!(answer.status == 400 || is_search, "{address}&{name}={value}: {answer:?}");
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(is_search || text.contains(&format!("\"{name}: ")), "{name} is not named: {text}");
                contract.assert_answer(&address, operation, &answer);
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[tokio::test]
async fn posts_are_answered_as_documented() {
    let mut collector = TestCollector::start().await;
    let contract = Contract::of(&collector).await;
    let operation = |method: &str, path: &str| contract.document["paths"][path][method].clone();
    let post = async |client: &ApiClient, path: &str, body: &Value| {
        let request = client.request(Method::POST, path).header("content-type", "application/json");
        let answer = Answer::of(request.body(body.to_string())).await;
        contract.assert_answer(path, &operation("post", path), &answer);
        answer
    };
    let anonymous = collector.client();

    let path = "/api/v1/agent/enroll";
    let token = collector.create_token("enroll", None).await;
    let body = json!({
        "token": token.token.reveal(), "hostname": "web-1", "os": "linux/amd64", "agentVersion": "0.1.0",
        "labels": {"zone": "a"}, "machineId": "m",
    });
    contract.assert_is("EnrollRequest", &body);
    assert_eq!(post(&anonymous, path, &body).await.status, 200);
    assert_eq!(post(&anonymous, path, &json!({"token": 7})).await.status, 400);
    let viewer = collector.viewer().await;
    let body = json!({"token": viewer.token(), "hostname": "x", "os": "x", "agentVersion": "x"});
    assert_eq!(post(&anonymous, path, &body).await.status, 403);

    let path = "/api/v1/agent/reports";
    let mut node = full_node(&collector).await;
    node.next_seq += 1;
    let mut body = serde_json::to_value(node.next_request(vec![report_of_all(), report_of_all()])).unwrap();
    contract.assert_is("ReportRequest", &body);
    body["reports"][0]["pipelines"][0]["components"][0]["receivedEvents"] = (-1).into();
    let ack: Value = post(node.client(), path, &body).await.json();
    assert!(ack["missing"].is_object() && ack["refusedCount"].as_u64() > Some(1), "{ack}");
    for (client, body, status) in
        [(node.client(), json!({}), 400), (&anonymous, json!({}), 401), (&viewer, json!({}), 403)]
    {
        assert_eq!(post(client, path, &body).await.status, status);
    }

    let path = "/api/v1/session";
    let body = json!({"token": viewer.token()});
    contract.assert_is("CreateSession", &body);
    assert_eq!(post(&anonymous, path, &body).await.status, 204);
    assert_eq!(post(&anonymous, path, &json!({"token": "x"})).await.status, 401);
    let untyped = Answer::of(anonymous.request(Method::POST, path).body(body.to_string())).await;
    contract.assert_answer(path, &operation("post", path), &untyped);
    assert_eq!(untyped.status, 415);
    let ended = Answer::of(viewer.request(Method::DELETE, path)).await;
    assert_eq!(ended.status, 204);
    contract.assert_answer(path, &operation("delete", path), &ended);
}

#[tokio::test]
async fn feed_events_are_as_documented() {
    let mut collector = TestCollector::start().await;
    let mut node = full_node(&collector).await;
    let contract = Contract::of(&collector).await;
    let viewer = collector.viewer().await;
    let mut feed = Feed::open_after(&viewer, "snapshot=1", Some("elsewhere-7")).await;
    feed.wait_for("a whole snapshot", SOON, |event| event.kind == "snapshot" && event.data["done"] == true).await;
    node.report(vec![report_of_all(), pipeline("new", "CRASHED")]).await;
    for kind in ["status_change", "log_entry", "metric_update", "fleet_status", "fleet_totals", "ping"] {
        feed.wait_for(kind, SOON, |event| event.kind == kind).await;
    }
    collector.stop().await;
    feed.wait_for("goodbye", SOON, |event| event.kind == "goodbye").await;
    let events = feed.events();
    for event in &events {
        assert_eq!(event.data["type"], event.kind.as_str());
        contract.assert_is("FeedData", &event.data);
    }
    let documented: BTreeSet<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let all = [
        "deployment",
        "fleet_status",
        "fleet_totals",
        "goodbye",
        "hello",
        "log_entry",
        "metric_update",
        "ping",
        "reset",
        "snapshot",
        "status_change",
    ];
    assert_eq!(documented, all.into(), "but for the gap");
    let gap = Control::Gap { from: 1, to: 2, types: EventType::ALL.into(), reason: GapReason::Slow };
    contract.assert_is("FeedData", &serde_json::to_value(gap).unwrap());
}

#[tokio::test]
async fn docs_page_loads_nothing_from_other_hosts() {
    let collector = TestCollector::start().await;
    let get = async |path: &str, encoding: &str| {
        let request = http().get(format!("{}/{path}", collector.url())).header(ACCEPT_ENCODING, encoding);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{path}");
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        (policy, response.bytes().await.unwrap().to_vec())
    };
    let (policy, page) = get("docs", "identity").await;
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let page = String::from_utf8(page).unwrap();
    let links = ["src=\"", "href=\""].iter().flat_map(|attribute| page.split(attribute).skip(1));
    let links: Vec<&str> = links.map(|rest| rest.split('"').next().unwrap()).filter(|link| *link != "data:,").collect();
    assert_eq!(links.len(), 7, "{links:?}");
    for link in links {
        assert!(link.starts_with("docs/") || link == "api/v1/openapi.json", "{link}");
        if link == "api/v1/openapi.json" {
            continue;
        }
        let (_, plain) = get(link, "identity").await;
        assert!(!plain.is_empty() && !plain.starts_with(&[0x1f, 0x8b]), "{link} is not opened");
        let (_, packed) = get(link, "gzip").await;
        let mut opened = Vec::new();
        if GzDecoder::new(&*packed).read_to_end(&mut opened).is_err() {
            opened = packed;
        }
        assert_eq!(opened, plain, "{link}");
    }
    let own = get("docs/page.js", "gzip").await.1;
    assert!(!String::from_utf8(own).unwrap().contains("//cdn"), "nothing is loaded from elsewhere");
    assert_eq!(collector.client().get("/docs/elsewhere").await.problem(404)["status"], 404);
}
