//! When tokens were last used. A row at a time costs little without a server.

use diesel::prelude::*;
use systole_shared::{TokenId, UnixMillis};

use crate::store::StoreError;
use crate::store::schema::tokens;

pub(super) fn touch_tokens(
    connection: &mut SqliteConnection,
    used: &[(TokenId, UnixMillis)],
) -> Result<(), StoreError> {
    for (id, at) in used {
        diesel::update(tokens::table.find(id.to_string())).set(tokens::last_used_at.eq(at)).execute(connection)?;
    }
    Ok(())
}
