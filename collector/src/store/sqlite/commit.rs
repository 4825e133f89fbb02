//! The committer's transaction: multi-row upserts in a few prepared shapes.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::upsert::excluded;

use super::backend::ready;
use crate::model::counters::{component_counters, pipeline_counters};
use crate::store::convert::signed;
use crate::store::schema::*;
use crate::store::{
    CommitBatch, ComponentMinuteRow, DeploymentRow, EventRow, FlushBatch, FlushMark, LogRow, NodeBootRow, NodeGapRow,
    NodeHeartbeat, NodeMinuteRow, NodeTotalsRow, PipelineMinuteRow, PipelineRow, PipelineStatusRow, SeriesRow,
    StoreError, TopologyRow,
};

#[declare_sql_function]
extern "SQL" {
    /// SQLite's scalar `min`. A sum beyond 2^63-1 becomes a float there, and this brings it back.
    #[sql_name = "min"]
    fn least(a: BigInt, b: BigInt) -> BigInt;

    /// The same for a sum that may be unknown.
    #[sql_name = "min"]
    fn least_known(a: Nullable<BigInt>, b: Nullable<BigInt>) -> Nullable<BigInt>;

    /// The first that is known.
    #[sql_name = "coalesce"]
    fn coalesce3(a: Nullable<BigInt>, b: Nullable<BigInt>, c: Nullable<BigInt>) -> Nullable<BigInt>;

    /// The first that is known.
    #[sql_name = "coalesce"]
    fn known_text(a: Nullable<Text>, b: Nullable<Text>) -> Nullable<Text>;

    /// The first that is known.
    fn coalesce(a: Nullable<BigInt>, b: Nullable<BigInt>) -> Nullable<BigInt>;
}

/// Writes rows a hundred, ten and one at a time. diesel keeps a statement prepared only when its
/// number of rows is part of its type, so these are arrays; and a hundred rows is where more gain no
/// more.
macro_rules! write_rows {
    ($connection:expr, $rows:expr, $write:ident) => {{
        let (hundreds, rest) = $rows.as_chunks::<100>();
        let (tens, ones) = rest.as_chunks::<10>();
        for rows in hundreds {
            $write($connection, rows)?;
        }
        for rows in tens {
            $write($connection, rows)?;
        }
        for row in ones {
            $write($connection, std::array::from_ref(row))?;
        }
    }};
}

/// Writes everything of the batch. The caller has begun the transaction.
pub(super) fn commit(connection: &mut SqliteConnection, batch: &CommitBatch) -> Result<(), StoreError> {
    write_rows!(connection, batch.pipelines, insert_pipelines);
    for (key, name) in &batch.pipeline_names {
        diesel::update(pipelines::table.find(key)).set(pipelines::name.eq(name)).execute(connection)?;
    }
    write_rows!(connection, batch.series, insert_series);
    write_rows!(connection, batch.gaps, insert_gaps);
    for (node, change) in &batch.nodes {
        diesel::update(nodes::table.find(node)).set(change).execute(connection)?;
    }
    write_rows!(connection, batch.statuses, upsert_statuses);
    write_rows!(connection, batch.deployments, upsert_deployments);
    for (node, slug) in &batch.ended_deployments {
        diesel::delete(deployments::table.find((node, slug))).execute(connection)?;
    }
    write_rows!(connection, batch.topologies, upsert_topologies);
    for settings in &batch.settings {
        diesel::update(nodes::table.find(settings.id)).set(settings).execute(connection)?;
    }
    write_rows!(connection, batch.logs, insert_logs);
    write_rows!(connection, batch.events, insert_events);
    if batch.alerts.row_count() > 0 {
        ready(super::alerts::write(connection, &batch.alerts))?;
    }
    if let Some(row) = &batch.wal {
        diesel::insert_into(journal::table).values(row).execute(connection)?;
    }
    for removal in &batch.removals {
        ready(super::nodes::remove(connection, removal))?;
    }
    set_head(connection, batch.head_seq)
}

/// The same for what becomes rows of the write-ahead log.
pub(super) fn flush(connection: &mut SqliteConnection, batch: &FlushBatch) -> Result<(), StoreError> {
    write_rows!(connection, batch.boots, upsert_boots);
    for (node, boot) in &batch.forgotten_boots {
        diesel::delete(node_boots::table.find((node, boot))).execute(connection)?;
    }
    for (node, heartbeat) in &batch.heartbeats {
        update_heartbeat(connection, *node, heartbeat)?;
    }
    write_rows!(connection, batch.totals, upsert_totals);
    write_rows!(connection, batch.pipeline_minutes, add_pipeline_minutes);
    write_rows!(connection, batch.component_minutes, add_component_minutes);
    write_rows!(connection, batch.node_minutes, upsert_node_minutes);
    write_rows!(connection, batch.dirty_hours, mark_hours);
    write_rows!(connection, batch.dirty_days, mark_days);
    if let Some(to) = batch.wal_trim {
        diesel::delete(journal::table.filter(journal::id.le(to))).execute(connection)?;
    }
    if let Some(FlushMark { number, to, minute, node }) = batch.mark {
        diesel::update(meta::table.find(1))
            .set((
                meta::folds.eq(signed(number)),
                meta::fold_to.eq(to),
                meta::fold_minute.eq(minute),
                meta::fold_node.eq(node),
            ))
            .execute(connection)?;
    }
    set_head(connection, batch.head_seq)
}

fn set_head(connection: &mut SqliteConnection, head_seq: u64) -> Result<(), StoreError> {
    diesel::update(meta::table.find(1)).set(meta::head_seq.eq(signed(head_seq))).execute(connection)?;
    Ok(())
}

fn insert_pipelines<const N: usize>(connection: &mut SqliteConnection, rows: &[PipelineRow; N]) -> QueryResult<usize> {
    diesel::insert_into(pipelines::table).values(rows).execute(connection)
}

fn insert_series<const N: usize>(connection: &mut SqliteConnection, rows: &[SeriesRow; N]) -> QueryResult<usize> {
    diesel::insert_into(series::table).values(rows).execute(connection)
}

fn insert_gaps<const N: usize>(connection: &mut SqliteConnection, rows: &[NodeGapRow; N]) -> QueryResult<usize> {
    diesel::insert_into(node_gaps::table).values(rows).on_conflict_do_nothing().execute(connection)
}

fn insert_logs<const N: usize>(connection: &mut SqliteConnection, rows: &[LogRow; N]) -> QueryResult<usize> {
    diesel::insert_into(logs::table).values(rows).execute(connection)
}

fn insert_events<const N: usize>(connection: &mut SqliteConnection, rows: &[EventRow; N]) -> QueryResult<usize> {
    diesel::insert_into(events::table).values(rows).execute(connection)
}

/// One fixed shape, unlike the update of a changeset, which is built again each time.
fn update_heartbeat(connection: &mut SqliteConnection, node: i64, heartbeat: &NodeHeartbeat) -> QueryResult<usize> {
    use nodes::{health, host, last_seen_at};
    diesel::update(nodes::table.find(node))
        .set((
            health.eq(known_text(&heartbeat.health, health)),
            host.eq(known_text(&heartbeat.host, host)),
            last_seen_at.eq(coalesce(heartbeat.last_seen_at, last_seen_at)),
        ))
        .execute(connection)
}

fn upsert_boots<const N: usize>(connection: &mut SqliteConnection, rows: &[NodeBootRow; N]) -> QueryResult<usize> {
    use node_boots::*;
    diesel::insert_into(table)
        .values(rows)
        .on_conflict((node, boot))
        .do_update()
        .set((seq.eq(excluded(seq)), last_seen_at.eq(excluded(last_seen_at))))
        .execute(connection)
}

fn upsert_totals<const N: usize>(connection: &mut SqliteConnection, rows: &[NodeTotalsRow; N]) -> QueryResult<usize> {
    use node_totals::*;
    diesel::insert_into(table)
        .values(rows)
        .on_conflict(node)
        .do_update()
        .set(body.eq(excluded(body)))
        .execute(connection)
}

fn upsert_statuses<const N: usize>(
    connection: &mut SqliteConnection,
    rows: &[PipelineStatusRow; N],
) -> QueryResult<usize> {
    use pipeline_status::*;
    diesel::insert_into(table)
        .values(rows)
        .on_conflict((node, pipeline))
        .do_update()
        .set((
            status.eq(excluded(status)),
            status_text.eq(excluded(status_text)),
            reason.eq(excluded(reason)),
            since.eq(excluded(since)),
            version.eq(excluded(version)),
            pid.eq(excluded(pid)),
            started_at.eq(excluded(started_at)),
            restarts.eq(excluded(restarts)),
            config_checksum.eq(excluded(config_checksum)),
            scrape_error.eq(excluded(scrape_error)),
            present.eq(excluded(present)),
            reported_at.eq(excluded(reported_at)),
        ))
        .execute(connection)
}

fn upsert_deployments<const N: usize>(
    connection: &mut SqliteConnection,
    rows: &[DeploymentRow; N],
) -> QueryResult<usize> {
    use deployments::*;
    diesel::insert_into(table)
        .values(rows)
        .on_conflict((node, slug))
        .do_update()
        .set((
            version.eq(excluded(version)),
            running_version.eq(excluded(running_version)),
            phase.eq(excluded(phase)),
            reason.eq(excluded(reason)),
            since.eq(excluded(since)),
        ))
        .execute(connection)
}

fn upsert_topologies<const N: usize>(connection: &mut SqliteConnection, rows: &[TopologyRow; N]) -> QueryResult<usize> {
    use topologies::*;
    diesel::insert_into(table)
        .values(rows)
        .on_conflict((pipeline, checksum))
        .do_update()
        .set((topology.eq(excluded(topology)), last_seen_at.eq(excluded(last_seen_at))))
        .execute(connection)
}

/// What an insert does with a counter of a row that exists.
macro_rules! merge_counter {
    (Delta $column:ident) => {
        $column.eq(least($column + excluded($column), i64::MAX))
    };
    (Total $column:ident) => {
        $column.eq(least($column + excluded($column), i64::MAX))
    };
    (KnownDelta $column:ident) => {
        $column.eq(least_known(coalesce3($column + excluded($column), $column, excluded($column)), i64::MAX))
    };
    (Gauge $column:ident) => {
        $column.eq(coalesce(excluded($column), $column))
    };
    ($kind:ident $column:ident) => {
        $column.eq($column + excluded($column))
    };
}

macro_rules! add_minutes {
    ({ $add:ident, $table:ident, $row:ident } $([$kind:ident $column:ident $($rest:tt)*])*) => {
        fn $add<const N: usize>(connection: &mut SqliteConnection, rows: &[$row; N]) -> QueryResult<usize> {
            use $table::*;
            diesel::insert_into(table)
                .values(rows)
                .on_conflict((minute, series))
                .do_update()
                .set(($(merge_counter!($kind $column),)*))
                .execute(connection)
        }
    };
}

pipeline_counters!(add_minutes { add_pipeline_minutes, pipeline_minutes, PipelineMinuteRow });
component_counters!(add_minutes { add_component_minutes, component_minutes, ComponentMinuteRow });

#[derive(Insertable)]
#[diesel(table_name = dirty_hours, treat_none_as_default_value = false)]
struct HourMark {
    hour: i64,
    node: i64,
    done: i64,
}

#[derive(Insertable)]
#[diesel(table_name = dirty_days, treat_none_as_default_value = false)]
struct DayMark {
    day: i64,
    node: i64,
    done: i64,
}

/// Writes nothing for an hour that is marked already, unless part of it has been summed since.
fn mark_hours<const N: usize>(connection: &mut SqliteConnection, rows: &[(i64, i64); N]) -> QueryResult<()> {
    use dirty_hours::*;
    let marks = rows.map(|(at, of)| HourMark { hour: at, node: of, done: 0 });
    diesel::insert_into(table).values(&marks).on_conflict_do_nothing().execute(connection)?;
    for key in rows {
        diesel::update(table.find(*key).filter(done.ne(0))).set(done.eq(0)).execute(connection)?;
    }
    Ok(())
}

fn mark_days<const N: usize>(connection: &mut SqliteConnection, rows: &[(i64, i64); N]) -> QueryResult<()> {
    use dirty_days::*;
    let marks = rows.map(|(at, of)| DayMark { day: at, node: of, done: 0 });
    diesel::insert_into(table).values(&marks).on_conflict_do_nothing().execute(connection)?;
    for key in rows {
        diesel::update(table.find(*key).filter(done.ne(0))).set(done.eq(0)).execute(connection)?;
    }
    Ok(())
}

fn upsert_node_minutes<const N: usize>(
    connection: &mut SqliteConnection,
    rows: &[NodeMinuteRow; N],
) -> QueryResult<usize> {
    use node_minutes::*;
    diesel::insert_into(table)
        .values(rows)
        .on_conflict((minute, node))
        .do_update()
        .set((
            memory_total_bytes.eq(excluded(memory_total_bytes)),
            memory_used_bytes.eq(excluded(memory_used_bytes)),
            memory_free_bytes.eq(excluded(memory_free_bytes)),
            cpu_seconds_total.eq(excluded(cpu_seconds_total)),
            cpu_seconds_idle.eq(excluded(cpu_seconds_idle)),
            load_avg_1.eq(excluded(load_avg_1)),
            load_avg_5.eq(excluded(load_avg_5)),
            load_avg_15.eq(excluded(load_avg_15)),
            fs_total_bytes.eq(excluded(fs_total_bytes)),
            fs_used_bytes.eq(excluded(fs_used_bytes)),
            fs_free_bytes.eq(excluded(fs_free_bytes)),
            disk_read_bytes.eq(excluded(disk_read_bytes)),
            disk_written_bytes.eq(excluded(disk_written_bytes)),
            net_rx_bytes.eq(excluded(net_rx_bytes)),
            net_tx_bytes.eq(excluded(net_tx_bytes)),
            samples.eq(samples + excluded(samples)),
        ))
        .execute(connection)
}
