//! Log files are known over everything that programs and people do to them: each line once.

use std::fs::{File, FileTimes, create_dir_all};
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use systole_tests::harness::{AgentPipeline, SOON, StubVector, TestAgent, TestCollector, eventually_true};
use tempfile::TempDir;

use crate::log_scene::{PIPELINE, QUICK, append, stored, wait_for, wait_for_look};

/// An agent that follows `*.log*` in a directory of its own.
struct Scene {
    collector: TestCollector,
    agent: TestAgent,
    logs: TempDir,
    _stub: StubVector,
}

impl Scene {
    async fn start(prepare: impl FnOnce(&TempDir)) -> Self {
        let mut collector = TestCollector::start_with(&QUICK).await;
        let logs = tempfile::tempdir().expect("a directory");
        prepare(&logs);
        let mut stub = StubVector::new(collector.directory(), PIPELINE, &[]);
        stub.start().await;
        let pattern = logs.path().join("*.log*").display().to_string();
        let pipeline = AgentPipeline::watched(PIPELINE, &stub).with("log_files", [pattern].as_slice());
        let agent = TestAgent::start(&collector, None, &[pipeline]).await;
        wait_for_look(&mut collector).await;
        Scene { collector, agent, logs, _stub: stub }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.logs.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        append(&self.path(name), text);
    }

    /// Waits for the last line, then compares everything that was stored, in any order.
    async fn assert_stored(&mut self, last: &str, mut expected: Vec<String>) {
        wait_for(&mut self.collector, last).await;
        let mut found = stored(&mut self.collector).await;
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
}

fn line(number: usize) -> String {
    format!("2026-11-29T10:00:00Z INFO line {number:06} of a log")
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| line(number) + "\n").collect()
}

#[tokio::test]
async fn log_files_beyond_the_bound_are_followed_when_they_are_written_to() {
    const FILES: usize = 250;
    let name = |number: usize| format!("{number:03}.log");
    let mut scene = Scene::start(|logs| {
        for number in 0..FILES {
            append(&logs.path().join(name(number)), "old\n");
        }
    })
    .await;
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in [0, 99, 100, 249] {
            let said = format!("round {round} of {number}");
            scene.append(&name(number), &format!("{said}\n"));
            expected.push(said);
        }
        for said in &expected {
            wait_for(&mut scene.collector, said).await;
        }
        if round == 1 {
            scene.agent.kill().await;
            scene.agent.run();
        }
    }
    scene.append("new.log", "new\n");
    expected.push("new".to_owned());
    scene.assert_stored("new", expected).await;
}

#[tokio::test]
async fn log_that_begins_with_the_same_banner_is_read_whole_after_it_was_rewritten() {
    let banner: Vec<String> = (0..9).map(|row| format!("{row} :: the banner of the program :: (v3.5.0)")).collect();
    let start =
        |from: usize, to: usize| banner.iter().map(|row| row.clone() + "\n").collect::<String>() + &lines(from..to);
    let mut scene = Scene::start(|_| {}).await;
    scene.append("app.log", &start(0, 30));
    wait_for(&mut scene.collector, &line(29)).await;
    scene.agent.kill().await;
    std::fs::write(scene.path("app.log"), start(100, 160)).expect("the log is rewritten");
    scene.agent.run();
    wait_for(&mut scene.collector, &line(159)).await;
    // Also while the agent runs, between two looks at it.
    std::fs::write(scene.path("app.log"), start(200, 290)).expect("the log is rewritten");
    let mut expected: Vec<String> = [0..30, 100..160, 200..290].into_iter().flatten().map(line).collect();
    (0..3).for_each(|_| expected.extend(banner.iter().cloned()));
    scene.assert_stored(&line(289), expected).await;
}

#[tokio::test]
async fn log_that_is_copied_and_truncated_is_sent_once_though_the_copy_has_the_pattern() {
    let mut scene = Scene::start(|_| {}).await;
    let mut number = 0;
    for rotation in 1..=4 {
        for _ in 0..40 {
            scene.append("app.log", &lines(number..number + 1));
            number += 1;
        }
        wait_for(&mut scene.collector, &line(number - 1)).await;
        if rotation == 3 {
            scene.agent.kill().await;
        }
        scene.append("app.log", &lines(number..number + 5));
        number += 5;
        for old in (1..rotation).rev() {
            let (from, to) = (scene.path(&format!("app.log.{old}")), scene.path(&format!("app.log.{}", old + 1)));
            std::fs::rename(from, to).expect("the copy can be renamed");
        }
        std::fs::copy(scene.path("app.log"), scene.path("app.log.1")).expect("the log can be copied");
        File::options().write(true).open(scene.path("app.log")).and_then(|log| log.set_len(0)).expect("truncated");
        if rotation == 3 {
            scene.agent.run();
        }
    }
    scene.append("app.log", &lines(number..number + 1));
    wait_for(&mut scene.collector, &line(number)).await;
    eventually_true("the copies are read", SOON, async || stored(&mut scene.collector).await.len() > number).await;
    scene.append("app.log", "end\n");
    let expected = (0..=number).map(line).chain(["end".to_owned()]).collect();
    scene.assert_stored("end", expected).await;
}

#[tokio::test]
async fn log_in_a_directory_whose_time_stands_still_is_found_within_a_minute() {
    let still = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let stop =
        |logs: &TempDir| File::open(logs.path()).and_then(|dir| dir.set_times(still)).expect("the time can be set");
    let mut scene = Scene::start(|logs| {
        create_dir_all(logs.path()).expect("a directory");
        append(&logs.path().join("first.log"), "old\n");
        stop(logs);
    })
    .await;
    scene.append("first.log", "first\n");
    wait_for(&mut scene.collector, "first").await;
    scene.append("second.log", "second\n");
    stop(&scene.logs);
    eventually_true("the new file", SOON, async || stored(&mut scene.collector).await.contains(&"second".to_owned()))
        .await;
}

#[tokio::test]
async fn log_whose_space_is_taken_before_is_read_as_it_is_written() {
    let mut scene = Scene::start(|_| {}).await;
    let log = File::create(scene.path("app.log")).expect("a log file");
    log.set_len(16 * 1024 * 1024).expect("space for it");
    let text = lines(0..100);
    let mut written = 0;
    for (number, part) in text.as_bytes().chunks(700).enumerate() {
        log.write_all_at(part, written).expect("the log can be written to");
        written += part.len() as u64;
        let whole =
            text.as_bytes()[..usize::try_from(written).expect("small")].iter().filter(|byte| **byte == b'\n').count();
        wait_for(&mut scene.collector, &line(whole - 1)).await;
        if number == 2 {
            scene.agent.kill().await;
            scene.agent.run();
        }
    }
    scene.assert_stored(&line(99), (0..100).map(line).collect()).await;
}
