//! Leadership and members on PostgreSQL.

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::PostgresStore;
use crate::store::convert::signed;
use crate::store::{Claim, ClusterStore, LeaderRow, Member, SeenMember, StoreError};

/// The server's time, in milliseconds.
pub(super) const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// A row that was not written for so long is of a process that will not come back.
const FORGET_AFTER_MS: i64 = 24 * 3_600_000;

#[derive(QueryableByName)]
struct Leader {
    #[diesel(sql_type = BigInt)]
    term: i64,
    #[diesel(sql_type = Nullable<Text>)]
    leader_id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    url: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    certificate: Option<String>,
    #[diesel(sql_type = BigInt)]
    silent_ms: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Text)]
    url: String,
    #[diesel(sql_type = Nullable<Text>)]
    certificate: Option<String>,
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = BigInt)]
    started_at: i64,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    silent_ms: i64,
}

#[derive(QueryableByName)]
struct Secret {
    #[diesel(sql_type = Nullable<Text>)]
    cluster_secret: Option<String>,
}

#[async_trait]
impl ClusterStore for PostgresStore {
    async fn claim(&self, id: String, claim: Claim) -> Result<Option<u64>, StoreError> {
        self.writer()?.lock().await.claim(&id, claim).await
    }

    async fn renew(&self, term: u64) -> Result<(), StoreError> {
        let sql = format!("UPDATE meta SET leader_seen_at = {NOW_MS} WHERE id = 1 AND term = $1");
        // Not over the connection that commits: its turn may take a while.
        let renewed = sql_query(sql).bind::<BigInt, _>(signed(term)).execute(&mut *self.short.get().await?).await?;
        if renewed == 0 { Err(StoreError::Superseded) } else { Ok(()) }
    }

    async fn resign(&self) -> Result<(), StoreError> {
        self.writer()?.lock().await.resign().await
    }

    async fn leader(&self) -> Result<LeaderRow, StoreError> {
        let sql = format!(
            "SELECT term, leader_id, url, certificate, {NOW_MS} - leader_seen_at AS silent_ms \
             FROM meta LEFT JOIN collectors ON collectors.id = leader_id WHERE meta.id = 1"
        );
        let row: Leader = sql_query(sql).get_result(&mut *self.short.get().await?).await?;
        Ok(LeaderRow {
            term: u64::try_from(row.term).unwrap_or(0),
            id: row.leader_id,
            url: row.url,
            certificate: row.certificate,
            silent_ms: row.silent_ms,
        })
    }

    async fn announce(&self, member: Member) -> Result<(), StoreError> {
        let mut connection = self.short.get().await?;
        sql_query(format!(
            "INSERT INTO collectors (id, url, certificate, version, started_at, seen_at, state) \
             VALUES ($1, $2, $3, $4, $5, {NOW_MS}, $6) \
             ON CONFLICT (id) DO UPDATE SET url = excluded.url, certificate = excluded.certificate, \
             seen_at = excluded.seen_at, state = excluded.state"
        ))
        .bind::<Text, _>(&member.id)
        .bind::<Text, _>(&member.url)
        .bind::<Nullable<Text>, _>(&member.certificate)
        .bind::<Text, _>(&member.version)
        .bind::<BigInt, _>(member.started_at)
        .bind::<Text, _>(&member.state)
        .execute(&mut *connection)
        .await?;
        sql_query(format!("DELETE FROM collectors WHERE seen_at < {NOW_MS} - $1"))
            .bind::<BigInt, _>(FORGET_AFTER_MS)
            .execute(&mut *connection)
            .await?;
        Ok(())
    }

    async fn leave(&self, id: String) -> Result<(), StoreError> {
        let delete = sql_query("DELETE FROM collectors WHERE id = $1").bind::<Text, _>(id);
        delete.execute(&mut *self.short.get().await?).await?;
        Ok(())
    }

    async fn members(&self) -> Result<Vec<SeenMember>, StoreError> {
        let sql = format!(
            "SELECT id, url, certificate, version, started_at, state, {NOW_MS} - seen_at AS silent_ms \
             FROM collectors ORDER BY started_at, id"
        );
        let rows: Vec<Row> = sql_query(sql).load(&mut *self.short.get().await?).await?;
        let seen = |row: Row| SeenMember {
            member: Member {
                id: row.id,
                url: row.url,
                certificate: row.certificate,
                version: row.version,
                started_at: row.started_at,
                state: row.state,
            },
            silent_ms: row.silent_ms,
        };
        Ok(rows.into_iter().map(seen).collect())
    }

    async fn cluster_secret(&self) -> Result<String, StoreError> {
        let sql = "UPDATE meta SET cluster_secret = coalesce(cluster_secret, $1) WHERE id = 1 RETURNING cluster_secret";
        let row: Secret =
            sql_query(sql).bind::<Text, _>(new_secret()).get_result(&mut *self.short.get().await?).await?;
        row.cluster_secret.ok_or_else(|| StoreError::Corrupt("the secret of the cluster is empty".to_owned()))
    }
}

/// 244 random bits.
fn new_secret() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    half() + &half()
}
