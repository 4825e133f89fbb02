//! Cold queries, written once for both databases.
//!
//! diesel's `MultiConnection` refuses `on_conflict`, and a function that is generic over the backend needs a
//! bound for every expression in it. So these files are compiled twice: `sqlite` and `postgres` have each of them
//! as a module of their own (`#[path]`), and their `backend` says what a connection is, how a query runs on it and
//! where the databases differ. Columns and types are checked against each database.
//!
//! The files are asynchronous, as PostgreSQL needs it. On SQLite nothing in them ever waits, so `backend::ready`
//! takes the result out at once, on the thread that has the connection. What differs more than that, and the
//! committer's hot statements, are in `sqlite` and `postgres` themselves.

pub(super) mod history;
