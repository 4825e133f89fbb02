//! The table of actions.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use systole_shared::UnixMillis;

use super::backend::{Backend, Connection, DIALECT, RunQueryDsl, storable};
use crate::store::convert::keys;
use crate::store::schema::audit;
use crate::store::{AuditQuery, AuditRow, NewAuditRow, StoreError};

/// See [`crate::store::AuditStore::add_audit`].
pub(super) async fn add(connection: &mut Connection, row: &NewAuditRow) -> Result<(), StoreError> {
    let text = |text: &str| storable(text).into_owned();
    let row = NewAuditRow {
        actor: text(&row.actor),
        action: text(&row.action),
        subject: text(&row.subject),
        result: text(&row.result),
        ..row.clone()
    };
    diesel::insert_into(audit::table).values(row).execute(connection).await?;
    Ok(())
}

/// See [`crate::store::AuditStore::list_audit`].
pub(super) async fn list(connection: &mut Connection, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
    let mut select =
        audit::table.select(AuditRow::as_select()).order(audit::id.desc()).limit(query.limit).into_boxed::<Backend>();
    if let Some(environments) = &query.environments {
        select = select.filter(audit::environment.eq_any(keys(environments).into_iter().map(Some).collect::<Vec<_>>()));
    }
    if let Some(from) = query.from {
        select = select.filter(audit::at.ge(from));
    }
    if let Some(to) = query.to {
        select = select.filter(audit::at.lt(to));
    }
    if let Some(action) = &query.action {
        select = select.filter(audit::action.eq(storable(action).into_owned()));
    }
    if let Some(token) = &query.token {
        select = select.filter(audit::token.eq(token.clone()));
    }
    if let Some(before) = query.before {
        select = select.filter(audit::id.lt(before));
    }
    Ok(select.load(connection).await?)
}

/// See [`crate::store::AuditStore::expire_audit`].
pub(super) async fn expire(connection: &mut Connection, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2)";
    let removed = sql_query(DIALECT.finish(sql.to_owned()))
        .bind::<BigInt, _>(before)
        .bind::<BigInt, _>(i64::from(limit))
        .execute(connection)
        .await?;
    Ok(removed as u64)
}
