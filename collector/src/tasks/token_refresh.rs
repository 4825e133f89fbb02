//! Following tokens and environments in the database, which the command line changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::auth::Authenticator;
use crate::store::Store;

/// How often the database is asked for changes; the promise is two seconds.
const REFRESH_EVERY: Duration = Duration::from_millis(500);

/// How often the last use of tokens is written down.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// Follows the database, and writes down when tokens were used.
pub(crate) async fn follow(auth: Arc<Authenticator>, store: Arc<dyn Store>, stop: CancellationToken) {
    let mut refresh = tokio::time::interval(REFRESH_EVERY);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut touch = tokio::time::interval(TOUCH_EVERY);
    touch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let result = tokio::select! {
            () = stop.cancelled() => {
                // The last minute's uses; nobody may wait long for them.
                let _ = store.touch_tokens(auth.take_used()).await;
                return;
            }
            _ = refresh.tick() => auth.refresh(&*store).await,
            _ = touch.tick() => store.touch_tokens(auth.take_used()).await,
        };
        if let Err(error) = result {
            let error = crate::telemetry::logging::chain(&error);
            tracing::error!(error, "tokens and environments could not be read, the last known ones stay");
        }
    }
}
