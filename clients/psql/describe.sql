-- Relations of each kind, as psql's backslash commands show them.
CREATE TABLE orders (
    id bigint PRIMARY KEY,
    customer text NOT NULL,
    amount numeric(10,2) NOT NULL DEFAULT 0 CHECK (amount >= 0),
    placed timestamp with time zone,
    tags text[],
    note varchar(20) DEFAULT 'none',
    UNIQUE (customer, placed)
);
CREATE SOURCE clicks (id bigint, url text, at timestamp)
    WITH (connector = 'datagen', rows = '3', "start.time" = '2026-01-01 00:00:00');
CREATE VIEW large AS SELECT id, customer, amount FROM orders WHERE amount > 100;
CREATE MATERIALIZED VIEW totals AS SELECT customer, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer;
COMMENT ON TABLE orders IS 'what customers want';
CREATE SCHEMA archive;
CREATE TABLE archive.old (id int);
\d
\d orders
\d clicks
\d large
\d totals
\d+ large
\d+ totals
\d archive.old
\d orders_pkey
\d nothing
\dt
\dt archive.*
\dt+ orders
\dm
\dv
\dE
\di
\ds
\dn
\df
\dT
\dp orders
-- \l and \du have other columns in other versions of psql: the first ones tell enough.
\pset format unaligned
\pset tuples_only on
\o | cut -d '|' -f 1-3
\l client
\o
\o | cut -d '|' -f 1,2
\du client
\o
\pset tuples_only off
\pset format aligned
SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1;
SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = 'orders' ORDER BY ordinal_position;
SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname;
SELECT 'orders'::regclass, 'bigint'::regtype, format_type(1700, 655366), pg_get_viewdef('large'::regclass);
SELECT count(*), max(attnum), array_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0;
SELECT current_user, session_user, current_database(), current_schema, current_schemas(false);
SELECT version() LIKE 'PostgreSQL 15.0 (Millrace %) on %' AS is_known;
DROP TABLE orders;
DROP TABLE orders CASCADE;
DROP SOURCE clicks;
DROP SCHEMA archive CASCADE;
\d
