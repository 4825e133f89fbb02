-- The address of the node's last report.
ALTER TABLE nodes ADD COLUMN last_address TEXT;

-- The node whose machine id this one also reported when it enrolled: a host from a copied image. Its
-- own machine_id is NULL, because that column is unique.
ALTER TABLE nodes ADD COLUMN twin_of BIGINT REFERENCES nodes (id);
CREATE INDEX nodes_by_twin ON nodes (twin_of);

-- For people: what a token is called, and what it is for.
ALTER TABLE tokens ADD COLUMN name TEXT;
ALTER TABLE tokens ADD COLUMN note TEXT;
