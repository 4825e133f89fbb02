-- An index over blocks of 256 numbers of the sequence: what their lines hold, so that a search reads
-- only blocks that may have what is looked for. Made in the background from the lines; blocks from
-- next_block on are not in it yet.
CREATE TABLE log_search (
    id         BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    next_block BIGINT NOT NULL
);

INSERT INTO log_search (id, next_block) VALUES (1, 0);

-- tokens: every three bytes of the lines, their nodes, pipelines and levels, as numbers.
CREATE TABLE log_search_blocks (
    block    BIGINT    NOT NULL PRIMARY KEY,
    first_at BIGINT    NOT NULL,
    last_at  BIGINT    NOT NULL,
    tokens   INTEGER[] NOT NULL
);

CREATE INDEX log_search_tokens ON log_search_blocks USING gin (tokens);
