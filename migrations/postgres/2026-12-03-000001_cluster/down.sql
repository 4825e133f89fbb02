DROP TABLE collectors;
ALTER TABLE meta DROP COLUMN cluster_secret;
ALTER TABLE meta DROP COLUMN leader_seen_at;
ALTER TABLE meta DROP COLUMN leader_id;
ALTER TABLE meta DROP COLUMN term;
