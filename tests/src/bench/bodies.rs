//! Bodies of reports, packed ahead.
//!
//! The parts that differ between two reports of a fleet (node, time, number) are at the beginning of the
//! JSON, in a small frame of their own; the rest is one of a few variants with known counts,
//! packed once. zstd and gzip both decompress consecutive frames to one text, so the collector
//! opens and reads bodies of the usual size and content, and the generator copies bytes.

use std::sync::{Mutex, PoisonError};

use systole_shared::{
    AgentHealth, AgentInfo, BootId, ComponentKind, HostMetrics, PipelineReport, PipelineStatus, Text, UnixMillis,
};

use super::args::{Args, Packing};
use super::heartbeats::Heartbeats;
use crate::clock;
use crate::harness::node::{Encoding, to_json};
use crate::harness::reports::{distinct_counts, report, running, with_lines};

/// Variants of the rest.
const VARIANTS: usize = 16;
/// Counts vary by this factor at most, so that bodies are not all alike to the packer.
const MAX_FACTOR: u64 = 1_000;
/// Lines are not older than this, plus the time between two reports.
const FRESH_MS: i64 = 1_000;

/// The parts that many reports have in common.
#[derive(Debug)]
pub struct Bodies {
    args: Args,
    variants: Mutex<Vec<Variant>>,
    /// The same with a first pipeline that has crashed. Empty in a fleet that does not flap.
    crashed: Mutex<Vec<Variant>>,
    /// Those of VectorFlow's protocol.
    pub heartbeats: Heartbeats,
}

#[derive(Debug)]
struct Variant {
    made_at: UnixMillis,
    packed: Vec<u8>,
    /// The same without the end of the request, for a request of several reports.
    packed_open: Vec<u8>,
    plain_bytes: usize,
    events_in: u64,
}

/// A report that may have to be sent more than once.
#[derive(Debug, Default)]
pub struct Body {
    /// The beginning, built again for each try.
    pub head: Vec<u8>,
    /// The rest.
    pub rest: Vec<u8>,
    /// Bytes of all that, opened.
    pub plain_bytes: usize,
    /// Events that its pipelines took in.
    pub events_in: u64,
    rest_plain_bytes: usize,
}

/// The parts that differ in each report.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The imagined agent's boot.
    pub boot: BootId,
    /// Its number.
    pub seq: u64,
    /// Begin of its interval.
    pub start: UnixMillis,
    /// End of its interval.
    pub end: UnixMillis,
}

impl Bodies {
    /// For a fleet.
    pub fn new(args: &Args) -> Self {
        let variants = (0..VARIANTS).map(|_| Variant::new(args, PipelineStatus::Running)).collect();
        let crashed = if args.flapping > 0 { VARIANTS } else { 0 };
        let crashed = (0..crashed).map(|_| Variant::new(args, PipelineStatus::Crashed)).collect();
        Bodies {
            args: args.clone(),
            variants: Mutex::new(variants),
            crashed: Mutex::new(crashed),
            heartbeats: Heartbeats::new(args),
        }
    }

    /// Takes any variant for the next report, with the first pipeline in this state.
    pub fn choose(&self, first: PipelineStatus, body: &mut Body) {
        let variants = if first == PipelineStatus::Running { &self.variants } else { &self.crashed };
        let mut variants = variants.lock().unwrap_or_else(PoisonError::into_inner);
        let variant = &mut variants[rand::random_range(0..VARIANTS)];
        if self.args.lines > 0 && clock::now_ms() - variant.made_at > FRESH_MS {
            *variant = Variant::new(&self.args, first);
        }
        body.rest.clone_from(&variant.packed);
        body.rest_plain_bytes = variant.plain_bytes;
        body.events_in = variant.events_in;
    }

    /// One request with a report for each stamp, oldest first; all are of one boot.
    pub fn request_of(&self, stamps: &[Stamp]) -> Vec<u8> {
        let variants = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        let mut request = Vec::new();
        let sent_at = clock::now_ms();
        for (index, Stamp { boot, seq, start, end }) in stamps.iter().enumerate() {
            let before = match index {
                0 => format!(r#"{{"bootId":"{boot}","sentAt":{sent_at},"reports":["#),
                _ => ",".to_owned(),
            };
            self.frame(&format!(r#"{before}{{"seq":{seq},"start":{start},"end":{end}"#), &mut request);
            request.extend_from_slice(&variants[rand::random_range(0..VARIANTS)].packed_open);
        }
        self.frame("]}", &mut request);
        request
    }

    fn frame(&self, text: &str, into: &mut Vec<u8>) {
        match self.args.encoding {
            Packing::Zstd => stored_frame(text.as_bytes(), into),
            Packing::Gzip => into.extend(Encoding::Gzip.pack(text.as_bytes())),
            Packing::Plain => into.extend_from_slice(text.as_bytes()),
        }
    }

    /// Writes the beginning.
    pub fn stamp(&self, body: &mut Body, stamp: Stamp) {
        let Stamp { boot, seq, start, end } = stamp;
        let sent_at = clock::now_ms();
        let text =
            format!(r#"{{"bootId":"{boot}","sentAt":{sent_at},"reports":[{{"seq":{seq},"start":{start},"end":{end}"#);
        body.plain_bytes = text.len() + body.rest_plain_bytes;
        body.head.clear();
        self.frame(&text, &mut body.head);
    }
}

impl Variant {
    fn new(args: &Args, first: PipelineStatus) -> Self {
        let now = clock::now_ms();
        let mut pipelines = pipelines(args, now);
        if let Some(pipeline) = pipelines.first_mut() {
            pipeline.status = first.as_str().into();
        }
        let events_in = pipelines.iter().filter_map(|pipeline| pipeline.sample?.events_in.get().ok()).sum::<i64>();
        let mut whole = report(0, now, pipelines);
        whole.agent = Some(agent());
        whole.host = Some(host());
        let json = to_json(&whole);
        let end = format!(r#""end":{now}"#);
        let text = std::str::from_utf8(&json).expect("JSON is text");
        let (_, rest) = text.split_once(&end).expect("a report says when it ends, before what it reports");
        let packed_open = Encoding::from(args.encoding).pack(rest.as_bytes());
        let rest = format!("{rest}]}}");
        let packed = Encoding::from(args.encoding).pack(rest.as_bytes());
        Variant { made_at: now, packed, packed_open, plain_bytes: rest.len(), events_in: events_in.unsigned_abs() }
    }
}

/// The id of the n-th pipeline of each node.
pub fn pipeline_id(number: usize) -> String {
    format!("pipeline-{number}")
}

/// A frame of zstd (RFC 8878, 3.1.1) that holds at most 255 bytes as they are.
fn stored_frame(text: &[u8], into: &mut Vec<u8>) {
    const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
    /// One segment, its size in one byte, no checksum.
    const DESCRIPTOR: u8 = 0x20;
    /// The last block, of raw bytes.
    const LAST_RAW: u32 = 1;
    let size = u8::try_from(text.len()).expect("the beginning of a report has less than 256 bytes");
    into.extend_from_slice(&MAGIC);
    into.extend_from_slice(&[DESCRIPTOR, size]);
    into.extend_from_slice(&(u32::from(size) << 3 | LAST_RAW).to_le_bytes()[..3]);
    into.extend_from_slice(text);
}

fn pipelines(args: &Args, now: UnixMillis) -> Vec<PipelineReport<'static>> {
    (0..args.pipelines)
        .map(|number| {
            let counts = distinct_counts(rand::random_range(1..=MAX_FACTOR));
            let mut pipeline = running(&pipeline_id(number), counts);
            let pattern = pipeline.components[0].clone();
            for component in pipeline.components.len()..args.components {
                let mut transform = pattern.clone();
                transform.id = format!("transform_{component}").into();
                transform.kind = ComponentKind::Transform;
                transform.utilization = Some(rand::random());
                transform.latency_ms = Some(rand::random());
                pipeline.components.push(transform);
            }
            pipeline.components.truncate(args.components);
            let lines =
                (0..args.lines).map(|line| format!("order {line} of pipeline {number} was taken to the warehouse"));
            with_lines(pipeline, now, lines)
        })
        .collect()
}

fn agent() -> AgentInfo<'static> {
    let text = |text: &'static str| Some(Text::from(text));
    AgentInfo {
        name: None,
        stopping: None,
        version: text("0.1.0"),
        vector_version: text("0.58.0"),
        deployment_mode: text("STANDALONE"),
        running_as: text("systole"),
        engines: None,
        labels: [("os", "linux"), ("arch", "amd64")].map(|(key, value)| (Text::from(key), Text::from(value))).into(),
        health: AgentHealth { uptime_seconds: 86_400, clock_skew_ms: Some(3), ..AgentHealth::default() },
    }
}

fn host() -> HostMetrics {
    const GIB: u64 = 1 << 30;
    HostMetrics {
        memory_total_bytes: Some(16 * GIB),
        memory_used_bytes: Some(rand::random_range(4 * GIB..8 * GIB)),
        memory_free_bytes: Some(rand::random_range(4 * GIB..8 * GIB)),
        cpu_seconds_total: Some(345_600.0),
        cpu_seconds_idle: Some(rand::random_range(200_000.0..300_000.0)),
        load_avg_1: Some(rand::random_range(0.0..4.0)),
        load_avg_5: Some(rand::random_range(0.0..4.0)),
        load_avg_15: Some(rand::random_range(0.0..4.0)),
        fs_total_bytes: Some(256 * GIB),
        fs_used_bytes: Some(rand::random_range(64 * GIB..128 * GIB)),
        fs_free_bytes: Some(128 * GIB),
        disk_read_bytes: Some(rand::random_range(0..64 * GIB)),
        disk_written_bytes: Some(rand::random_range(0..64 * GIB)),
        net_rx_bytes: Some(rand::random_range(0..64 * GIB)),
        net_tx_bytes: Some(rand::random_range(0..64 * GIB)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use clap::Parser;
    use systole_shared::ReportRequest;
    use uuid::Uuid;

    use super::*;

    fn opened(packing: Packing, packed: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        match packing {
            Packing::Zstd => zstd::stream::read::Decoder::new(packed).unwrap().read_to_end(&mut text),
            Packing::Gzip => flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut text),
            Packing::Plain => (&mut &packed[..]).read_to_end(&mut text),
        }
        .unwrap();
        text
    }

    #[test]
    fn body_parts_form_one_report_with_the_stated_counts() {
        for (name, packing) in [("zstd", Packing::Zstd), ("gzip", Packing::Gzip), ("plain", Packing::Plain)] {
            let flags = ["systole-bench", "--spawn", "--pipelines", "3", "--components", "4", "--lines", "2"];
            let args = Args::try_parse_from(flags.into_iter().chain(["--encoding", name])).unwrap();
            let bodies = Bodies::new(&args);
            let mut body = Body::default();
            bodies.choose(PipelineStatus::Running, &mut body);
            let stamp = Stamp { boot: BootId(Uuid::now_v7()), seq: u64::MAX, start: i64::MAX - 5_000, end: i64::MAX };
            bodies.stamp(&mut body, stamp);
            let text = opened(packing, &[&body.head[..], &body.rest].concat());
            assert_eq!(text.len(), body.plain_bytes);
            let stamps = [1, 2, 3].map(|seq| Stamp { seq, start: 0, end: 5_000, ..stamp });
            let text_of_three = opened(packing, &bodies.request_of(&stamps));
            let three: ReportRequest<'_> = serde_json::from_slice(&text_of_three).unwrap();
            assert_eq!(three.reports.iter().map(|report| report.seq).collect::<Vec<_>>(), [1, 2, 3]);
            assert!(three.reports.iter().all(|report| report.pipelines.len() == 3));
            let request: ReportRequest<'_> = serde_json::from_slice(&text).unwrap();
            let report = &request.reports[0];
            assert_eq!((request.boot_id, report.seq, report.end), (stamp.boot, stamp.seq, stamp.end));
            assert_eq!((report.pipelines.len(), report.pipelines[2].components.len()), (3, 4));
            assert_eq!(report.pipelines[1].logs.len(), 2);
            assert!(report.host.is_some() && report.agent.is_some());
            let events = report.pipelines.iter().map(|pipeline| pipeline.sample.unwrap().events_in.get().unwrap());
            assert_eq!(events.sum::<i64>(), body.events_in as i64);
        }
    }
}
