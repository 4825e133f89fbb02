//! Heartbeats of VectorFlow's agent, made ahead: they are the same for every node.
//!
//! Counters are totals, so a node sends one step after the other. After the last step the totals begin at zero again,
//! as Vector's do that were idle: the first step then counts whole. The process is older than the node, so the first
//! heartbeat of a node only says where counting begins.

use serde_json::{Value, json};

use super::args::Args;
use super::bodies::{Body, pipeline_id};
use crate::harness::reports::distinct_counts;

/// Heartbeats until the totals begin again.
const STEPS: u64 = 64;

/// The bodies of all steps, not packed: the Go agent does not pack them.
#[derive(Debug)]
pub struct Heartbeats {
    bodies: Vec<Vec<u8>>,
    /// Events of a pipeline in each step.
    events_in: u64,
    pipelines: u64,
}

impl Heartbeats {
    /// For a fleet; none for one without such nodes.
    pub fn new(args: &Args) -> Self {
        let steps = if args.vectorflow_nodes > 0 { STEPS } else { 0 };
        let bodies = (1..=steps).map(|step| heartbeat(args, step).to_string().into_bytes()).collect();
        Heartbeats { bodies, events_in: distinct_counts(1).events_in, pipelines: args.pipelines as u64 }
    }

    /// The heartbeat with this number, from 1, of a node.
    pub fn choose(&self, number: u64, body: &mut Body) {
        let step = usize::try_from((number - 1) % STEPS).expect("a step is a small number");
        body.head.clear();
        body.rest.clone_from(&self.bodies[step]);
        body.plain_bytes = body.rest.len();
        // Each step adds as much as the first.
        body.events_in = if number == 1 { 0 } else { self.events_in * self.pipelines };
    }
}

fn heartbeat(args: &Args, step: u64) -> Value {
    let pipelines: Vec<Value> = (0..args.pipelines).map(|number| pipeline(&pipeline_id(number), args, step)).collect();
    json!({
        "pipelines": pipelines,
        "hostMetrics": {
            "memoryTotalBytes": 17_179_869_184_u64, "memoryUsedBytes": 6_442_450_944_u64, "memoryFreeBytes": 8_589_934_592_u64,
            "cpuSecondsTotal": 345_600.5, "cpuSecondsIdle": 250_000.25, "loadAvg1": 0.5, "loadAvg5": 0.4, "loadAvg15": 0.3,
            "fsTotalBytes": 274_877_906_944_u64, "fsUsedBytes": 68_719_476_736_u64, "fsFreeBytes": 206_158_430_208_u64,
            "diskReadBytes": 1_234_567_890, "diskWrittenBytes": 2_345_678_901_u64, "netRxBytes": 3_456_789_012_u64,
            "netTxBytes": 4_567_890_123_u64,
        },
        "agentVersion": "1.9.2", "vectorVersion": "vector 0.54.0", "deploymentMode": "STANDALONE", "runningAs": "vector",
        "labels": {"vf.io/os": "linux", "vf.io/arch": "amd64"},
        "agentHealth": {
            "pollErrorsTotal": 0, "pushReconnectsTotal": 1, "heartbeatErrorsTotal": 0, "pushConnected": true,
            "pipelinesRunning": args.pipelines, "uptimeSeconds": 86_400,
        },
    })
}

/// A pipeline whose totals are the sums of its components.
fn pipeline(id: &str, args: &Args, step: u64) -> Value {
    let totals = distinct_counts(step);
    let component = |number: usize| match number {
        0 => json!({
            "componentId": "in", "componentKind": "source", "receivedEvents": totals.events_in,
            "sentEvents": totals.events_in, "receivedBytes": totals.bytes_in,
        }),
        1 => json!({
            "componentId": "out", "componentKind": "sink", "receivedEvents": totals.events_in,
            "sentEvents": totals.events_out, "sentBytes": totals.bytes_out, "errorsTotal": totals.errors,
            "discardedEvents": totals.discarded,
        }),
        number => json!({
            "componentId": format!("transform_{number}"), "componentKind": "transform",
            "receivedEvents": totals.events_in, "sentEvents": totals.events_in, "latencyMeanSeconds": 0.001,
        }),
    };
    json!({
        "pipelineId": id, "version": 1, "status": "RUNNING", "pid": 4_242, "uptimeSeconds": 86_400,
        "eventsIn": totals.events_in, "eventsOut": totals.events_out, "errorsTotal": totals.errors,
        "eventsDiscarded": totals.discarded, "bytesIn": totals.bytes_in, "bytesOut": totals.bytes_out,
        "componentMetrics": (0..args.components).map(component).collect::<Vec<_>>(),
        "configChecksum": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use systole_shared::vectorflow::Heartbeat;

    use super::*;

    #[test]
    fn heartbeats_grow_by_the_stated_counts_and_begin_again() {
        let flags = ["systole-bench", "--spawn", "--nodes", "2", "--vectorflow-nodes", "2", "--pipelines", "3"];
        let heartbeats = Heartbeats::new(&Args::try_parse_from(flags).unwrap());
        let mut last = 0;
        for number in 1..=STEPS * 2 {
            let mut body = Body::default();
            heartbeats.choose(number, &mut body);
            let heartbeat: Heartbeat<'_> = serde_json::from_slice(&body.rest).unwrap();
            let total = heartbeat.pipelines[0].events_in.unwrap().get().unwrap().unsigned_abs();
            let grown = if total >= last { total - last } else { total };
            assert_eq!(body.events_in, if number == 1 { 0 } else { grown * 3 }, "{number}");
            last = total;
        }
    }
}
