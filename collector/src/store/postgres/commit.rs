//! The committer's transaction: one statement per table, all of them on their way at once.

use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::future::try_join_all;

use super::rows::{Columns, Statement};
use super::{alerts, nodes, tables};
use crate::store::convert::signed;
use crate::store::{AlertBatch, CommitBatch, FlushBatch, NodeRemoval, StoreError};

/// Writes everything of the batch, if `writer` is still the connection that may.
pub(super) async fn commit(
    connection: &mut AsyncPgConnection,
    batch: &CommitBatch,
    writer: &str,
) -> Result<(), StoreError> {
    run(connection, commit_rounds(batch, writer), &batch.alerts, &batch.removals).await
}

/// The same for what becomes rows of the write-ahead log.
pub(super) async fn flush(
    connection: &mut AsyncPgConnection,
    batch: &FlushBatch,
    writer: &str,
) -> Result<(), StoreError> {
    run(connection, flush_rounds(batch, writer), &AlertBatch::default(), &[]).await
}

async fn run(
    connection: &mut AsyncPgConnection,
    rounds: Vec<Vec<Statement<'_>>>,
    alerts: &AlertBatch,
    removals: &[NodeRemoval],
) -> Result<(), StoreError> {
    connection
        .transaction(async |connection: &mut AsyncPgConnection| {
            let mut moved = 0;
            for round in rounds {
                let changed = try_join_all(round.into_iter().map(|statement| statement.run(connection))).await?;
                // The head is the last statement of the last round.
                moved = changed.last().copied().unwrap_or(0);
            }
            if moved == 0 {
                return Err(StoreError::Superseded);
            }
            if alerts.row_count() > 0 {
                alerts::write(connection, alerts).await?;
            }
            for removal in removals {
                nodes::remove(connection, removal).await?;
            }
            Ok(())
        })
        .await
}

fn commit_rounds<'a>(batch: &'a CommitBatch, writer: &'a str) -> Vec<Vec<Statement<'a>>> {
    let mut rounds = Rounds(vec![Vec::new()]);
    rounds.add(&batch.pipelines, |a, b| a.id < b.id, tables::pipelines);
    rounds.add(&batch.pipeline_names, |a, b| a.0 < b.0, tables::pipeline_names);
    rounds.add(&batch.series, |a, b| a.id < b.id, tables::series);
    rounds.add(&batch.gaps, |_, _| true, tables::gaps);
    rounds.add(&batch.nodes, |a, b| a.0 < b.0, tables::nodes);
    rounds.add(&batch.statuses, |a, b| (a.node, a.pipeline) < (b.node, b.pipeline), tables::statuses);
    rounds.add(&batch.deployments, |a, b| (a.node, &a.slug) < (b.node, &b.slug), tables::deployments);
    rounds.add(&batch.ended_deployments, |_, _| true, tables::ended_deployments);
    rounds.add(&batch.topologies, |a, b| (a.pipeline, &a.checksum) < (b.pipeline, &b.checksum), tables::topologies);
    rounds.add(&batch.settings, |a, b| a.id < b.id, tables::settings);
    rounds.0[0].extend(batch.wal.as_ref().map(tables::journal));
    rounds.add(&batch.logs, |_, _| true, tables::logs);
    rounds.add(&batch.events, |_, _| true, tables::events);
    rounds.finish(tables::head(signed(batch.head_seq), None, writer))
}

fn flush_rounds<'a>(batch: &'a FlushBatch, writer: &'a str) -> Vec<Vec<Statement<'a>>> {
    let mut rounds = Rounds(vec![Vec::new()]);
    rounds.add(&batch.boots, |a, b| (a.node, &a.boot) < (b.node, &b.boot), tables::boots);
    rounds.add(&batch.forgotten_boots, |_, _| true, tables::forgotten_boots);
    rounds.add(&batch.heartbeats, |a, b| a.0 < b.0, tables::heartbeats);
    rounds.add(&batch.totals, |a, b| a.node < b.node, tables::totals);
    rounds.add(&batch.pipeline_minutes, |a, b| (a.minute, a.series) < (b.minute, b.series), tables::pipeline_minutes);
    rounds.add(&batch.component_minutes, |a, b| (a.minute, a.series) < (b.minute, b.series), tables::component_minutes);
    rounds.add(&batch.node_minutes, |a, b| (a.minute, a.node) < (b.minute, b.node), tables::node_minutes);
    rounds.add(&batch.dirty_hours, |a, b| a < b, tables::dirty_hours);
    rounds.add(&batch.dirty_days, |a, b| a < b, tables::dirty_days);
    rounds.0[0].extend(batch.wal_trim.map(tables::journal_trim));
    rounds.finish(tables::head(signed(batch.head_seq), batch.mark, writer))
}

/// The statements of a batch. Those of one round concern different rows; more than one round is
/// needed only for rows that come again.
struct Rounds<'a>(Vec<Vec<Statement<'a>>>);

impl<'a> Rounds<'a> {
    /// Adds the row of `meta`. It is taken last, as everywhere, so that two transactions never wait for each
    /// other.
    fn finish(mut self, head: Statement<'a>) -> Vec<Vec<Statement<'a>>> {
        if let Some(last) = self.0.last_mut() {
            last.push(head);
        }
        self.0
    }

    /// Adds rows, cut where the order breaks: a statement takes no key twice. The committer hands
    /// them in sorted, so that this is one statement.
    fn add<R>(
        &mut self,
        rows: &'a [R],
        in_order: impl FnMut(&R, &R) -> bool,
        statement: impl Fn(&Columns<'a, R>) -> Statement<'a>,
    ) {
        for (round, run) in rows.chunk_by(in_order).enumerate() {
            if round == self.0.len() {
                self.0.push(Vec::new());
            }
            self.0[round].push(statement(&Columns(run)));
        }
    }
}
