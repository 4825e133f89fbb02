//! The collector over background tasks that panic.

use std::collections::BTreeMap;

use super::*;
use crate::config::Sources;
use crate::tasks::driver::{TaskPanicked, tests::inject_panic};

async fn run_with_panic_in(task: &'static str) {
    inject_panic(task);
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().display().to_string();
    let flags = BTreeMap::from([("data_dir", data_dir), ("listen", "127.0.0.1:0".to_owned())]);
    let config = Config::read(&Sources { flags, ..Sources::default() }).unwrap();
    let error = run(config, CancellationToken::new(), Arc::default(), |_| ()).await.unwrap_err();
    assert_eq!(error.downcast_ref::<TaskPanicked>().map(|panicked| panicked.0), Some(task), "{error:#}");
}

macro_rules! panic_ends_the_collector {
    ($($task:ident),*) => {
        mod panic_ends_the_collector {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $task() {
                    super::run_with_panic_in(stringify!($task)).await;
                }
            )*
        }
    };
}

panic_ends_the_collector!(liveness, token_refresh, rollup, retention, table_sizes, disk_guard, log_index);
