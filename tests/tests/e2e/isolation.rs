//! A token of one environment sees nothing of another, in no route and in no event.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use systole_shared::PipelineReport;
use systole_tests::clock;
use systole_tests::harness::collector::counts;
use systole_tests::harness::reports::{distinct_counts, running, with_lines};
use systole_tests::harness::{
    ApiClient, DatabaseKind, Feed, FeedEvent, NodeClient, SOON, TestCollector, eventually_true,
};
use systole_tests::stub::totals::Counts;

on_each_database! {
    routes_show_nothing_of_another_environment,
    pipeline_id_in_two_environments_is_two_pipelines,
    foreign_environment_is_forbidden_in_every_route,
    feed_sends_nothing_of_another_environment,
    node_writes_into_its_own_environment_only,
    random_filters_receive_exactly_their_events,
}

/// A pipeline id that both environments have.
const SHARED: &str = "orders";

/// One environment, with a node, a pipeline with the shared id and one with its own id.
struct World {
    name: &'static str,
    node: NodeClient,
    viewer: ApiClient,
    counts: Counts,
}

impl World {
    async fn create(collector: &TestCollector, name: &'static str, counts: Counts) -> Self {
        collector.create_environment(name).await;
        let node = NodeClient::enroll(collector, Some(name), &format!("{name}-host")).await;
        let viewer = collector.viewer_of(name).await;
        World { name, node, viewer, counts }
    }

    fn own_pipeline(&self) -> String {
        format!("only-{}", self.name)
    }

    async fn report(&mut self) {
        let line = || [format!("secret of {}", self.name)];
        let both = [SHARED.to_owned(), self.own_pipeline()];
        let pipelines: Vec<PipelineReport<'static>> =
            both.iter().map(|id| with_lines(running(id, self.counts), clock::now_ms(), line())).collect();
        self.node.report(pipelines).await;
    }

    /// Texts that must never appear outside.
    fn marks(&self) -> [String; 4] {
        [
            self.node.id.to_string(),
            format!("{}-host", self.name),
            self.own_pipeline(),
            format!("secret of {}", self.name),
        ]
    }

    /// Every route that reads, as a subscriber of this environment would ask.
    fn routes(&self) -> Vec<String> {
        let id = self.node.id;
        let range = "from=0&to=9999999999999&step=minute";
        let mut routes: Vec<String> = ["nodes", "pipelines", "logs", "status-changes", "logs?q=secret"]
            .iter()
            .map(|route| format!("/api/v1/{route}"))
            .collect();
        routes.push(format!("/api/v1/nodes/{id}"));
        routes.push(format!("/api/v1/nodes/{id}/minutes?{range}"));
        routes.push(format!("/api/v1/logs?node={id}"));
        routes.push(format!("/api/v1/status-changes?node={id}"));
        for pipeline in [SHARED, &self.own_pipeline()] {
            routes.push(format!("/api/v1/pipelines/{pipeline}"));
            routes.push(format!("/api/v1/pipelines/{pipeline}/minutes?{range}"));
            routes.push(format!("/api/v1/pipelines/{pipeline}/minutes?{range}&node={id}"));
            routes.push(format!("/api/v1/samples?node={id}&pipeline={pipeline}"));
            routes.push(format!("/api/v1/logs?pipeline={pipeline}"));
            routes.push(format!("/api/v1/status-changes?pipeline={pipeline}"));
        }
        routes
    }
}

async fn two_worlds(collector: &TestCollector) -> [World; 2] {
    let mut red = World::create(collector, "red", distinct_counts(1)).await;
    let mut blue = World::create(collector, "blue", distinct_counts(1_000)).await;
    red.report().await;
    blue.report().await;
    [red, blue]
}

async fn routes_show_nothing_of_another_environment(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let [red, blue] = two_worlds(&collector).await;
    for (own, foreign) in [(&red, &blue), (&blue, &red)] {
        for route in own.routes() {
            let answer = own.viewer.get(&route).await;
            assert_eq!(answer.status, 200, "{route}: {answer:?}");
            let text = String::from_utf8(answer.body).unwrap();
            for mark in foreign.marks() {
                assert!(!text.contains(&mark), "{} sees {mark:?} in {route}: {text}", own.name);
            }
        }
        // The same questions about the other's things: they are not there.
        for route in foreign.routes() {
            if !foreign.marks().iter().any(|mark| route.contains(mark)) {
                continue;
            }
            let answer = own.viewer.get(&route).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let nothing = answer.status == 404 || text.contains(r#""items":[]"#);
            assert!(nothing, "{} asks {route}: {answer:?}", own.name);
            let secret = format!("secret of {}", foreign.name);
            assert!(!text.contains(&secret) && !text.contains(&format!("{}-host", foreign.name)), "{route}: {text}");
        }
        // A thing that is named by its path is 404, not an empty list.
        for path in [
            format!("/api/v1/nodes/{}", foreign.node.id),
            format!("/api/v1/nodes/{}/minutes?from=0&to=1&step=minute", foreign.node.id),
            format!("/api/v1/pipelines/{}", foreign.own_pipeline()),
            format!("/api/v1/pipelines/{}/minutes?from=0&to=1&step=minute", foreign.own_pipeline()),
        ] {
            own.viewer.get(&path).await.problem(404);
        }
    }
}

async fn pipeline_id_in_two_environments_is_two_pipelines(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let [red, blue] = two_worlds(&collector).await;
    let path = format!("/api/v1/pipelines/{SHARED}/minutes?from=0&to=9999999999999&step=minute");
    for world in [&red, &blue] {
        let sums: Counts = world.viewer.list(&path).await.iter().map(counts).sum();
        assert_eq!(sums, world.counts);
        assert_eq!(world.viewer.list("/api/v1/nodes").await.len(), 1);
        assert_eq!(world.viewer.list("/api/v1/pipelines").await.len(), 2);
    }
    // A token for both environments must name one.
    let all = collector.viewer().await;
    all.get(&path).await.problem(409);
    let sums: Counts = all.list(&format!("{path}&environment=blue")).await.iter().map(counts).sum();
    assert_eq!(sums, blue.counts);
    assert_eq!(all.list("/api/v1/nodes").await.len(), 2);
    assert_eq!(all.list("/api/v1/nodes?environment=red").await.len(), 1);
}

async fn foreign_environment_is_forbidden_in_every_route(database: DatabaseKind) {
    let collector = TestCollector::start_on(database).await;
    let [red, _] = two_worlds(&collector).await;
    for route in red.routes() {
        let separator = if route.contains('?') { '&' } else { '?' };
        red.viewer.get(&format!("{route}{separator}environment=blue")).await.problem(403);
    }
    Feed::refusal(&red.viewer, "environment=blue").await.problem(403);
    let answer = red.viewer.get("/metrics").await;
    assert_eq!(answer.status, 403, "the process's own figures are of all environments: {answer:?}");
}

async fn feed_sends_nothing_of_another_environment(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let [mut red, mut blue] = two_worlds(&collector).await;
    let mut live = Feed::open(&red.viewer, "snapshot=1&every=0").await;
    let hello = live.wait_for("hello", SOON, |event| event.kind == "hello").await;
    live.wait_for("the snapshot", SOON, |event| event.data["done"] == true).await;
    // The other one's events come first, so that red's own ones close the wait.
    blue.report().await;
    red.report().await;
    let own = |event: &FeedEvent| event.kind == "metric_update" && event.data["pipelineId"] == red.own_pipeline();
    live.wait_for("red's own metrics", SOON, own).await;

    // Out of memory, and out of the database.
    let mut feeds = vec![live];
    for restarted in [false, true] {
        if restarted {
            collector.stop().await;
            collector.run().await;
        }
        let start = format!("{}-0", hello.data["epoch"].as_str().unwrap());
        let mut replay = Feed::open_after(&red.viewer, "", Some(&start)).await;
        replay
            .wait_until("both of red's reports", SOON, |events| {
                let lines = events.iter().flat_map(FeedEvent::lines).filter(|line| line == "secret of red").count();
                (lines >= 4).then_some(())
            })
            .await;
        feeds.push(replay);
    }
    for feed in &feeds {
        for event in feed.events() {
            let text = event.data.to_string();
            for mark in blue.marks() {
                assert!(!text.contains(&mark), "red hears {mark:?}: {text}");
            }
        }
        feed.assert_ids_grow();
    }
}

async fn node_writes_into_its_own_environment_only(database: DatabaseKind) {
    let mut collector = TestCollector::start_on(database).await;
    let [red, mut blue] = two_worlds(&collector).await;
    // A pipeline of red's id, sent by a node of blue, is blue's.
    blue.node.report(vec![running(&red.own_pipeline(), distinct_counts(5))]).await;
    let path = format!("/api/v1/pipelines/{}/minutes?from=0&to=9999999999999&step=minute", red.own_pipeline());
    let sums: Counts = red.viewer.list(&path).await.iter().map(counts).sum();
    assert_eq!(sums, red.counts);
    let all = collector.viewer().await;
    let sums: Counts = all.list(&format!("{path}&environment=blue")).await.iter().map(counts).sum();
    assert_eq!(sums, distinct_counts(5));
}

/// What one stream asks for in [`random_filters_receive_exactly_their_events`].
struct Asked {
    token: Option<usize>,
    environment: Option<usize>,
    node: Option<usize>,
    pipeline: Option<usize>,
    /// From the beginning, or from now on.
    replays: bool,
    query: String,
}

const COLOURS: [&str; 3] = ["red", "green", "blue"];
/// The same in every environment, so that only the environment distinguishes them.
const PIPELINES: [&str; 3] = [SHARED, "bills", "mail"];
const NODES: usize = 2 * COLOURS.len();

impl Asked {
    fn any(nodes: &[NodeClient], random: &mut StdRng) -> Self {
        let mut one_of = |chance: f64, count: usize| random.random_bool(chance).then(|| random.random_range(0..count));
        let token = one_of(0.7, COLOURS.len());
        // Naming another one is forbidden.
        let environment = one_of(0.4, COLOURS.len()).map(|any| token.unwrap_or(any));
        // A node may be named that is not there for this one.
        let (node, pipeline) = (one_of(0.3, NODES), one_of(0.3, PIPELINES.len()));
        let (replays, snapshot) = (random.random_bool(0.5), random.random_bool(0.5));
        let other = ["metric_update", "fleet_status", "status_change", "metric_update,fleet_status,status_change"];
        let every = [0, 100, 1_000][random.random_range(0..3)];
        let mut query = format!("types=log_entry,{}&every={every}", other[random.random_range(0..other.len())]);
        query += if snapshot { "&snapshot=1" } else { "" };
        environment.iter().for_each(|&index| query += &format!("&environment={}", COLOURS[index]));
        node.iter().for_each(|&index| query += &format!("&node={}", nodes[index].id));
        pipeline.iter().for_each(|&index| query += &format!("&pipeline={}", PIPELINES[index]));
        Asked { token, environment, node, pipeline, replays, query }
    }

    /// Whether a line of this node's pipeline is to come.
    fn wants(&self, node: usize, pipeline: usize) -> bool {
        let is = |wanted: Option<usize>, own: usize| wanted.is_none_or(|wanted| wanted == own);
        self.sees(node) && is(self.environment, node / 2) && is(self.node, node) && is(self.pipeline, pipeline)
    }

    fn sees(&self, node: usize) -> bool {
        self.token.is_none_or(|token| token == node / 2)
    }
}

/// A report of every node, with every pipeline in some state; returns the lines and their places.
async fn report_of_all(nodes: &mut [NodeClient], round: usize, random: &mut StdRng) -> Vec<(usize, usize, String)> {
    let mut said = Vec::new();
    for (index, node) in nodes.iter_mut().enumerate() {
        let mut pipelines = Vec::new();
        for (place, id) in PIPELINES.iter().enumerate() {
            let line = format!("secret-{index}-{id}-{round}");
            let status = ["RUNNING", "DEGRADED", "CRASHED"][random.random_range(0..3)];
            let reason = Some(format!("reason-{index}").into());
            let counts = distinct_counts(random.random_range(1..100));
            let report = PipelineReport { status: status.into(), reason, ..running(id, counts) };
            pipelines.push(with_lines(report, clock::now_ms(), [line.clone()]));
            said.push((index, place, line));
        }
        node.report(pipelines).await;
    }
    said
}

async fn random_filters_receive_exactly_their_events(database: DatabaseKind) {
    let seed = std::env::var("SYSTOLE_SCOPES_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let mut collector = TestCollector::start_on(database).await;
    let mut nodes = Vec::new();
    let mut viewers = Vec::new();
    for colour in COLOURS {
        collector.create_environment(colour).await;
        for number in 0..2 {
            nodes.push(NodeClient::enroll(&collector, Some(colour), &format!("host-{colour}-{number}")).await);
        }
        viewers.push(collector.viewer_of(colour).await);
    }
    let all = collector.viewer().await;
    let mut before = Vec::new();
    for round in 0..3 {
        before.extend(report_of_all(&mut nodes, round, &mut random).await);
    }
    let mut probe = collector.feed("").await;
    let hello = probe.wait_for("hello", SOON, |event| event.kind == "hello").await;
    let beginning = format!("{}-0", hello.data["epoch"].as_str().unwrap());
    // Replays out of memory in the first half, out of the database in the second.
    for restarted in [false, true] {
        if restarted {
            collector.stop().await;
            collector.run().await;
        }
        let mut streams = Vec::new();
        for _ in 0..30 {
            let asked = Asked::any(&nodes, &mut random);
            let client = asked.token.map_or(&all, |index| &viewers[index]);
            let mut feed = Feed::open_after(client, &asked.query, asked.replays.then_some(beginning.as_str())).await;
            feed.wait_for("hello", SOON, |event| event.kind == "hello").await;
            if !asked.replays && asked.query.contains("snapshot=1") {
                feed.wait_for("the snapshot", SOON, |event| event.data["done"] == true).await;
            } else {
                eventually_true("the stream is somewhere", SOON, async || feed.last_id().is_some()).await;
            }
            streams.push((asked, feed));
        }
        let after = report_of_all(&mut nodes, if restarted { 4 } else { 3 }, &mut random).await;
        for (asked, feed) in &mut streams {
            let said = before.iter().filter(|_| asked.replays).chain(&after);
            let expected: Vec<&String> =
                said.filter(|(node, place, _)| asked.wants(*node, *place)).map(|(_, _, line)| line).collect();
            let what = format!("{} lines, seed {seed}, {}", expected.len(), asked.query);
            let lines = feed
                .wait_until(&what, SOON, |events| {
                    let lines: Vec<String> = events.iter().flat_map(FeedEvent::lines).collect();
                    (lines.len() >= expected.len()).then_some(lines)
                })
                .await;
            assert_eq!(lines.iter().collect::<Vec<_>>(), expected, "seed {seed}, {}", asked.query);
            for event in feed.events() {
                let text = event.data.to_string();
                for (index, node) in nodes.iter().enumerate() {
                    let marks = [node.id.to_string(), format!("secret-{index}-"), format!("reason-{index}\"")];
                    let shown = marks.iter().any(|mark| text.contains(mark.as_str()));
                    assert!(asked.sees(index) || !shown, "seed {seed}, {}: {text}", asked.query);
                }
            }
        }
        before.extend(after);
    }
}
