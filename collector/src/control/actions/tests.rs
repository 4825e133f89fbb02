use systole_shared::action::TappedEvent;

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
