-- What transactions of the committer added and is not in its rows yet: deltas of minutes, the progress
-- of boots, the last state of hosts. Packed; see collector/src/timeseries.
CREATE TABLE journal (
    id   INTEGER PRIMARY KEY,
    body BLOB    NOT NULL
) STRICT;

-- folds: slices of the journal that became rows. fold_to: the records up to this one are being made
-- rows, or 0; of these, cells of nodes by minute up to (fold_minute, fold_node) are rows already.
ALTER TABLE meta ADD COLUMN folds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN fold_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN fold_minute INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN fold_node INTEGER NOT NULL DEFAULT 0;

-- From here on utilization is summed as busy milliseconds over milliseconds, and latency as
-- microseconds over events: whole numbers, which take three bytes instead of eight.
UPDATE pipeline_minutes SET utilization_sum = round(utilization_sum * 1000), utilization_weight = round(utilization_weight * 1000),
    latency_sum = round(latency_sum * 1000);
UPDATE pipeline_hours SET utilization_sum = round(utilization_sum * 1000), utilization_weight = round(utilization_weight * 1000),
    latency_sum = round(latency_sum * 1000);
UPDATE pipeline_days SET utilization_sum = round(utilization_sum * 1000), utilization_weight = round(utilization_weight * 1000),
    latency_sum = round(latency_sum * 1000);
UPDATE component_minutes SET utilization_sum = round(utilization_sum * 1000), utilization_weight = round(utilization_weight * 1000),
    latency_sum = round(latency_sum * 1000);
UPDATE component_hours SET utilization_sum = round(utilization_sum * 1000), utilization_weight = round(utilization_weight * 1000),
    latency_sum = round(latency_sum * 1000);
UPDATE component_days SET utilization_sum = round(utilization_sum * 1000), utilization_weight = round(utilization_weight * 1000),
    latency_sum = round(latency_sum * 1000);
