-- The last totals of nodes whose agents report totals instead of growth: one packed row per node (ingest/totals).
CREATE TABLE node_totals (
    node BIGINT NOT NULL PRIMARY KEY,
    body BYTEA  NOT NULL
) WITH (fillfactor = 50);
