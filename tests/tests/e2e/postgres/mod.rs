//! PostgreSQL itself: TLS, crashes, backups, and moving there from SQLite.

mod backup;
mod migrate_data;
mod restart;
mod tls;
