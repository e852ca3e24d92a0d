-- COPY in and out, as text and CSV.
CREATE TABLE items (id int PRIMARY KEY, name text, price numeric(8,2) DEFAULT 1.5);
COPY items FROM STDIN;
1	plain	1.00
2	a\tb\\c\nd	\N
3	\N	2.50
\.
COPY items (id, name) FROM STDIN WITH (FORMAT csv, HEADER);
id,name
4,"with ""quotes"", and comma"
5,
6,""
\.
COPY items FROM STDIN WITH (DELIMITER '|', NULL 'nil');
7|nil|3
\.
SELECT * FROM items ORDER BY id;
COPY (SELECT * FROM items ORDER BY id) TO STDOUT;
COPY (SELECT * FROM items WHERE id < 5 ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER);
TRUNCATE items;
INSERT INTO items VALUES (1, 'one', 1);
COPY items (name, id) TO STDOUT CSV;
COPY items TO STDOUT;
COPY items FROM STDIN;
8	x	1
9	x
\.
COPY items FROM STDIN WITH (FORMAT csv);
8,x,abc
\.
COPY items FROM STDIN;
1	again	1
\.
COPY items FROM STDIN;
\.
COPY nothing TO STDOUT;
COPY items TO '/tmp/x';
SELECT count(*) FROM items;
DROP TABLE items;
