DROP TABLE log_search_blocks;
DROP TABLE log_search;
