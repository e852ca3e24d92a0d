"""psycopg 3: text and binary, parameters of every type, transactions, COPY, cursors, pipelines, errors."""

import datetime as dt
import decimal
import uuid

import psycopg
import pytest
from psycopg.rows import dict_row


@pytest.fixture
def connection():
    with psycopg.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def table(connection):
    name = f"t_{uuid.uuid4().hex[:12]}"
    connection.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, name text NOT NULL, amount numeric(10,2))")
    yield name
    connection.execute(f"DROP TABLE {name} CASCADE")


VALUES = [
    ("bool", True),
    ("smallint", -3),
    ("int", 2_000_000_000),
    ("bigint", 2**60),
    ("real", 1.5),
    ("double precision", 1e300),
    ("numeric", decimal.Decimal("12.5")),
    ("text", "grün 'quoted' \\ \n"),
    ("varchar(10)", "abc"),
    ("bytea", b"\x00\xff\x01"),
    ("date", dt.date(2024, 2, 29)),
    ("time", dt.time(13, 14, 15, 123456)),
    ("timestamp", dt.datetime(2024, 2, 29, 13, 14, 15, 123456)),
    ("timestamptz", dt.datetime(2024, 2, 29, 13, 14, 15, tzinfo=dt.timezone.utc)),
    ("interval", dt.timedelta(days=3, seconds=5, microseconds=7)),
    ("uuid", uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
    ("int[]", [1, 2, None, 4]),
    ("text[]", ["a", "b c", 'q"q', "NULL", None, ""]),
]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("sql_type,value", VALUES)
def test_values_come_back_as_they_went(connection, sql_type, value, binary):
    with connection.cursor(binary=binary) as cursor:
        fmt = "%b" if binary else "%t"
        row = cursor.execute(f"SELECT {fmt}::{sql_type} AS v", (value,)).fetchone()
        assert row == (value,)
        assert cursor.execute(f"SELECT {fmt}::{sql_type}", (None,)).fetchone() == (None,)


def test_json_values(connection):
    value = {"a": [1, 2.5, None, "x"], "b": {"c": True}}
    for sql_type in ("json", "jsonb"):
        row = connection.execute(f"SELECT %s::{sql_type}", (psycopg.types.json.Json(value),)).fetchone()
        assert row == (value,)


def test_a_view_follows_its_table(connection, table):
    connection.execute(f"CREATE MATERIALIZED VIEW v_{table} AS SELECT count(*) AS n, sum(amount) AS s FROM {table}")
    with psycopg.connect(autocommit=True) as other:
        assert other.execute(f"SELECT n, s FROM v_{table}").fetchone() == (0, None)
        with connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {table} VALUES (%s, %s, %s)",
                [(i, f"n{i}", decimal.Decimal(i) / 4) for i in range(10)],
            )
        assert other.execute(f"SELECT n, s FROM v_{table}").fetchone() == (10, decimal.Decimal("11.25"))
        connection.execute(f"DELETE FROM {table} WHERE id >= 5")
        assert other.execute(f"SELECT n, s FROM v_{table}").fetchone() == (5, decimal.Decimal("2.50"))


def test_transactions(table):
    with psycopg.connect() as connection, psycopg.connect(autocommit=True) as other:
        connection.execute(f"INSERT INTO {table} VALUES (1, 'one', 1)")
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
        assert other.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        connection.commit()
        assert other.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
        connection.execute(f"UPDATE {table} SET name = 'uno'")
        connection.rollback()
        assert other.execute(f"SELECT name FROM {table}").fetchone() == ("one",)


def test_nested_transactions_are_savepoints(connection, table):
    with connection.transaction():
        connection.execute(f"INSERT INTO {table} VALUES (1, 'kept', 1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            with connection.transaction():
                connection.execute(f"INSERT INTO {table} VALUES (2, 'lost', 1)")
                connection.execute(f"INSERT INTO {table} VALUES (2, 'again', 1)")
                connection.execute(f"SELECT 1/0")
    assert connection.execute(f"SELECT id FROM {table}").fetchall() == [(1,)]


def test_a_failed_transaction_refuses_statements(table):
    with psycopg.connect() as connection:
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM nowhere")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_returning_and_row_counts(connection, table):
    cursor = connection.execute(f"INSERT INTO {table} VALUES (1, 'a', 1), (2, 'b', 2) RETURNING id, name")
    assert cursor.rowcount == 2 and cursor.fetchall() == [(1, "a"), (2, "b")]
    assert connection.execute(f"UPDATE {table} SET amount = amount + 1 WHERE id = 2").rowcount == 1
    cursor = connection.execute(f"DELETE FROM {table} WHERE id = %s RETURNING amount", (2,))
    assert cursor.fetchall() == [(decimal.Decimal("3.00"),)]


def test_copy_in_and_out(connection, table):
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for i in range(1000):
                copy.write_row((i, f"tab\there {i}", decimal.Decimal("0.25")))
        assert cursor.rowcount == 1000
        with cursor.copy(f"COPY (SELECT id, name FROM {table} WHERE id < 3 ORDER BY id) TO STDOUT") as copy:
            rows = list(copy.rows())
    assert rows == [("0", "tab\there 0"), ("1", "tab\there 1"), ("2", "tab\there 2")]


def test_server_side_cursor(connection):
    with psycopg.connect() as transactional:
        with transactional.cursor(name="big") as cursor:
            cursor.itersize = 100
            cursor.execute("SELECT value FROM generate_series(1, 1000) AS s(value)")
            assert sum(row[0] for row in cursor) == 500500


def test_pipeline(connection, table):
    with connection.pipeline():
        cursors = [connection.execute(f"INSERT INTO {table} VALUES (%s, 'p', 1)", (i,)) for i in range(50)]
        last = connection.execute(f"SELECT count(*) FROM {table}")
        assert last.fetchone() == (50,)
    assert all(cursor.rowcount == 1 for cursor in cursors)


def test_prepared_after_five_runs(connection, table):
    connection.prepare_threshold = 2
    for i in range(10):
        connection.execute(f"INSERT INTO {table} VALUES (%s, %s, %s)", (i, "x", None))
    row = connection.cursor(row_factory=dict_row).execute(f"SELECT count(*) AS n FROM {table} WHERE id > %s", (4,))
    assert row.fetchone() == {"n": 5}


def test_errors_carry_state_position_detail_and_hint(connection, table):
    with pytest.raises(psycopg.errors.UndefinedColumn) as undefined:
        connection.execute(f"SELECT nme FROM {table}")
    assert undefined.value.diag.statement_position == "8"
    connection.execute(f"INSERT INTO {table} VALUES (1, 'a', 1)")
    with pytest.raises(psycopg.errors.UniqueViolation) as duplicate:
        connection.execute(f"INSERT INTO {table} VALUES (1, 'b', 1)")
    assert duplicate.value.diag.message_detail == "Key (id)=(1) already exists."
    with pytest.raises(psycopg.errors.NotNullViolation):
        connection.execute(f"INSERT INTO {table} VALUES (2, NULL, 1)")
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1/0")
    with pytest.raises(psycopg.errors.SyntaxError):
        connection.execute("SELEC 1")
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        connection.execute("SELECT 'abc'::int")


def test_cancel(connection):
    import threading

    timer = threading.Timer(0.5, connection.cancel)
    timer.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("SELECT count(*) FROM generate_series(1, 1000000) AS s(i), generate_series(1, 1000000) AS t(j)")
    timer.join()
    assert connection.execute("SELECT 1").fetchone() == (1,)
