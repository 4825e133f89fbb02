//! The pair, end to end: real programs, real sockets, real time.

#![forbid(unsafe_code)]

mod backup;
mod bad_input;
mod chaos;
mod commands;
mod contract;
mod crowd;
mod demo;
mod disk;
mod exactly_once;
mod expiry;
mod feed;
mod feed_doors;
mod feed_pace;
mod heartbeat;
mod identity;
mod install;
mod isolation;
mod lists;
mod logs;
mod low_disk;
mod nginx;
mod operations;
mod oracle;
mod outage;
mod pages;
mod pair;
mod queries;
mod reload;
mod replay;
mod rollups;
mod sessions;
mod spool;
mod stub;
mod supervision;
mod tail;
mod tls;
mod tokens;
mod watching;
