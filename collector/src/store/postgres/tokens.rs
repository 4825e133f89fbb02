//! When tokens were last used. One statement for all of them, in the order of their ids, so that two of them do
//! not wait for each other.

use diesel_async::AsyncPgConnection;
use systole_shared::{TokenId, UnixMillis};

use super::rows::{Column, Template};
use crate::store::StoreError;

pub(super) async fn touch_tokens(
    connection: &AsyncPgConnection,
    mut used: Vec<(TokenId, UnixMillis)>,
) -> Result<(), StoreError> {
    used.sort_unstable_by_key(|(id, _)| id.0);
    let template =
        Template::over("UPDATE tokens SET last_used_at = new.at FROM", "uuid, at", "WHERE tokens.uuid = new.uuid");
    let uuids = used.iter().map(|(id, _)| id.to_string().into()).collect();
    let times = used.iter().map(|(_, at)| *at).collect();
    template.with(vec![Column::Text(uuids), Column::Int(times)]).run(connection).await?;
    Ok(())
}
