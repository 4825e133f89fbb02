//! `token` and `environment`.

use std::io::{Write, stdout};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use systole_shared::{TokenId, TokenKind};

use super::open_shared;
use crate::auth;
use crate::clock::{now_ms, to_rfc3339};
use crate::config::{Config, parse_duration};
use crate::store::{DEFAULT_ENVIRONMENT, NewToken, Store, StoredEnvironment};

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it: this is the only time that it is shown
    Create(CreateToken),
    /// List tokens, without their secrets
    List {
        /// Also those of nodes and of browsers' sessions
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a token invalid, with every session made from it; a running collector obeys within 2 s
    Revoke {
        /// The token's id, as `token list` shows it
        id: TokenId,
    },
}

#[derive(Args)]
pub(super) struct CreateToken {
    /// enroll: agents become nodes with it; viewer: reads; admin: reads and administers
    #[arg(long, value_enum)]
    kind: Kind,
    /// Environment that it is for; without it enrol tokens are for `default`, others for all
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// When it ends, like 24h or 7d; without it never
    #[arg(long, value_name = "DURATION")]
    expires: Option<String>,
    /// Print JSON: id, token, kind, environment, expiresAt
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Enroll,
    Viewer,
    Admin,
}

#[derive(Subcommand)]
pub(super) enum EnvironmentCommand {
    /// Make an environment
    Create {
        /// Letters, digits, dot, dash and underscore
        name: String,
    },
    /// List environments
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs `token …`.
pub(super) async fn run_token(command: TokenCommand, config: &Config) -> anyhow::Result<()> {
    let store = open_shared(config).await?;
    match command {
        TokenCommand::Create(args) => create_token(&*store, args).await?,
        TokenCommand::List { all, json } => list_tokens(&*store, kinds_to_list(all), json).await?,
        TokenCommand::Revoke { id } => {
            if !store.revoke_token(id, now_ms()).await? {
                bail!("there is no token {id}");
            }
            writeln!(stdout(), "revoked {id}")?;
        }
    }
    store.close().await;
    Ok(())
}

async fn environments(store: &dyn Store) -> anyhow::Result<Vec<StoredEnvironment>> {
    let access = store.load_access(None).await?;
    Ok(access.map(|access| access.environments).unwrap_or_default())
}

/// The environment of this name, or the names that there are.
pub(super) async fn find_environment(store: &dyn Store, name: &str) -> anyhow::Result<StoredEnvironment> {
    let known = environments(store).await?;
    let found = known.iter().find(|environment| environment.name == name);
    found.cloned().with_context(|| {
        let names: Vec<_> = known.iter().map(|environment| environment.name.as_str()).collect();
        format!("there is no environment {name:?}; there are: {}", names.join(", "))
    })
}

async fn create_token(store: &dyn Store, args: CreateToken) -> anyhow::Result<()> {
    let kind = match args.kind {
        Kind::Enroll => TokenKind::Enroll,
        Kind::Viewer => TokenKind::Viewer,
        Kind::Admin => TokenKind::Admin,
    };
    let named = match (&args.environment, kind) {
        (None, TokenKind::Enroll) => Some(DEFAULT_ENVIRONMENT.to_owned()),
        (named, _) => named.clone(),
    };
    let environment = match &named {
        Some(name) => Some(find_environment(store, name).await?),
        None => None,
    };
    let now = now_ms();
    let expires_at = match &args.expires {
        Some(text) => {
            let span = parse_duration(text)
                .filter(|span| !span.is_zero())
                .with_context(|| format!("--expires: {text:?} is no duration like 30m, 24h or 7d"))?;
            Some(now.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
        }
        None => None,
    };
    let secret = auth::new_token(kind);
    let stored = store
        .create_token(NewToken {
            kind,
            environment: environment.as_ref().map(|environment| environment.key),
            parent: None,
            hash: secret.hash(),
            hint: secret.hint(),
            created_at: now,
            expires_at,
        })
        .await?;
    if args.json {
        let token = json!({
            "id": stored.id,
            "token": secret.reveal(),
            "kind": kind,
            "environment": environment.map(|environment| environment.name),
            "expiresAt": expires_at,
        });
        writeln!(stdout(), "{token}")?;
    } else {
        writeln!(stdout(), "{}", secret.reveal())?;
    }
    Ok(())
}

fn kinds_to_list(all: bool) -> Vec<TokenKind> {
    let made_by_people = [TokenKind::Enroll, TokenKind::Viewer, TokenKind::Admin];
    let made_by_programs = [TokenKind::Node, TokenKind::Session];
    made_by_people.into_iter().chain(made_by_programs.into_iter().filter(|_| all)).collect()
}

async fn list_tokens(store: &dyn Store, kinds: Vec<TokenKind>, as_json: bool) -> anyhow::Result<()> {
    let environments = environments(store).await?;
    let name_of = |key| environments.iter().find(|known| Some(known.key) == key).map(|known| known.name.clone());
    let tokens = store.list_tokens(kinds).await?;
    if as_json {
        let items: Vec<_> = tokens
            .iter()
            .map(|token| {
                json!({
                    "id": token.id,
                    "kind": token.kind,
                    "environment": name_of(token.environment),
                    "hint": token.hint,
                    "createdAt": token.created_at,
                    "expiresAt": token.expires_at,
                    "revokedAt": token.revoked_at,
                    "lastUsedAt": token.last_used_at,
                })
            })
            .collect();
        writeln!(stdout(), "{}", json!({ "items": items }))?;
        return Ok(());
    }
    writeln!(stdout(), "{:36}  {:7}  {:16}  {:8}  {:20}  STATE", "ID", "KIND", "ENVIRONMENT", "HINT", "LAST USED")?;
    let now = now_ms();
    for token in tokens {
        let state = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {}", to_rfc3339(at)),
            (None, Some(at)) if at <= now => format!("expired {}", to_rfc3339(at)),
            (None, Some(at)) => format!("valid until {}", to_rfc3339(at)),
            (None, None) => "valid".to_owned(),
        };
        let environment = name_of(token.environment).unwrap_or_else(|| "(all)".to_owned());
        let used = token.last_used_at.map_or_else(|| "never".to_owned(), to_rfc3339);
        let (id, kind, hint) = (token.id, token.kind.as_str(), token.hint);
        writeln!(stdout(), "{id}  {kind:7}  {environment:16}  {hint:8}  {used:20}  {state}")?;
    }
    Ok(())
}

/// Runs `environment …`.
pub(super) async fn run_environment(command: EnvironmentCommand, config: &Config) -> anyhow::Result<()> {
    let store = open_shared(config).await?;
    match command {
        EnvironmentCommand::Create { name } => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
                bail!("{name:?} is no name: 1 to 64 letters, digits, dots, dashes and underscores");
            }
            let environment = store.create_environment(name, now_ms()).await?;
            writeln!(stdout(), "created environment {} ({})", environment.name, environment.id)?;
        }
        EnvironmentCommand::List { json: true } => {
            let items: Vec<_> = environments(&*store)
                .await?
                .into_iter()
                .map(|known| json!({"id": known.id, "name": known.name, "createdAt": known.created_at}))
                .collect();
            writeln!(stdout(), "{}", json!({ "items": items }))?;
        }
        EnvironmentCommand::List { json: false } => {
            writeln!(stdout(), "{:36}  {:20}  NAME", "ID", "CREATED")?;
            for known in environments(&*store).await? {
                writeln!(stdout(), "{}  {:20}  {}", known.id, to_rfc3339(known.created_at), known.name)?;
            }
        }
    }
    store.close().await;
    Ok(())
}
