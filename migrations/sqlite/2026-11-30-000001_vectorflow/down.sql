DROP TABLE node_totals;
