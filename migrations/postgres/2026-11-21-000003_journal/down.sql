DROP TABLE journal;
ALTER TABLE meta DROP COLUMN folds;
ALTER TABLE meta DROP COLUMN fold_to;
ALTER TABLE meta DROP COLUMN fold_minute;
ALTER TABLE meta DROP COLUMN fold_node;
UPDATE pipeline_minutes SET utilization_sum = utilization_sum / 1000, utilization_weight = utilization_weight / 1000,
    latency_sum = latency_sum / 1000;
UPDATE pipeline_hours SET utilization_sum = utilization_sum / 1000, utilization_weight = utilization_weight / 1000,
    latency_sum = latency_sum / 1000;
UPDATE pipeline_days SET utilization_sum = utilization_sum / 1000, utilization_weight = utilization_weight / 1000,
    latency_sum = latency_sum / 1000;
UPDATE component_minutes SET utilization_sum = utilization_sum / 1000, utilization_weight = utilization_weight / 1000,
    latency_sum = latency_sum / 1000;
UPDATE component_hours SET utilization_sum = utilization_sum / 1000, utilization_weight = utilization_weight / 1000,
    latency_sum = latency_sum / 1000;
UPDATE component_days SET utilization_sum = utilization_sum / 1000, utilization_weight = utilization_weight / 1000,
    latency_sum = latency_sum / 1000;
