-- The last totals of nodes whose agents report totals instead of growth: one packed row per node (ingest/totals).
CREATE TABLE node_totals (
    node INTEGER NOT NULL PRIMARY KEY,
    body BLOB    NOT NULL
) STRICT;
