//! Lines of output and of log files: once, in order, whatever dies.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use systole_tests::harness::{AgentPipeline, SOON, StubVector, TestAgent, TestCollector, eventually, eventually_true};
use tokio::time::sleep;

const PIPELINE: &str = "orders";
/// Reports are made every second, so that runs of an agent can be short.
const QUICK: [&str; 2] = ["--interval", "1s"];

/// A pipeline that runs a shell script.
fn script(text: &str) -> AgentPipeline {
    let command = Some(vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()]);
    AgentPipeline { id: PIPELINE.to_owned(), name: None, command, metrics_url: None, settings: Vec::new() }
}

/// All lines that the collector has, oldest first.
async fn stored(collector: &mut TestCollector, query: &str) -> Vec<String> {
    let viewer = collector.viewer().await;
    let path = format!("/api/v1/logs?pipeline={PIPELINE}&limit=1000{query}");
    let mut items = viewer.list_if_known(&path).await;
    items.sort_by_key(|item| item["seq"].as_i64());
    items.into_iter().map(|item| item["line"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Waits until the collector has a line.
async fn wait_for(collector: &mut TestCollector, line: &str) {
    eventually_true(line, SOON, async || stored(collector, "").await.iter().any(|stored| stored == line)).await;
}

fn append(path: &Path, text: &str) {
    let mut file = File::options().append(true).create(true).open(path).expect("the log file can be opened");
    file.write_all(text.as_bytes()).expect("the log file can be written to");
}

/// The files that the pipeline's process writes to.
fn output_files(agent: &TestAgent) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(agent.data_dir().join("output").join(PIPELINE)).into_iter().flatten();
    entries.map(|entry| entry.expect("the directory can be read").path()).collect()
}

/// What they take of the disk.
fn output_bytes(agent: &TestAgent) -> u64 {
    output_files(agent).iter().filter_map(|path| Some(path.metadata().ok()?.blocks() * 512)).sum()
}

#[tokio::test]
async fn output_lines_are_stored_once_over_killed_agents() {
    let mut collector = TestCollector::start_with(&QUICK).await;
    let stub = StubVector::new(collector.directory(), PIPELINE, &["--log-rate", "50"]);
    let pipeline = AgentPipeline::supervised(PIPELINE, &stub);
    let mut agent = TestAgent::start(&collector, None, &[pipeline]).await;
    for life in 1..=4 {
        stub.wait_for("lines", |totals| (totals.lives.len() == life && totals.current()?.log_lines > 70).then_some(()))
            .await;
        agent.kill().await;
        if life == 2 {
            // Also while the collector is down.
            collector.kill().await;
        }
        agent.run();
        if life == 3 {
            collector.run().await;
        }
    }
    stub.wait_for("the last life", |totals| {
        (totals.lives.len() == 5 && totals.current()?.log_lines > 70).then_some(())
    })
    .await;
    agent.stop().await;
    let lives = stub.totals().lives;
    let expected: u64 = lives.iter().map(|life| life.log_lines).sum();
    eventually_true("every line is stored", SOON, async || {
        stored(&mut collector, "&q=line%3D").await.len() as u64 >= expected
    })
    .await;
    let lines = stored(&mut collector, "&q=line%3D").await;
    let mut lines = lines.iter();
    for life in lives {
        for number in 1..=life.log_lines {
            let expected = format!(" line={number:06} life={} ", life.life);
            let line = lines.next().unwrap_or_else(|| panic!("{expected} is missing"));
            assert!(line.contains(&expected), "{expected:?} is not in {line:?}");
        }
    }
    assert_eq!(lines.next(), None);
    eventually_true("nothing is left on the disk", SOON, async || {
        agent.run();
        stub.wait_for("another life", |totals| totals.current()?.address).await;
        sleep(Duration::from_secs(2)).await;
        let left = output_files(&agent).len();
        agent.stop().await;
        left == 2
    })
    .await;
}

#[tokio::test]
async fn file_lines_are_stored_once_over_rotations_and_killed_agents() {
    let mut collector = TestCollector::start_with(&QUICK).await;
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("orders.log");
    append(&log, "before the agent came\n");
    let pattern = directory.path().join("*.log").display().to_string();
    let mut stub = StubVector::new(collector.directory(), PIPELINE, &[]);
    stub.start().await;
    let pipeline = AgentPipeline::watched(PIPELINE, &stub).with("log_files", [pattern].as_slice());
    let mut agent = TestAgent::start(&collector, None, &[pipeline]).await;
    append(&directory.path().join("other.log"), "");
    eventually_true("the agent has looked", SOON, async || collector.minute_sums(PIPELINE).await.events_in > 0).await;
    let mut number = 0;
    let mut write = |lines: u64| {
        for _ in 0..lines {
            number += 1;
            append(&log, &format!("line {number:06}\n"));
        }
        number
    };
    let last = |number: u64| format!("line {number:06}");
    for life in 0..4 {
        // A file that was never reported cannot be found again under another name.
        let so_far = write(20);
        wait_for(&mut collector, &last(so_far)).await;
        write(40);
        sleep(Duration::from_millis(400)).await;
        agent.kill().await;
        write(20);
        if life % 2 == 0 {
            let rotated = directory.path().join(format!("orders.log.{life}"));
            std::fs::rename(&log, rotated).expect("the log file can be renamed");
        }
        write(20);
        agent.run();
        let so_far = write(20);
        if life == 1 {
            wait_for(&mut collector, &last(so_far)).await;
            std::fs::copy(&log, directory.path().join("copy")).expect("the log file can be copied");
            File::options().write(true).open(&log).and_then(|file| file.set_len(0)).expect("it can be truncated");
            sleep(Duration::from_secs(1)).await;
        }
        if life == 3 {
            wait_for(&mut collector, &last(so_far)).await;
            let rotated = directory.path().join("orders.log.live");
            std::fs::rename(&log, rotated).expect("the log file can be renamed");
        }
    }
    let all = write(1);
    wait_for(&mut collector, &last(all)).await;
    let expected: Vec<String> = (1..=all).map(last).collect();
    let found = stored(&mut collector, "").await;
    let wrong = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert_eq!((found.len(), wrong), (expected.len(), None));
    let viewer = collector.viewer().await;
    let items = viewer.list(&format!("/api/v1/logs?pipeline={PIPELINE}&limit=1000")).await;
    assert!(items.iter().all(|item| item["stream"] == "file"), "{items:?}");
}

#[tokio::test]
async fn flood_of_lines_has_bounded_disk_use_and_counted_drops() {
    const STEPS: u64 = 20;
    const STEP_LINES: u64 = 20_000;
    const LINES: u64 = STEPS * STEP_LINES;
    /// Two steps take more. The agent keeps 1 MiB of lines that wait for their turn.
    const MOST_BYTES: u64 = 5 * 1024 * 1024 / 2;
    let text = "a line of some length, so that there is something to keep in the file";
    let mut collector = TestCollector::start_with(&QUICK).await;
    let steps = tempfile::tempdir().expect("a directory");
    // A step begins when the space of those before is free, however busy the machine is.
    let flood = format!(
        "for i in $(seq {STEPS}); do seq -f '{text}%06g' $(((i-1)*{STEP_LINES}+1)) $((i*{STEP_LINES})); touch {0}/written-$i; \
         while [ ! -e {0}/next-$i ]; do sleep 0.05; done; done; echo end; exec sleep 600",
        steps.path().display()
    );
    let agent = TestAgent::start(&collector, None, &[script(&flood)]).await;
    for step in 1..=STEPS {
        let written = steps.path().join(format!("written-{step}"));
        eventually_true("the step is written", SOON, async || written.exists()).await;
        eventually_true("space is freed while lines come", SOON, async || output_bytes(&agent) < MOST_BYTES).await;
        File::create(steps.path().join(format!("next-{step}"))).expect("the next step can begin");
    }
    // What waits has its turn at 200 lines a second: a minute and some.
    let is_end = |line: &String| line == "end";
    eventually_true("the last line", 2 * SOON, async || stored(&mut collector, "&q=end").await.iter().any(is_end))
        .await;
    let lines = stored(&mut collector, "").await;
    let last = format!("{LINES:06}");
    assert!(lines.len() > 1_000 && lines[lines.len() - 2].ends_with(&last), "{:?}", lines.last());
    let viewer = collector.viewer().await;
    let dropped = eventually("the count", SOON, async || {
        let node = viewer.list("/api/v1/nodes").await.remove(0);
        node["health"]["lostLogLines"].as_u64().filter(|lost| *lost > 0)
    })
    .await;
    assert_eq!(dropped + lines.len() as u64, LINES + 1);
    eventually_true("the space is freed", SOON, async || output_bytes(&agent) < 2 * 1024 * 1024).await;
}

#[tokio::test]
async fn output_falls_back_to_pipes_without_disk() {
    let mut collector = TestCollector::start_with(&QUICK).await;
    let directory = tempfile::tempdir().expect("a directory");
    let flag = directory.path().join("crash");
    let text = format!(
        "echo through $(readlink /proc/$$/fd/1 | cut -c1-5); while [ ! -e {0} ]; do sleep 0.1; done; rm {0}; exit 3",
        flag.display()
    );
    let mut agent =
        TestAgent::prepare(&collector, systole_tests::harness::AgentSetup::default(), &[script(&text)]).await;
    std::fs::create_dir_all(agent.data_dir()).expect("the data directory can be made");
    std::fs::write(agent.data_dir().join("output"), "a file in its place").expect("it can be written");
    agent.run();
    wait_for(&mut collector, "through pipe:").await;
    std::fs::remove_file(agent.data_dir().join("output")).expect("it can be removed");
    std::fs::write(&flag, "").expect("the flag can be written");
    let data_dir: String = agent.data_dir().display().to_string().chars().take(5).collect();
    wait_for(&mut collector, &format!("through {data_dir}")).await;
}

#[tokio::test]
async fn stack_traces_stay_together_and_long_lines_have_a_level() {
    let mut collector = TestCollector::start_with(&QUICK).await;
    let text = r#"printf 'INFO begin\nERROR boom\njava.io.IOException: no\n\tat a.b(C.java:1)\nCaused by: x\nINFO end\n'
        printf '{"message":"'; head -c 500000 /dev/zero | tr '\0' x; printf '","level":"warn"}\n'; exec sleep 600"#;
    let _agent = TestAgent::start(&collector, None, &[script(text).with("multiline", true)]).await;
    wait_for(&mut collector, "ERROR boom\njava.io.IOException: no\n\tat a.b(C.java:1)\nCaused by: x").await;
    wait_for(&mut collector, "INFO end").await;
    let viewer = collector.viewer().await;
    eventually_true("the level of the long line", SOON, async || {
        let items = viewer.list(&format!("/api/v1/logs?pipeline={PIPELINE}&q=message")).await;
        items.len() == 1 && items[0]["level"] == "WARN" && items[0]["line"].as_str().map(str::len) == Some(65_536)
    })
    .await;
}
