//! The faults of a collector: it is killed, its database crashes, its disk is full.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::sleep;

use crate::clock;
use crate::harness::{TestCollector, TestPostgres};

/// The collector writes minutes into rows a second after their end.
const FLUSH_AFTER_MS: i64 = 1_000;
/// A minute's end within this time is waited for.
const NEAR_MS: i64 = 8_000;
const MINUTE_MS: i64 = 60_000;
/// How long the disk stays full, milliseconds.
const FULL_MS: std::ops::Range<u64> = 1_500..3_000;

/// Applies faults to a collector.
#[derive(Debug)]
pub struct Faults {
    /// The collector.
    pub collector: TestCollector,
    /// Its database on PostgreSQL; none on SQLite.
    pub server: Option<Arc<TestPostgres>>,
    /// Whether its data are on a separate disk.
    pub has_disk: bool,
    /// Selects the faults.
    pub random: StdRng,
}

impl Faults {
    /// Lets it run for a while: a moment, so that it is killed during its start, some seconds, or until
    /// a minute's end has just passed.
    pub async fn let_run(&mut self) {
        let ms = |random: &mut StdRng, range: std::ops::Range<u64>| Duration::from_millis(random.random_range(range));
        let to_flush = (FLUSH_AFTER_MS - clock::now_ms()).rem_euclid(MINUTE_MS);
        let life = match self.random.random_range(0..4) {
            _ if to_flush < NEAR_MS => Duration::from_millis(to_flush.unsigned_abs()) + ms(&mut self.random, 0..1_500),
            0 => ms(&mut self.random, 20..400),
            1 => ms(&mut self.random, 100..1_500),
            _ => ms(&mut self.random, 500..3_000),
        };
        sleep(life).await;
    }

    /// Kills the collector and starts it again after a while. A database server sometimes crashes alone, or
    /// together with the collector.
    pub async fn kill(&mut self) {
        let gone = Duration::from_millis(self.random.random_range(0..1_200));
        let Some(server) = self.server.clone() else {
            self.collector.kill().await;
            sleep(gone).await;
            return self.collector.run().await;
        };
        let of_server = |crash: fn(&TestPostgres)| {
            let server = Arc::clone(&server);
            async move { tokio::task::spawn_blocking(move || crash(&server)).await.expect("the server does it") }
        };
        match self.random.random_range(0..4) {
            0 => {
                of_server(TestPostgres::crash).await;
                sleep(gone).await;
                of_server(TestPostgres::restart).await;
                assert!(self.collector.is_alive(), "a crash of the database does not end the collector");
                self.collector.kill().await;
            }
            1 => {
                of_server(TestPostgres::crash).await;
                sleep(gone).await;
                self.collector.kill().await;
                of_server(TestPostgres::restart).await;
            }
            _ => {
                self.collector.kill().await;
                sleep(gone).await;
            }
        }
        self.collector.run().await;
    }

    /// Fills the disk for a while; sometimes the collector is killed meanwhile.
    pub async fn fill_disk(&mut self) {
        if !self.has_disk {
            return;
        }
        let ballast: PathBuf = self.collector.data_dir_seen_by_others().join("ballast");
        let mut file = File::create(&ballast).expect("a file can be made");
        let mut piece = vec![1; 64 * 1024];
        while !piece.is_empty() {
            while file.write_all(&piece).is_ok() {}
            piece.truncate(piece.len() / 2);
        }
        sleep(Duration::from_millis(self.random.random_range(FULL_MS))).await;
        let dies = self.random.random_bool(0.5);
        if dies {
            self.collector.kill().await;
        }
        std::fs::remove_file(&ballast).expect("a file can be removed");
        drop(file);
        if dies {
            self.collector.run().await;
        }
        assert!(self.collector.is_alive(), "a full disk does not end the collector");
    }
}
