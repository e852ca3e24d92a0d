// node-postgres: parameters, named statements, transactions, errors, a pool, a view that follows.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import pg from 'pg';

const client = new pg.Client();
before(async () => {
    await client.connect();
    await client.query('CREATE TABLE node_t (id int PRIMARY KEY, name text, tags text[], at timestamptz, doc jsonb)');
});
after(async () => {
    await client.query('DROP TABLE node_t CASCADE');
    await client.end();
});

test('parameters and types', async () => {
    const at = new Date('2024-02-29T12:00:00Z');
    const inserted = await client.query(
        'INSERT INTO node_t VALUES ($1, $2, $3, $4, $5) RETURNING id',
        [1, "o'ne", ['a', 'b c'], at, { k: [1, 2] }],
    );
    assert.equal(inserted.rows[0].id, 1);
    const { rows, fields } = await client.query('SELECT * FROM node_t WHERE id = $1', [1]);
    assert.deepEqual(rows, [{ id: 1, name: "o'ne", tags: ['a', 'b c'], at, doc: { k: [1, 2] } }]);
    assert.deepEqual(fields.map((field) => field.dataTypeID), [23, 25, 1009, 1184, 3802]);
});

test('named statements', async () => {
    for (let i = 0; i < 5; i++) {
        const { rows } = await client.query({ name: 'double', text: 'SELECT $1::int * 2 AS twice', values: [i] });
        assert.equal(rows[0].twice, i * 2);
    }
});

test('transactions roll back', async () => {
    await client.query('BEGIN');
    await client.query("INSERT INTO node_t (id, name) VALUES (2, 'gone')");
    await client.query('ROLLBACK');
    const { rows } = await client.query('SELECT count(*) AS n FROM node_t WHERE id = 2');
    assert.equal(rows[0].n, '0');
});

test('errors have codes', async () => {
    await assert.rejects(client.query('SELECT * FROM nowhere'), { code: '42P01' });
    await assert.rejects(client.query('SELECT $1::int', ['x']), { code: '22P02' });
    await assert.rejects(client.query('SELECT 1/0'), { code: '22012' });
});

test('several statements in one string', async () => {
    const results = await client.query('SELECT 1 AS a; SELECT 2 AS b');
    assert.deepEqual(results.map((result) => result.rows), [[{ a: 1 }], [{ b: 2 }]]);
});

test('a pool sees a view follow its table', async () => {
    const pool = new pg.Pool({ max: 4 });
    await client.query('CREATE MATERIALIZED VIEW node_v AS SELECT count(*) AS n FROM node_t');
    for (let i = 10; i < 20; i++) {
        await pool.query('INSERT INTO node_t (id) VALUES ($1)', [i]);
        const { rows } = await pool.query('SELECT n FROM node_v');
        assert.equal(Number(rows[0].n), i - 8);
    }
    await pool.end();
});
