ALTER TABLE tokens DROP COLUMN note;
ALTER TABLE tokens DROP COLUMN name;
DROP INDEX nodes_by_twin;
ALTER TABLE nodes DROP COLUMN twin_of;
ALTER TABLE nodes DROP COLUMN last_address;
