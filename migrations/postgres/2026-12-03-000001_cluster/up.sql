-- Which collector leads: it alone commits. Times are of the server's clock, in milliseconds.
ALTER TABLE meta ADD COLUMN term BIGINT NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN leader_id TEXT;
ALTER TABLE meta ADD COLUMN leader_seen_at BIGINT NOT NULL DEFAULT 0;
-- What collectors of this database identify themselves with to each other.
ALTER TABLE meta ADD COLUMN cluster_secret TEXT;

-- The collectors that serve. Each writes its row every second.
CREATE TABLE collectors (
    id TEXT COLLATE "C" PRIMARY KEY,
    -- Where the others reach it.
    url TEXT NOT NULL,
    -- SHA-256 of its certificate, in hexadecimal; null without TLS.
    certificate TEXT,
    version TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    -- How it is, for `status`: JSON.
    state TEXT NOT NULL
);
