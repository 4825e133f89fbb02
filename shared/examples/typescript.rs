//! Prints the TypeScript declarations of the feed's types, for the client library.
//!
//! One file of all of them, because a file for each type would be twenty files that import each
//! other. `make types` formats and writes it; `make lint` fails when the committed one differs.
//!
//! An example and not ts-rs's own tests: the result is one formatted file, and tests write nothing.

use std::io::Write;

use systole_shared::events::{
    ComponentSample, Control, Deployment, Event, EventType, FleetStatus, FleetTotals, GapReason, GoodbyeReason,
    LogEntry, LogEntryLine, MetricUpdate, ResetReason, SnapshotNode, SnapshotPipeline, StatusChange,
};
use systole_shared::{
    AlertChange, AlertSeverity, AlertState, ComponentId, ComponentKind, DeploymentPhase, EnvironmentId, LogLevel,
    LogStream, NodeId, NodeStatus, PipelineId, PipelineStatus, RateSample,
};
use ts_rs::{Config, TS};

const HEAD: &str = "// What the feed says, made from the Rust types in shared/src by `make types`. Not to be edited.\n";

macro_rules! declarations {
    ($($type:ty),* $(,)?) => {
        [$(declaration::<$type>()),*]
    };
}

fn main() -> std::io::Result<()> {
    let declarations = declarations![
        Event,
        EventType,
        FleetStatus,
        FleetTotals,
        MetricUpdate,
        ComponentSample,
        RateSample,
        StatusChange,
        LogEntry,
        LogEntryLine,
        Deployment,
        DeploymentPhase,
        AlertChange,
        AlertState,
        AlertSeverity,
        Control,
        SnapshotNode,
        SnapshotPipeline,
        GapReason,
        ResetReason,
        GoodbyeReason,
        EnvironmentId,
        NodeId,
        PipelineId,
        ComponentId,
        NodeStatus,
        PipelineStatus,
        ComponentKind,
        LogLevel,
        LogStream,
    ];
    std::io::stdout().write_all([HEAD, &declarations.concat()].concat().as_bytes())
}

/// One exported type, with its documentation.
fn declaration<T: TS>() -> String {
    // Every number of the feed is far below 2^53, and its ids are texts.
    let config = Config::new().with_large_int("number");
    let text = format!("\n{}export {}\n", T::docs().unwrap_or_default(), T::decl(&config));
    text.split("/**\n").map(on_one_line).collect::<Vec<_>>().join("/**")
}

/// A comment of one line is written on one; `part` begins inside of it.
fn on_one_line(part: &str) -> String {
    match part.split_once("\n */") {
        Some((comment, rest)) if !comment.contains('\n') => format!("{} */{rest}", &comment[" *".len()..]),
        Some(_) => format!("\n{part}"),
        None => part.to_owned(),
    }
}
