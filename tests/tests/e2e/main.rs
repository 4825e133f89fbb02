//! The pair, end to end: real programs, real sockets, real time.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "every function is a test or a part of one; `on_each_database!` hides that from clippy"
)]

/// Runs tests on each database: for a function `report_counts_once(database: DatabaseKind)` there are the
/// tests `report_counts_once::sqlite` and `report_counts_once::postgres`. A function that is not listed is
/// dead code, and the lints fail.
macro_rules! on_each_database {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$test(systole_tests::harness::DatabaseKind::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$test(systole_tests::harness::DatabaseKind::Postgres).await;
            }
        })+
    };
}

mod addresses;
mod adopt;
mod agent_actions;
mod agent_pipelines;
mod alert_delivery;
mod alert_kills;
mod alert_rules;
mod alert_scene;
mod alert_targets;
mod alerts;
mod audit;
mod backup;
mod bad_input;
mod badge;
mod certificates;
mod chaos;
mod cluster;
mod collector_files;
mod commands;
mod contract;
mod control_pair;
mod dashboard;
mod definitions;
mod delivery;
mod demo;
mod disk;
mod exactly_once;
mod expiry;
mod feed;
mod feed_admission;
mod feed_pace;
mod fleet_lists;
mod fleet_metrics;
mod grafana;
mod heartbeat;
mod host;
mod identity;
mod install;
mod isolation;
mod journal;
mod limits_edge;
mod limits_ingest;
mod lists;
mod load;
mod log_identity;
mod log_names;
mod log_scene;
mod logs;
mod low_disk;
mod mistakes;
mod nginx;
mod node_admin;
mod node_labels;
mod operations;
mod operator_database;
mod operator_nodes;
mod operator_tokens;
mod oracle;
mod orphans;
mod outage;
mod pages;
mod pair;
mod postgres;
mod queries;
mod reasons;
mod recovery;
mod reload;
mod replay;
mod rollout_scene;
mod rollouts;
mod rollouts_of_agents;
mod rollups;
mod secrets;
mod session_origin;
mod sessions;
mod spool;
mod stub;
mod supervision;
mod system_text;
mod tail;
mod tail_history;
mod tls;
mod tokens;
mod top;
mod topology;
mod upgrade;
mod uplink;
mod vectorflow_actions;
mod vectorflow_agent;
mod vectorflow_agent_actions;
mod vectorflow_control;
mod vectorflow_delivery;
mod vectorflow_ingest;
mod vectorflow_pipelines;
mod vectorflow_rollouts;
mod vectorflow_scene;
mod vectorflow_takeover;
mod vectorflow_update;
mod watching;
