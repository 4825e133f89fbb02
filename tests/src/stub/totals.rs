//! The file with the true counts of the stub.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use systole_shared::UnixMillis;

/// Counts of a pipeline as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Events that the source took in.
    pub events_in: u64,
    /// Events that the sink gave out.
    pub events_out: u64,
    /// Errors of all components.
    pub errors: u64,
    /// Events that components dropped.
    pub discarded: u64,
    /// Bytes that the source took in.
    pub bytes_in: u64,
    /// Bytes that the sink gave out.
    pub bytes_out: u64,
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(all: I) -> Counts {
        all.fold(Counts::default(), |sum, one| Counts {
            events_in: sum.events_in + one.events_in,
            events_out: sum.events_out + one.events_out,
            errors: sum.errors + one.errors,
            discarded: sum.discarded + one.discarded,
            bytes_in: sum.bytes_in + one.bytes_in,
            bytes_out: sum.bytes_out + one.bytes_out,
        })
    }
}

/// Counts of one component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentCounts {
    /// Events taken in.
    pub received_events: u64,
    /// Events given out.
    pub sent_events: u64,
    /// Bytes from the wire.
    pub received_bytes: u64,
    /// Bytes to the wire.
    pub sent_bytes: u64,
    /// Errors.
    pub errors: u64,
    /// Events dropped.
    pub discarded: u64,
}

/// One life of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// Part of every numbered log line of this run.
    pub life: String,
    /// The process.
    pub pid: u32,
    /// Time of the start.
    pub started_at: UnixMillis,
    /// Where its metrics are; none until the port is open.
    pub address: Option<SocketAddr>,
    /// Numbered log lines written, from 1.
    pub log_lines: u64,
    /// Scrapes answered.
    pub scrapes: u64,
    /// The true counts.
    pub total: Counts,
    /// Counts that scrapers were shown. Others of a killed process cannot be known.
    pub exposed: Counts,
    /// [`Life::total`] by component.
    pub components: BTreeMap<String, ComponentCounts>,
    /// [`Life::exposed`] by component.
    pub exposed_components: BTreeMap<String, ComponentCounts>,
}

/// The content of one scrape: a line of the file beside the totals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scrape {
    /// Time at which the page was made, before the scraper can have it.
    pub at: UnixMillis,
    /// The life of the process.
    pub life: String,
    /// [`Life::exposed`] with this scrape.
    pub exposed: Counts,
}

impl Scrape {
    /// Every scrape that a stub with these totals has answered, oldest first.
    pub fn read(totals: &Path) -> anyhow::Result<Vec<Self>> {
        let path = totals.with_extension(SCRAPES);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.with_context(|| path.display().to_string())?,
        };
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

/// The whole file: every life of the process that wrote to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Sum over the lives.
    pub total: Counts,
    /// Sum over the lives.
    pub exposed: Counts,
    /// From the first to the present one.
    pub lives: Vec<Life>,
}

impl Totals {
    /// Reads the file; none when there is none yet.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).with_context(|| path.display().to_string())?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// The present life.
    pub fn current(&self) -> Option<&Life> {
        self.lives.last()
    }
}

/// Extension of the file of scrapes.
const SCRAPES: &str = "scrapes";

/// Keeps the file up to date.
#[derive(Debug)]
pub struct TotalsFile {
    path: PathBuf,
    earlier: Vec<Life>,
}

impl TotalsFile {
    /// Takes up the file of earlier lives.
    pub fn open(path: PathBuf) -> anyhow::Result<Self> {
        let earlier = Totals::read(&path)?.unwrap_or_default().lives;
        Ok(TotalsFile { path, earlier })
    }

    /// Writes the present life behind the earlier ones. A reader sees the old file or the new one.
    pub fn write(&self, life: Life) -> anyhow::Result<()> {
        let lives: Vec<Life> = self.earlier.iter().cloned().chain([life]).collect();
        let totals = Totals {
            total: lives.iter().map(|life| life.total).sum(),
            exposed: lives.iter().map(|life| life.exposed).sum(),
            lives,
        };
        let temporary = self.path.with_extension("tmp");
        std::fs::write(&temporary, serde_json::to_vec(&totals)?).context("write the totals")?;
        std::fs::rename(&temporary, &self.path).context("replace the totals")
    }

    /// Writes down what a scrape was shown.
    pub fn write_scrape(&self, scrape: &Scrape) -> anyhow::Result<()> {
        let path = self.path.with_extension(SCRAPES);
        let mut file = File::options().create(true).append(true).open(&path).context("open the file of scrapes")?;
        let line = format!("{}\n", serde_json::to_string(scrape)?);
        file.write_all(line.as_bytes()).context("write a scrape")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(name: &str, events_in: u64) -> Life {
        Life {
            life: name.to_owned(),
            pid: 1,
            started_at: 0,
            address: None,
            log_lines: 0,
            scrapes: 0,
            total: Counts { events_in, ..Counts::default() },
            exposed: Counts { events_in: events_in / 2, ..Counts::default() },
            components: BTreeMap::new(),
            exposed_components: BTreeMap::new(),
        }
    }

    #[test]
    fn totals_continue_over_process_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("totals.json");
        assert_eq!(Totals::read(&path).unwrap(), None);
        TotalsFile::open(path.clone()).unwrap().write(life("a", 10)).unwrap();
        let second = TotalsFile::open(path.clone()).unwrap();
        second.write(life("b", 2)).unwrap();
        second.write(life("b", 4)).unwrap();
        let totals = Totals::read(&path).unwrap().unwrap();
        assert_eq!((totals.total.events_in, totals.exposed.events_in), (14, 7));
        assert_eq!(totals.lives.len(), 2);
    }

    #[test]
    fn scrape_log_is_read_up_to_its_last_full_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("totals.json");
        assert_eq!(Scrape::read(&path).unwrap(), []);
        let file = TotalsFile::open(path.clone()).unwrap();
        let scrapes = [1, 2].map(|at| Scrape { at, life: "a".to_owned(), exposed: Counts::default() });
        scrapes.iter().for_each(|scrape| file.write_scrape(scrape).unwrap());
        std::fs::OpenOptions::new()
            .append(true)
            .open(path.with_extension(SCRAPES))
            .unwrap()
            .write_all(b"{\"at")
            .unwrap();
        assert_eq!(Scrape::read(&path).unwrap(), scrapes);
    }
}
