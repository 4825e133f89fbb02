//! The imagined processes of an agent, by VectorFlow's rules: a new id is started, another checksum restarts, another
//! version alone changes a number, and an id that is gone is stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use systole_shared::vectorflow::{ConfigPipeline, HeartbeatPipeline, SampleRequest, SampleResult};
use tokio::time::Instant;

/// A configuration with this text crashes.
const CRASHES: &str = "crash";

/// A process is RUNNING after this time. The Go agent takes two seconds.
const STARTING: Duration = Duration::from_millis(100);

/// Time until a crash, and the first pause after it, which doubles. The Go agent's first one is 1 s; here the first
/// heartbeat after a crash is to see it.
const CRASH_AFTER: Duration = Duration::from_millis(50);
const FIRST_PAUSE: Duration = Duration::from_secs(3);

/// A pipeline's process.
#[derive(Clone, Debug)]
pub struct Process {
    /// The version that runs.
    pub version: i64,
    /// The checksum that it came with.
    pub checksum: String,
    /// Its configuration.
    pub config: String,
    /// Its secrets, which are in its environment.
    pub secrets: BTreeMap<String, String>,
    /// Its log level.
    pub log_level: Option<String>,
    /// Its id.
    pub pid: u32,
    started_at: Instant,
    crashes: u32,
}

impl Process {
    fn crashes(&self) -> bool {
        self.config.contains(CRASHES)
    }

    /// Its state, as heartbeats have it.
    pub fn status(&self) -> &'static str {
        let age = self.started_at.elapsed();
        if self.crashes() && age >= CRASH_AFTER {
            "CRASHED"
        } else if age < STARTING {
            "STARTING"
        } else {
            "RUNNING"
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Processes {
    running: BTreeMap<String, Process>,
    last_pid: u32,
    starts: Vec<(String, i64)>,
}

impl Processes {
    pub(super) fn get(&self, pipeline: &str) -> Option<&Process> {
        self.running.get(pipeline)
    }

    pub(super) fn starts(&self, pipeline: &str) -> Vec<i64> {
        self.starts.iter().filter(|(id, _)| id == pipeline).map(|(_, version)| *version).collect()
    }

    /// Applies the answer to a poll.
    pub(super) fn apply(&mut self, pipelines: &[ConfigPipeline]) {
        self.running.retain(|id, _| pipelines.iter().any(|wanted| wanted.pipeline_id == *id));
        for wanted in pipelines {
            match self.running.get_mut(&wanted.pipeline_id) {
                Some(process) if process.checksum == wanted.checksum => process.version = wanted.version,
                _ => self.start(wanted),
            }
        }
    }

    fn start(&mut self, wanted: &ConfigPipeline) {
        let process = Process {
            version: wanted.version,
            checksum: wanted.checksum.clone(),
            config: wanted.config_yaml.clone(),
            secrets: wanted.secrets.clone().unwrap_or_default(),
            log_level: wanted.log_level.clone(),
            pid: self.next_pid(),
            started_at: Instant::now(),
            crashes: 0,
        };
        self.starts.push((wanted.pipeline_id.clone(), wanted.version));
        self.running.insert(wanted.pipeline_id.clone(), process);
    }

    fn next_pid(&mut self) -> u32 {
        self.last_pid += 1;
        1_000 + self.last_pid
    }

    /// Starts a process again.
    pub(super) fn restart(&mut self, pipeline: &str) {
        let pid = self.next_pid();
        if let Some(process) = self.running.get_mut(pipeline) {
            (process.pid, process.started_at) = (pid, Instant::now());
            self.starts.push((pipeline.to_owned(), process.version));
        }
    }

    /// The pipelines of a heartbeat. A field that is zero is left out.
    pub(super) fn report(&mut self) -> Vec<HeartbeatPipeline<'static>> {
        let ids: Vec<String> = self.running.keys().cloned().collect();
        for id in ids {
            let process = &self.running[&id];
            let pause = FIRST_PAUSE * 2_u32.pow(process.crashes.min(6));
            if process.status() == "CRASHED" && process.started_at.elapsed() >= CRASH_AFTER + pause {
                let pid = self.next_pid();
                let process = self.running.get_mut(&id).expect("it was there");
                (process.pid, process.started_at, process.crashes) = (pid, Instant::now(), process.crashes + 1);
            }
        }
        let report = |(id, process): (&String, &Process)| {
            let is_up = process.status() != "CRASHED";
            HeartbeatPipeline {
                pipeline_id: id.clone().into(),
                version: process.version,
                status: process.status().into(),
                pid: Some(process.pid),
                uptime_seconds: Some(process.started_at.elapsed().as_secs()).filter(|uptime| is_up && *uptime > 0),
                config_checksum: Some(process.checksum.clone().into()),
                ..HeartbeatPipeline::default()
            }
        };
        self.running.iter().map(report).collect()
    }

    /// Events of components: of `in` and `out` as many as are asked for, of others none.
    pub(super) fn sample(&self, request: &SampleRequest) -> Vec<SampleResult> {
        let is_running = self.get(&request.pipeline_id).is_some_and(|process| process.status() == "RUNNING");
        let result = |key: &String| {
            let has_events = is_running && ["in", "out"].contains(&key.as_str());
            let error = if is_running { "no events received within 15s" } else { "pipeline not running" };
            let event = |number: u64| json!({"message": format!("event {number} of {key}")});
            SampleResult {
                request_id: request.request_id.clone(),
                component_key: key.clone(),
                events: has_events.then(|| (1..=request.limit).map(event).collect()),
                schema: None,
                error: (!has_events).then(|| error.to_owned()),
            }
        };
        request.component_keys.iter().map(result).collect()
    }
}
