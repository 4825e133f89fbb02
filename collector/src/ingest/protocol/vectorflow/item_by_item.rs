//! The second reading of a heartbeat, after the first one failed: each item alone, and of a pipeline that cannot be
//! read each component alone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use systole_shared::ack::MAX_REFUSED_LISTED;
use systole_shared::limits::{MAX_COMPONENTS_PER_REPORT, MAX_PIPELINES_PER_REPORT};
use systole_shared::vectorflow::{Heartbeat, HeartbeatComponent, HeartbeatPipeline};
use systole_shared::{RefusalCode, Refused};

use super::heartbeat::{Pipelines, assemble};
use super::pipeline::Components;
use super::{DecodeError, DecodedHeartbeat, MAX_UNREADABLE_ITEMS};
use crate::ingest::protocol::first::First;
use crate::ingest::protocol::json::{id_of, parse, read_part};
use crate::model::report::Refusals;

/// Pipelines that are kept: those that may be taken, and as many of the rest as a response lists.
const MAX_KEPT_ITEMS: usize = MAX_PIPELINES_PER_REPORT + MAX_REFUSED_LISTED;

/// The field of a pipeline that has its components.
const COMPONENTS: &str = "componentMetrics";

/// A heartbeat with its items unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LooseHeartbeat<'a> {
    /// `null` is what Go writes for a list without items. It must be there: without pipelines every one has stopped.
    #[serde(borrow, deserialize_with = "Option::deserialize")]
    pipelines: Option<First<&'a RawValue, MAX_KEPT_ITEMS>>,
    #[serde(borrow, default)]
    host_metrics: Option<&'a RawValue>,
    #[serde(borrow, default)]
    agent_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    vector_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    deployment_mode: Option<&'a RawValue>,
    #[serde(borrow, default)]
    running_as: Option<&'a RawValue>,
    #[serde(borrow, default)]
    update_error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    labels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    agent_health: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sample_results: Option<&'a RawValue>,
}

/// The items of a body that may still be unreadable.
struct Unreadable(usize);

impl Unreadable {
    fn count(&mut self) -> Result<(), DecodeError> {
        self.0 += 1;
        if self.0 > MAX_UNREADABLE_ITEMS { Err(DecodeError::TooManyUnreadable) } else { Ok(()) }
    }
}

pub(super) fn decode_item_by_item(body: &[u8]) -> Result<DecodedHeartbeat, DecodeError> {
    // Only a fault is looked for again with its place, because that takes several times as long.
    let loose: LooseHeartbeat<'_> =
        serde_json::from_slice(body).or_else(|_| parse(body)).map_err(DecodeError::Malformed)?;
    let mut refusals = Refusals::default();
    let mut unreadable = Unreadable(0);
    let reported = loose.pipelines.unwrap_or_default();
    let (within, beyond) = reported.items.split_at(reported.items.len().min(MAX_PIPELINES_PER_REPORT));
    let mut pipelines = Pipelines::new();
    for raw in within {
        match parse::<HeartbeatPipeline<'_>>(raw.get().as_bytes()) {
            Ok(pipeline) => pipelines.take(pipeline, Components::ALL, &mut refusals),
            Err(detail) => {
                unreadable.count()?;
                if !take_without_bad_components(raw, &mut pipelines, &mut unreadable, &mut refusals)? {
                    pipelines.refuse(|| refused(id_of(raw), None, detail), &mut refusals);
                }
            }
        }
    }
    for raw in beyond {
        let detail = format!("at most {MAX_PIPELINES_PER_REPORT} pipelines in a heartbeat");
        let code = RefusalCode::TooManyPipelines;
        pipelines.refuse(|| Refused { code, ..refused(id_of(raw), None, detail) }, &mut refusals);
    }
    refusals.count += reported.beyond as u64;
    let heartbeat = Heartbeat {
        pipelines: Vec::new(),
        host_metrics: part("hostMetrics", loose.host_metrics, &mut refusals),
        agent_version: part("agentVersion", loose.agent_version, &mut refusals),
        vector_version: part("vectorVersion", loose.vector_version, &mut refusals),
        deployment_mode: part("deploymentMode", loose.deployment_mode, &mut refusals),
        running_as: part("runningAs", loose.running_as, &mut refusals),
        update_error: part("updateError", loose.update_error, &mut refusals),
        labels: part("labels", loose.labels, &mut refusals),
        agent_health: part("agentHealth", loose.agent_health, &mut refusals),
        sample_results: None,
    };
    let sample_results = loose.sample_results.map(ToOwned::to_owned);
    Ok(DecodedHeartbeat { sample_results, ..assemble(heartbeat, pipelines, refusals) })
}

/// A part that cannot be read is refused alone.
fn part<'a, T: Deserialize<'a>>(name: &str, raw: Option<&'a RawValue>, refusals: &mut Refusals) -> Option<T> {
    read_part(raw).unwrap_or_else(|detail| {
        refusals.push(refused(None, None, format!("{name}: {detail}")));
        None
    })
}

/// Takes a pipeline that can be read without those of its components that cannot. False when it cannot.
fn take_without_bad_components(
    raw: &RawValue,
    pipelines: &mut Pipelines,
    unreadable: &mut Unreadable,
    refusals: &mut Refusals,
) -> Result<bool, DecodeError> {
    let Ok(mut fields) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(raw.get()) else {
        return Ok(false);
    };
    let Some(components) = fields.remove(COMPONENTS) else { return Ok(false) };
    let Ok(components) = serde_json::from_str::<First<&RawValue, MAX_COMPONENTS_PER_REPORT>>(components.get()) else {
        return Ok(false);
    };
    // Fields that were read a moment ago.
    let rest = serde_json::to_string(&fields).unwrap_or_default();
    let Ok(mut pipeline) = serde_json::from_str::<HeartbeatPipeline<'_>>(&rest) else { return Ok(false) };
    let mut readable = Vec::with_capacity(components.items.len());
    for component in &components.items {
        match parse::<HeartbeatComponent<'_>>(component.get().as_bytes()) {
            Ok(component) => readable.push(component),
            Err(detail) => {
                unreadable.count()?;
                let (pipeline, component) = (pipeline.pipeline_id.as_str().to_owned(), component_id(component));
                refusals.push_with(|| refused(Some(pipeline), component, detail));
            }
        }
    }
    refusals.count += components.beyond as u64;
    let known = Components { are_complete: false, were_scraped: !components.items.is_empty() };
    pipeline.component_metrics = Some(readable);
    pipelines.take(pipeline, known, refusals);
    Ok(true)
}

fn component_id(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct OnlyId<'a> {
        #[serde(borrow)]
        component_id: Cow<'a, str>,
    }
    let only: OnlyId<'_> = serde_json::from_str(raw.get()).ok()?;
    Some(crate::ingest::protocol::text::short(&only.component_id))
}

fn refused(pipeline_id: Option<String>, component_id: Option<String>, detail: String) -> Refused {
    Refused { seq: 0, pipeline_id, component_id, code: RefusalCode::InvalidItem, detail }
}
