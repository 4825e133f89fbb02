//! Connections: one by one, and in pools that make new ones for those that break.

use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::pooled_connection::deadpool::{Object, Pool, PoolError};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::PostgresUrl;
use crate::store::StoreError;
use crate::telemetry::logging::chain;

/// How long a server may take to answer the first time, unless the address says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long what was sent may stay without any sign of life from the server's host.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for the connection of a leader.
const LEADER_SILENCE_TIMEOUT: Duration = Duration::from_secs(3);

/// Silence after which either side asks whether the other is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// Lets the server notice within half a minute that this host is gone, and give back what it held.
const SERVER_KEEPALIVES: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
    SET idle_in_transaction_session_timeout = '30s';";

/// Longest wait for a connection of a pool.
const POOL_TIMEOUT: Duration = Duration::from_secs(15);

/// Makes connections to one database.
#[derive(Clone)]
pub(super) struct Connector {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    shown: String,
}

impl Connector {
    pub(super) fn new(url: &PostgresUrl) -> Result<Self, StoreError> {
        let shown = url.to_string();
        let tls = super::tls::connector(url)
            .map_err(|source| StoreError::Open { url: shown.clone(), source: source.into() })?;
        let mut config = url.config.clone();
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("systole-collector");
        }
        config.keepalives_idle(KEEPALIVE_IDLE);
        Ok(Connector { config, tls, shown })
    }

    /// The same for the connection of a leader: a network that is gone is noticed before another collector leads.
    pub(super) fn for_leader(&self) -> Self {
        let mut connector = self.clone();
        connector.config.tcp_user_timeout(LEADER_SILENCE_TIMEOUT);
        connector.config.connect_timeout(LEADER_SILENCE_TIMEOUT);
        connector
    }

    /// The address without its password.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// A connection of its own.
    pub(super) async fn connect(&self) -> Result<AsyncPgConnection, StoreError> {
        self.establish(SERVER_KEEPALIVES).await.map_err(|source| self.failed(source.into()))
    }

    async fn establish(&self, settings: &str) -> Result<AsyncPgConnection, ConnectionError> {
        let (client, connection) = self
            .config
            .connect(self.tls.clone())
            .await
            // The type has only room for one line.
            .map_err(|error| ConnectionError::BadConnection(chain(&error)))?;
        let mut connection = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
        connection.batch_execute(settings).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(connection)
    }

    fn failed(&self, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
        StoreError::Open { url: self.shown.clone(), source }
    }

    /// A pool of up to `size` connections, none of them made yet. `settings` are SQL.
    pub(super) fn pool(&self, size: usize, settings: String) -> Result<ConnectionPool, StoreError> {
        let connector = self.clone();
        let mut manager = ManagerConfig::default();
        // What has broken is seen without a question to the server.
        manager.recycling_method = RecyclingMethod::Fast;
        manager.custom_setup = Box::new(move |_| {
            let (connector, settings) = (connector.clone(), settings.clone());
            async move { connector.establish(&settings).await }.boxed()
        });
        let manager = AsyncDieselConnectionManager::new_with_config(String::new(), manager);
        let pool = Pool::builder(manager).max_size(size).build().map_err(|source| self.failed(source.into()))?;
        Ok(ConnectionPool { pool, connector: self.clone() })
    }
}

/// Connections that are shared.
pub(super) struct ConnectionPool {
    pool: Pool<AsyncPgConnection>,
    connector: Connector,
}

impl ConnectionPool {
    /// A connection, for as long as it is held.
    pub(super) async fn get(&self) -> Result<Object<AsyncPgConnection>, StoreError> {
        match tokio::time::timeout(POOL_TIMEOUT, self.pool.get()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(PoolError::Closed)) => Err(StoreError::Closed),
            Ok(Err(PoolError::Backend(source))) => Err(StoreError::Unreachable(source.into())),
            Ok(Err(source)) => Err(self.connector.failed(source.into())),
            Err(source) => Err(StoreError::Unreachable(source.into())),
        }
    }

    /// Gives out nothing more.
    pub(super) fn close(&self) {
        self.pool.close();
    }
}
