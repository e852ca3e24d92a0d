"""asyncpg: everything binary, named statements, cursors, COPY, the pool's reset."""

import datetime as dt
import decimal
import json
import uuid

import asyncpg
import pytest

VALUES = [
    ("bool", False),
    ("int2", 7),
    ("int4", -7),
    ("int8", 2**62),
    ("float4", 0.5),
    ("float8", -1e-300),
    ("numeric(20,4)", decimal.Decimal("-1234567890.1234")),
    ("text", "ü\t\n"),
    ("varchar", "v"),
    ("bytea", b"\x00\x01"),
    ("date", dt.date(1969, 12, 31)),
    ("time", dt.time(0, 0, 0, 1)),
    ("timestamp", dt.datetime(1969, 12, 31, 23, 59, 59, 999999)),
    ("timestamptz", dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)),
    ("interval", dt.timedelta(days=-1, seconds=3)),
    ("uuid", uuid.UUID(int=5)),
    ("int8[]", [1, None, 3]),
    ("text[]", ["a", None, ""]),
    ("timestamp[]", [dt.datetime(2024, 1, 1)]),
]


@pytest.fixture
async def connection():
    connection = await asyncpg.connect()
    yield connection
    await connection.close()


@pytest.mark.parametrize("sql_type,value", VALUES)
async def test_values(connection, sql_type, value):
    assert await connection.fetchval(f"SELECT $1::{sql_type}", value) == value
    assert await connection.fetchval(f"SELECT $1::{sql_type}", None) is None


async def test_json(connection):
    for sql_type in ("json", "jsonb"):
        assert json.loads(await connection.fetchval(f"SELECT $1::{sql_type}", '{"a": [1, 2]}')) == {"a": [1, 2]}


async def test_types_of_parameters_are_inferred(connection):
    await connection.execute("CREATE TABLE inferred (id bigint PRIMARY KEY, at timestamptz, tags text[], price numeric(8,2))")
    try:
        now = dt.datetime(2024, 5, 1, 12, tzinfo=dt.timezone.utc)
        insert = await connection.prepare("INSERT INTO inferred VALUES ($1, $2, $3, $4) RETURNING id")
        assert [p.name for p in insert.get_parameters()] == ["int8", "timestamptz", "text[]", "numeric"]
        assert await insert.fetchval(1, now, ["x"], decimal.Decimal("1.50")) == 1
        row = await connection.fetchrow("SELECT * FROM inferred WHERE id = $1", 1)
        assert dict(row) == {"id": 1, "at": now, "tags": ["x"], "price": decimal.Decimal("1.50")}
        assert await connection.fetchval("SELECT count(*) FROM inferred WHERE at < $1 AND price > $2", now, 1) == 0
        await connection.executemany("INSERT INTO inferred VALUES ($1, $2, $3, $4)", [(i, now, [], None) for i in range(2, 100)])
        assert await connection.fetchval("SELECT count(*) FROM inferred") == 99
    finally:
        await connection.execute("DROP TABLE inferred")


async def test_cursor_fetches_in_pieces(connection):
    async with connection.transaction():
        total = 0
        async for row in connection.cursor("SELECT i FROM generate_series(1, 500) AS s(i)", prefetch=50):
            total += row["i"]
    assert total == 125250


async def test_transactions_and_errors(connection):
    await connection.execute("CREATE TABLE accounts (id int PRIMARY KEY, balance int CHECK (balance >= 0))")
    try:
        await connection.execute("INSERT INTO accounts VALUES (1, 10), (2, 0)")
        with pytest.raises(asyncpg.CheckViolationError):
            async with connection.transaction():
                await connection.execute("UPDATE accounts SET balance = balance + 20 WHERE id = 2")
                await connection.execute("UPDATE accounts SET balance = balance - 20 WHERE id = 1")
        assert await connection.fetch("SELECT balance FROM accounts ORDER BY id") == [(10,), (0,)]
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.fetch("SELECT * FROM nowhere")
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.execute("DROP TABLE accounts")


async def test_pool_resets_connections():
    async with asyncpg.create_pool(min_size=1, max_size=4) as pool:
        for _ in range(3):
            async with pool.acquire() as connection:
                await connection.execute("SET application_name = 'borrowed'")
            async with pool.acquire() as connection:
                assert await connection.fetchval("SHOW application_name") != "borrowed"


async def test_copy_out(connection):
    chunks = []

    async def collect(data):
        chunks.append(data)

    result = await connection.copy_from_query("SELECT i, 'n' || i FROM generate_series(1, 3) AS s(i)", output=collect)
    assert result == "COPY 3"
    assert b"".join(chunks) == b"1\tn1\n2\tn2\n3\tn3\n"
