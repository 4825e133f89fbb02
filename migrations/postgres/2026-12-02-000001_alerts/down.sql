DROP TABLE silences;
DROP TABLE alert_targets;
DROP TABLE alert_outbox;
DROP TABLE alert_groups;
DROP TABLE alert_states;
