-- Which program speaks for the node: systole-agent or vf-agent; null until its first report.
ALTER TABLE nodes ADD COLUMN agent_kind TEXT;
