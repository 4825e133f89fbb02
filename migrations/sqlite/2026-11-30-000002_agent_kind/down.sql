ALTER TABLE nodes DROP COLUMN agent_kind;
