//! The tasks of alerts, which start and stop together: one collector at most does this work.
//!
//! `evaluation` decides and writes. A `delivery` for each target sends what was written, and `alertmanager` says to each
//! Alertmanager what fires, again and again.

mod alertmanager;
mod delivery;
mod evaluation;
mod facts;
mod history;
mod notify;
mod results;

use std::sync::Arc;
use std::time::Duration;

use self::alertmanager::AlertmanagerPush;
use self::delivery::Delivery;
use self::evaluation::Evaluation;
use super::driver::Driver;
use crate::alerts::board::AlertBoard;
use crate::alerts::target::Sender;
use crate::auth::Authenticator;
use crate::config::alerts::rule::Condition;
use crate::config::alerts::target::TargetKind;
use crate::ingest::committer::Committer;
use crate::model::watched::WatchedStates;
use crate::store::Store;
use crate::telemetry::Telemetry;
use crate::timeseries::TimeSeries;

/// The dependencies of the tasks.
#[derive(Clone)]
pub(crate) struct AlertTasks {
    pub store: Arc<dyn Store>,
    pub timeseries: Arc<TimeSeries>,
    pub committer: Committer,
    pub watched: Arc<WatchedStates>,
    pub auth: Arc<Authenticator>,
    pub board: Arc<AlertBoard>,
    pub sender: Sender,
    pub telemetry: Arc<Telemetry>,
    /// Between two reports of an agent.
    pub interval: Duration,
    /// Time after the start in which nothing is decided: agents come back to the collector.
    pub grace: Duration,
}

impl AlertTasks {
    /// Starts all of them.
    pub(crate) fn start(self, driver: &mut Driver) {
        let settings = &self.board.settings;
        if settings.rules.iter().any(|rule| matches!(rule.condition, Condition::Host { .. })) {
            self.timeseries.keep_hosts();
        }
        for target in settings.targets.clone() {
            match target.kind {
                TargetKind::Alertmanager => driver.spawn(AlertmanagerPush::new(self.clone(), target)),
                _ => driver.spawn(Delivery::new(self.clone(), target)),
            }
        }
        driver.spawn(Evaluation::new(self));
    }
}
