-- Alerts that are pending or fire, and those that ended a few minutes ago. id: rule and subject. environment 0: the
-- collector itself. notified: whether a message about its firing was written.
CREATE TABLE alert_states (
    id          TEXT NOT NULL PRIMARY KEY,
    rule        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    environment INTEGER NOT NULL,
    node        INTEGER,
    pipeline    TEXT,
    name        TEXT NOT NULL,
    severity    TEXT NOT NULL,
    state       TEXT NOT NULL,
    since       INTEGER NOT NULL,
    fired_at    INTEGER,
    ended_at    INTEGER,
    value       REAL,
    text        TEXT NOT NULL,
    notified    INTEGER NOT NULL,
    notified_at INTEGER
) STRICT, WITHOUT ROWID;

-- When the last message of a group went out. opened_at: since when the group has alerts that were reported; 0: it has none.
CREATE TABLE alert_groups (
    id        TEXT NOT NULL PRIMARY KEY,
    opened_at INTEGER NOT NULL,
    sent_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Messages that are still to be delivered. message: JSON.
CREATE TABLE alert_outbox (
    id         INTEGER PRIMARY KEY,
    target     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    message    TEXT NOT NULL
) STRICT;

CREATE INDEX alert_outbox_by_target ON alert_outbox (target, id);

-- The last result of each target.
CREATE TABLE alert_targets (
    target          TEXT NOT NULL PRIMARY KEY,
    last_attempt_at INTEGER NOT NULL,
    last_success_at INTEGER,
    failing_since   INTEGER,
    last_error      TEXT,
    sent            INTEGER NOT NULL,
    failed          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- matchers: a JSON list of texts. environment NULL: all environments.
CREATE TABLE silences (
    id          INTEGER PRIMARY KEY,
    environment INTEGER,
    matchers    TEXT NOT NULL,
    starts_at   INTEGER NOT NULL,
    ends_at     INTEGER NOT NULL,
    author      TEXT NOT NULL,
    note        TEXT NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;
