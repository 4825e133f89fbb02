-- An index over blocks of 256 numbers of the sequence: what their lines hold, so that a search reads
-- only blocks that may have what is looked for. Made in the background from the lines; blocks from
-- next_block on are not in it yet.
CREATE TABLE log_search (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    next_block INTEGER NOT NULL
) STRICT;

INSERT INTO log_search (id, next_block) VALUES (1, 0);

CREATE TABLE log_search_blocks (
    block    INTEGER PRIMARY KEY,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT;

-- By block: every three bytes of the lines, their nodes, pipelines and levels, as hexadecimal words.
CREATE VIRTUAL TABLE log_search_tokens USING fts5 (
    tokens, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);
