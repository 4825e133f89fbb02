//! Secrets: sealed with XChaCha20-Poly1305 before they reach the store, and revealed only for the node that needs one.
//!
//! A value is bound to its environment, its name and its revision: a row that was moved or exchanged in the database
//! cannot be opened. The key is in a file beside the database, so a copy of the database alone shows no value.
//!
//! A change of keys writes a file with both keys, seals every row again in one transaction, and writes a file with the
//! new key alone. A process that ends in between leaves a file that opens every row, and the next start continues.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::TryRng;
use systole_shared::UnixMillis;
use systole_shared::desired::SecretValue;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::definition::secret_name_fault;
pub(crate) use super::key_file::KeyFileError;
use super::key_file::{Key, KeyRing};
use crate::model::EnvironmentKey;
use crate::store::{Author, CreatedVersion, MAX_SECRETS, NewSecret, SealedSecret, SecretOutcome, Store, StoreError};

/// Bytes of one value: certificates with their chains fit, and so does the environment of a process.
pub(crate) const MAX_SECRET_BYTES: usize = 64 * 1024;

/// The form of sealed values: this byte, the nonce, and what the cipher makes.
const FORM: u8 = 1;

/// Bytes of a nonce: random ones do not repeat.
const NONCE_BYTES: usize = 24;

/// Times that a value is sealed again because another one was stored meanwhile.
const MAX_TRIES: usize = 5;

/// Why a secret cannot be stored or revealed. No value and no key is in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The name is not one.
    #[error("{0}")]
    Name(String),
    /// The value is not one.
    #[error("value: {0}")]
    Value(&'static str),
    /// There is no such value.
    #[error("the secret {name} has no value {revision}")]
    Unknown { name: String, revision: i64 },
    /// The environment has as many secrets as it may.
    #[error("the environment has {MAX_SECRETS} secrets; remove one first")]
    TooMany,
    /// Others store values of the secret at the same time.
    #[error("the secret changes too often; try again")]
    Busy,
    /// The file of keys.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The file is missing or another one, and the database has secrets.
    #[error(
        "the key file {} does not contain the key {key_id}, which seals {count} values in the database; put the file \
         of this database back, or remove these secrets and set them again",
        .file.display()
    )]
    WrongKeyFile { file: PathBuf, key_id: String, count: usize },
    /// The cipher refuses the row.
    #[error("the stored value {revision} of the secret {name} is damaged")]
    Damaged { name: String, revision: i64 },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The secrets of every environment.
pub(crate) struct Secrets {
    store: Arc<dyn Store>,
    file: PathBuf,
    /// As last read from the file.
    ring: RwLock<Option<KeyRing>>,
    /// Values and keys change one after the other, so that none is sealed with a key that is about to go.
    turn: Mutex<()>,
}

/// A change of keys that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// The id of the new key.
    pub key_id: String,
    /// Values that were sealed again.
    pub values: usize,
}

impl Secrets {
    /// Secrets with the keys of a file, which is made when the first value is stored.
    pub(crate) fn new(store: Arc<dyn Store>, file: PathBuf) -> Self {
        Secrets { store, file, ring: RwLock::default(), turn: Mutex::default() }
    }

    /// Checks that every stored value can be opened, and ends a change of keys that was cut off.
    ///
    /// # Errors
    ///
    /// When a value cannot be opened. The collector can run all the same.
    pub(crate) async fn check(&self) -> Result<(), SecretError> {
        let _turn = self.turn.lock().await;
        let stored = self.store.sealed_secrets().await?;
        let ring = match self.read_file() {
            Err(KeyFileError::Missing(_)) if stored.is_empty() => return Ok(()),
            ring => ring,
        };
        let ring = self.matching(ring, &stored)?;
        for secret in &stored {
            open(&ring, &self.file, secret)?;
        }
        if ring.has_old_keys() {
            self.reseal(&ring, stored).await?;
        }
        Ok(())
    }

    /// Stores a value. Returns the new versions of the pipelines that use it.
    ///
    /// # Errors
    ///
    /// When name or value are not valid, the keys do not fit, or the store fails.
    pub(crate) async fn set(
        &self,
        environment: EnvironmentKey,
        name: &str,
        value: &SecretValue,
        author: Author,
        now: UnixMillis,
    ) -> Result<(i64, Vec<CreatedVersion>), SecretError> {
        if let Some(fault) = secret_name_fault(name) {
            return Err(SecretError::Name(fault));
        }
        match value.reveal() {
            "" => return Err(SecretError::Value("is empty")),
            value if value.len() > MAX_SECRET_BYTES => return Err(SecretError::Value("is longer than 64 KiB")),
            value if value.contains('\0') => {
                return Err(SecretError::Value("has a NUL character, which no environment variable can have"));
            }
            _ => {}
        }
        let _turn = self.turn.lock().await;
        let stored = self.store.sealed_secrets().await?;
        let ring = match self.read_file() {
            Err(KeyFileError::Missing(_)) if stored.is_empty() => self.write_file(KeyRing::generate()).await?,
            ring => self.matching(ring, &stored)?,
        };
        for _ in 0..MAX_TRIES {
            let newest = self.store.secret_revisions(environment, vec![name.to_owned()]).await?;
            let revision = newest.first().map_or(0, |(_, revision)| *revision) + 1;
            let value = seal(ring.current(), environment, name, revision, value.reveal().as_bytes());
            let secret = NewSecret { value, author: author.clone(), now };
            match self.store.put_secret(secret).await? {
                SecretOutcome::Stored(versions) => return Ok((revision, versions)),
                SecretOutcome::TooMany => return Err(SecretError::TooMany),
                SecretOutcome::OtherRevision => {}
            }
        }
        Err(SecretError::Busy)
    }

    /// The value of a secret, for the node that needs it.
    ///
    /// # Errors
    ///
    /// When there is no such value, the keys do not fit, or the store fails.
    pub(crate) async fn reveal(
        &self,
        environment: EnvironmentKey,
        name: &str,
        revision: i64,
    ) -> Result<SecretValue, SecretError> {
        let found = self.store.sealed_secret(environment, name.to_owned(), revision).await?;
        let secret = found.ok_or_else(|| SecretError::Unknown { name: name.to_owned(), revision })?;
        let known = self.ring.read().unwrap_or_else(PoisonError::into_inner).clone();
        let ring = match known.filter(|ring| ring.get(&secret.key_id).is_some()) {
            Some(ring) => ring,
            // It may have been put back.
            None => self.matching(self.read_file(), std::slice::from_ref(&secret))?,
        };
        let value = open(&ring, &self.file, &secret)?;
        let damaged = |_| SecretError::Damaged { name: name.to_owned(), revision };
        Ok(SecretValue::new(std::str::from_utf8(&value).map_err(damaged)?.to_owned()))
    }

    /// Changes the key: every value is sealed again with a new one.
    ///
    /// # Errors
    ///
    /// When a value cannot be opened, the file cannot be written, or the store fails. Every value stays readable.
    pub(crate) async fn rotate(&self) -> Result<Rotation, SecretError> {
        let _turn = self.turn.lock().await;
        let stored = self.store.sealed_secrets().await?;
        let ring = match self.read_file() {
            Err(KeyFileError::Missing(_)) if stored.is_empty() => KeyRing::generate(),
            ring => self.matching(ring, &stored)?,
        };
        for secret in &stored {
            open(&ring, &self.file, secret)?;
        }
        let both = self.write_file(ring.with_new_key()).await?;
        self.reseal(&both, stored).await
    }

    /// Seals everything with the current key, and then forgets the others.
    async fn reseal(&self, ring: &KeyRing, stored: Vec<SealedSecret>) -> Result<Rotation, SecretError> {
        let current = ring.current();
        let mut resealed = Vec::new();
        for secret in stored.iter().filter(|secret| secret.key_id != current.id) {
            let value = open(ring, &self.file, secret)?;
            resealed.push(seal(current, secret.environment, &secret.name, secret.revision, &value));
        }
        let rotation = Rotation { key_id: current.id.clone(), values: resealed.len() };
        self.store.reseal_secrets(resealed).await?;
        self.write_file(ring.without_old_keys()).await?;
        Ok(rotation)
    }

    fn read_file(&self) -> Result<KeyRing, KeyFileError> {
        let ring = KeyRing::read(&self.file)?;
        self.remember(&ring);
        Ok(ring)
    }

    async fn write_file(&self, ring: KeyRing) -> Result<KeyRing, SecretError> {
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || ring.write(&file).map(|()| ring));
        let ring = written.await.map_err(|_| StoreError::Closed)??;
        self.remember(&ring);
        Ok(ring)
    }

    fn remember(&self, ring: &KeyRing) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Some(ring.clone());
    }

    /// The keys, if they are those of the stored values. A file that is not must not be used: its values could not
    /// be opened once the right file is back.
    fn matching(&self, ring: Result<KeyRing, KeyFileError>, stored: &[SealedSecret]) -> Result<KeyRing, SecretError> {
        let is_known = |key_id: &str| ring.as_ref().is_ok_and(|ring| ring.get(key_id).is_some());
        match (stored.iter().find(|secret| !is_known(&secret.key_id)), ring) {
            (None, ring) => Ok(ring?),
            (Some(secret), Ok(_) | Err(KeyFileError::Missing(_))) => Err(SecretError::WrongKeyFile {
                file: self.file.clone(),
                key_id: secret.key_id.clone(),
                count: stored.iter().filter(|other| other.key_id == secret.key_id).count(),
            }),
            (Some(_), Err(error)) => Err(error.into()),
        }
    }
}

/// What a value is bound to.
fn binding(environment: EnvironmentKey, name: &str, revision: i64) -> Vec<u8> {
    format!("systole secret\0{}\0{name}\0{revision}", environment.0).into_bytes()
}

fn seal(key: &Key, environment: EnvironmentKey, name: &str, revision: i64, value: &[u8]) -> SealedSecret {
    let mut nonce = [0; NONCE_BYTES];
    rand::rngs::SysRng.try_fill_bytes(&mut nonce).expect("the system gives random bytes");
    let aad = binding(environment, name, revision);
    let cipher = XChaCha20Poly1305::new((&*key.bytes).into());
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), Payload { msg: value, aad: &aad })
        .expect("a value is far below the cipher's limit of 256 GiB");
    let sealed = [&[FORM], nonce.as_slice(), sealed.as_slice()].concat();
    SealedSecret { environment, name: name.to_owned(), revision, key_id: key.id.clone(), sealed }
}

fn open(ring: &KeyRing, file: &std::path::Path, secret: &SealedSecret) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let damaged = || SecretError::Damaged { name: secret.name.clone(), revision: secret.revision };
    let key = ring.get(&secret.key_id).ok_or_else(|| SecretError::WrongKeyFile {
        file: file.to_owned(),
        key_id: secret.key_id.clone(),
        count: 1,
    })?;
    let (form, rest) = secret.sealed.split_first().ok_or_else(damaged)?;
    let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or_else(damaged)?;
    let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).map_err(|_| damaged())?;
    if *form != FORM {
        return Err(damaged());
    }
    let aad = binding(secret.environment, &secret.name, secret.revision);
    let cipher = XChaCha20Poly1305::new((&*key.bytes).into());
    let value = cipher.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: &aad });
    value.map(Zeroizing::new).map_err(|_| damaged())
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
