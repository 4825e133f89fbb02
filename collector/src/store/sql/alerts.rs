//! Alerts, their groups and messages, and silences.

use diesel::dsl::{count_star, max, min};
use diesel::prelude::*;
use systole_shared::UnixMillis;
use systole_shared::events::EventType;

use super::backend::{Backend, Connection, RunQueryDsl, storable};
use crate::store::convert::{kept_events, keys};
use crate::store::schema::*;
use crate::store::*;

/// Rows of one statement: the values of each are bound alone.
const ROWS_AT_ONCE: usize = 500;

/// Part of the committer's transaction.
pub(super) async fn write(connection: &mut Connection, batch: &AlertBatch) -> Result<(), StoreError> {
    let replaced: Vec<&String> = batch.alerts.iter().map(|row| &row.id).chain(&batch.forgotten).collect();
    for ids in replaced.chunks(ROWS_AT_ONCE) {
        let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        diesel::delete(alert_states::table.filter(alert_states::id.eq_any(ids))).execute(connection).await?;
    }
    for rows in batch.alerts.chunks(ROWS_AT_ONCE) {
        let rows: Vec<AlertRow> = rows.iter().map(storable_alert).collect();
        diesel::insert_into(alert_states::table).values(rows).execute(connection).await?;
    }
    let ids: Vec<&str> = batch.groups.iter().map(|row| row.id.as_str()).collect();
    if !ids.is_empty() {
        diesel::delete(alert_groups::table.filter(alert_groups::id.eq_any(ids))).execute(connection).await?;
        diesel::insert_into(alert_groups::table).values(batch.groups.clone()).execute(connection).await?;
    }
    for rows in batch.messages.chunks(ROWS_AT_ONCE) {
        let rows: Vec<OutboxRow> =
            rows.iter().map(|row| OutboxRow { message: storable(&row.message).into_owned(), ..row.clone() }).collect();
        diesel::insert_into(alert_outbox::table).values(rows).execute(connection).await?;
    }
    Ok(())
}

fn storable_alert(row: &AlertRow) -> AlertRow {
    AlertRow { name: storable(&row.name).into_owned(), text: storable(&row.text).into_owned(), ..row.clone() }
}

/// See [`AlertStore::load_alerts`]. The caller has begun the transaction.
pub(super) async fn load(connection: &mut Connection) -> Result<AlertSnapshot, StoreError> {
    let last: Option<i64> = alert_outbox::table.select(max(alert_outbox::id)).first(connection).await?;
    Ok(AlertSnapshot {
        alerts: alert_states::table.select(AlertRow::as_select()).load(connection).await?,
        groups: alert_groups::table.select(AlertGroupRow::as_select()).load(connection).await?,
        targets: alert_targets::table.select(TargetRow::as_select()).load(connection).await?,
        last_message: last.unwrap_or(0),
    })
}

pub(super) async fn waiting(
    connection: &mut Connection,
    target: &str,
    limit: i64,
) -> Result<Vec<OutboxRow>, StoreError> {
    Ok(alert_outbox::table
        .filter(alert_outbox::target.eq(target))
        .order(alert_outbox::id)
        .limit(limit)
        .select(OutboxRow::as_select())
        .load(connection)
        .await?)
}

/// See [`AlertStore::finish_messages`]. The caller has begun the transaction.
pub(super) async fn finish(connection: &mut Connection, done: &[i64], result: &TargetRow) -> Result<(), StoreError> {
    diesel::delete(alert_outbox::table.filter(alert_outbox::id.eq_any(done))).execute(connection).await?;
    diesel::delete(alert_targets::table.find(&result.target)).execute(connection).await?;
    let last_error = result.last_error.as_deref().map(|error| storable(error).into_owned());
    let row = TargetRow { last_error, ..result.clone() };
    diesel::insert_into(alert_targets::table).values(row).execute(connection).await?;
    Ok(())
}

pub(super) async fn usage(connection: &mut Connection) -> Result<Vec<OutboxUsage>, StoreError> {
    let rows: Vec<(String, i64, Option<i64>)> = alert_outbox::table
        .group_by(alert_outbox::target)
        .select((alert_outbox::target, count_star(), min(alert_outbox::created_at)))
        .load(connection)
        .await?;
    let usage = |(target, messages, oldest): (String, i64, Option<i64>)| OutboxUsage {
        target,
        messages,
        oldest_at: oldest.unwrap_or(0),
    };
    Ok(rows.into_iter().map(usage).collect())
}

/// See [`AlertStore::retain_targets`]. The caller has begun the transaction.
pub(super) async fn retain_targets(connection: &mut Connection, targets: &[String]) -> Result<(), StoreError> {
    diesel::delete(alert_outbox::table.filter(alert_outbox::target.ne_all(targets))).execute(connection).await?;
    diesel::delete(alert_targets::table.filter(alert_targets::target.ne_all(targets))).execute(connection).await?;
    Ok(())
}

pub(super) async fn list_events(
    connection: &mut Connection,
    query: &AlertEventQuery,
) -> Result<Vec<StoredEvent>, StoreError> {
    let (lowest, highest) = query.order.bounds(query.after);
    let mut select = events::table
        .select(EventRow::as_select())
        .filter(events::kind.eq(EventType::Alert.as_str()))
        .filter(events::seq.between(lowest, highest))
        .limit(query.limit)
        .into_boxed::<Backend>();
    select = match query.order {
        ListOrder::OldestFirst => select.order(events::seq),
        ListOrder::NewestFirst => select.order(events::seq.desc()),
    };
    if let Some(environments) = &query.environments {
        select = select.filter(events::environment.eq_any(keys(environments)));
    }
    if let Some(from) = query.from {
        select = select.filter(events::at.ge(from));
    }
    if let Some(to) = query.to {
        select = select.filter(events::at.lt(to));
    }
    Ok(kept_events(select.load(connection).await?))
}

/// See [`AlertStore::add_silence`]. The caller has begun the transaction.
pub(super) async fn add_silence(
    connection: &mut Connection,
    silence: &NewSilenceRow,
) -> Result<SilenceRow, StoreError> {
    let row = NewSilenceRow {
        matchers: storable(&silence.matchers).into_owned(),
        author: storable(&silence.author).into_owned(),
        note: storable(&silence.note).into_owned(),
        ..silence.clone()
    };
    Ok(diesel::insert_into(silences::table)
        .values(row)
        .returning(SilenceRow::as_returning())
        .get_result(connection)
        .await?)
}

pub(super) async fn list_silences(
    connection: &mut Connection,
    ends_after: UnixMillis,
) -> Result<Vec<SilenceRow>, StoreError> {
    Ok(silences::table
        .filter(silences::ends_at.gt(ends_after))
        .order(silences::id)
        .select(SilenceRow::as_select())
        .load(connection)
        .await?)
}

pub(super) async fn end_silence(connection: &mut Connection, id: i64, now: UnixMillis) -> Result<bool, StoreError> {
    let lasting = silences::table.filter(silences::id.eq(id).and(silences::ends_at.gt(now)));
    Ok(diesel::update(lasting).set(silences::ends_at.eq(now)).execute(connection).await? > 0)
}

pub(super) async fn expire_silences(connection: &mut Connection, before: UnixMillis) -> Result<u64, StoreError> {
    let ended = silences::table.filter(silences::ends_at.lt(before));
    Ok(diesel::delete(ended).execute(connection).await? as u64)
}
