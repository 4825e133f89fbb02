use systole_shared::action::TappedEvent;

use super::restarts::OWN_RESTART;
use super::*;

const NODE: NodeKey = NodeKey(1);

fn actions() -> Arc<Actions> {
    Actions::new(Delivery::new(Vec::new()))
}

fn orders() -> PipelineId {
    PipelineId::parse("orders").unwrap()
}

fn tap() -> ActionRequest {
    ActionRequest::Tap { component: "in".to_owned(), duration_ms: 1_000 }
}

fn output(events: usize, bytes: usize) -> ActionOutput {
    let event = TappedEvent { at: 0, component_id: "in".into(), event: "x".repeat(bytes), truncated: false };
    ActionOutput { events: vec![event; events], ..ActionOutput::default() }
}

#[tokio::test]
async fn answer_goes_to_the_request_that_asked() {
    let actions = actions();
    let mut restart = actions.begin(NODE, orders(), ActionRequest::Restart).unwrap();
    let waiting = actions.take_waiting(NODE);
    assert_eq!(waiting.iter().map(|action| action.action_id).collect::<Vec<_>>(), [restart.id()]);
    assert!(actions.take_waiting(NODE).is_empty(), "it is not repeated");
    let done = ActionOutput { done: true, ..ActionOutput::default() };
    assert!(!actions.answer(NodeKey(2), restart.id(), done.clone()), "only its own node answers");
    assert!(!actions.answer(NODE, Uuid::nil(), done.clone()));
    assert!(actions.answer(NODE, restart.id(), done.clone()));
    assert_eq!(restart.next().await, Some(done.clone()));
    assert_eq!(restart.next().await, None);
    assert!(!actions.answer(NODE, restart.id(), done), "it is over");
}

#[tokio::test]
async fn tap_ends_with_its_watcher() {
    let actions = actions();
    let watched = actions.begin(NODE, orders(), tap()).unwrap();
    let id = watched.id();
    assert_eq!(actions.take_waiting(NODE).len(), 1);
    drop(watched);
    assert_eq!(actions.count(), 0);
    let stop = actions.take_waiting(NODE);
    assert_eq!((stop[0].action_id, &stop[0].request), (id, &ActionRequest::StopTap));
    assert!(!actions.answer(NODE, id, output(1, 1)), "the agent hears it also here");
}

#[tokio::test]
async fn action_that_no_request_waits_for_is_not_sent() {
    let actions = actions();
    drop(actions.begin(NODE, orders(), ActionRequest::Restart).unwrap());
    assert!(actions.take_waiting(NODE).is_empty());
}

#[tokio::test]
async fn slow_watcher_loses_events_and_hears_how_many() {
    let actions = actions();
    let mut watched = actions.begin(NODE, orders(), tap()).unwrap();
    let answers = 2 * MAX_PENDING;
    for _ in 0..answers {
        assert!(actions.answer(NODE, watched.id(), output(1, 1)));
    }
    assert!(actions.answer(NODE, watched.id(), output(1, MAX_PENDING_BYTES)));
    for _ in 0..MAX_PENDING {
        assert_eq!(watched.next().await.unwrap().dropped, 0);
    }
    assert!(actions.answer(NODE, watched.id(), output(1, 1)));
    let next = watched.next().await.unwrap();
    assert_eq!((next.events.len(), next.dropped), (1, (answers - MAX_PENDING + 1) as u64));
}

#[test]
fn open_actions_are_bounded() {
    let actions = actions();
    let mut open: Vec<_> = (0..MAX_TAPS_PER_NODE).map(|_| actions.begin(NODE, orders(), tap()).unwrap()).collect();
    assert_eq!(actions.begin(NODE, orders(), tap()).unwrap_err(), ActionError::TapsOfNode);
    open.extend(
        (MAX_TAPS_PER_NODE..MAX_OPEN_PER_NODE).map(|_| actions.begin(NODE, orders(), ActionRequest::Restart).unwrap()),
    );
    let refused = actions.begin(NODE, orders(), ActionRequest::Restart).unwrap_err();
    assert_eq!(refused, ActionError::ActionsOfNode);
    for node in 2.. {
        match actions.begin(NodeKey(node), orders(), tap()) {
            Ok(one) => open.push(one),
            Err(refused) => {
                assert_eq!(refused, ActionError::Taps);
                break;
            }
        }
    }
    for node in 2.. {
        match actions.begin(NodeKey(node), orders(), ActionRequest::Restart) {
            Ok(one) => open.push(one),
            Err(refused) => {
                assert_eq!((refused, open.len()), (ActionError::Actions, MAX_OPEN));
                break;
            }
        }
    }
    drop(open);
    assert_eq!(actions.count(), 0);
}

fn sample(components: &[&str], limit: usize) -> ActionRequest {
    let components = components.iter().map(|&component| component.to_owned()).collect();
    ActionRequest::Sample { components, limit, duration_ms: 1_000 }
}

fn failed(error: &str) -> ActionOutput {
    ActionOutput { error: Some(error.to_owned()), ..ActionOutput::default() }
}

#[tokio::test]
async fn sample_in_parts_is_done_with_its_last_component() {
    let actions = actions();
    let mut asked = actions.begin(NODE, orders(), sample(&["a", "b", "c"], 5)).unwrap();
    let id = asked.id();
    assert!(!actions.answer_part(NodeKey(2), id, "a", output(1, 1)), "only its own node answers");
    assert!(!actions.answer_part(NODE, id, "other", output(1, 1)));
    assert!(actions.answer_part(NODE, id, "a", output(3, 1)));
    assert!(!actions.answer_part(NODE, id, "a", output(1, 1)), "it has answered");
    assert!(actions.answer_part(NODE, id, "b", failed("no events")));
    assert!(actions.answer_part(NODE, id, "c", output(1, 1)));
    let first = asked.next().await.unwrap();
    assert_eq!((first.events.len(), first.dropped, first.done), (2, 1, false), "a third of five, rounded up");
    asked.next().await.unwrap();
    let last = asked.next().await.unwrap();
    assert_eq!((last.events.len(), last.done, last.error), (1, true, None), "one component alone fails nothing");
    assert!(!actions.answer_part(NODE, id, "c", output(1, 1)));
}

#[tokio::test]
async fn sample_without_any_event_says_why() {
    let actions = actions();
    let mut asked = actions.begin(NODE, orders(), sample(&["a", "b"], 5)).unwrap();
    actions.answer_part(NODE, asked.id(), "a", failed("no events"));
    actions.answer_part(NODE, asked.id(), "b", failed("no such component"));
    asked.next().await.unwrap();
    let last = asked.next().await.unwrap();
    assert_eq!((last.done, last.error.as_deref()), (true, Some("a: no events; b: no such component")));
}

#[tokio::test(start_paused = true)]
async fn restart_is_done_when_another_process_is_reported() {
    let actions = actions();
    let bills = PipelineId::parse("bills").unwrap();
    let mut restart = actions.begin_restart(NODE, orders(), Some(7)).unwrap();
    let reported = |pid| [(bills.clone(), Some(9)), (orders(), pid)];
    actions.observe(NODE, &reported(Some(7)));
    assert!(actions.delivery.take_left_out(NODE).is_empty(), "an agent that restarts by itself has a moment");
    tokio::time::advance(OWN_RESTART).await;
    actions.observe(NODE, &reported(Some(7)));
    actions.observe(NODE, &reported(Some(7)));
    assert_eq!(actions.delivery.take_left_out(NODE), [orders()].into(), "once");
    actions.observe(NODE, &reported(Some(7)));
    assert!(actions.delivery.take_left_out(NODE).is_empty(), "once");
    // Between its processes it has none.
    actions.observe(NODE, &reported(None));
    actions.observe(NodeKey(2), &reported(Some(8)));
    assert_eq!(actions.count(), 1);
    actions.observe(NODE, &reported(Some(8)));
    assert_eq!(restart.next().await, Some(ActionOutput { done: true, ..ActionOutput::default() }));
    assert_eq!(actions.count(), 0);
}

#[tokio::test]
async fn agent_that_polls_takes_samples_only() {
    let actions = actions();
    let sampled = actions.begin(NODE, orders(), sample(&["a"], 5)).unwrap();
    let mut tapped = actions.begin(NODE, orders(), tap()).unwrap();
    let restart = actions.begin_restart(NODE, orders(), Some(7)).unwrap();
    let polled = actions.take_for_poll(NODE);
    assert_eq!(polled.iter().map(|action| action.action_id).collect::<Vec<_>>(), [sampled.id()]);
    let ended = tapped.next().await.unwrap();
    assert!(ended.done && ended.error.is_some_and(|error| error.contains("no push stream")));
    assert_eq!(actions.delivery.take_left_out(NODE), [orders()].into());
    assert_eq!(actions.count(), 2, "the restart waits for another process");
    drop(restart);
    assert!(actions.take_for_poll(NODE).is_empty());
}
