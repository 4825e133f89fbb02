//! The statements of the committer's transaction, table by table.

use std::sync::LazyLock;

use super::rows::Merge::{self, Add, Count, CountKnown, Keep, Key, Replace};
use super::rows::{Column, Columns, Statement, Template};
use crate::model::counters::{CounterKind, component_counters, pipeline_counters};
use crate::store::convert::signed;
use crate::store::{
    ComponentMinuteRow, DeploymentRow, EventRow, FlushMark, LogRow, NodeBootRow, NodeChange, NodeGapRow, NodeHeartbeat,
    NodeMinuteRow, NodeSettingsRow, NodeTotalsRow, PipelineMinuteRow, PipelineRow, PipelineStatusRow, SeriesRow,
    TopologyRow, WalRow,
};

/// Moves the head of the sequence, and how far the journal has become rows. Changes no row when another
/// connection is the writer.
pub(super) fn head<'a>(head_seq: i64, at: Option<FlushMark>, writer: &'a str) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        let marks = ["folds", "fold_to", "fold_minute", "fold_node"];
        let marks = marks.map(|name| format!(", {name} = coalesce(new.{name}, meta.{name})")).concat();
        Template::over(
            &format!("UPDATE meta SET head_seq = new.head{marks} FROM"),
            "head, folds, fold_to, fold_minute, fold_node, writer",
            "WHERE meta.id = 1 AND meta.writer = new.writer",
        )
    });
    let mark = |of: fn(FlushMark) -> i64| Column::MaybeInt(vec![at.map(of)]);
    TEMPLATE.with(vec![
        Column::Int(vec![head_seq]),
        mark(|mark| signed(mark.number)),
        mark(|mark| mark.to),
        mark(|mark| mark.minute),
        mark(|mark| mark.node),
        Column::Text(vec![writer.into()]),
    ])
}

pub(super) fn journal(row: &WalRow) -> Statement<'_> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| Template::insert("journal", &["id", "body"]));
    TEMPLATE.with(vec![Column::Int(vec![row.id]), Column::Bytes(vec![&row.body])])
}

pub(super) fn journal_trim<'a>(to: i64) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> =
        LazyLock::new(|| Template::over("DELETE FROM journal USING", "id", "WHERE journal.id <= new.id"));
    TEMPLATE.with(vec![Column::Int(vec![to])])
}

pub(super) fn pipelines<'a>(rows: &Columns<'a, PipelineRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> =
        LazyLock::new(|| Template::insert("pipelines", &["id", "environment", "slug", "name"]));
    TEMPLATE.with(vec![
        rows.int(|row| row.id),
        rows.int(|row| row.environment),
        rows.text(|row| &row.slug),
        rows.text(|row| &row.name),
    ])
}

pub(super) fn pipeline_names<'a>(rows: &Columns<'a, (i64, String)>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        Template::over("UPDATE pipelines SET name = new.name FROM", "id, name", "WHERE pipelines.id = new.id")
    });
    TEMPLATE.with(vec![rows.int(|row| row.0), rows.text(|row| &row.1)])
}

pub(super) fn series<'a>(rows: &Columns<'a, SeriesRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> =
        LazyLock::new(|| Template::insert("series", &["id", "node", "pipeline", "component", "kind"]));
    TEMPLATE.with(vec![
        rows.int(|row| row.id),
        rows.int(|row| row.node),
        rows.int(|row| row.pipeline),
        rows.text(|row| &row.component),
        rows.text(|row| &row.kind),
    ])
}

pub(super) fn boots<'a>(rows: &Columns<'a, NodeBootRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        Template::upsert("node_boots", &[("node", Key), ("boot", Key), ("seq", Replace), ("last_seen_at", Replace)])
    });
    TEMPLATE.with(vec![
        rows.int(|row| row.node),
        rows.text(|row| &row.boot),
        rows.int(|row| row.seq),
        rows.int(|row| row.last_seen_at),
    ])
}

pub(super) fn forgotten_boots<'a>(rows: &Columns<'a, (i64, String)>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        let same = "WHERE node_boots.node = new.node AND node_boots.boot = new.boot";
        Template::over("DELETE FROM node_boots USING", "node, boot", same)
    });
    TEMPLATE.with(vec![rows.int(|row| row.0), rows.text(|row| &row.1)])
}

pub(super) fn totals<'a>(rows: &Columns<'a, NodeTotalsRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> =
        LazyLock::new(|| Template::upsert("node_totals", &[("node", Key), ("body", Replace)]));
    TEMPLATE.with(vec![rows.int(|row| row.node), rows.bytes(|row| &row.body)])
}

pub(super) fn gaps<'a>(rows: &Columns<'a, NodeGapRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> =
        LazyLock::new(|| Template::insert_new("node_gaps", &["node", "boot", "from_seq", "to_seq", "recorded_at"]));
    TEMPLATE.with(vec![
        rows.int(|row| row.node),
        rows.text(|row| &row.boot),
        rows.int(|row| row.from_seq),
        rows.int(|row| row.to_seq),
        rows.int(|row| row.recorded_at),
    ])
}

pub(super) fn heartbeats<'a>(rows: &Columns<'a, (i64, NodeHeartbeat)>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| known_columns(&["health", "host", "last_seen_at"]));
    TEMPLATE.with(vec![
        rows.int(|row| row.0),
        rows.maybe_text(|row| row.1.health.as_ref()),
        rows.maybe_text(|row| row.1.host.as_ref()),
        rows.maybe_int(|row| row.1.last_seen_at),
    ])
}

pub(super) fn nodes<'a>(rows: &Columns<'a, (i64, NodeChange)>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        known_columns(&[
            "name",
            "agent_kind",
            "agent_version",
            "vector_version",
            "deployment_mode",
            "running_as",
            "labels",
            "status",
            "status_reason",
            "status_since",
            "last_address",
            "engines",
        ])
    });
    TEMPLATE.with(vec![
        rows.int(|row| row.0),
        rows.maybe_text(|row| row.1.name.as_ref()),
        rows.maybe_text(|row| row.1.agent_kind.as_ref()),
        rows.maybe_text(|row| row.1.agent_version.as_ref()),
        rows.maybe_text(|row| row.1.vector_version.as_ref()),
        rows.maybe_text(|row| row.1.deployment_mode.as_ref()),
        rows.maybe_text(|row| row.1.running_as.as_ref()),
        rows.maybe_text(|row| row.1.labels.as_ref()),
        rows.maybe_text(|row| row.1.status.as_ref()),
        rows.maybe_text(|row| row.1.status_reason.as_ref()),
        rows.maybe_int(|row| row.1.status_since),
        rows.maybe_text(|row| row.1.last_address.as_ref()),
        rows.maybe_text(|row| row.1.engines.as_ref()),
    ])
}

/// What is set of nodes, also that nothing is.
pub(super) fn settings<'a>(rows: &Columns<'a, NodeSettingsRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        Template::over(
            "UPDATE nodes SET set_name = new.set_name, set_labels = new.set_labels, \
             maintenance_until = new.maintenance_until, maintenance_note = new.maintenance_note FROM",
            "id, set_name, set_labels, maintenance_until, maintenance_note",
            "WHERE nodes.id = new.id",
        )
    });
    TEMPLATE.with(vec![
        rows.int(|row| row.id),
        rows.maybe_text(|row| row.set_name.as_ref()),
        rows.maybe_text(|row| row.set_labels.as_ref()),
        rows.maybe_int(|row| row.maintenance_until),
        rows.maybe_text(|row| row.maintenance_note.as_ref()),
    ])
}

/// Changes what is known of these columns of nodes, and leaves the others.
fn known_columns(columns: &[&str]) -> Template {
    let assignments: Vec<_> =
        columns.iter().map(|column| format!("{column} = coalesce(new.{column}, nodes.{column})")).collect();
    Template::over(
        &format!("UPDATE nodes SET {} FROM", assignments.join(", ")),
        &format!("id, {}", columns.join(", ")),
        "WHERE nodes.id = new.id",
    )
}

pub(super) fn statuses<'a>(rows: &Columns<'a, PipelineStatusRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        let columns = [
            ("node", Key),
            ("pipeline", Key),
            ("status", Replace),
            ("status_text", Replace),
            ("reason", Replace),
            ("since", Replace),
            ("version", Replace),
            ("pid", Replace),
            ("started_at", Replace),
            ("restarts", Replace),
            ("config_checksum", Replace),
            ("scrape_error", Replace),
            ("present", Replace),
            ("reported_at", Replace),
        ];
        Template::upsert("pipeline_status", &columns)
    });
    TEMPLATE.with(vec![
        rows.int(|row| row.node),
        rows.int(|row| row.pipeline),
        rows.text(|row| &row.status),
        rows.maybe_text(|row| row.status_text.as_ref()),
        rows.text(|row| &row.reason),
        rows.int(|row| row.since),
        rows.maybe_int(|row| row.version),
        rows.maybe_int(|row| row.pid),
        rows.maybe_int(|row| row.started_at),
        rows.int(|row| row.restarts),
        rows.maybe_text(|row| row.config_checksum.as_ref()),
        rows.maybe_text(|row| row.scrape_error.as_ref()),
        rows.int(|row| row.present),
        rows.int(|row| row.reported_at),
    ])
}

pub(super) fn deployments<'a>(rows: &Columns<'a, DeploymentRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        let columns = [
            ("node", Key),
            ("slug", Key),
            ("version", Replace),
            ("running_version", Replace),
            ("phase", Replace),
            ("reason", Replace),
            ("since", Replace),
        ];
        Template::upsert("deployments", &columns)
    });
    TEMPLATE.with(vec![
        rows.int(|row| row.node),
        rows.text(|row| &row.slug),
        rows.int(|row| row.version),
        rows.maybe_int(|row| row.running_version),
        rows.text(|row| &row.phase),
        rows.text(|row| &row.reason),
        rows.int(|row| row.since),
    ])
}

pub(super) fn ended_deployments<'a>(rows: &Columns<'a, (i64, String)>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        let same = "WHERE deployments.node = new.node AND deployments.slug = new.slug";
        Template::over("DELETE FROM deployments USING", "node, slug", same)
    });
    TEMPLATE.with(vec![rows.int(|row| row.0), rows.text(|row| &row.1)])
}

pub(super) fn topologies<'a>(rows: &Columns<'a, TopologyRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        let columns = [("pipeline", Key), ("checksum", Key), ("topology", Replace), ("last_seen_at", Replace)];
        Template::upsert("topologies", &columns)
    });
    TEMPLATE.with(vec![
        rows.int(|row| row.pipeline),
        rows.text(|row| &row.checksum),
        rows.text(|row| &row.topology),
        rows.int(|row| row.last_seen_at),
    ])
}

/// What an insert does with a counter of a row that exists.
fn merge(kind: CounterKind) -> Merge {
    match kind {
        CounterKind::Delta | CounterKind::Total => Count,
        CounterKind::KnownDelta => CountKnown,
        CounterKind::Mean | CounterKind::Tally => Add,
        CounterKind::Gauge => Keep,
    }
}

macro_rules! counter_column {
    (Mean, $rows:ident, $column:ident) => {
        $rows.float(|row| row.$column)
    };
    (KnownDelta, $rows:ident, $column:ident) => {
        $rows.maybe_int(|row| row.$column)
    };
    (Gauge, $rows:ident, $column:ident) => {
        $rows.maybe_int(|row| row.$column)
    };
    ($kind:ident, $rows:ident, $column:ident) => {
        $rows.int(|row| row.$column)
    };
}

macro_rules! minutes {
    ({ $table:ident, $row:ident } $([$kind:ident $column:ident $($rest:tt)*])*) => {
        pub(super) fn $table<'a>(rows: &Columns<'a, $row>) -> Statement<'a> {
            static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
                let counters = [$((stringify!($column), merge(CounterKind::$kind))),*];
                Template::upsert(stringify!($table), &[[("minute", Key), ("series", Key)].as_slice(), &counters].concat())
            });
            TEMPLATE.with(vec![
                rows.int(|row| row.minute),
                rows.int(|row| row.series),
                $(counter_column!($kind, rows, $column),)*
            ])
        }
    };
}

pipeline_counters!(minutes { pipeline_minutes, PipelineMinuteRow });
component_counters!(minutes { component_minutes, ComponentMinuteRow });

pub(super) fn node_minutes<'a>(rows: &Columns<'a, NodeMinuteRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        let columns = [
            ("minute", Key),
            ("node", Key),
            ("memory_total_bytes", Replace),
            ("memory_used_bytes", Replace),
            ("memory_free_bytes", Replace),
            ("cpu_seconds_total", Replace),
            ("cpu_seconds_idle", Replace),
            ("load_avg_1", Replace),
            ("load_avg_5", Replace),
            ("load_avg_15", Replace),
            ("fs_total_bytes", Replace),
            ("fs_used_bytes", Replace),
            ("fs_free_bytes", Replace),
            ("disk_read_bytes", Replace),
            ("disk_written_bytes", Replace),
            ("net_rx_bytes", Replace),
            ("net_tx_bytes", Replace),
            ("samples", Add),
        ];
        Template::upsert("node_minutes", &columns)
    });
    TEMPLATE.with(vec![
        rows.int(|row| row.minute),
        rows.int(|row| row.node),
        rows.maybe_int(|row| row.memory_total_bytes),
        rows.maybe_int(|row| row.memory_used_bytes),
        rows.maybe_int(|row| row.memory_free_bytes),
        rows.maybe_float(|row| row.cpu_seconds_total),
        rows.maybe_float(|row| row.cpu_seconds_idle),
        rows.maybe_float(|row| row.load_avg_1),
        rows.maybe_float(|row| row.load_avg_5),
        rows.maybe_float(|row| row.load_avg_15),
        rows.maybe_int(|row| row.fs_total_bytes),
        rows.maybe_int(|row| row.fs_used_bytes),
        rows.maybe_int(|row| row.fs_free_bytes),
        rows.maybe_int(|row| row.disk_read_bytes),
        rows.maybe_int(|row| row.disk_written_bytes),
        rows.maybe_int(|row| row.net_rx_bytes),
        rows.maybe_int(|row| row.net_tx_bytes),
        rows.int(|row| row.samples),
    ])
}

/// Changes nothing of an hour that is marked already, unless part of it has been summed since.
pub(super) fn dirty_hours<'a>(rows: &Columns<'a, (i64, i64)>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        Template::over(
            "INSERT INTO dirty_hours AS old (hour, node, done) SELECT new.hour, new.node, 0 FROM",
            "hour, node",
            "ON CONFLICT (hour, node) DO UPDATE SET done = 0 WHERE old.done <> 0",
        )
    });
    TEMPLATE.with(vec![rows.int(|row| row.0), rows.int(|row| row.1)])
}

/// The same for days.
pub(super) fn dirty_days<'a>(rows: &Columns<'a, (i64, i64)>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        Template::over(
            "INSERT INTO dirty_days AS old (day, node, done) SELECT new.day, new.node, 0 FROM",
            "day, node",
            "ON CONFLICT (day, node) DO UPDATE SET done = 0 WHERE old.done <> 0",
        )
    });
    TEMPLATE.with(vec![rows.int(|row| row.0), rows.int(|row| row.1)])
}

pub(super) fn logs<'a>(rows: &Columns<'a, LogRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        Template::insert("logs", &["seq", "entry_seq", "at", "node", "pipeline", "stream", "level", "line"])
    });
    TEMPLATE.with(vec![
        rows.int(|row| row.seq),
        rows.int(|row| row.entry_seq),
        rows.int(|row| row.at),
        rows.int(|row| row.node),
        rows.int(|row| row.pipeline),
        rows.text(|row| &row.stream),
        rows.maybe_text(|row| row.level.as_ref()),
        rows.text(|row| &row.line),
    ])
}

pub(super) fn events<'a>(rows: &Columns<'a, EventRow>) -> Statement<'a> {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
        Template::insert("events", &["seq", "at", "environment", "node", "pipeline", "kind", "payload"])
    });
    TEMPLATE.with(vec![
        rows.int(|row| row.seq),
        rows.int(|row| row.at),
        rows.int(|row| row.environment),
        rows.int(|row| row.node),
        rows.maybe_int(|row| row.pipeline),
        rows.text(|row| &row.kind),
        rows.text(|row| &row.payload),
    ])
}
