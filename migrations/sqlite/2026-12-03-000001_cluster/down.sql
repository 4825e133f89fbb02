-- Several collectors need PostgreSQL: nothing changes here.
SELECT 1;
