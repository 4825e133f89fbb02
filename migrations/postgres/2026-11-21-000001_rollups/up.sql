-- Sums of minutes by hour and of hours by day, in UTC. Hours are Unix hours, days are Unix days.

CREATE TABLE pipeline_hours (
    hour               BIGINT           NOT NULL,
    series             BIGINT           NOT NULL,
    events_in          BIGINT           NOT NULL,
    events_out         BIGINT           NOT NULL,
    errors             BIGINT           NOT NULL,
    discarded          BIGINT           NOT NULL,
    bytes_in           BIGINT           NOT NULL,
    bytes_out          BIGINT           NOT NULL,
    utilization_sum    DOUBLE PRECISION NOT NULL,
    utilization_weight DOUBLE PRECISION NOT NULL,
    latency_sum        DOUBLE PRECISION NOT NULL,
    latency_weight     DOUBLE PRECISION NOT NULL,
    samples            BIGINT           NOT NULL,
    gaps               BIGINT           NOT NULL,
    resets             BIGINT           NOT NULL,
    logs_dropped       BIGINT           NOT NULL,
    PRIMARY KEY (hour, series)
);

CREATE TABLE pipeline_days (
    day                BIGINT           NOT NULL,
    series             BIGINT           NOT NULL,
    events_in          BIGINT           NOT NULL,
    events_out         BIGINT           NOT NULL,
    errors             BIGINT           NOT NULL,
    discarded          BIGINT           NOT NULL,
    bytes_in           BIGINT           NOT NULL,
    bytes_out          BIGINT           NOT NULL,
    utilization_sum    DOUBLE PRECISION NOT NULL,
    utilization_weight DOUBLE PRECISION NOT NULL,
    latency_sum        DOUBLE PRECISION NOT NULL,
    latency_weight     DOUBLE PRECISION NOT NULL,
    samples            BIGINT           NOT NULL,
    gaps               BIGINT           NOT NULL,
    resets             BIGINT           NOT NULL,
    logs_dropped       BIGINT           NOT NULL,
    PRIMARY KEY (day, series)
);

-- Buffers at their fullest.
CREATE TABLE component_hours (
    hour               BIGINT           NOT NULL,
    series             BIGINT           NOT NULL,
    received_events    BIGINT           NOT NULL,
    sent_events        BIGINT           NOT NULL,
    errors             BIGINT           NOT NULL,
    discarded          BIGINT           NOT NULL,
    received_bytes     BIGINT,
    sent_bytes         BIGINT,
    utilization_sum    DOUBLE PRECISION NOT NULL,
    utilization_weight DOUBLE PRECISION NOT NULL,
    latency_sum        DOUBLE PRECISION NOT NULL,
    latency_weight     DOUBLE PRECISION NOT NULL,
    buffer_events      BIGINT,
    buffer_max_events  BIGINT,
    buffer_bytes       BIGINT,
    buffer_max_bytes   BIGINT,
    samples            BIGINT           NOT NULL,
    PRIMARY KEY (hour, series)
);

CREATE TABLE component_days (
    day                BIGINT           NOT NULL,
    series             BIGINT           NOT NULL,
    received_events    BIGINT           NOT NULL,
    sent_events        BIGINT           NOT NULL,
    errors             BIGINT           NOT NULL,
    discarded          BIGINT           NOT NULL,
    received_bytes     BIGINT,
    sent_bytes         BIGINT,
    utilization_sum    DOUBLE PRECISION NOT NULL,
    utilization_weight DOUBLE PRECISION NOT NULL,
    latency_sum        DOUBLE PRECISION NOT NULL,
    latency_weight     DOUBLE PRECISION NOT NULL,
    buffer_events      BIGINT,
    buffer_max_events  BIGINT,
    buffer_bytes       BIGINT,
    buffer_max_bytes   BIGINT,
    samples            BIGINT           NOT NULL,
    PRIMARY KEY (day, series)
);

-- Gauges as last seen, two of them also as sum and weight over minutes. Counters as last and as
-- first seen; resets counts the minutes at which one of them went down.
CREATE TABLE node_hours (
    hour                     BIGINT           NOT NULL,
    node                     BIGINT           NOT NULL,
    first_minute             BIGINT           NOT NULL,
    last_minute              BIGINT           NOT NULL,
    memory_total_bytes       BIGINT,
    memory_used_bytes        BIGINT,
    memory_free_bytes        BIGINT,
    load_avg_1               DOUBLE PRECISION,
    load_avg_5               DOUBLE PRECISION,
    load_avg_15              DOUBLE PRECISION,
    fs_total_bytes           BIGINT,
    fs_used_bytes            BIGINT,
    fs_free_bytes            BIGINT,
    cpu_seconds_total        DOUBLE PRECISION,
    cpu_seconds_total_first  DOUBLE PRECISION,
    cpu_seconds_idle         DOUBLE PRECISION,
    cpu_seconds_idle_first   DOUBLE PRECISION,
    disk_read_bytes          BIGINT,
    disk_read_bytes_first    BIGINT,
    disk_written_bytes       BIGINT,
    disk_written_bytes_first BIGINT,
    net_rx_bytes             BIGINT,
    net_rx_bytes_first       BIGINT,
    net_tx_bytes             BIGINT,
    net_tx_bytes_first       BIGINT,
    memory_used_sum          DOUBLE PRECISION NOT NULL,
    memory_used_weight       DOUBLE PRECISION NOT NULL,
    load_avg_1_sum           DOUBLE PRECISION NOT NULL,
    load_avg_1_weight        DOUBLE PRECISION NOT NULL,
    resets                   BIGINT           NOT NULL,
    samples                  BIGINT           NOT NULL,
    PRIMARY KEY (hour, node)
);

CREATE TABLE node_days (
    day                      BIGINT           NOT NULL,
    node                     BIGINT           NOT NULL,
    first_minute             BIGINT           NOT NULL,
    last_minute              BIGINT           NOT NULL,
    memory_total_bytes       BIGINT,
    memory_used_bytes        BIGINT,
    memory_free_bytes        BIGINT,
    load_avg_1               DOUBLE PRECISION,
    load_avg_5               DOUBLE PRECISION,
    load_avg_15              DOUBLE PRECISION,
    fs_total_bytes           BIGINT,
    fs_used_bytes            BIGINT,
    fs_free_bytes            BIGINT,
    cpu_seconds_total        DOUBLE PRECISION,
    cpu_seconds_total_first  DOUBLE PRECISION,
    cpu_seconds_idle         DOUBLE PRECISION,
    cpu_seconds_idle_first   DOUBLE PRECISION,
    disk_read_bytes          BIGINT,
    disk_read_bytes_first    BIGINT,
    disk_written_bytes       BIGINT,
    disk_written_bytes_first BIGINT,
    net_rx_bytes             BIGINT,
    net_rx_bytes_first       BIGINT,
    net_tx_bytes             BIGINT,
    net_tx_bytes_first       BIGINT,
    memory_used_sum          DOUBLE PRECISION NOT NULL,
    memory_used_weight       DOUBLE PRECISION NOT NULL,
    load_avg_1_sum           DOUBLE PRECISION NOT NULL,
    load_avg_1_weight        DOUBLE PRECISION NOT NULL,
    resets                   BIGINT           NOT NULL,
    samples                  BIGINT           NOT NULL,
    PRIMARY KEY (day, node)
);

-- Hours and days of nodes that have changed since they were summed, or never were. Written with what
-- changes them. done: series up to this one are summed already; what comes in between sets it back.
CREATE TABLE dirty_hours (
    hour BIGINT NOT NULL,
    node BIGINT NOT NULL,
    done BIGINT NOT NULL,
    PRIMARY KEY (hour, node)
);

CREATE TABLE dirty_days (
    day  BIGINT NOT NULL,
    node BIGINT NOT NULL,
    done BIGINT NOT NULL,
    PRIMARY KEY (day, node)
);

-- From here on the minutes of every hour, and the hours of every day, are all kept. What is older is
-- not summed anew.
ALTER TABLE meta ADD COLUMN oldest_hour BIGINT NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN oldest_day BIGINT NOT NULL DEFAULT 0;

-- What is there already.
INSERT INTO dirty_hours (hour, node, done)
SELECT rows.minute / 60, series.node, 0 FROM pipeline_minutes AS rows JOIN series ON series.id = rows.series
UNION
SELECT rows.minute / 60, series.node, 0 FROM component_minutes AS rows JOIN series ON series.id = rows.series
UNION
SELECT minute / 60, node, 0 FROM node_minutes;

INSERT INTO dirty_days (day, node, done) SELECT DISTINCT hour / 24, node, 0 FROM dirty_hours;
