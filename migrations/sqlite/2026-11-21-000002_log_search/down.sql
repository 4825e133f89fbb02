DROP TABLE log_search_tokens;
DROP TABLE log_search_blocks;
DROP TABLE log_search;
