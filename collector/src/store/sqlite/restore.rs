//! Replaces the database by a backup.
//!
//! What is checked and brought to this version is a copy of the backup beside the database, which then
//! takes its name in one step: the backup stays as it is, and there is no moment without a database.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use tempfile::NamedTempFile;

use super::backend::ready;
use super::open::with_ending;
use super::{backup, open, read};
use crate::store::disk::directory_of;
use crate::store::{StoreError, new_epoch, private};

/// What every SQLite database begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// A reason not to restore a backup. The database is unchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// The file is something else.
    #[error("{} is not a backup: it is not a SQLite database", .0.display())]
    NotSqlite(PathBuf),
    /// SQLite has found a fault in it.
    #[error("{} is damaged: {}", .0.display(), .1)]
    Damaged(PathBuf, String),
    /// Another program's database.
    #[error("{} is not a backup of systole-collector", .0.display())]
    Foreign(PathBuf),
    /// A file of SQLite lies beside it, which holds part of it.
    #[error("{} is a database in use, not a backup: it has a file {}", .0.display(), .1.display())]
    Live(PathBuf, PathBuf),
    /// There is something that would be lost.
    #[error("the database {0} holds data; use --force to keep it under another name and restore")]
    HasData(String),
    /// Another process, not a collector, has the database open.
    #[error("another command is using the database {}; wait until it ends", .0.display())]
    InUse(PathBuf),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be moved.
    #[error("cannot move the database into {}", .0.display())]
    Place(PathBuf, #[source] std::io::Error),
}

/// What was found where the database is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A database without any data yet.
    Unused,
    Data,
}

/// The database's place, kept from collectors.
pub(crate) struct RestoreTarget {
    path: PathBuf,
    found: Found,
    _lock: std::fs::File,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Told {
    #[diesel(sql_type = Text)]
    integrity_check: String,
}

/// Looks at a backup before anything is done with it.
///
/// # Errors
///
/// When the file is not a backup, is damaged, or is of a later version.
pub(crate) fn look_at(backup: &Path) -> Result<(), RestoreError> {
    if !is_sqlite(backup) {
        return Err(RestoreError::NotSqlite(backup.to_owned()));
    }
    for ending in ["-wal", "-journal"] {
        let beside = with_ending(backup, ending);
        if beside.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            return Err(RestoreError::Live(backup.to_owned(), beside));
        }
    }
    Ok(())
}

fn is_sqlite(path: &Path) -> bool {
    let mut magic = [0; MAGIC.len()];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *MAGIC
}

/// Checks the copy of a backup and brings it to this version. Messages name the backup.
///
/// # Errors
///
/// When the copy is damaged, or a migration fails.
pub(crate) fn check_and_migrate(copy: &Path, backup: &Path) -> Result<(), RestoreError> {
    let mut connection = open::connect(copy, "")?;
    check(&mut connection, backup)?;
    open::bring_up(&mut connection, backup)?;
    backup::make_single(&mut connection)?;
    Ok(())
}

/// Checks a backup as `restore` does, and changes nothing. Returns the number of its last event.
///
/// # Errors
///
/// When the file is not a backup, is damaged, or is of a later version.
pub(crate) fn verify(backup: &Path) -> Result<u64, RestoreError> {
    look_at(backup)?;
    let mut connection = open::connect(backup, "PRAGMA query_only = ON;")?;
    check(&mut connection, backup)?;
    open::refuse_newer(&mut connection, backup)?;
    Ok(ready(read::feed_position(&mut connection))?.head)
}

fn check(connection: &mut SqliteConnection, backup: &Path) -> Result<(), RestoreError> {
    let damaged = |error: diesel::result::Error| RestoreError::Damaged(backup.to_owned(), error.to_string());
    let told: Vec<Told> = sql_query("PRAGMA integrity_check(1)").load(connection).map_err(damaged)?;
    if let Some(fault) = told.iter().find(|told| told.integrity_check != "ok") {
        return Err(RestoreError::Damaged(backup.to_owned(), fault.integrity_check.replace('\n', " ")));
    }
    let own = "SELECT count(*) AS number FROM sqlite_schema WHERE name IN ('meta', 'node_boots', 'pipeline_minutes')";
    let own: Number = sql_query(own).get_result(connection).map_err(damaged)?;
    if own.number != 3 {
        return Err(RestoreError::Foreign(backup.to_owned()));
    }
    Ok(open::refuse_incomplete(connection, backup)?)
}

/// Makes ids of the feed from before unknown: what they count is not there any more, or is something
/// else by now.
///
/// # Errors
///
/// When the copy cannot be written.
pub(crate) fn renew_epoch(copy: &Path) -> Result<(), StoreError> {
    let mut connection = open::connect(copy, "")?;
    sql_query("UPDATE meta SET epoch = ? WHERE id = 1").bind::<Text, _>(new_epoch()).execute(&mut connection)?;
    Ok(())
}

impl RestoreTarget {
    /// Takes the database's lock and looks at what is there.
    ///
    /// # Errors
    ///
    /// When another program has the database open, or its lock cannot be taken.
    pub(crate) fn take(path: &Path) -> Result<Self, RestoreError> {
        let lock = open::lock(path)?;
        let found = match path.metadata() {
            Err(_) => Found::Nothing,
            Ok(_) => look_at_old(path)?,
        };
        Ok(RestoreTarget { path: path.to_owned(), found, _lock: lock })
    }

    /// Refuses to replace a database that holds data.
    ///
    /// # Errors
    ///
    /// When the database holds data, or cannot be read.
    pub(crate) fn refuse_data(&self) -> Result<(), RestoreError> {
        match self.found {
            Found::Data => Err(RestoreError::HasData(self.path.display().to_string())),
            Found::Nothing | Found::Unused => Ok(()),
        }
    }

    /// Moves a database into place. The old database stays beside it, under the returned name, which
    /// contains the time.
    ///
    /// # Errors
    ///
    /// When a file cannot be renamed or synchronised; the old database then stays.
    pub(crate) fn replace(self, new: NamedTempFile, time: &str) -> Result<Option<PathBuf>, RestoreError> {
        // Another process may have opened it since.
        if self.path.exists() {
            look_at_old(&self.path)?;
        }
        let failed = |error| RestoreError::Place(self.path.clone(), error);
        let aside = free_name(&with_ending(&self.path, &format!(".before-restore-{time}")));
        let is_kept = self.found == Found::Data;
        if is_kept {
            // A second name first, so that there is a database at any time. Not every disk has those.
            std::fs::hard_link(&self.path, &aside).or_else(|_| std::fs::rename(&self.path, &aside)).map_err(failed)?;
            private::restrict(&aside);
        }
        // SQLite would apply them to the new database. Only a database that cannot be opened leaves them.
        for ending in ["-wal", "-journal"] {
            let beside = with_ending(&self.path, ending);
            if beside.exists() {
                std::fs::rename(&beside, with_ending(&aside, ending)).map_err(failed)?;
            }
        }
        let _ = std::fs::remove_file(with_ending(&self.path, "-shm"));
        let owned = if self.path.exists() { &self.path } else { directory_of(&self.path) };
        give_to_owner_of(owned, new.path()).map_err(failed)?;
        give_to_owner_of(owned, &with_ending(&self.path, ".lock")).map_err(failed)?;
        new.as_file().sync_all().map_err(failed)?;
        new.persist(&self.path).map_err(|error| failed(error.error))?;
        std::fs::File::open(directory_of(&self.path)).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(is_kept.then_some(aside))
    }
}

/// Merges the old database into one file, which fails while another process has it open. Returns whether it
/// holds data; an unreadable database does.
fn look_at_old(path: &Path) -> Result<Found, RestoreError> {
    let look = |connection: &mut SqliteConnection| -> Result<Found, StoreError> {
        backup::make_single(connection)?;
        let used: Number = sql_query(
            "SELECT (SELECT count(*) FROM nodes) + (SELECT count(*) FROM tokens) + (SELECT count(*) FROM environments) \
             - 1 + (SELECT head_seq FROM meta WHERE id = 1) AS number",
        )
        .get_result(connection)?;
        Ok(if used.number == 0 { Found::Unused } else { Found::Data })
    };
    // SQLite would take it for a new one, and remove what lies beside it.
    if !is_sqlite(path) {
        return Ok(Found::Data);
    }
    match open::connect(path, "").and_then(|mut connection| look(&mut connection)) {
        Err(StoreError::Query(error)) if is_busy(&error) => Err(RestoreError::InUse(path.to_owned())),
        Err(_) => Ok(Found::Data),
        Ok(found) => Ok(found),
    }
}

fn is_busy(error: &diesel::result::Error) -> bool {
    error.to_string().contains("locked")
}

/// Root restores what the collector's own user is to read.
fn give_to_owner_of(owned: &Path, new: &Path) -> std::io::Result<()> {
    let (owner, own) = (owned.metadata()?, new.metadata()?);
    if owner.uid() == own.uid() { Ok(()) } else { chown(new, Some(owner.uid()), Some(owner.gid())) }
}

fn free_name(name: &Path) -> PathBuf {
    let others = (2..).map(|number| with_ending(name, &format!("-{number}")));
    std::iter::once(name.to_owned()).chain(others).find(|name| !name.exists()).expect("there is always a higher number")
}

#[cfg(test)]
mod tests {
    use super::super::backup::SqliteBackup;
    use super::*;

    #[test]
    fn unreadable_database_is_kept_on_restore() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("collector.db");
        open::writer(&dir.path().join("source.db")).unwrap();
        let garbage = [b'x'; 8_192];
        std::fs::write(&path, garbage).unwrap();
        // What SQLite would take for changes of the new database.
        for ending in ["-wal", "-journal", "-shm"] {
            std::fs::write(with_ending(&path, ending), format!("old{ending}")).unwrap();
        }
        let target = RestoreTarget::take(&path).unwrap();
        assert!(matches!(target.refuse_data(), Err(RestoreError::HasData(_))), "an unreadable database counts as data");
        let copy = NamedTempFile::new_in(dir.path()).unwrap();
        let source = SqliteBackup::open(&dir.path().join("source.db")).unwrap();
        let epoch = source.write(copy.path()).unwrap().epoch;
        let aside = target.replace(copy, "then").unwrap().unwrap();
        assert_eq!(std::fs::read(&aside).unwrap(), garbage);
        assert_eq!(std::fs::read(with_ending(&aside, "-wal")).unwrap(), b"old-wal");
        assert_eq!(std::fs::read(with_ending(&aside, "-journal")).unwrap(), b"old-journal");
        for ending in ["-wal", "-journal", "-shm"] {
            assert!(!with_ending(&path, ending).exists(), "{ending}");
        }
        let mut connection = open::connect(&path, "").unwrap();
        assert_eq!(ready(read::feed_position(&mut connection)).unwrap().epoch, epoch);
    }
}
