//! `token` and `environment`.

use std::collections::HashMap;
use std::io::{Write, stdout};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use systole_shared::limits::MAX_SHORT_TEXT_BYTES;
use systole_shared::vectorflow::token::slugify;
use systole_shared::{TokenId, TokenKind};

use super::{open_shared, open_shared_to_create};
use crate::auth;
use crate::clock::{now_ms, to_rfc3339};
use crate::config::{Config, parse_duration};
use crate::control::audit::{Actor, DONE, record};
use crate::model::NodeKey;
use crate::store::{DEFAULT_ENVIRONMENT, NewToken, Store, StoredEnvironment, StoredToken, TokenLabel};

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Create a token and print it; it is not shown again
    Create(CreateToken),
    /// List tokens, without their secrets, and the nodes that they belong to
    List {
        /// Include the tokens of nodes and of browser sessions
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token and every session made from it; a running collector applies this within 2 s
    Revoke {
        /// Id of the token, as `token list` prints it, or the first characters of it
        id: String,
    },
}

#[derive(Args)]
pub(super) struct CreateToken {
    /// enroll: lets agents enrol as nodes; viewer: reads; operator: reads and acts on what runs; admin: decides what
    /// runs; scrape: reads /metrics only
    #[arg(long, value_enum)]
    kind: Kind,
    /// Environment of the token [default: `default` for enroll tokens, all environments for others]
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Lifetime of the token, e.g. 24h or 7d [default: unlimited]
    #[arg(long, value_name = "DURATION")]
    expires: Option<String>,
    /// Name of the token, at most 64 characters
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,
    /// Note about the token's purpose, at most 1024 bytes
    #[arg(long, value_name = "TEXT", value_parser = parse_note)]
    note: Option<String>,
    /// Make the token in the shape that VectorFlow's agent expects; only for --kind enroll
    #[arg(long)]
    vectorflow: bool,
    /// Print JSON: id, token, kind, environment, name, note, expiresAt
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Enroll,
    Viewer,
    Operator,
    Admin,
    Scrape,
}

#[derive(Subcommand)]
pub(super) enum EnvironmentCommand {
    /// Create an environment
    Create {
        /// Name: 1 to 64 letters, digits, dots, dashes and underscores
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
    let store = match &command {
        TokenCommand::Create(_) => open_shared_to_create(config).await?,
        TokenCommand::List { .. } | TokenCommand::Revoke { .. } => open_shared(config).await?,
    };
    match command {
        TokenCommand::Create(args) => create_token(&*store, args).await?,
        TokenCommand::List { all, json } => list_tokens(&*store, kinds_to_list(all), json).await?,
        TokenCommand::Revoke { id } => {
            let id = find_token(&*store, &id).await?;
            if !store.revoke_token(id, now_ms()).await? {
                bail!("unknown token {id}");
            }
            record(&*store, &Actor::command_line(), None, "token.revoke", &id.to_string(), DONE).await;
            writeln!(stdout(), "revoked {id}")?;
        }
    }
    store.close().await;
    Ok(())
}

/// Names are printed in a column of a table.
fn parse_name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("is empty".to_owned()),
        name if name.chars().count() > 64 => Err("is longer than 64 characters".to_owned()),
        name if name.contains(char::is_control) => Err("has a control character".to_owned()),
        name => Ok(name.to_owned()),
    }
}

fn parse_note(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("is empty".to_owned()),
        note if note.len() > MAX_SHORT_TEXT_BYTES => Err(format!("is longer than {MAX_SHORT_TEXT_BYTES} bytes")),
        note if note.contains(char::is_control) => Err("has a control character".to_owned()),
        note => Ok(note.to_owned()),
    }
}

/// Number of ids in a message about an ambiguous prefix.
const LISTED_IDS: usize = 5;

/// Returns the token with this id or id prefix.
async fn find_token(store: &dyn Store, prefix: &str) -> anyhow::Result<TokenId> {
    let prefix = prefix.trim().to_ascii_lowercase();
    if prefix.is_empty() {
        bail!("the id of the token is empty");
    }
    let tokens = store.list_tokens(kinds_to_list(true)).await?;
    let matching: Vec<_> = tokens.iter().filter(|token| token.id.to_string().starts_with(&prefix)).collect();
    match matching.as_slice() {
        [] => bail!("no token has an id that begins with {prefix}; `token list --all` lists all tokens"),
        [token] => Ok(token.id),
        several => {
            let shown = several.iter().take(LISTED_IDS).map(|token| {
                let name = token.label.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
                format!("\n  {} {}{name}", token.id, token.kind)
            });
            let more = several.len().saturating_sub(LISTED_IDS);
            let rest = if more > 0 { format!("\n  and {more} more") } else { String::new() };
            bail!("{} tokens have ids that begin with {prefix}:{}{rest}", several.len(), shown.collect::<String>());
        }
    }
}

pub(super) async fn environments(store: &dyn Store) -> anyhow::Result<Vec<StoredEnvironment>> {
    let access = store.load_access(None).await?;
    Ok(access.map(|access| access.environments).unwrap_or_default())
}

/// Returns the environment of this name, or an error with the known names.
pub(super) async fn find_environment(store: &dyn Store, name: &str) -> anyhow::Result<StoredEnvironment> {
    let known = environments(store).await?;
    let found = known.iter().find(|environment| environment.name == name);
    found.cloned().with_context(|| {
        let names: Vec<_> = known.iter().map(|environment| environment.name.as_str()).collect();
        format!("unknown environment {name:?}, expected one of {}", names.join(", "))
    })
}

async fn create_token(store: &dyn Store, args: CreateToken) -> anyhow::Result<()> {
    let kind = match args.kind {
        Kind::Enroll => TokenKind::Enroll,
        Kind::Viewer => TokenKind::Viewer,
        Kind::Operator => TokenKind::Operator,
        Kind::Admin => TokenKind::Admin,
        Kind::Scrape => TokenKind::Scrape,
    };
    let named = match (&args.environment, kind) {
        (None, TokenKind::Enroll) => Some(DEFAULT_ENVIRONMENT.to_owned()),
        (named, _) => named.clone(),
    };
    if kind == TokenKind::Scrape && named.is_some() {
        bail!("--environment: a scrape token reads metrics of all environments; leave it out");
    }
    if args.vectorflow && kind != TokenKind::Enroll {
        bail!("--vectorflow: only enroll tokens have a shape of VectorFlow; use --kind enroll or leave it out");
    }
    let environment = match &named {
        Some(name) => Some(find_environment(store, name).await?),
        None => None,
    };
    let now = now_ms();
    let expires_at = match &args.expires {
        Some(text) => {
            let span = parse_duration(text)
                .filter(|span| !span.is_zero())
                .with_context(|| format!("--expires: invalid duration {text:?}, expected e.g. 30m, 24h or 7d"))?;
            Some(now.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
        }
        None => None,
    };
    let secret = match &environment {
        Some(environment) if args.vectorflow => auth::new_vectorflow_enroll_token(&slugify(&environment.name)),
        _ => auth::new_token(kind),
    };
    let stored = store
        .create_token(NewToken {
            kind,
            environment: environment.as_ref().map(|environment| environment.key),
            parent: None,
            label: TokenLabel { name: args.name.clone(), note: args.note.clone() },
            hash: secret.hash(),
            hint: secret.hint(),
            created_at: now,
            expires_at,
        })
        .await?;
    let subject = match &args.name {
        Some(name) => format!("{kind} {} ({name})", stored.id),
        None => format!("{kind} {}", stored.id),
    };
    record(store, &Actor::command_line(), stored.environment, "token.create", &subject, DONE).await;
    if args.json {
        let token = json!({
            "id": stored.id,
            "token": secret.reveal(),
            "kind": kind,
            "environment": environment.map(|environment| environment.name),
            "name": args.name,
            "note": args.note,
            "expiresAt": expires_at,
        });
        writeln!(stdout(), "{token}")?;
    } else {
        writeln!(stdout(), "{}", secret.reveal())?;
    }
    Ok(())
}

fn kinds_to_list(all: bool) -> Vec<TokenKind> {
    let made_by_people =
        [TokenKind::Enroll, TokenKind::Viewer, TokenKind::Operator, TokenKind::Admin, TokenKind::Scrape];
    let made_by_programs = [TokenKind::Node, TokenKind::Session];
    made_by_people.into_iter().chain(made_by_programs.into_iter().filter(|_| all)).collect()
}

async fn list_tokens(store: &dyn Store, kinds: Vec<TokenKind>, as_json: bool) -> anyhow::Result<()> {
    let environments = environments(store).await?;
    let name_of = |key| environments.iter().find(|known| Some(known.key) == key).map(|known| known.name.clone());
    let tokens = store.list_tokens(kinds).await?;
    let nodes =
        if tokens.iter().any(|token| token.node.is_some()) { nodes_by_key(store).await? } else { HashMap::new() };
    let node_of = |token: &StoredToken| token.node.and_then(|key| nodes.get(&key));
    if as_json {
        let items: Vec<_> = tokens
            .iter()
            .map(|token| {
                json!({
                    "id": token.id,
                    "kind": token.kind,
                    "environment": name_of(token.environment),
                    "name": token.label.name,
                    "note": token.label.note,
                    "nodeId": node_of(token).map(|(id, _)| id),
                    "nodeName": node_of(token).map(|(_, name)| name),
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
    let name_or_node = |token: &StoredToken| match (&token.label.name, node_of(token)) {
        (Some(name), _) | (None, Some((_, name))) => name.clone(),
        (None, None) => "-".to_owned(),
    };
    let names: Vec<_> = tokens.iter().map(name_or_node).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).clamp(4, 64);
    writeln!(
        stdout(),
        "{:36}  {:8}  {:width$}  {:16}  {:8}  {:20}  STATE",
        "ID",
        "KIND",
        "NAME",
        "ENVIRONMENT",
        "HINT",
        "LAST USED"
    )?;
    let now = now_ms();
    for (token, name) in tokens.into_iter().zip(names) {
        let state = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {}", to_rfc3339(at)),
            (None, Some(at)) if at <= now => format!("expired {}", to_rfc3339(at)),
            (None, Some(at)) => format!("valid until {}", to_rfc3339(at)),
            (None, None) => "valid".to_owned(),
        };
        let environment = name_of(token.environment).unwrap_or_else(|| "(all)".to_owned());
        let used = token.last_used_at.map_or_else(|| "never".to_owned(), to_rfc3339);
        let (id, kind, hint) = (token.id, token.kind.as_str(), token.hint);
        writeln!(stdout(), "{id}  {kind:8}  {name:width$}  {environment:16}  {hint:8}  {used:20}  {state}")?;
    }
    Ok(())
}

/// Id and name of every node.
async fn nodes_by_key(store: &dyn Store) -> anyhow::Result<HashMap<NodeKey, (String, String)>> {
    Ok(store.node_names().await?.into_iter().map(|node| (node.key, (node.id.to_string(), node.name))).collect())
}

/// Runs `environment …`.
pub(super) async fn run_environment(command: EnvironmentCommand, config: &Config) -> anyhow::Result<()> {
    let store = match &command {
        EnvironmentCommand::Create { .. } => open_shared_to_create(config).await?,
        EnvironmentCommand::List { .. } => open_shared(config).await?,
    };
    match command {
        EnvironmentCommand::Create { name } => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
                bail!("invalid name {name:?}, expected 1 to 64 letters, digits, dots, dashes and underscores");
            }
            let environment = store.create_environment(name, now_ms()).await?;
            let actor = Actor::command_line();
            record(&*store, &actor, Some(environment.key), "environment.create", &environment.name, DONE).await;
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
