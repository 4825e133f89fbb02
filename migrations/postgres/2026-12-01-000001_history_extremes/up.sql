-- The lowest and the highest minute of hours and days, so that a peak survives the sum. Null in rows of earlier versions,
-- and where nothing is known.

ALTER TABLE pipeline_hours ADD COLUMN events_in_min BIGINT;
ALTER TABLE pipeline_hours ADD COLUMN events_in_max BIGINT;
ALTER TABLE pipeline_hours ADD COLUMN events_out_min BIGINT;
ALTER TABLE pipeline_hours ADD COLUMN events_out_max BIGINT;
ALTER TABLE pipeline_hours ADD COLUMN errors_min BIGINT;
ALTER TABLE pipeline_hours ADD COLUMN errors_max BIGINT;
ALTER TABLE pipeline_hours ADD COLUMN discarded_min BIGINT;
ALTER TABLE pipeline_hours ADD COLUMN discarded_max BIGINT;
ALTER TABLE pipeline_hours ADD COLUMN bytes_in_min BIGINT;
ALTER TABLE pipeline_hours ADD COLUMN bytes_in_max BIGINT;
ALTER TABLE pipeline_hours ADD COLUMN bytes_out_min BIGINT;
ALTER TABLE pipeline_hours ADD COLUMN bytes_out_max BIGINT;

ALTER TABLE pipeline_days ADD COLUMN events_in_min BIGINT;
ALTER TABLE pipeline_days ADD COLUMN events_in_max BIGINT;
ALTER TABLE pipeline_days ADD COLUMN events_out_min BIGINT;
ALTER TABLE pipeline_days ADD COLUMN events_out_max BIGINT;
ALTER TABLE pipeline_days ADD COLUMN errors_min BIGINT;
ALTER TABLE pipeline_days ADD COLUMN errors_max BIGINT;
ALTER TABLE pipeline_days ADD COLUMN discarded_min BIGINT;
ALTER TABLE pipeline_days ADD COLUMN discarded_max BIGINT;
ALTER TABLE pipeline_days ADD COLUMN bytes_in_min BIGINT;
ALTER TABLE pipeline_days ADD COLUMN bytes_in_max BIGINT;
ALTER TABLE pipeline_days ADD COLUMN bytes_out_min BIGINT;
ALTER TABLE pipeline_days ADD COLUMN bytes_out_max BIGINT;

ALTER TABLE component_hours ADD COLUMN received_events_min BIGINT;
ALTER TABLE component_hours ADD COLUMN received_events_max BIGINT;
ALTER TABLE component_hours ADD COLUMN sent_events_min BIGINT;
ALTER TABLE component_hours ADD COLUMN sent_events_max BIGINT;
ALTER TABLE component_hours ADD COLUMN errors_min BIGINT;
ALTER TABLE component_hours ADD COLUMN errors_max BIGINT;
ALTER TABLE component_hours ADD COLUMN discarded_min BIGINT;
ALTER TABLE component_hours ADD COLUMN discarded_max BIGINT;

ALTER TABLE component_days ADD COLUMN received_events_min BIGINT;
ALTER TABLE component_days ADD COLUMN received_events_max BIGINT;
ALTER TABLE component_days ADD COLUMN sent_events_min BIGINT;
ALTER TABLE component_days ADD COLUMN sent_events_max BIGINT;
ALTER TABLE component_days ADD COLUMN errors_min BIGINT;
ALTER TABLE component_days ADD COLUMN errors_max BIGINT;
ALTER TABLE component_days ADD COLUMN discarded_min BIGINT;
ALTER TABLE component_days ADD COLUMN discarded_max BIGINT;

-- Of hosts: of disks and networks the growth in a minute.
ALTER TABLE node_hours ADD COLUMN memory_used_bytes_min BIGINT;
ALTER TABLE node_hours ADD COLUMN memory_used_bytes_max BIGINT;
ALTER TABLE node_hours ADD COLUMN load_avg_1_min DOUBLE PRECISION;
ALTER TABLE node_hours ADD COLUMN load_avg_1_max DOUBLE PRECISION;
ALTER TABLE node_hours ADD COLUMN cpu_utilization_min DOUBLE PRECISION;
ALTER TABLE node_hours ADD COLUMN cpu_utilization_max DOUBLE PRECISION;
ALTER TABLE node_hours ADD COLUMN disk_read_bytes_min BIGINT;
ALTER TABLE node_hours ADD COLUMN disk_read_bytes_max BIGINT;
ALTER TABLE node_hours ADD COLUMN disk_written_bytes_min BIGINT;
ALTER TABLE node_hours ADD COLUMN disk_written_bytes_max BIGINT;
ALTER TABLE node_hours ADD COLUMN net_rx_bytes_min BIGINT;
ALTER TABLE node_hours ADD COLUMN net_rx_bytes_max BIGINT;
ALTER TABLE node_hours ADD COLUMN net_tx_bytes_min BIGINT;
ALTER TABLE node_hours ADD COLUMN net_tx_bytes_max BIGINT;

ALTER TABLE node_days ADD COLUMN memory_used_bytes_min BIGINT;
ALTER TABLE node_days ADD COLUMN memory_used_bytes_max BIGINT;
ALTER TABLE node_days ADD COLUMN load_avg_1_min DOUBLE PRECISION;
ALTER TABLE node_days ADD COLUMN load_avg_1_max DOUBLE PRECISION;
ALTER TABLE node_days ADD COLUMN cpu_utilization_min DOUBLE PRECISION;
ALTER TABLE node_days ADD COLUMN cpu_utilization_max DOUBLE PRECISION;
ALTER TABLE node_days ADD COLUMN disk_read_bytes_min BIGINT;
ALTER TABLE node_days ADD COLUMN disk_read_bytes_max BIGINT;
ALTER TABLE node_days ADD COLUMN disk_written_bytes_min BIGINT;
ALTER TABLE node_days ADD COLUMN disk_written_bytes_max BIGINT;
ALTER TABLE node_days ADD COLUMN net_rx_bytes_min BIGINT;
ALTER TABLE node_days ADD COLUMN net_rx_bytes_max BIGINT;
ALTER TABLE node_days ADD COLUMN net_tx_bytes_min BIGINT;
ALTER TABLE node_days ADD COLUMN net_tx_bytes_max BIGINT;

-- Reports of a pipeline: those that came, those of them that came late, and those that never came. 0 in rows of earlier
-- versions.
ALTER TABLE pipeline_minutes ADD COLUMN reports BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pipeline_minutes ADD COLUMN late_reports BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pipeline_minutes ADD COLUMN missing_reports BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pipeline_hours ADD COLUMN reports BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pipeline_hours ADD COLUMN late_reports BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pipeline_hours ADD COLUMN missing_reports BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pipeline_days ADD COLUMN reports BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pipeline_days ADD COLUMN late_reports BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pipeline_days ADD COLUMN missing_reports BIGINT NOT NULL DEFAULT 0;
