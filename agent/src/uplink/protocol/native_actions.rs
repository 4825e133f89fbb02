//! Actions and their answers of the native protocol, in the terms of the model.

use std::time::Duration;

use systole_shared::action::{ActionOutput, ActionRequest, AgentAction, MAX_SAMPLE_EVENTS, MAX_SAMPLE_MS, TappedEvent};

use crate::model::action::{
    ActionAnswer, ActionId, ComponentSample, NodeAction, NodeRequest, SAMPLED_AT_ONCE, SampleRequest, TapBatch, TapPace,
};

/// How a Systole collector wants the events of taps: it says with each answer whether a consumer still waits.
pub(super) const TAP_PACE: TapPace = TapPace {
    batch_time: Duration::from_millis(250),
    batch_events: usize::MAX,
    gap: Duration::ZERO,
    sign_of_life: Some(Duration::from_secs(10)),
};

/// The action.
pub(super) fn action_of(action: AgentAction) -> NodeAction {
    let AgentAction { action_id, pipeline_id, request } = action;
    let request = match request {
        ActionRequest::Restart => NodeRequest::Restart,
        ActionRequest::Sample { components, limit, duration_ms } => {
            let limit = limit.clamp(1, MAX_SAMPLE_EVENTS);
            let time = Duration::from_millis(duration_ms.min(MAX_SAMPLE_MS));
            let count = components.len().max(1);
            // All of them have their turn within the time.
            let rounds = u32::try_from(count.div_ceil(SAMPLED_AT_ONCE)).unwrap_or(1);
            let (limit_each, time_each) = (limit.div_ceil(count), time / rounds);
            NodeRequest::Sample(SampleRequest { components, limit_each, limit, time_each })
        }
        ActionRequest::Tap { component, duration_ms } => {
            NodeRequest::Tap { component, time: Duration::from_millis(duration_ms) }
        }
        ActionRequest::StopTap => NodeRequest::StopTap,
    };
    NodeAction { id: ActionId::new(&action_id.to_string()), pipeline: pipeline_id, request }
}

/// The answer.
pub(super) fn output_of(answer: &ActionAnswer) -> ActionOutput {
    let of_batch = |TapBatch { events, dropped }: &TapBatch| ActionOutput {
        events: events.clone(),
        dropped: *dropped,
        ..ActionOutput::default()
    };
    match answer {
        ActionAnswer::Done => ActionOutput { done: true, ..ActionOutput::default() },
        ActionAnswer::Failed(error) => {
            ActionOutput { done: true, error: Some(error.clone()), ..ActionOutput::default() }
        }
        ActionAnswer::Sample { components, dropped } => {
            let events: Vec<TappedEvent> = components.iter().flat_map(|sample| &sample.events).cloned().collect();
            // What there is says more than the component without events.
            let error = components.iter().find_map(|ComponentSample { error, .. }| error.clone());
            let error = error.filter(|_| events.is_empty());
            ActionOutput { events, dropped: *dropped, done: true, error }
        }
        ActionAnswer::Events(batch) => of_batch(batch),
        ActionAnswer::TapEnded { rest, error } => ActionOutput { done: true, error: error.clone(), ..of_batch(rest) },
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::PipelineId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn components_of_a_sample_share_its_limit_and_time() {
        let components = (0..6).map(|number| number.to_string()).collect();
        let request = ActionRequest::Sample { components, limit: 5_000, duration_ms: 60_000 };
        let pipeline_id = PipelineId::parse("orders").unwrap();
        let action = action_of(AgentAction { action_id: Uuid::nil(), pipeline_id, request });
        let NodeRequest::Sample(sample) = action.request else { panic!("{action:?}") };
        assert_eq!((sample.limit, sample.limit_each), (1_000, 167));
        assert_eq!(sample.time_each, Duration::from_millis(7_500), "two rounds of four at once");
    }

    #[test]
    fn events_of_one_component_count_more_than_the_error_of_another() {
        let event = TappedEvent { at: 0, component_id: "a".into(), event: "{}".into(), truncated: false };
        let sample = |events: Vec<TappedEvent>, error: Option<&str>| ComponentSample {
            component: "a".into(),
            events,
            error: error.map(str::to_owned),
        };
        let output = |components| output_of(&ActionAnswer::Sample { components, dropped: 0 });
        let both = output(vec![sample(vec![], Some("a sink")), sample(vec![event], None)]);
        assert_eq!((both.events.len(), both.error, both.done), (1, None, true));
        assert_eq!(output(vec![sample(vec![], Some("a sink"))]).error.as_deref(), Some("a sink"));
    }
}
