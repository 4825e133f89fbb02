-- Times are Unix milliseconds, minutes are Unix minutes. Dimension tables carry the public UUIDs;
-- hot tables are keyed by small integers only, which keeps their pages dense.

-- One row: the feed's epoch and head, from where on lines and events are complete, and a number that grows with every change of tokens or
-- environments, so that a running collector notices what the command line did.
CREATE TABLE meta (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    epoch          TEXT    NOT NULL,
    head_seq       INTEGER NOT NULL,
    oldest_log     INTEGER NOT NULL,
    oldest_event   INTEGER NOT NULL,
    access_version INTEGER NOT NULL
) STRICT;

CREATE TABLE environments (
    id         INTEGER PRIMARY KEY,
    uuid       TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE nodes (
    id              INTEGER PRIMARY KEY,
    uuid            TEXT    NOT NULL UNIQUE,
    environment     INTEGER NOT NULL REFERENCES environments (id),
    name            TEXT    NOT NULL,
    machine_id      TEXT,
    os              TEXT    NOT NULL,
    agent_version   TEXT,
    vector_version  TEXT,
    deployment_mode TEXT,
    running_as      TEXT,
    labels          TEXT    NOT NULL,
    health          TEXT,
    host            TEXT,
    status          TEXT    NOT NULL,
    status_reason   TEXT    NOT NULL,
    status_since    INTEGER NOT NULL,
    last_seen_at    INTEGER,
    enrolled_at     INTEGER NOT NULL,
    UNIQUE (environment, machine_id)
) STRICT;

-- The secret itself is never stored. environment NULL: all environments. parent: the token that a
-- browser's session was made from.
CREATE TABLE tokens (
    uuid         TEXT    NOT NULL PRIMARY KEY,
    kind         TEXT    NOT NULL,
    environment  INTEGER REFERENCES environments (id),
    node         INTEGER REFERENCES nodes (id),
    parent       TEXT    REFERENCES tokens (uuid),
    sha256       TEXT    NOT NULL UNIQUE,
    hint         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_by_node ON tokens (node);
CREATE INDEX tokens_by_parent ON tokens (parent);

-- How far each life of an agent has been applied. A report at or below is never applied again.
CREATE TABLE node_boots (
    node         INTEGER NOT NULL,
    boot         TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    PRIMARY KEY (node, boot)
) STRICT, WITHOUT ROWID;

-- Reports that an agent can not send any more.
CREATE TABLE node_gaps (
    node        INTEGER NOT NULL,
    boot        TEXT    NOT NULL,
    from_seq    INTEGER NOT NULL,
    to_seq      INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (node, boot, from_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE pipelines (
    id          INTEGER PRIMARY KEY,
    environment INTEGER NOT NULL REFERENCES environments (id),
    slug        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    UNIQUE (environment, slug)
) STRICT;

-- A series is a pipeline on a node (component '') or one of its components.
CREATE TABLE series (
    id        INTEGER PRIMARY KEY,
    node      INTEGER NOT NULL,
    pipeline  INTEGER NOT NULL,
    component TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    UNIQUE (node, pipeline, component)
) STRICT;

CREATE INDEX series_by_pipeline ON series (pipeline, component);

CREATE TABLE pipeline_status (
    node            INTEGER NOT NULL,
    pipeline        INTEGER NOT NULL,
    status          TEXT    NOT NULL,
    status_text     TEXT,
    reason          TEXT    NOT NULL,
    since           INTEGER NOT NULL,
    version         INTEGER,
    pid             INTEGER,
    started_at      INTEGER,
    restarts        INTEGER NOT NULL,
    config_checksum TEXT,
    scrape_error    TEXT,
    present         INTEGER NOT NULL,
    reported_at     INTEGER NOT NULL,
    PRIMARY KEY (node, pipeline)
) STRICT, WITHOUT ROWID;

CREATE INDEX pipeline_status_by_pipeline ON pipeline_status (pipeline);

-- Deltas summed by minute. Utilization and latency as sum and weight, so that means over hours,
-- days and nodes stay exact. samples and gaps count reports with a sample and failed scrapes.
CREATE TABLE pipeline_minutes (
    minute             INTEGER NOT NULL,
    series             INTEGER NOT NULL,
    events_in          INTEGER NOT NULL,
    events_out         INTEGER NOT NULL,
    errors             INTEGER NOT NULL,
    discarded          INTEGER NOT NULL,
    bytes_in           INTEGER NOT NULL,
    bytes_out          INTEGER NOT NULL,
    utilization_sum    REAL    NOT NULL,
    utilization_weight REAL    NOT NULL,
    latency_sum        REAL    NOT NULL,
    latency_weight     REAL    NOT NULL,
    samples            INTEGER NOT NULL,
    gaps               INTEGER NOT NULL,
    resets             INTEGER NOT NULL,
    logs_dropped       INTEGER NOT NULL,
    PRIMARY KEY (minute, series)
) STRICT, WITHOUT ROWID;

-- Bytes are NULL where the engine does not count them for this kind of component.
CREATE TABLE component_minutes (
    minute             INTEGER NOT NULL,
    series             INTEGER NOT NULL,
    received_events    INTEGER NOT NULL,
    sent_events        INTEGER NOT NULL,
    errors             INTEGER NOT NULL,
    discarded          INTEGER NOT NULL,
    received_bytes     INTEGER,
    sent_bytes         INTEGER,
    utilization_sum    REAL    NOT NULL,
    utilization_weight REAL    NOT NULL,
    latency_sum        REAL    NOT NULL,
    latency_weight     REAL    NOT NULL,
    buffer_events      INTEGER,
    buffer_max_events  INTEGER,
    buffer_bytes       INTEGER,
    buffer_max_bytes   INTEGER,
    samples            INTEGER NOT NULL,
    PRIMARY KEY (minute, series)
) STRICT, WITHOUT ROWID;

-- The host as last seen in the minute: gauges, and counters since the host's boot.
CREATE TABLE node_minutes (
    minute             INTEGER NOT NULL,
    node               INTEGER NOT NULL,
    memory_total_bytes INTEGER,
    memory_used_bytes  INTEGER,
    memory_free_bytes  INTEGER,
    cpu_seconds_total  REAL,
    cpu_seconds_idle   REAL,
    load_avg_1         REAL,
    load_avg_5         REAL,
    load_avg_15        REAL,
    fs_total_bytes     INTEGER,
    fs_used_bytes      INTEGER,
    fs_free_bytes      INTEGER,
    disk_read_bytes    INTEGER,
    disk_written_bytes INTEGER,
    net_rx_bytes       INTEGER,
    net_tx_bytes       INTEGER,
    samples            INTEGER NOT NULL,
    PRIMARY KEY (minute, node)
) STRICT, WITHOUT ROWID;

-- One sequence numbers lines and events. entry_seq is the id of the log_entry event that the line
-- went out with, so that a replay cuts the same events as the live feed did.
CREATE TABLE logs (
    seq       INTEGER PRIMARY KEY,
    entry_seq INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    node      INTEGER NOT NULL,
    pipeline  INTEGER NOT NULL,
    stream    TEXT    NOT NULL,
    level     TEXT,
    line      TEXT    NOT NULL
) STRICT;

CREATE INDEX logs_by_pipeline ON logs (pipeline, seq);

CREATE TABLE events (
    seq         INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    environment INTEGER NOT NULL,
    node        INTEGER NOT NULL,
    pipeline    INTEGER,
    kind        TEXT    NOT NULL,
    payload     TEXT    NOT NULL
) STRICT;

CREATE INDEX events_by_environment ON events (environment, seq);
