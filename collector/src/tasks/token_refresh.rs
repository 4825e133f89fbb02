//! Reloads tokens and environments after the command line has changed them in the database.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::driver::{Activation, Pacing, Task, TaskError};
use crate::auth::Authenticator;
use crate::store::Store;

/// How often the database is asked for changes; the promise is two seconds.
const REFRESH_INTERVAL: Duration = Duration::from_millis(500);

/// The longest pause after a failure: within the promise, once the database answers again.
const MAX_RETRY: Duration = Duration::from_millis(1_500);

/// How often the last use of tokens is written down.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// Follows the database, and writes down when tokens were used. After a failure the last known tokens stay.
pub(crate) struct TokenRefresh {
    auth: Arc<Authenticator>,
    store: Arc<dyn Store>,
    next_touch: Instant,
}

impl TokenRefresh {
    /// Follows `store` for `auth`, which has just been loaded.
    pub(crate) fn new(auth: Arc<Authenticator>, store: Arc<dyn Store>) -> Self {
        TokenRefresh { auth, store, next_touch: Instant::now() }
    }
}

#[async_trait]
impl Task for TokenRefresh {
    fn name(&self) -> &'static str {
        "token_refresh"
    }

    fn pacing(&self) -> Pacing {
        Pacing { first: Duration::ZERO, between: Duration::ZERO, retry: REFRESH_INTERVAL, max_retry: MAX_RETRY }
    }

    async fn activate(&mut self) -> Result<Activation, TaskError> {
        self.auth.refresh(&*self.store).await?;
        let now = Instant::now();
        if now >= self.next_touch {
            self.next_touch = now + TOUCH_INTERVAL;
            self.store.touch_tokens(self.auth.take_used()).await?;
        }
        Ok(Activation::IdleFor(REFRESH_INTERVAL))
    }

    async fn finish(&mut self) {
        // The uses of the last minute. A failure costs no more than these.
        let _ = self.store.touch_tokens(self.auth.take_used()).await;
    }
}
