//! Several collectors on one PostgreSQL, and what may happen to each of them.
//!
//! Clients reach a collector at its own address. The way from a collector to PostgreSQL, and the way from the others to
//! it, lead through a [`Link`] each, which a test cuts. Or each collector is on a host of its own ([`Network`]), where a
//! cut drops packets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::timeout;

use super::client::{Answer, ApiClient};
use super::collector::TestCollector;
use super::link::{Link, LinkState};
use super::netns::Network;
use super::ports::free_address;
use super::postgres::TestPostgres;
use super::wait::{SOON, eventually};

/// The metric that is 1 on the leader.
const LEADER: &str = "systole_cluster_leader";

/// `pg_hba.conf` of a server that hosts of their own reach.
const TRUST: &str = "local all all trust\nhost all all 10.0.0.0/8 trust\n";

/// Longest wait for the answer of a collector that may be frozen or cut off.
const ANSWER: Duration = Duration::from_secs(2);

/// A collector of the cluster.
#[derive(Debug)]
pub struct Member {
    /// The collector.
    pub collector: TestCollector,
    /// Its links, unless it is on a host of its own.
    links: Option<Links>,
    /// Whether its process is frozen.
    is_frozen: bool,
}

#[derive(Debug)]
struct Links {
    /// From it to PostgreSQL.
    to_database: Link,
    /// From the other collectors to it.
    from_peers: Link,
}

/// Several collectors on one PostgreSQL.
#[derive(Debug)]
pub struct Cluster {
    /// The server of this cluster alone.
    pub server: Arc<TestPostgres>,
    /// The collectors.
    pub members: Vec<Member>,
    /// Their hosts, if they have some of their own.
    network: Option<Network>,
    viewer: String,
}

impl Cluster {
    /// Starts so many collectors and waits until one of them leads and all are ready.
    pub async fn start(count: usize) -> Self {
        Self::start_with(count, &[]).await
    }

    /// The same with more options of `serve`.
    ///
    /// # Panics
    ///
    /// When a collector does not become ready in time.
    pub async fn start_with(count: usize, options: &[&str]) -> Self {
        Self::launch(count, options, None, None).await
    }

    /// The same with another program, such as another version.
    pub async fn start_program(count: usize, program: &Path) -> Self {
        Self::launch(count, &[], None, Some(program)).await
    }

    /// Starts each on a host of its own. Works where [`Network::obstacle`] names none.
    pub async fn start_on_hosts(count: usize) -> Self {
        let network = Network::new(u8::try_from(count).expect("a small cluster"));
        Self::launch(count, &[], Some(network), None).await
    }

    async fn launch(count: usize, options: &[&str], network: Option<Network>, program: Option<&Path>) -> Self {
        // Only this machine reaches the addresses of namespaces.
        let settings = match network {
            Some(_) => [("postgresql.conf", "listen_addresses = '*'\n"), ("pg_hba.conf", TRUST)].to_vec(),
            None => [("postgresql.conf", "listen_addresses = '127.0.0.1'\n")].to_vec(),
        };
        let start = move || TestPostgres::alone_with(&settings);
        let server = Arc::new(tokio::task::spawn_blocking(start).await.expect("PostgreSQL starts"));
        let mut members: Vec<Member> = Vec::with_capacity(count);
        for number in 0..count {
            let (mut collector, links) = match &network {
                Some(network) => (member_on_host(&server, network, number, options), None),
                None => {
                    let (collector, links) = member_with_links(&server, options).await;
                    (collector, Some(links))
                }
            };
            collector.set_program(program.map(Path::to_owned));
            // One after the other: the first one makes the tables.
            collector.run().await;
            members.push(Member { collector, links, is_frozen: false });
        }
        let viewer = members[0].collector.create_token("viewer", None).await.token.reveal().to_owned();
        let mut cluster = Cluster { server, members, network, viewer };
        cluster.settle(SOON).await;
        cluster
    }

    /// The addresses of all of them.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| member.collector.url()).collect()
    }

    /// A client that sees everything, at this collector only.
    pub fn viewer_at(&self, member: usize) -> ApiClient {
        self.members[member].collector.client().with_token(&self.viewer)
    }

    /// A client that sees everything, at whichever collector answers.
    pub fn viewer(&self) -> ApiClient {
        ApiClient::of_several(&self.urls()).with_token(&self.viewer)
    }

    /// The collector that leads, by the collectors' own word; `None` while none or several say so.
    pub async fn leader_now(&mut self) -> Option<usize> {
        let mut leaders = Vec::new();
        for number in 0..self.members.len() {
            if self.answers(number) && self.says_it_leads(number).await {
                leaders.push(number);
            }
        }
        match leaders[..] {
            [leader] => Some(leader),
            _ => None,
        }
    }

    /// The same, once one leads.
    pub async fn leader(&mut self) -> usize {
        eventually("a collector leads", SOON, async || self.leader_now().await).await
    }

    async fn says_it_leads(&self, member: usize) -> bool {
        let page = self.viewer_at(member).request(reqwest::Method::GET, "/metrics");
        let Ok(Ok(page)) = timeout(ANSWER, Answer::try_of(page)).await else { return false };
        let page = String::from_utf8_lossy(&page.body).into_owned();
        match page.lines().find_map(|line| line.strip_prefix(LEADER)) {
            Some(value) => value.trim() == "1",
            None => self.view_of(member).await.is_some_and(|view| is_leader_of(&view)),
        }
    }

    /// `/api/v1/cluster` of this collector.
    pub async fn view_of(&self, member: usize) -> Option<Value> {
        let request = self.viewer_at(member).request(reqwest::Method::GET, "/api/v1/cluster");
        let answer = timeout(ANSWER, Answer::try_of(request)).await.ok()?.ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    fn answers(&mut self, member: usize) -> bool {
        let member = &mut self.members[member];
        !member.is_frozen && member.collector.is_alive()
    }

    /// Whether this collector says that it is ready.
    pub async fn is_ready(&self, member: usize) -> bool {
        let request = self.members[member].collector.client().request(reqwest::Method::GET, "/readyz");
        matches!(timeout(ANSWER, Answer::try_of(request)).await, Ok(Ok(answer)) if answer.status == 200)
    }

    /// Waits until one collector leads and all that run are ready.
    ///
    /// # Panics
    ///
    /// When that takes longer.
    pub async fn settle(&mut self, limit: Duration) {
        eventually("one collector leads, and all are ready", limit, async || {
            self.leader_now().await?;
            for number in 0..self.members.len() {
                if self.answers(number) && !self.is_ready(number).await {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// SIGKILL.
    pub async fn kill(&mut self, member: usize) {
        self.members[member].collector.kill().await;
    }

    /// SIGTERM; asserts that it ends in time and with 0.
    pub async fn stop(&mut self, member: usize) {
        self.members[member].collector.stop().await;
    }

    /// Waits for the end of a collector that has received SIGTERM; asserts that it ends in time and with 0.
    pub async fn wait(&mut self, member: usize) {
        self.members[member].collector.wait().await;
    }

    /// Starts the process again.
    pub async fn run(&mut self, member: usize) {
        self.members[member].collector.run().await;
    }

    /// SIGSTOP.
    pub fn freeze(&mut self, member: usize) {
        self.members[member].collector.signal(Signal::SIGSTOP);
        self.members[member].is_frozen = true;
    }

    /// SIGCONT.
    pub fn thaw(&mut self, member: usize) {
        self.members[member].collector.signal(Signal::SIGCONT);
        self.members[member].is_frozen = false;
    }

    /// What happens between this collector and PostgreSQL. A host of its own has no broken connections, only silence.
    pub fn set_database_link(&self, member: usize, state: LinkState) {
        match (&self.members[member].links, &self.network) {
            (Some(links), _) => links.to_database.set(state),
            (None, Some(network)) => {
                network.set_cut(host(member), network.own_database_address(), state != LinkState::Open);
            }
            (None, None) => {}
        }
    }

    /// What happens between the other collectors and this one: when they begin, or in any case on hosts of their own.
    pub fn set_peer_link(&self, member: usize, state: LinkState) {
        match (&self.members[member].links, &self.network) {
            (Some(links), _) => links.from_peers.set(state),
            (None, Some(network)) => {
                for other in (0..self.members.len()).filter(|other| *other != member) {
                    network.set_cut(host(member), network.address(host(other)), state != LinkState::Open);
                }
            }
            (None, None) => {}
        }
    }

    /// Stops PostgreSQL without letting it finish anything, and starts it after a while.
    pub async fn crash_database(&self, gone: Duration) {
        self.on_server(TestPostgres::crash).await;
        tokio::time::sleep(gone).await;
        self.on_server(TestPostgres::restart).await;
    }

    async fn on_server(&self, what: fn(&TestPostgres)) {
        let server = Arc::clone(&self.server);
        tokio::task::spawn_blocking(move || what(&server)).await.expect("the server does it");
    }
}

async fn member_with_links(server: &Arc<TestPostgres>, options: &[&str]) -> (TestCollector, Links) {
    let address = free_address();
    let links = Links { to_database: Link::start(server.address()).await, from_peers: Link::start(address).await };
    let url = server.network_url_at(links.to_database.address());
    let advertise_url = format!("http://{}", links.from_peers.address());
    (TestCollector::member(server, address, &url, &advertise_url, options), links)
}

fn member_on_host(server: &Arc<TestPostgres>, network: &Network, number: usize, options: &[&str]) -> TestCollector {
    let address = network.socket(host(number));
    let database = SocketAddr::from((network.own_database_address(), server.address().port()));
    let (url, advertise_url) = (server.network_url_at(database), format!("http://{address}"));
    let mut collector = TestCollector::member(server, address, &url, &advertise_url, options);
    collector.set_namespace(network.namespace(host(number)));
    collector
}

/// Whether the collector that gave this answer leads, by its own word.
fn is_leader_of(view: &Value) -> bool {
    let mut members = view["members"].as_array().into_iter().flatten();
    members.any(|member| member["id"] == view["id"] && member["role"] == "leader")
}

fn host(member: usize) -> u8 {
    u8::try_from(member).expect("a small cluster")
}
