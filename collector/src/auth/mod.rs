//! Access rights: what each token allows its owner to do.
//!
//! Tokens live in memory by their SHA-256, so that a report costs one hash and one look-up. The
//! command line works on the database and not on this process: so the database is asked every half
//! second whether tokens or environments have changed, and at once when an unknown token comes, so
//! that a new one works as soon as it is printed.
//!
//! An unknown token is looked up in the database before the answer is 401, so that a token works as
//! soon as it is printed. When the database cannot be reached the answer is 503. Known tokens are read
//! again every 500 ms when the version of the tables has changed. Look-ups of unknown tokens are limited by
//! address ([`rate_limit`]), on every route.

pub(crate) mod rate_limit;

mod refused_log;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rand::TryRng;
use systole_shared::vectorflow::token as vectorflow;
use systole_shared::{Token, TokenHash, TokenId, TokenKind, UnixMillis};
use tokio::sync::watch;
use tokio::time::Instant;

use self::rate_limit::{AccessLimits, ClientAddress, RateLimited};
use self::refused_log::RefusedLog;
use crate::config::RequestLimits;
use crate::model::{EnvironmentKey, NodeKey};
use crate::store::{AccessSnapshot, Store, StoreError, StoredEnvironment, StoredToken, TokenLabel};

/// The environments of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    All,
    One(EnvironmentKey),
}

impl Scope {
    /// Whether something of an environment is inside.
    pub(crate) fn includes(self, environment: EnvironmentKey) -> bool {
        match self {
            Scope::All => true,
            Scope::One(own) => own == environment,
        }
    }

    /// As the store's queries take it.
    pub(crate) fn environments(self) -> Option<Vec<EnvironmentKey>> {
        match self {
            Scope::All => None,
            Scope::One(environment) => Some(vec![environment]),
        }
    }
}

/// What a token lets its owner do with the fleet. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Reads.
    Viewer,
    /// Acts on what runs: restarts, samples, taps.
    Operator,
    /// Decides what runs, and administers nodes.
    Admin,
}

impl Role {
    fn of(kind: TokenKind) -> Option<Self> {
        match kind {
            TokenKind::Viewer => Some(Role::Viewer),
            TokenKind::Operator => Some(Role::Operator),
            TokenKind::Admin => Some(Role::Admin),
            TokenKind::Enroll | TokenKind::Node | TokenKind::Scrape | TokenKind::Session => None,
        }
    }
}

/// The role of a session that a command made in the database: it has no token that opened it, whose role it could
/// take. Access to the database is access to everything, so the command chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandRole {
    Viewer,
    Admin,
}

/// The note of a session of a command that administers.
const ADMIN_COMMAND: &str = "command of an administrator";

impl CommandRole {
    /// What the session carries. No other session has a note.
    pub(crate) fn label(self) -> TokenLabel {
        let note = match self {
            CommandRole::Viewer => None,
            CommandRole::Admin => Some(ADMIN_COMMAND.to_owned()),
        };
        TokenLabel { name: Some("command on the collector's host".to_owned()), note }
    }

    fn of(token: &StoredToken) -> Role {
        match token.label.note.as_deref() {
            Some(ADMIN_COMMAND) => Role::Admin,
            _ => Role::Viewer,
        }
    }
}

/// The sender of a request, as its token identifies it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub token: TokenId,
    /// The token that an operator created; for a session, the token that opened it.
    pub root: TokenId,
    pub kind: TokenKind,
    /// A session's is that of the token that opened it. `None` for tokens of programs.
    pub role: Option<Role>,
    pub scope: Scope,
    pub node: Option<NodeKey>,
    pub expires_at: Option<UnixMillis>,
}

impl Identity {
    fn new(token: &StoredToken, known: &Known) -> Self {
        let root = token.parent.unwrap_or(token.id);
        Identity {
            token: token.id,
            root,
            kind: token.kind,
            role: match token.kind {
                TokenKind::Session if token.parent.is_none() => Some(CommandRole::of(token)),
                _ => known.kinds.get(&root).copied().and_then(Role::of),
            },
            scope: token.environment.map_or(Scope::All, Scope::One),
            node: token.node,
            expires_at: token.expires_at,
        }
    }

    /// Whether it may read.
    pub(crate) fn is_reader(&self) -> bool {
        self.role.is_some()
    }
}

#[derive(Debug, Default)]
struct Known {
    version: Option<i64>,
    by_hash: HashMap<TokenHash, StoredToken>,
    by_id: HashMap<TokenId, Option<UnixMillis>>,
    kinds: HashMap<TokenId, TokenKind>,
    environments: Vec<StoredEnvironment>,
    /// Tokens that were learned since the last reading began: it may be of before them.
    learned: Vec<StoredToken>,
}

impl Known {
    fn insert(&mut self, token: StoredToken) {
        self.by_id.insert(token.id, token.expires_at);
        self.kinds.insert(token.id, token.kind);
        self.by_hash.insert(token.hash, token);
    }

    fn learn(&mut self, token: StoredToken) {
        self.learned.push(token.clone());
        self.insert(token);
    }

    /// Takes over what was read, and keeps what was learned while it was being read.
    fn replace(&mut self, snapshot: AccessSnapshot) {
        let AccessSnapshot { version, environments, tokens } = snapshot;
        *self = Known {
            version: Some(version),
            environments,
            learned: std::mem::take(&mut self.learned),
            ..Known::default()
        };
        tokens.into_iter().chain(self.learned.clone()).for_each(|token| self.insert(token));
    }
}

/// A reason why a token cannot be identified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentifyError {
    /// The database does not answer.
    #[error("cannot look up the token")]
    Store(#[from] StoreError),
    /// The address has sent too many unknown tokens.
    #[error(transparent)]
    TooManyUnknown(#[from] RateLimited),
}

/// Tokens and environments as last read.
pub(crate) struct Authenticator {
    pub limits: AccessLimits,
    known: RwLock<Known>,
    changed: watch::Sender<u64>,
    used: Mutex<HashMap<TokenId, UnixMillis>>,
    /// Requests with a wrong token.
    pub refused_log: RefusedLog,
    /// One reading at a time: an earlier one must not replace a later one, and a flood of unknown
    /// tokens must not cost more than one thread.
    reading: tokio::sync::Mutex<()>,
}

impl Authenticator {
    /// With what the database holds now.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn load(store: &dyn Store, limits: RequestLimits) -> Result<Self, StoreError> {
        let auth = Authenticator {
            limits: AccessLimits::new(limits),
            known: RwLock::default(),
            changed: watch::Sender::new(0),
            used: Mutex::default(),
            refused_log: RefusedLog::default(),
            reading: tokio::sync::Mutex::default(),
        };
        auth.refresh(store).await?;
        Ok(auth)
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what has changed in the database.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let _turn = self.reading.lock().await;
        let version = {
            let mut known = self.write();
            known.learned.clear();
            known.version
        };
        if let Some(snapshot) = store.load_access(version).await? {
            if version.is_some() {
                self.log_changes(&snapshot);
            }
            self.write().replace(snapshot);
            self.changed.send_modify(|changes| *changes += 1);
        }
        Ok(())
    }

    /// Logs which tokens of people were made and revoked since the last reading. Sessions and nodes come and go by
    /// themselves.
    fn log_changes(&self, snapshot: &AccessSnapshot) {
        let is_of_person = |token: &&StoredToken| !matches!(token.kind, TokenKind::Node | TokenKind::Session);
        let name = |token: &StoredToken| token.label.name.clone().unwrap_or_default();
        let known = self.read();
        for token in snapshot.tokens.iter().filter(is_of_person).filter(|token| !known.by_id.contains_key(&token.id)) {
            tracing::info!(token = %token.id, kind = %token.kind, name = name(token), "token made");
        }
        let still: HashSet<TokenId> = snapshot.tokens.iter().map(|token| token.id).collect();
        for token in known.by_hash.values().filter(is_of_person).filter(|token| !still.contains(&token.id)) {
            tracing::info!(token = %token.id, kind = %token.kind, name = name(token), "token revoked");
        }
    }

    /// Makes a token valid at once that this process has just written.
    pub(crate) fn learn(&self, tokens: impl IntoIterator<Item = StoredToken>) {
        let mut known = self.write();
        tokens.into_iter().for_each(|token| known.learn(token));
    }

    /// Returns the identity that a token belongs to, or `None` if the token is unknown, revoked or expired.
    /// An unknown token may be new, so the database is asked before the answer is no. When the database
    /// cannot be read, there is no answer.
    ///
    /// # Errors
    ///
    /// When the database does not answer, or when the address has sent too many unknown tokens.
    pub(crate) async fn identify(
        &self,
        store: &dyn Store,
        token: &Token,
        address: ClientAddress,
        now: UnixMillis,
    ) -> Result<Option<Identity>, IdentifyError> {
        if let Some(identity) = self.identify_known(token, now) {
            return Ok(Some(identity));
        }
        self.limits.take_unknown(address, Instant::now())?;
        self.refresh(store).await?;
        Ok(self.identify_known(token, now))
    }

    fn identify_known(&self, token: &Token, now: UnixMillis) -> Option<Identity> {
        let hash = token.hash();
        let identity = {
            let known = self.read();
            let stored = known.by_hash.get(&hash).filter(|stored| stored.hash.matches(&hash))?;
            Identity::new(stored, &known)
        };
        if identity.expires_at.is_some_and(|end| end <= now) {
            return None;
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(identity.token, now);
        Some(identity)
    }

    /// The token of a person behind an identity, and its name. `None` for a command on the collector's host.
    pub(crate) fn owner(&self, identity: &Identity) -> Option<(TokenId, String)> {
        let known = self.read();
        let stored = known.by_hash.values().find(|token| token.id == identity.root)?;
        if stored.kind == TokenKind::Session {
            return None;
        }
        let name = stored.label.name.clone().unwrap_or_else(|| format!("{} {}", stored.kind, stored.hint));
        Some((stored.id, name))
    }

    /// Sessions of a token that have not ended.
    pub(crate) fn count_sessions(&self, parent: TokenId, now: UnixMillis) -> usize {
        let is_open =
            |token: &&StoredToken| token.parent == Some(parent) && token.expires_at.is_none_or(|end| now < end);
        self.read().by_hash.values().filter(is_open).count()
    }

    /// Whether an identity that was valid still is.
    pub(crate) fn is_valid(&self, identity: &Identity, now: UnixMillis) -> bool {
        self.read().by_id.get(&identity.token).is_some_and(|end| end.is_none_or(|end| now < end))
    }

    /// Changes whenever tokens may have changed.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// An environment by its name or id.
    pub(crate) fn environment(&self, name_or_id: &str) -> Option<StoredEnvironment> {
        let known = self.read();
        let matches = |environment: &&StoredEnvironment| {
            environment.name == name_or_id || environment.id.to_string() == name_or_id
        };
        known.environments.iter().find(matches).cloned()
    }

    /// An environment by its key.
    pub(crate) fn environment_by_key(&self, key: EnvironmentKey) -> Option<StoredEnvironment> {
        self.read().environments.iter().find(|environment| environment.key == key).cloned()
    }

    /// Every environment, by name.
    pub(crate) fn environments(&self) -> Vec<StoredEnvironment> {
        self.read().environments.clone()
    }

    /// Returns the times at which tokens were used since the last call.
    pub(crate) fn take_used(&self) -> Vec<(TokenId, UnixMillis)> {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }
}

/// A new secret out of the system's randomness.
pub(crate) fn new_token(kind: TokenKind) -> Token {
    let mut random = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut random).expect("the system gives random bytes");
    Token::from_random(kind, &random)
}

/// The same in VectorFlow's shape, for its agents to enrol with.
pub(crate) fn new_vectorflow_enroll_token(slug: &str) -> Token {
    let (id, random) = vectorflow_random();
    vectorflow::enroll_token(slug, &id, &random)
}

/// The same for a node that such an agent becomes.
pub(crate) fn new_vectorflow_node_token(slug: &str) -> Token {
    let (id, random) = vectorflow_random();
    vectorflow::node_token(slug, &id, &random)
}

fn vectorflow_random() -> ([u8; 8], [u8; 32]) {
    let (mut id, mut random) = ([0; 8], [0; 32]);
    rand::rngs::SysRng.try_fill_bytes(&mut id).expect("the system gives random bytes");
    rand::rngs::SysRng.try_fill_bytes(&mut random).expect("the system gives random bytes");
    (id, random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;
    use crate::store::AccessStore;
    use crate::store::NewToken;
    use crate::store::sqlite::SqliteStore;

    async fn create(store: &dyn Store, secret: &str) -> StoredToken {
        let token = NewToken {
            kind: TokenKind::Viewer,
            environment: None,
            parent: None,
            label: TokenLabel::default(),
            hash: Token::new(secret).hash(),
            hint: String::new(),
            created_at: 0,
            expires_at: None,
        };
        store.create_token(token).await.unwrap()
    }

    #[tokio::test]
    async fn token_learned_during_a_reload_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("test.db"), Access::Exclusive).unwrap();
        let auth = Authenticator::load(&store, RequestLimits::NONE).await.unwrap();
        let before = store.load_access(None).await.unwrap().unwrap();
        auth.learn([create(&store, "learned").await]);
        auth.write().replace(before);
        let identity = auth.identify_known(&Token::new("learned"), 0).unwrap();
        assert!(auth.is_valid(&identity, 0), "its streams continue");
        store.revoke_token(identity.token, 1).await.unwrap();
        auth.refresh(&store).await.unwrap();
        assert!(!auth.is_valid(&identity, 0), "and it can be revoked like any other");
    }
}
