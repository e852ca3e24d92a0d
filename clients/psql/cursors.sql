-- DECLARE, FETCH, CLOSE; PREPARE and EXECUTE; SUBSCRIBE.
CREATE TABLE t (k int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 10) AS s(i);
CREATE MATERIALIZED VIEW m AS SELECT v, count(*) AS n FROM t GROUP BY v;
BEGIN;
DECLARE c CURSOR FOR SELECT k, v FROM t ORDER BY k;
FETCH 3 FROM c;
FETCH FORWARD 2 FROM c;
FETCH NEXT FROM c;
FETCH c;
FETCH ALL IN c;
FETCH 1 FROM c;
CLOSE c;
FETCH 1 FROM c;
ROLLBACK;
DECLARE c CURSOR FOR SELECT 1;
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT k FROM t ORDER BY k DESC;
COMMIT;
FETCH 2 FROM held;
CLOSE ALL;
FETCH 2 FROM held;
PREPARE by_key (int) AS SELECT k, v FROM t WHERE k = $1;
EXECUTE by_key(3);
EXECUTE by_key(2 + 2);
EXECUTE by_key(1, 2);
PREPARE by_key AS SELECT 1;
PREPARE add AS INSERT INTO t VALUES ($1, $2) RETURNING k, v;
EXECUTE add(11, 'new');
DEALLOCATE by_key;
EXECUTE by_key(1);
DEALLOCATE ALL;
-- A subscription: first what is there, then each tick that changes it. Ticks have numbers, so only the rest is shown.
CREATE MATERIALIZED VIEW few AS SELECT k, v FROM t WHERE k <= 2;
BEGIN;
DECLARE s CURSOR FOR SUBSCRIBE few;
\pset format unaligned
\pset tuples_only on
\o | cut -d '|' -f 2- | sort
FETCH 2 FROM s;
\o
COMMIT;
UPDATE t SET v = 'changed' WHERE k = 1;
DELETE FROM t WHERE k > 5;
\o | cut -d '|' -f 2- | sort
FETCH 2 FROM s;
\o
FETCH 1 FROM s WITH (timeout = '50ms');
CLOSE s;
\pset tuples_only off
\pset format aligned
DROP TABLE t CASCADE;
