//! Converts the native protocol to [`NodeReport`]s.
//!
//! The whole body is read into borrowed structs at once. Only when that fails is it read again item
//! by item, so that one pipeline with a wrong type is refused alone; a healthy report pays nothing
//! for it.
//!
//! Both readings stop at their bounds. The structs end at the first report or pipeline too many. The second
//! reading keeps as many items as a report may have and some to list, and only counts the rest. A request
//! with more unreadable items than [`MAX_UNREADABLE_ITEMS`] is refused whole.
//!
//! Unknown fields of a report are ignored, because a newer agent can send them. Unknown settings, in
//! contrast, are errors.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use systole_shared::ack::MAX_REFUSED_LISTED;
use systole_shared::limits::{
    MAX_COMPONENTS_PER_REPORT, MAX_LABELS, MAX_LABELS_BYTES, MAX_LOG_LINE_BYTES, MAX_LOG_LINES_PER_REPORT,
    MAX_PIPELINES_PER_REPORT, MAX_REPORTS_PER_REQUEST, MAX_SHORT_TEXT_BYTES, cut,
};
use systole_shared::{
    AgentHealth, AgentInfo, BootId, ComponentId, ComponentReport, Counter, CounterFault, HostMetrics, PipelineId,
    PipelineReport, PipelineStatus, RefusalCode, Refused, Report, ReportRequest, SeqRange, Text, UnixMillis,
};

use crate::model::report::{
    NodeReport, PipelineDeltas, Refusals, ReportedAgent, ReportedComponent, ReportedLine, ReportedPipeline,
};

/// Items of one request that are read alone and are no pipelines. Each takes some microseconds; a request has
/// either a few of them, or it is not what an agent sends.
const MAX_UNREADABLE_ITEMS: usize = 2_000;

/// Pipelines of a report that the second reading keeps: those that may be taken, and as many of the rest as a
/// response lists.
const MAX_KEPT_ITEMS: usize = MAX_PIPELINES_PER_REPORT + MAX_REFUSED_LISTED;

/// A reason to refuse a whole request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// No JSON, or not of a request's shape.
    #[error("{0}")]
    Malformed(String),
    /// More reports than one request may have.
    #[error("{0} reports in one request, at most {MAX_REPORTS_PER_REQUEST}; split it")]
    TooManyReports(usize),
    /// More unreadable pipelines than one request may have.
    #[error("more than {MAX_UNREADABLE_ITEMS} pipelines of this request cannot be read; split it")]
    TooManyUnreadable,
    /// Numbers of reports must grow within a request.
    #[error("reports[{index}].seq is {seq}; it must be at least 1 and above the one before")]
    SeqOutOfOrder { index: usize, seq: u64 },
}

/// A request that was read: its items judged one by one.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub boot: BootId,
    pub sent_at: UnixMillis,
    pub reports: Vec<NodeReport>,
    pub refusals: Refusals,
}

impl Decoded {
    /// What it takes of memory, about: its structs, without long texts.
    pub(crate) fn bytes(&self) -> usize {
        let pipelines = self.reports.iter().flat_map(|report| &report.pipelines);
        pipelines
            .map(|pipeline| size_of_val(pipeline) + size_of_val(&*pipeline.components) + size_of_val(&*pipeline.logs))
            .sum()
    }
}

/// Reads a request.
pub(crate) fn decode(body: &[u8]) -> Result<Decoded, DecodeError> {
    let mut refusals = Refusals::default();
    let (boot, sent_at, reports) = match serde_json::from_slice::<ReportRequest<'_>>(body) {
        Ok(request) => {
            check_reports(request.reports.iter().map(|report| report.seq))?;
            let reports = request.reports.into_iter().map(|report| take_report(report, true, &mut refusals)).collect();
            (request.boot_id, request.sent_at, reports)
        }
        Err(_) => decode_item_by_item(body, &mut refusals)?,
    };
    Ok(Decoded { boot, sent_at, reports, refusals })
}

fn check_reports(seqs: impl ExactSizeIterator<Item = u64>) -> Result<(), DecodeError> {
    if seqs.len() > MAX_REPORTS_PER_REQUEST {
        return Err(DecodeError::TooManyReports(seqs.len()));
    }
    let mut last = 0;
    for (index, seq) in seqs.enumerate() {
        if seq <= last || seq > i64::MAX as u64 {
            return Err(DecodeError::SeqOutOfOrder { index, seq });
        }
        last = seq;
    }
    Ok(())
}

/// The request with its items unread.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct LooseRequest<'a> {
    boot_id: BootId,
    sent_at: UnixMillis,
    #[serde(borrow)]
    reports: First<LooseReport<'a>, MAX_REPORTS_PER_REQUEST>,
}

#[derive(serde::Deserialize)]
struct LooseReport<'a> {
    seq: u64,
    start: UnixMillis,
    end: UnixMillis,
    #[serde(borrow, default)]
    agent: Option<&'a RawValue>,
    #[serde(borrow, default)]
    host: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pipelines: First<&'a RawValue, MAX_KEPT_ITEMS>,
    #[serde(default)]
    covers: Option<SeqRange>,
}

/// The first `N` items of a sequence, and how many come after them.
struct First<T, const N: usize> {
    items: Vec<T>,
    beyond: usize,
}

impl<T, const N: usize> Default for First<T, N> {
    fn default() -> Self {
        First { items: Vec::new(), beyond: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for First<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Items<T, N> {
            type Value = First<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut first = First::default();
                while first.items.len() < N
                    && let Some(item) = items.next_element()?
                {
                    first.items.push(item);
                }
                while first.items.len() == N && items.next_element::<IgnoredAny>()?.is_some() {
                    first.beyond += 1;
                }
                Ok(first)
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Reads the request with its items unread. Only a fault is looked for again with its place, because that
/// takes several times as long.
fn parse_loose(body: &[u8]) -> Result<LooseRequest<'_>, String> {
    serde_json::from_slice(body).or_else(|_| parse(body))
}

fn parse<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        // Where in the item, not where in the body: line and column of an item mislead.
        let cause = error.inner().to_string();
        // It quotes what it found, which may be megabytes.
        short(&if path == "." { cause } else { format!("{path}: {cause}") })
    })?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}

fn decode_item_by_item(
    body: &[u8],
    refusals: &mut Refusals,
) -> Result<(BootId, UnixMillis, Vec<NodeReport>), DecodeError> {
    let request = parse_loose(body).map_err(DecodeError::Malformed)?;
    if request.reports.beyond > 0 {
        return Err(DecodeError::TooManyReports(request.reports.items.len() + request.reports.beyond));
    }
    check_reports(request.reports.items.iter().map(|report| report.seq))?;
    let mut reports = Vec::with_capacity(request.reports.items.len());
    let mut unreadable = 0;
    for loose in request.reports.items {
        let mut refuse = |pipeline_id: Option<String>, detail: String| {
            let code = RefusalCode::InvalidItem;
            refusals.push(Refused { seq: loose.seq, pipeline_id, component_id: None, code, detail });
        };
        let agent = read_part::<AgentInfo<'_>>(loose.agent).unwrap_or_else(|detail| {
            refuse(None, format!("agent: {detail}"));
            None
        });
        let host = read_part::<HostMetrics>(loose.host).unwrap_or_else(|detail| {
            refuse(None, format!("host: {detail}"));
            None
        });
        let kept = loose.pipelines.items;
        let (within, beyond) = kept.split_at(kept.len().min(MAX_PIPELINES_PER_REPORT));
        let mut complete = beyond.is_empty();
        let mut pipelines = Vec::with_capacity(within.len());
        for raw in within {
            match parse::<PipelineReport<'_>>(raw.get().as_bytes()) {
                Ok(pipeline) => pipelines.push(pipeline),
                Err(detail) => {
                    unreadable += 1;
                    if unreadable > MAX_UNREADABLE_ITEMS {
                        return Err(DecodeError::TooManyUnreadable);
                    }
                    complete = false;
                    refuse(id_of(raw), detail);
                }
            }
        }
        for raw in beyond {
            refusals.push_with(|| Refused {
                seq: loose.seq,
                pipeline_id: id_of(raw),
                component_id: None,
                code: RefusalCode::TooManyPipelines,
                detail: format!("at most {MAX_PIPELINES_PER_REPORT} pipelines in a report"),
            });
        }
        refusals.count += loose.pipelines.beyond as u64;
        let report = Report {
            seq: loose.seq,
            start: loose.start,
            end: loose.end,
            agent,
            host,
            pipelines,
            covers: loose.covers,
            deployments: Vec::new(),
        };
        reports.push(take_report(report, complete, refusals));
    }
    Ok((request.boot_id, request.sent_at, reports))
}

fn read_part<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<Option<T>, String> {
    raw.map(|raw| parse(raw.get().as_bytes())).transpose().map(Option::flatten)
}

/// The id of an item that could not be read as a whole, if at least that can.
fn id_of(raw: &RawValue) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct OnlyId<'a> {
        #[serde(borrow)]
        id: Text<'a>,
    }
    serde_json::from_str::<OnlyId<'_>>(raw.get()).ok().map(|item| short(item.id.as_str()))
}

/// Text for one line of a page: bounded, and without NUL, which not every database takes.
fn short(text: &str) -> String {
    without_nul(cut(text, MAX_SHORT_TEXT_BYTES))
}

/// A text that appears in log lines.
fn printable(text: &str) -> String {
    short(text).trim().replace(char::is_control, "\u{FFFD}")
}

fn without_nul(text: Cow<'_, str>) -> String {
    if text.as_bytes().contains(&0) { text.replace('\0', "\u{FFFD}") } else { text.into_owned() }
}

fn short_option(text: Option<Text<'_>>) -> Option<String> {
    text.map(|text| short(text.as_str()))
}

fn take_report(report: Report<'_>, mut complete: bool, refusals: &mut Refusals) -> NodeReport {
    let seq = report.seq;
    let mut budget = Budget { components: MAX_COMPONENTS_PER_REPORT, log_lines: MAX_LOG_LINES_PER_REPORT };
    let mut seen = Seen::new();
    let mut pipelines = Vec::with_capacity(report.pipelines.len().min(MAX_PIPELINES_PER_REPORT));
    for pipeline in report.pipelines {
        let named = pipeline.id.clone();
        let fault = match take_pipeline(pipeline, seq, &mut budget, refusals) {
            Ok(pipeline) if seen.add(pipelines.iter().map(|known: &ReportedPipeline| &known.id), &pipeline.id) => {
                pipelines.push(pipeline);
                continue;
            }
            Ok(_) => (RefusalCode::DuplicateId, "duplicate id: the first in this report is used".to_owned()),
            Err(fault) => fault,
        };
        complete = false;
        let pipeline_id = || Some(short(named.as_str()));
        refusals.push_with(|| Refused {
            seq,
            pipeline_id: pipeline_id(),
            component_id: None,
            code: fault.0,
            detail: fault.1,
        });
    }
    let health = report.agent.as_ref().map(|agent| AgentHealth {
        last_send_error: agent.health.last_send_error.as_deref().map(short),
        config_error: agent.health.config_error.as_deref().map(short),
        ..agent.health.clone()
    });
    NodeReport {
        seq,
        start: report.start,
        end: report.end,
        covers_from: report.covers.map_or(seq, |covers| covers.from.clamp(1, seq)),
        stopping: report.agent.as_ref().and_then(|agent| agent.stopping.as_ref()).map(|text| printable(text.as_str())),
        agent: report.agent.map(take_agent),
        health,
        host: report.host,
        pipelines,
        complete,
    }
}

fn take_agent(agent: AgentInfo<'_>) -> ReportedAgent {
    let label = |(key, value): (Text<'_>, Text<'_>)| (short(key.as_str()), short(value.as_str()));
    let mut labels_bytes = 0;
    let fits = |(key, value): &(String, String)| {
        labels_bytes += key.len() + value.len();
        labels_bytes <= MAX_LABELS_BYTES
    };
    // Names appear in log lines and tables, like those of enrolment.
    let name = agent.name.map(|name| printable(name.as_str()));
    ReportedAgent {
        name: name.filter(|name| !name.is_empty()),
        version: short_option(agent.version),
        vector_version: short_option(agent.vector_version),
        deployment_mode: short_option(agent.deployment_mode),
        running_as: short_option(agent.running_as),
        labels: agent.labels.into_iter().take(MAX_LABELS).map(label).take_while(fits).collect::<BTreeMap<_, _>>(),
    }
}

/// Finds ids that come twice. Few are compared one by one, which is quicker than hashing them.
struct Seen<I>(HashSet<I>);

impl<I: Clone + Eq + Hash> Seen<I> {
    const FEW: usize = 16;

    fn new() -> Self {
        Seen(HashSet::new())
    }

    /// False when one of `known`, which are all that were added, has this id.
    fn add<'a>(&mut self, mut known: impl ExactSizeIterator<Item = &'a I>, id: &'a I) -> bool {
        if known.len() < Self::FEW {
            return known.all(|known| known != id);
        }
        if self.0.is_empty() {
            self.0.extend(known.cloned());
        }
        self.0.insert(id.clone())
    }
}

/// The rest of a report's limits.
struct Budget {
    components: usize,
    log_lines: usize,
}

type Fault = (RefusalCode, String);

fn counter(name: &str, counter: Counter) -> Result<i64, Fault> {
    counter.get().map_err(|fault| match fault {
        CounterFault::Negative => (RefusalCode::NegativeCounter, format!("{name} is below zero")),
        CounterFault::TooLarge => (RefusalCode::CounterTooLarge, format!("{name} is above 9223372036854775807")),
    })
}

fn gauge(value: Option<Counter>) -> Option<i64> {
    value.and_then(|value| value.get().ok())
}

fn ratio(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite()).map(|value| value.clamp(0.0, 1.0))
}

fn latency(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value >= 0.0)
}

fn take_pipeline(
    pipeline: PipelineReport<'_>,
    seq: u64,
    budget: &mut Budget,
    refusals: &mut Refusals,
) -> Result<ReportedPipeline, Fault> {
    let id =
        PipelineId::parse(pipeline.id.as_str()).map_err(|fault| (RefusalCode::InvalidId, format!("id {fault}")))?;
    let sample = match pipeline.sample {
        Some(sample) => Some(PipelineDeltas {
            events_in: counter("sample.eventsIn", sample.events_in)?,
            events_out: counter("sample.eventsOut", sample.events_out)?,
            errors: counter("sample.errors", sample.errors)?,
            discarded: counter("sample.discarded", sample.discarded)?,
            bytes_in: counter("sample.bytesIn", sample.bytes_in)?,
            bytes_out: counter("sample.bytesOut", sample.bytes_out)?,
            utilization: ratio(sample.utilization),
            latency_ms: latency(sample.latency_ms),
            reset: sample.reset,
        }),
        None => None,
    };
    let mut refuse = |component_id: &dyn Fn() -> Option<String>, fault: &dyn Fn() -> Fault| {
        refusals.push_with(|| {
            let (code, detail) = fault();
            Refused { seq, pipeline_id: Some(id.to_string()), component_id: component_id(), code, detail }
        });
    };

    let mut seen = Seen::new();
    let mut components = Vec::with_capacity(pipeline.components.len().min(budget.components));
    for component in pipeline.components {
        let named = || Some(short(component.id.as_str()));
        if budget.components == 0 {
            let detail = || format!("at most {MAX_COMPONENTS_PER_REPORT} components in a report");
            refuse(&named, &|| (RefusalCode::TooManyComponents, detail()));
            continue;
        }
        match take_component(&component) {
            Ok(taken) if seen.add(components.iter().map(|known: &ReportedComponent| &known.id), &taken.id) => {
                budget.components -= 1;
                components.push(taken);
            }
            Ok(_) => refuse(&named, &|| {
                (RefusalCode::DuplicateId, "duplicate id: ids must be unique in a pipeline".to_owned())
            }),
            Err(fault) => refuse(&named, &|| fault.clone()),
        }
    }

    let excess = pipeline.logs.len().saturating_sub(budget.log_lines);
    if excess > 0 {
        let detail = || format!("{excess} lines beyond the {MAX_LOG_LINES_PER_REPORT} of a report were dropped");
        refuse(&|| None, &|| (RefusalCode::TooManyLogLines, detail()));
    }
    let logs: Vec<ReportedLine> = pipeline
        .logs
        .into_iter()
        .take(budget.log_lines)
        .map(|log| ReportedLine {
            at: log.at,
            stream: log.stream,
            level: log.level,
            line: without_nul(cut(log.line.as_str(), MAX_LOG_LINE_BYTES)),
        })
        .collect();
    budget.log_lines -= logs.len();

    let status = PipelineStatus::from_wire(pipeline.status.as_str());
    let status_text = (status == PipelineStatus::Unknown).then(|| short(pipeline.status.as_str()));
    Ok(ReportedPipeline {
        id,
        name: short_option(pipeline.name),
        version: pipeline.version,
        status,
        status_text,
        reason: short_option(pipeline.reason).unwrap_or_default(),
        pid: pipeline.pid,
        started_at: pipeline.started_at,
        restarts: pipeline.restarts,
        config_checksum: short_option(pipeline.config_checksum),
        sample,
        scrape_error: short_option(pipeline.scrape_error),
        components,
        logs,
        logs_dropped: i64::try_from(pipeline.logs_dropped).unwrap_or(i64::MAX).saturating_add(excess as i64),
    })
}

fn take_component(component: &ComponentReport<'_>) -> Result<ReportedComponent, Fault> {
    let id =
        ComponentId::parse(component.id.as_str()).map_err(|fault| (RefusalCode::InvalidId, format!("id {fault}")))?;
    Ok(ReportedComponent {
        id,
        kind: component.kind,
        received_events: counter("receivedEvents", component.received_events)?,
        sent_events: counter("sentEvents", component.sent_events)?,
        received_bytes: component.received_bytes.map(|bytes| counter("receivedBytes", bytes)).transpose()?,
        sent_bytes: component.sent_bytes.map(|bytes| counter("sentBytes", bytes)).transpose()?,
        errors: counter("errors", component.errors)?,
        discarded: counter("discarded", component.discarded)?,
        latency_ms: latency(component.latency_ms),
        utilization: ratio(component.utilization),
        buffer_events: gauge(component.buffer_events),
        buffer_max_events: gauge(component.buffer_max_events),
        buffer_bytes: gauge(component.buffer_bytes),
        buffer_max_bytes: gauge(component.buffer_max_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pipelines: &str) -> Vec<u8> {
        format!(
            r#"{{"bootId":"01890a5d-ac96-774b-bcce-b302099a8057","sentAt":1,
                "reports":[{{"seq":1,"start":0,"end":5000,"pipelines":[{pipelines}]}}]}}"#
        )
        .into_bytes()
    }

    fn ids(decoded: &Decoded) -> Vec<&str> {
        decoded.reports[0].pipelines.iter().map(|pipeline| pipeline.id.as_str()).collect()
    }

    #[test]
    fn pipeline_of_wrong_type_is_refused_alone() {
        let decoded = decode(&body(
            r#"{"id":"a","status":"RUNNING"},{"id":"b","status":"RUNNING","restarts":"x"},{"id":"c","status":"RUNNING"}"#,
        ))
        .unwrap();
        assert_eq!(ids(&decoded), ["a", "c"]);
        let refused = &decoded.refusals.listed[0];
        assert_eq!(refused.pipeline_id.as_deref(), Some("b"));
        assert_eq!(refused.code, RefusalCode::InvalidItem);
        assert!(refused.detail.starts_with("restarts: "), "{}", refused.detail);
        assert!(!decoded.reports[0].complete, "an incomplete report must not make its pipelines vanish");
    }

    #[test]
    fn counters_out_of_range_cost_their_item_only() {
        let sample = |value: &str| format!(r#"{{"eventsIn":{value},"eventsOut":1}}"#);
        let decoded = decode(&body(&format!(
            r#"{{"id":"a","status":"RUNNING","sample":{}}},{{"id":"b","status":"RUNNING","sample":{}}},
               {{"id":"c","status":"RUNNING","sample":{},"components":[{{"id":"x","kind":"sink","errors":-1}}]}}"#,
            sample("-5"),
            sample("9223372036854775808"),
            sample("9223372036854775807"),
        )))
        .unwrap();
        assert_eq!(ids(&decoded), ["c"]);
        let codes: Vec<_> = decoded.refusals.listed.iter().map(|refused| refused.code).collect();
        assert_eq!(codes, [RefusalCode::NegativeCounter, RefusalCode::CounterTooLarge, RefusalCode::NegativeCounter]);
        assert_eq!(decoded.refusals.listed[2].component_id.as_deref(), Some("x"));
    }

    #[test]
    fn pipelines_beyond_the_limit_are_refused() {
        let many: Vec<_> = (0..10_000).map(|i| format!(r#"{{"id":"p{i}","status":"RUNNING"}}"#)).collect();
        let decoded = decode(&body(&many.join(","))).unwrap();
        assert_eq!(decoded.reports[0].pipelines.len(), MAX_PIPELINES_PER_REPORT);
        assert_eq!(decoded.refusals.count, 9_000);
        assert_eq!(decoded.refusals.listed.len(), MAX_REFUSED_LISTED);
    }

    #[test]
    fn millions_of_items_that_are_no_pipelines_are_counted_and_few_are_read() {
        let decoded =
            decode(&body(&format!(r#"{{"id":"a","status":"RUNNING"}},{}1"#, "1,".repeat(2_999_998)))).unwrap();
        assert_eq!(ids(&decoded), ["a"]);
        assert_eq!(decoded.refusals.count, 2_999_999);
        assert_eq!(decoded.refusals.listed.len(), MAX_REFUSED_LISTED);
        assert!(!decoded.reports[0].complete);
    }

    #[test]
    fn many_reports_of_unreadable_items_are_refused_whole() {
        let bad = vec!["1"; MAX_PIPELINES_PER_REPORT].join(",");
        let reports: Vec<_> =
            (1..=3).map(|seq| format!(r#"{{"seq":{seq},"start":0,"end":1,"pipelines":[{bad}]}}"#)).collect();
        let boot = "01890a5d-ac96-774b-bcce-b302099a8057";
        let request = format!(r#"{{"bootId":"{boot}","sentAt":1,"reports":[{}]}}"#, reports.join(","));
        assert!(matches!(decode(request.as_bytes()), Err(DecodeError::TooManyUnreadable)));
    }

    #[test]
    fn components_beyond_the_limit_are_counted_and_the_first_are_listed() {
        let components = vec![r#"{"id":"c","kind":"sink"}"#; 100_000].join(",");
        let pipeline = format!(r#"{{"id":"a","status":"RUNNING","components":[{components}]}}"#);
        let decoded = decode(&body(&pipeline)).unwrap();
        assert_eq!(decoded.reports[0].pipelines[0].components.len(), 1);
        assert_eq!((decoded.refusals.count, decoded.refusals.listed.len()), (99_999, MAX_REFUSED_LISTED));
    }

    #[test]
    fn nul_is_refused_in_ids_and_replaced_in_text() {
        let decoded = decode(&body(
            r#"{"id":"a\u0000","status":"RUNNING"},
               {"id":"b","status":"RUNNING","reason":"x\u0000y","logs":[{"at":1,"stream":"stdout","line":"n\u0000l"}]}"#,
        ))
        .unwrap();
        assert_eq!(ids(&decoded), ["b"]);
        assert_eq!(decoded.refusals.listed[0].code, RefusalCode::InvalidId);
        let pipeline = &decoded.reports[0].pipelines[0];
        assert_eq!((pipeline.reason.as_str(), pipeline.logs[0].line.as_str()), ("x\u{FFFD}y", "n\u{FFFD}l"));
    }

    #[test]
    fn error_detail_has_bounded_length() {
        let decoded =
            decode(&body(&format!(r#"{{"id":"a","status":"RUNNING","restarts":"{}"}}"#, "x".repeat(100_000))));
        assert!(decoded.unwrap().refusals.listed[0].detail.len() <= MAX_SHORT_TEXT_BYTES);
    }

    #[test]
    fn unknown_status_keeps_its_text() {
        let decoded = decode(&body(r#"{"id":"a","status":"PAUSED","novelty":1}"#)).unwrap();
        let pipeline = &decoded.reports[0].pipelines[0];
        assert_eq!((pipeline.status, pipeline.status_text.as_deref()), (PipelineStatus::Unknown, Some("PAUSED")));
    }

    #[test]
    fn malformed_request_names_the_place() {
        let malformed = |body: &[u8]| match decode(body) {
            Err(DecodeError::Malformed(detail)) => detail,
            other => panic!("{other:?}"),
        };
        assert!(malformed(b"{").contains("EOF"));
        assert!(malformed(br#"{"bootId":"x","sentAt":1,"reports":[]}"#).starts_with("bootId: "));
        let wrong = br#"{"bootId":"01890a5d-ac96-774b-bcce-b302099a8057","sentAt":1,"reports":[{"seq":"1"}]}"#;
        assert!(malformed(wrong).starts_with("reports[0].seq: "), "{}", malformed(wrong));
    }

    #[test]
    fn reports_must_be_ordered_and_bounded() {
        let request = |seqs: Vec<u64>| {
            let reports: Vec<_> = seqs.iter().map(|seq| format!(r#"{{"seq":{seq},"start":0,"end":1}}"#)).collect();
            format!(
                r#"{{"bootId":"01890a5d-ac96-774b-bcce-b302099a8057","sentAt":1,"reports":[{}]}}"#,
                reports.join(",")
            )
        };
        assert!(matches!(decode(request(vec![2, 1]).as_bytes()), Err(DecodeError::SeqOutOfOrder { index: 1, seq: 1 })));
        assert!(matches!(decode(request(vec![0]).as_bytes()), Err(DecodeError::SeqOutOfOrder { .. })));
        assert!(matches!(decode(request((1..=101).collect()).as_bytes()), Err(DecodeError::TooManyReports(101))));
        assert_eq!(decode(request((1..=100).collect()).as_bytes()).unwrap().reports.len(), 100);
    }
}
