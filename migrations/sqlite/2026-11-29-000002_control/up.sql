-- What an administrator sets at the collector. A name and labels here win over what the agent reports; labels
-- are a JSON object. maintenance_until: NULL, or Unix milliseconds.
ALTER TABLE nodes ADD COLUMN set_name TEXT;
ALTER TABLE nodes ADD COLUMN set_labels TEXT;
ALTER TABLE nodes ADD COLUMN maintenance_until INTEGER;
ALTER TABLE nodes ADD COLUMN maintenance_note TEXT;

-- Removed nodes: replays need them for their last events, and no key is used twice. labels: those that the node
-- had. is_clean: 1 once none of its rows are left.
CREATE TABLE removed_nodes (
    id          INTEGER NOT NULL PRIMARY KEY,
    uuid        TEXT    NOT NULL,
    environment INTEGER NOT NULL,
    labels      TEXT    NOT NULL,
    removed_at  INTEGER NOT NULL,
    is_clean    INTEGER NOT NULL
) STRICT;

-- Series of removed nodes that still have minutes, hours or days.
CREATE TABLE removed_series (
    id INTEGER NOT NULL PRIMARY KEY
) STRICT;

-- Since when no node has the pipeline. Its events are read by its key as long as they are kept.
ALTER TABLE pipelines ADD COLUMN unused_since INTEGER;

-- engines: a JSON list of the engines that the agent accepts pipelines for, NULL when it accepts none.
-- desired_generation: changes with every change of what the node should run. agent_rollout: the rollout that
-- brings the agent's version.
ALTER TABLE nodes ADD COLUMN engines TEXT;
ALTER TABLE nodes ADD COLUMN desired_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN agent_rollout INTEGER;

-- Pipelines of the centre. version: the newest one. stable_version: the newest one whose rollout is complete.
-- removed_at: a removed pipeline keeps its versions, so that a number never means two contents. It has no
-- stable_version, no assignment and no rollout that runs.
CREATE TABLE definitions (
    id             INTEGER PRIMARY KEY,
    environment    INTEGER NOT NULL REFERENCES environments (id),
    slug           TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    stable_version INTEGER,
    paused         INTEGER NOT NULL,
    removed_at     INTEGER,
    UNIQUE (environment, slug)
) STRICT;

-- Versions never change. body: the definition as JSON, with the number of each secret's value. checksum: SHA-256
-- of the engine's configuration. author: the name of the token, author_id its public id.
CREATE TABLE definition_versions (
    definition INTEGER NOT NULL REFERENCES definitions (id),
    version    INTEGER NOT NULL,
    checksum   TEXT    NOT NULL,
    body       TEXT    NOT NULL,
    author     TEXT    NOT NULL,
    author_id  TEXT,
    note       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (definition, version)
) STRICT, WITHOUT ROWID;

-- A version on its way to nodes: of a pipeline, or of agents (definition NULL, agent_update as JSON).
-- state: running, halted, complete or aborted. policy: JSON. stage: 0 for canaries, then batches.
CREATE TABLE rollouts (
    id           INTEGER PRIMARY KEY,
    environment  INTEGER NOT NULL REFERENCES environments (id),
    definition   INTEGER REFERENCES definitions (id),
    version      INTEGER NOT NULL,
    from_version INTEGER,
    agent_update TEXT,
    policy       TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    stage        INTEGER NOT NULL,
    author       TEXT    NOT NULL,
    started_at   INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    finished_at  INTEGER
) STRICT;

CREATE INDEX rollouts_by_definition ON rollouts (definition, id);
CREATE INDEX rollouts_by_state ON rollouts (state);

-- state: waiting, deploying, healthy or failed.
CREATE TABLE rollout_nodes (
    rollout    INTEGER NOT NULL REFERENCES rollouts (id),
    node       INTEGER NOT NULL,
    stage      INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (rollout, node)
) STRICT, WITHOUT ROWID;

-- What each node should run.
CREATE TABLE assignments (
    node       INTEGER NOT NULL,
    definition INTEGER NOT NULL REFERENCES definitions (id),
    version    INTEGER NOT NULL,
    paused     INTEGER NOT NULL,
    PRIMARY KEY (node, definition)
) STRICT, WITHOUT ROWID;

CREATE INDEX assignments_by_definition ON assignments (definition);

-- What each node reports of it.
CREATE TABLE deployments (
    node            INTEGER NOT NULL,
    slug            TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    running_version INTEGER,
    phase           TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    since           INTEGER NOT NULL,
    PRIMARY KEY (node, slug)
) STRICT, WITHOUT ROWID;

CREATE INDEX deployments_by_slug ON deployments (slug);

-- How the components of a configuration are connected, as JSON, by the checksum that agents report.
CREATE TABLE topologies (
    pipeline     INTEGER NOT NULL,
    checksum     TEXT    NOT NULL,
    topology     TEXT    NOT NULL,
    last_seen_at INTEGER NOT NULL,
    PRIMARY KEY (pipeline, checksum)
) STRICT, WITHOUT ROWID;

-- Values are encrypted with the key that key_id names. A new value is a new revision, because versions on their
-- way to nodes still need the old one.
CREATE TABLE secrets (
    environment INTEGER NOT NULL REFERENCES environments (id),
    name        TEXT    NOT NULL,
    revision    INTEGER NOT NULL,
    key_id      TEXT    NOT NULL,
    sealed      BLOB    NOT NULL,
    author      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (environment, name, revision)
) STRICT, WITHOUT ROWID;

-- Who did what. environment NULL: all environments. token NULL: a command on the collector's host.
CREATE TABLE audit (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    environment INTEGER,
    token       TEXT,
    actor       TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    result      TEXT    NOT NULL
) STRICT;

CREATE INDEX audit_by_time ON audit (at);
