//! A record of the write-ahead log: the additions of one transaction, packed.
//!
//! Whole numbers take as many bytes as they need, and floats that are whole numbers count as such;
//! what is left that repeats (the hosts' texts) is up to zstd.

mod earlier;

use serde::{Deserialize, Serialize};

use crate::store::MinuteBucket;
use crate::store::{NodeBootRow, NodeHeartbeat, NodeTotalsRow, StoreError};

/// The form of a record. A later version reads what an earlier one has left: see [`earlier`].
const VERSION: u8 = 3;

/// Level of zstd: the fastest that is worth it.
const LEVEL: i32 = 1;

/// The additions of one transaction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WalRecord {
    pub buckets: Vec<MinuteBucket>,
    pub boots: Vec<NodeBootRow>,
    /// Nodes and their boots that are remembered no more.
    pub forgotten_boots: Vec<(i64, String)>,
    pub heartbeats: Vec<(i64, NodeHeartbeat)>,
    /// The last totals of nodes whose agents report totals.
    pub totals: Vec<NodeTotalsRow>,
}

impl WalRecord {
    /// Boots, heartbeats and totals, for the metric of rows written.
    pub(crate) fn row_count(&self) -> usize {
        self.boots.len() + self.heartbeats.len() + self.totals.len()
    }

    /// Drops what belongs to other nodes.
    pub(super) fn retain_nodes(&mut self, is_known: impl Fn(i64) -> bool) {
        self.buckets.retain(|bucket| is_known(bucket.node));
        self.boots.retain(|row| is_known(row.node));
        self.forgotten_boots.retain(|(node, _)| is_known(*node));
        self.heartbeats.retain(|(node, _)| is_known(*node));
        self.totals.retain(|row| is_known(row.node));
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
            && self.boots.is_empty()
            && self.forgotten_boots.is_empty()
            && self.heartbeats.is_empty()
            && self.totals.is_empty()
    }

    /// Its bytes.
    pub(super) fn pack(&self) -> Result<Vec<u8>, StoreError> {
        let failed =
            |error: &dyn std::fmt::Display| StoreError::Corrupt(format!("a record of the write-ahead log: {error}"));
        let plain = postcard::to_stdvec(self).map_err(|error| failed(&error))?;
        let packed = zstd::bulk::compress(&plain, LEVEL).map_err(|error| failed(&error))?;
        let mut body = Vec::with_capacity(packed.len() + 5);
        body.push(VERSION);
        body.extend(u32::try_from(plain.len()).map_err(|error| failed(&error))?.to_le_bytes());
        body.extend(packed);
        Ok(body)
    }

    /// Reads a record that some version has written.
    pub(super) fn unpack(body: &[u8]) -> Result<Self, StoreError> {
        let failed = |what: String| StoreError::Corrupt(format!("a record of the write-ahead log: {what}"));
        let Some((&[version, a, b, c, d], packed)) = body.split_first_chunk() else {
            return Err(failed("it is cut off".to_owned()));
        };
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let plain = zstd::bulk::decompress(packed, len).map_err(|error| failed(error.to_string()))?;
        let record = match version {
            VERSION => postcard::from_bytes(&plain),
            earlier::WITHOUT_REPORTS => earlier::without_reports(&plain),
            earlier::WITHOUT_TOTALS => earlier::without_totals(&plain),
            _ => return Err(failed(format!("it has the form {version}"))),
        };
        let mut record = record.map_err(|error| failed(error.to_string()))?;
        record.buckets.iter_mut().for_each(MinuteBucket::restore_keys);
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::SeriesKey;
    use crate::store::{ComponentMinuteRow, NodeMinuteRow, PipelineMinuteRow};

    proptest! {
        #[test]
        fn wal_record_round_trips(
            counts in prop::collection::vec((0_i64..1_000, any::<i64>(), any::<f64>(), any::<Option<i64>>()), 0..50),
            text in prop::option::of(".{0,50}"),
        ) {
            let mut bucket = MinuteBucket::new(29_833_333, 12);
            for (series, count, float, known) in &counts {
                let row = bucket.pipeline(SeriesKey(*series));
                (row.bytes_out, row.latency_sum) = (*count, if float.is_nan() { -0.0 } else { *float });
                let row = bucket.component(SeriesKey(*series));
                (row.received_bytes, row.utilization_sum) = (*known, *count as f64);
            }
            bucket.set_host(NodeMinuteRow { minute: bucket.minute, node: bucket.node, load_avg_1: Some(0.5), ..Default::default() });
            let boot = NodeBootRow { node: 12, boot: "01890a5d".into(), seq: 9, last_seen_at: 1_790_000_000_000 };
            let record = WalRecord {
                buckets: vec![bucket],
                boots: vec![boot],
                forgotten_boots: vec![(3, "old".into())],
                heartbeats: vec![(12, NodeHeartbeat { health: text, host: None, last_seen_at: Some(5) })],
                totals: vec![NodeTotalsRow { node: 12, body: vec![0, 255] }],
            };
            let body = record.pack().unwrap();
            prop_assert_eq!(WalRecord::unpack(&body).unwrap(), record);
            // The first bytes are of the packed text's frame, so that it cannot be read as another one.
            prop_assert!(WalRecord::unpack(&body[..body.len() - 1]).is_err());
        }
    }

    /// A record with every counter, each with a number of its own.
    fn record_with_every_counter() -> WalRecord {
        let mut bucket = MinuteBucket::new(29_833_333, 12);
        bucket.pipelines = vec![PipelineMinuteRow {
            minute: 29_833_333,
            series: 1,
            events_in: 2,
            events_out: 3,
            errors: 4,
            discarded: 5,
            bytes_in: 6,
            bytes_out: 7,
            utilization_sum: 8.5,
            utilization_weight: 9.0,
            latency_sum: 10.0,
            latency_weight: 11.25,
            samples: 12,
            gaps: 13,
            resets: 14,
            logs_dropped: 15,
            ..PipelineMinuteRow::default()
        }];
        bucket.components = vec![ComponentMinuteRow {
            minute: 29_833_333,
            series: 16,
            received_events: 17,
            sent_events: 18,
            errors: 19,
            discarded: 20,
            received_bytes: Some(21),
            sent_bytes: None,
            utilization_sum: 22.0,
            utilization_weight: 23.0,
            latency_sum: 24.0,
            latency_weight: 25.0,
            buffer_events: Some(26),
            buffer_max_events: Some(27),
            buffer_bytes: None,
            buffer_max_bytes: Some(28),
            samples: 29,
        }];
        WalRecord { buckets: vec![bucket], ..WalRecord::default() }
    }

    /// Written by the version before the counters were declared in one place.
    const RECORDED: &str = "014500000028b52ffd204529020001eae1b91c180001020406080a0c0e0100000000000021400012001401\
        0000000000802640181a1c1e012022242628012a00002c002e00300032013401360001383a000000";

    #[test]
    fn record_of_an_earlier_version_is_read() {
        let body: Vec<u8> =
            (0..RECORDED.len()).step_by(2).map(|at| u8::from_str_radix(&RECORDED[at..at + 2], 16).unwrap()).collect();
        assert_eq!(WalRecord::unpack(&body).unwrap(), record_with_every_counter());
    }

    #[test]
    fn wal_record_of_another_format_is_refused() {
        let mut body = WalRecord::default().pack().unwrap();
        body[0] = VERSION + 1;
        assert!(matches!(WalRecord::unpack(&body), Err(StoreError::Corrupt(_))));
        assert!(WalRecord::unpack(&[VERSION]).is_err());
    }
}
