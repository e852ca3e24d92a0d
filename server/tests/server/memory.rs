//! Views that need more memory than there is for them.

use super::process::{Process, binary, free_port};
use millrace_sqllogictest::difference;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::tempdir;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// A server whose views have a mebibyte for their state.
fn with_little_memory(folder: &Path) -> Process {
    let (mut command, port) = (binary(), free_port());
    command.args(["--workers", "2", "--state-memory-mib", "1", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"]);
    command.arg(folder);
    Process::start(command, port)
}

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

const VIEWS: &[(&str, &str)] = &[
    ("texts", "SELECT id, repeat(md5(v::text), 2) AS text FROM numbers"),
    ("pairs", "SELECT n.id, n.v, t.text FROM numbers n JOIN texts t ON t.id = n.v"),
];

async fn check(client: &Client) {
    for (view, query) in VIEWS {
        let differing = client.query(&difference(view, query), &[]).await.unwrap();
        assert_eq!(differing.len(), 0, "{view} differs from its query");
    }
}

#[tokio::test]
async fn state_beyond_its_memory_is_on_disk_and_answers_the_same() {
    let folder = tempdir().unwrap();
    let mut server = with_little_memory(folder.path());
    let client = server.client().await;
    client.batch_execute("CREATE TABLE numbers (id bigint PRIMARY KEY, v bigint)").await.unwrap();
    for (view, query) in VIEWS {
        client.batch_execute(&format!("CREATE MATERIALIZED VIEW {view} AS {query}")).await.unwrap();
    }
    for part in 0..8 {
        let insert = "INSERT INTO numbers SELECT n, n % 5000 FROM generate_series";
        client
            .batch_execute(&format!("{insert}({}, {}) AS s(n)", part * 15_000, part * 15_000 + 14_999))
            .await
            .unwrap();
    }
    let keep = "SELECT sum(rows)::bigint FROM millrace.operators";
    assert!(number(&client, keep).await > 360_000);
    let bytes = number(&client, "SELECT sum(bytes)::bigint FROM millrace.operators").await;
    // Two views of 120,000 texts of 64 bytes, the table, and the joined rows.
    assert!(bytes < 12 << 20, "{bytes} bytes in memory");
    check(&client).await;
    client
        .batch_execute("DELETE FROM numbers WHERE id % 3 = 0; UPDATE numbers SET v = v + 1 WHERE id < 40000")
        .await
        .unwrap();
    check(&client).await;
    server.kill();
    let server = with_little_memory(folder.path());
    check(&server.client().await).await;
}

#[tokio::test]
async fn a_view_beyond_its_limit_ends_and_the_others_go_on() {
    let folder = tempdir().unwrap();
    let server = Process::on(folder.path(), free_port());
    let client = server.client().await;
    client
        .batch_execute(
            "CREATE TABLE numbers (n bigint);
             CREATE MATERIALIZED VIEW small WITH (memory_limit = '64MB') AS SELECT n % 10 AS k, count(*) AS n FROM numbers GROUP BY 1;
             CREATE MATERIALIZED VIEW large WITH (memory_limit = '1MB') AS SELECT n, count(*) AS times FROM numbers GROUP BY n;
             CREATE MATERIALIZED VIEW above AS SELECT count(*) AS n FROM large;
             INSERT INTO numbers SELECT n FROM generate_series(1, 60000) AS s(n)",
        )
        .await
        .unwrap();
    let begun = Instant::now();
    let error = loop {
        client.batch_execute("INSERT INTO numbers VALUES (1)").await.unwrap();
        if let Err(error) = client.query("SELECT * FROM large WHERE n = 1", &[]).await {
            break error;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the view goes on beyond its limit");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(error.code(), Some(&SqlState::OUT_OF_MEMORY));
    let error = client.query("SELECT * FROM above", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::OUT_OF_MEMORY));
    assert!(number(&client, "SELECT sum(n)::bigint FROM small").await > 60_000);
    client.batch_execute("DROP MATERIALIZED VIEW large CASCADE; DELETE FROM numbers WHERE n > 10").await.unwrap();
    client
        .batch_execute("CREATE MATERIALIZED VIEW large AS SELECT n, count(*) AS times FROM numbers GROUP BY n")
        .await
        .unwrap();
    assert_eq!(number(&client, "SELECT count(*) FROM large").await, 10);
    let refused = "CREATE MATERIALIZED VIEW none WITH (memory_limit = 'much') AS SELECT 1 AS one";
    let error = client.batch_execute(refused).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INVALID_PARAMETER_VALUE));
}
