-- Sums of minutes by hour and of hours by day, in UTC. Hours are Unix hours, days are Unix days.

CREATE TABLE pipeline_hours (
    hour               INTEGER NOT NULL,
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
    PRIMARY KEY (hour, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE pipeline_days (
    day                INTEGER NOT NULL,
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
    PRIMARY KEY (day, series)
) STRICT, WITHOUT ROWID;

-- Buffers at their fullest.
CREATE TABLE component_hours (
    hour               INTEGER NOT NULL,
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
    PRIMARY KEY (hour, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE component_days (
    day                INTEGER NOT NULL,
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
    PRIMARY KEY (day, series)
) STRICT, WITHOUT ROWID;

-- Gauges as last seen, two of them also as sum and weight over minutes. Counters as last and as
-- first seen; resets counts the minutes at which one of them went down.
CREATE TABLE node_hours (
    hour                     INTEGER NOT NULL,
    node                     INTEGER NOT NULL,
    first_minute             INTEGER NOT NULL,
    last_minute              INTEGER NOT NULL,
    memory_total_bytes       INTEGER,
    memory_used_bytes        INTEGER,
    memory_free_bytes        INTEGER,
    load_avg_1               REAL,
    load_avg_5               REAL,
    load_avg_15              REAL,
    fs_total_bytes           INTEGER,
    fs_used_bytes            INTEGER,
    fs_free_bytes            INTEGER,
    cpu_seconds_total        REAL,
    cpu_seconds_total_first  REAL,
    cpu_seconds_idle         REAL,
    cpu_seconds_idle_first   REAL,
    disk_read_bytes          INTEGER,
    disk_read_bytes_first    INTEGER,
    disk_written_bytes       INTEGER,
    disk_written_bytes_first INTEGER,
    net_rx_bytes             INTEGER,
    net_rx_bytes_first       INTEGER,
    net_tx_bytes             INTEGER,
    net_tx_bytes_first       INTEGER,
    memory_used_sum          REAL    NOT NULL,
    memory_used_weight       REAL    NOT NULL,
    load_avg_1_sum           REAL    NOT NULL,
    load_avg_1_weight        REAL    NOT NULL,
    resets                   INTEGER NOT NULL,
    samples                  INTEGER NOT NULL,
    PRIMARY KEY (hour, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE node_days (
    day                      INTEGER NOT NULL,
    node                     INTEGER NOT NULL,
    first_minute             INTEGER NOT NULL,
    last_minute              INTEGER NOT NULL,
    memory_total_bytes       INTEGER,
    memory_used_bytes        INTEGER,
    memory_free_bytes        INTEGER,
    load_avg_1               REAL,
    load_avg_5               REAL,
    load_avg_15              REAL,
    fs_total_bytes           INTEGER,
    fs_used_bytes            INTEGER,
    fs_free_bytes            INTEGER,
    cpu_seconds_total        REAL,
    cpu_seconds_total_first  REAL,
    cpu_seconds_idle         REAL,
    cpu_seconds_idle_first   REAL,
    disk_read_bytes          INTEGER,
    disk_read_bytes_first    INTEGER,
    disk_written_bytes       INTEGER,
    disk_written_bytes_first INTEGER,
    net_rx_bytes             INTEGER,
    net_rx_bytes_first       INTEGER,
    net_tx_bytes             INTEGER,
    net_tx_bytes_first       INTEGER,
    memory_used_sum          REAL    NOT NULL,
    memory_used_weight       REAL    NOT NULL,
    load_avg_1_sum           REAL    NOT NULL,
    load_avg_1_weight        REAL    NOT NULL,
    resets                   INTEGER NOT NULL,
    samples                  INTEGER NOT NULL,
    PRIMARY KEY (day, node)
) STRICT, WITHOUT ROWID;

-- Hours and days of nodes that have changed since they were summed, or never were. Written with what
-- changes them. done: series up to this one are summed already; what comes in between sets it back.
CREATE TABLE dirty_hours (
    hour INTEGER NOT NULL,
    node INTEGER NOT NULL,
    done INTEGER NOT NULL,
    PRIMARY KEY (hour, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE dirty_days (
    day  INTEGER NOT NULL,
    node INTEGER NOT NULL,
    done INTEGER NOT NULL,
    PRIMARY KEY (day, node)
) STRICT, WITHOUT ROWID;

-- From here on the minutes of every hour, and the hours of every day, are all kept. What is older is
-- not summed anew.
ALTER TABLE meta ADD COLUMN oldest_hour INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN oldest_day INTEGER NOT NULL DEFAULT 0;

-- What is there already.
INSERT INTO dirty_hours (hour, node, done)
SELECT rows.minute / 60, series.node, 0 FROM pipeline_minutes AS rows JOIN series ON series.id = rows.series
UNION
SELECT rows.minute / 60, series.node, 0 FROM component_minutes AS rows JOIN series ON series.id = rows.series
UNION
SELECT minute / 60, node, 0 FROM node_minutes;

INSERT INTO dirty_days (day, node, done) SELECT DISTINCT hour / 24, node, 0 FROM dirty_hours;
