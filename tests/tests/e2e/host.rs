//! Figures of a host and its name, on systems as they are: mounts that do not answer, names that are not
//! UTF-8, interfaces that lie on others.

use std::path::Path;

use serde_json::Value;
use systole_tests::harness::binaries::binary;
use systole_tests::harness::{AgentSetup, ApiClient, SOON, TestAgent, TestCollector, eventually, eventually_true};
use tokio::process::Command;

/// The agent behind a shell script, as root of namespaces of its own. The script has a directory as `$0`
/// and ends with `exec "$@"`.
fn in_namespaces(namespaces: &[&str], script: &str, directory: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).args(namespaces).args(["bash", "-ec", script]).arg(directory);
    command.arg(binary("systole-agent"));
    command
}

async fn only_node(viewer: &ApiClient) -> Option<Value> {
    viewer.list("/api/v1/nodes").await.into_iter().next()
}

#[tokio::test]
async fn mount_that_does_not_answer_and_a_name_that_is_not_utf8_take_no_figures_away() {
    let mut collector = TestCollector::start_with(&["--interval", "500ms"]).await;
    let viewer = collector.viewer().await;
    let directory = tempfile::tempdir().unwrap();
    // No process reads from the device, so the file system never answers, not even to its first request.
    let script = r#"
        exec 3<>/dev/fuse
        mount -t tmpfs none "$0"
        mkdir "$0/stuck" "$0/"$'caf\xe9'
        mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none "$0/stuck"
        mount -t tmpfs none "$0/"$'caf\xe9'
        exec "$@""#;
    let mut agent = TestAgent::prepare(&collector, AgentSetup::default(), &[]).await;
    agent.run_as(in_namespaces(&["--mount"], script, directory.path()));
    // Not the first one only: what blocks must not take the later ones either.
    let host = eventually("three reports with the host's figures", SOON, async || {
        let node = only_node(&viewer).await?;
        let path = format!("/api/v1/nodes/{}/minutes?from=0&to=9999999999999&step=minute", node["id"].as_str()?);
        let minutes = viewer.list(&path).await;
        minutes.into_iter().find(|minute| minute["samples"].as_u64() >= Some(3))
    })
    .await;
    for figure in ["cpuSecondsTotal", "memoryTotalBytes", "loadAvg1", "netRxBytes"] {
        assert!(host[figure].is_number(), "{figure}: {host}");
    }
    // Where this test runs on a disk at all.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    if mounts.lines().any(|line| line.contains(" - ext4 ") || line.contains(" - xfs ")) {
        assert!(host["fsTotalBytes"].is_number() && host["diskReadBytes"].is_number(), "{host}");
    }
}

/// Bytes of an outgoing total in each report that waits in the agent's spool.
fn spooled_totals(agent: &TestAgent, name: &str) -> Vec<u64> {
    let files = std::fs::read_dir(agent.data_dir().join("spool")).into_iter().flatten().flatten();
    let mut paths: Vec<_> =
        files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|ext| ext == "reports")).collect();
    paths.sort();
    let text: String = paths
        .iter()
        .map(|path| String::from_utf8_lossy(&std::fs::read(path).expect("as it was written")).into_owned())
        .collect();
    let marker = format!("\"{name}\":");
    let numbers = text.split(&marker).skip(1);
    numbers
        .map(|rest| {
            rest.split(|letter: char| !letter.is_ascii_digit())
                .next()
                .expect("as it was written")
                .parse()
                .expect("as it was written")
        })
        .collect()
}

#[tokio::test]
async fn network_bytes_count_once_under_a_bridge_and_do_not_fall_when_an_interface_goes() {
    const SENT: u64 = 1_000_000;
    let directory = tempfile::tempdir().unwrap();
    // A cable to another namespace, under a bridge, which both count what is sent through them.
    let script = r#"
        mount -t sysfs sysfs /sys
        unshare --net sleep infinity 3>&- &
        peer=$!
        trap 'kill $peer' EXIT
        ip link set lo up
        ip link add bridge0 type bridge
        ip link add cable0 type veth peer name cable1
        until ip link set cable1 netns $peer && nsenter -t $peer -n ip link set cable1 up; do :; done
        ip link set cable0 master bridge0 up
        ip address add 10.9.0.1/24 dev bridge0
        ip link set bridge0 up
        ip neighbour add 10.9.0.2 lladdr 02:00:00:00:00:01 dev bridge0
        for _ in $(seq 1000); do printf '%01000d' 0 > /dev/udp/10.9.0.2/9; done
        cat /sys/class/net/cable0/statistics/tx_bytes > "$0/sent.new" && mv "$0/sent.new" "$0/sent"
        (until [ -e "$0/remove" ]; do sleep 0.1; done; ip link delete cable0; touch "$0/removed"; kill $peer) &
        trap - EXIT
        exec "$@""#;
    let mut agent = TestAgent::of("http://127.0.0.1:9", "none", &[], &[]);
    agent.run_as(in_namespaces(&["--mount", "--net"], script, directory.path()));
    eventually_true("a report", SOON, async || !spooled_totals(&agent, "netTxBytes").is_empty()).await;
    let sent: u64 = std::fs::read_to_string(directory.path().join("sent")).unwrap().trim().parse().unwrap();
    let first = spooled_totals(&agent, "netTxBytes")[0];
    assert!(sent > SENT && first >= sent && first < sent + SENT / 2, "{sent} bytes were sent, {first} are reported");

    std::fs::write(directory.path().join("remove"), "").unwrap();
    let before = spooled_totals(&agent, "netTxBytes").len();
    eventually_true("the cable is gone", SOON, async || directory.path().join("removed").exists()).await;
    eventually_true("two reports without it", SOON, async || spooled_totals(&agent, "netTxBytes").len() >= before + 2)
        .await;
    let totals = spooled_totals(&agent, "netTxBytes");
    assert!(totals.is_sorted(), "{totals:?}");
    assert!(totals.last().unwrap() < &(sent + SENT / 2), "what came instead had counted before: {totals:?}");
}

#[tokio::test]
async fn node_name_follows_the_hosts_name_and_the_operators_wins() {
    let mut collector = TestCollector::start_with(&["--interval", "500ms"]).await;
    let viewer = collector.viewer().await;
    let directory = tempfile::tempdir().unwrap();
    let script = r#"
        hostname first
        (until [ -e "$0/rename" ]; do sleep 0.1; done; hostname second) &
        exec "$@""#;
    let mut agent = TestAgent::prepare(&collector, AgentSetup::default(), &[]).await;
    agent.run_as(in_namespaces(&["--uts"], script, directory.path()));
    let is_named = async |name: &str| only_node(&viewer).await.is_some_and(|node| node["name"] == name);
    eventually_true("the first name", SOON, async || is_named("first").await).await;
    std::fs::write(directory.path().join("rename"), "").unwrap();
    eventually_true("the second name", SOON, async || is_named("second").await).await;
    let node = only_node(&viewer).await.unwrap();
    assert_eq!(node["labels"]["vf.io/hostname"], "second");
    agent.stop().await;

    let setup = AgentSetup { settings: vec![("name", "web-7".into())], ..AgentSetup::default() };
    let other = TestAgent::start_with(&collector, setup, &[]).await;
    eventually_true("the operator's name", SOON, async || {
        viewer.list("/api/v1/nodes").await.iter().any(|node| node["name"] == "web-7")
    })
    .await;
    drop(other);
}
