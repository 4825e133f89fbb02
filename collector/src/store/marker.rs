//! The file in the data directory that identifies the last used database.
//!
//! A database that is suddenly empty is rarely what an operator wants: a disk that is not mounted, a wrong
//! `database_url`, a file that was deleted. Without a check the collector would refuse all nodes, and they
//! would enrol as new ones. So an empty database that is not the one of the file is refused.
//!
//! The epoch distinguishes them: each database has its own. A database that holds nodes or tokens is
//! accepted whatever its epoch, because a restore changes it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use systole_shared::TokenKind;

use super::{Store, StoreError, private};

const FILE: &str = "database-epoch";

/// An error of the database's identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkerError {
    /// It is empty, and another one was not.
    #[error(
        "the database {database} is empty, but {} says that this collector used another one. Check that the disk is mounted and that database_url and data_dir are right, or restore a backup. To begin with the empty database, run: systole-collector serve --init",
        .marker.display()
    )]
    Empty { database: String, marker: PathBuf },
    /// The database could not be read.
    #[error("the database could not be read")]
    Store(#[source] StoreError),
    /// The file could not be read or written.
    #[error("{} could not be read or written", .marker.display())]
    File {
        marker: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Refuses a database that is empty where another one was used. `database` is its name for people.
///
/// # Errors
///
/// [`MarkerError::Empty`] for such a database; the others when something cannot be read.
pub(crate) async fn check(data_dir: &Path, database: &str, store: &dyn Store) -> Result<(), MarkerError> {
    let marker = data_dir.join(FILE);
    let known = match std::fs::read_to_string(&marker) {
        Ok(known) => known,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(MarkerError::File { marker, source }),
    };
    let position = store.feed_position().await.map_err(MarkerError::Store)?;
    if known.trim() != &*position.epoch && is_empty(store).await.map_err(MarkerError::Store)? {
        return Err(MarkerError::Empty { database: database.to_owned(), marker });
    }
    Ok(())
}

/// Remembers the database.
///
/// # Errors
///
/// When the database cannot be read, or the file cannot be written.
pub(crate) async fn write(data_dir: &Path, store: &dyn Store) -> Result<(), MarkerError> {
    let marker = data_dir.join(FILE);
    let position = store.feed_position().await.map_err(MarkerError::Store)?;
    let text = format!("{}\n", position.epoch);
    if std::fs::read_to_string(&marker).is_ok_and(|known| known == text) {
        return Ok(());
    }
    let unfinished = marker.with_extension("tmp");
    let written = private::create_dir(data_dir)
        .and_then(|()| private::open(OpenOptions::new().write(true).truncate(true), &unfinished))
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&unfinished, &marker));
    written.map_err(|source| MarkerError::File { marker, source })
}

async fn is_empty(store: &dyn Store) -> Result<bool, StoreError> {
    let kinds = TokenKind::ALL.to_vec();
    if !store.list_tokens(kinds).await?.is_empty() {
        return Ok(false);
    }
    Ok(store.node_names().await?.is_empty())
}
