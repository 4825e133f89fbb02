//! The tests of `e2e` that depend on what the database does, on PostgreSQL: the harness gives every
//! collector of this program a database there. And those that are about PostgreSQL itself.

#![forbid(unsafe_code)]

mod backup;
#[path = "../e2e/exactly_once.rs"]
mod exactly_once;
#[path = "../e2e/isolation.rs"]
mod isolation;
#[path = "../e2e/lists.rs"]
mod lists;
mod migrate_data;
mod oracle;
#[path = "../e2e/pair.rs"]
mod pair;
#[path = "../e2e/queries.rs"]
mod queries;
#[path = "../e2e/replay.rs"]
mod replay;
mod restart;
#[path = "../e2e/rollups.rs"]
mod rollups;
#[path = "../e2e/sessions.rs"]
mod sessions;
mod tls;
#[path = "../e2e/tokens.rs"]
mod tokens;
