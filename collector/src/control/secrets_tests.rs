//! Secrets over a real store.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::store::sqlite::SqliteStore;
use crate::store::{Access, SecretRemoval};

const PROD: EnvironmentKey = EnvironmentKey(1);

fn open_store(dir: &TempDir) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(&dir.path().join("test.db"), Access::Exclusive).unwrap())
}

fn secrets(dir: &TempDir, store: &Arc<dyn Store>) -> Secrets {
    Secrets::new(Arc::clone(store), dir.path().join("secret.key"))
}

async fn set(secrets: &Secrets, name: &str, value: &str) -> Result<i64, SecretError> {
    let author = Author { name: "test".into(), id: None };
    let value = SecretValue::new(value.into());
    secrets.set(PROD, name, &value, author, 1).await.map(|(revision, _)| revision)
}

async fn reveal(secrets: &Secrets, name: &str, revision: i64) -> String {
    secrets.reveal(PROD, name, revision).await.unwrap().reveal().to_owned()
}

fn keys_in(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap().lines().filter(|line| !line.starts_with('#')).count()
}

#[tokio::test]
async fn secret_is_revealed_by_its_revision_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(&dir);
    let all = secrets(&dir, &store);
    all.check().await.unwrap();
    assert!(!dir.path().join("secret.key").exists(), "a key is made at first use");
    assert_eq!(set(&all, "prod/db", "hunter2").await.unwrap(), 1);
    assert_eq!(reveal(&all, "prod/db", 1).await, "hunter2");
    assert!(matches!(all.reveal(PROD, "prod/db", 2).await, Err(SecretError::Unknown { .. })));
    assert!(matches!(all.reveal(EnvironmentKey(2), "prod/db", 1).await, Err(SecretError::Unknown { .. })));
    for (name, value) in [("", "x"), ("a b", "x"), ("a", ""), ("a", "x\0y"), ("a", &*"x".repeat(MAX_SECRET_BYTES + 1))]
    {
        assert!(matches!(set(&all, name, value).await, Err(SecretError::Name(_) | SecretError::Value(_))), "{name}");
    }
    // Another process with the same file.
    assert_eq!(reveal(&secrets(&dir, &store), "prod/db", 1).await, "hunter2");
}

#[tokio::test]
async fn value_in_another_row_cannot_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(&dir);
    let all = secrets(&dir, &store);
    set(&all, "a", "value of a").await.unwrap();
    set(&all, "b", "value of b").await.unwrap();
    let stored = store.sealed_secrets().await.unwrap();
    let swapped = vec![
        SealedSecret { sealed: stored[1].sealed.clone(), ..stored[0].clone() },
        SealedSecret { sealed: stored[0].sealed[..20].to_vec(), ..stored[1].clone() },
    ];
    store.reseal_secrets(swapped).await.unwrap();
    for name in ["a", "b"] {
        assert!(matches!(all.reveal(PROD, name, 1).await, Err(SecretError::Damaged { .. })));
    }
    assert!(matches!(all.check().await, Err(SecretError::Damaged { .. })));
    assert!(matches!(all.rotate().await, Err(SecretError::Damaged { .. })));
}

#[tokio::test]
async fn wrong_key_file_is_refused_until_the_right_one_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(&dir);
    let file = dir.path().join("secret.key");
    set(&secrets(&dir, &store), "a", "value").await.unwrap();
    let right = std::fs::read(&file).unwrap();
    for wrong in [None, Some(())] {
        std::fs::remove_file(&file).unwrap();
        if wrong.is_some() {
            KeyRing::generate().write(&file).unwrap();
        }
        let all = secrets(&dir, &store);
        let error = all.check().await.unwrap_err();
        assert!(matches!(&error, SecretError::WrongKeyFile { count: 1, .. }), "{error}");
        assert!(matches!(set(&all, "b", "value").await, Err(SecretError::WrongKeyFile { .. })));
        assert!(matches!(all.rotate().await, Err(SecretError::WrongKeyFile { .. })));
        assert!(matches!(all.reveal(PROD, "a", 1).await, Err(SecretError::WrongKeyFile { .. })));
        // Without a restart.
        std::fs::write(&file, &right).unwrap();
        assert_eq!(reveal(&all, "a", 1).await, "value");
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(store.remove_secret(PROD, "a".into()).await.unwrap(), SecretRemoval::Removed);
    assert_eq!(set(&secrets(&dir, &store), "b", "value").await.unwrap(), 1, "nothing is sealed with the lost key");
}

#[tokio::test]
async fn rotation_keeps_every_value_and_forgets_the_old_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(&dir);
    let file = dir.path().join("secret.key");
    let all = secrets(&dir, &store);
    set(&all, "a", "value of a").await.unwrap();
    set(&all, "b", "value of b").await.unwrap();
    let old = std::fs::read_to_string(&file).unwrap();
    let rotation = all.rotate().await.unwrap();
    assert_eq!(rotation.values, 2);
    let new = std::fs::read_to_string(&file).unwrap();
    assert!(new.contains(&rotation.key_id) && !new.contains(old.lines().last().unwrap()));
    assert_eq!((keys_in(&file), reveal(&all, "a", 1).await.as_str()), (1, "value of a"));
    assert_eq!(set(&all, "a", "next").await.unwrap(), 2);
    assert_eq!(reveal(&secrets(&dir, &store), "a", 2).await, "next");
}

#[tokio::test]
async fn rotation_that_was_cut_off_ends_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(&dir);
    let file = dir.path().join("secret.key");
    set(&secrets(&dir, &store), "a", "value of a").await.unwrap();
    for is_resealed in [false, true] {
        // As a process leaves it that ends before, or after, the transaction.
        let both = KeyRing::read(&file).unwrap().with_new_key();
        both.write(&file).unwrap();
        if is_resealed {
            let stored = store.sealed_secrets().await.unwrap();
            let resealed = stored.iter().map(|secret| {
                let value = open(&both, &file, secret).unwrap();
                seal(both.current(), PROD, &secret.name, secret.revision, &value)
            });
            store.reseal_secrets(resealed.collect()).await.unwrap();
        }
        let all = secrets(&dir, &store);
        assert_eq!(reveal(&all, "a", 1).await, "value of a");
        all.check().await.unwrap();
        assert_eq!((keys_in(&file), reveal(&all, "a", 1).await.as_str()), (1, "value of a"));
        assert_eq!(store.sealed_secrets().await.unwrap()[0].key_id, both.current().id);
    }
}
