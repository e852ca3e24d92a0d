//! What checkpoints leave on disk, and what a restart shows of sources.

use super::process::{Process, binary, free_port, wait};
use std::path::Path;
use std::time::Duration;
use tempfile::tempdir;
use tokio_postgres::Client;

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

/// Bytes of the files in a folder.
fn bytes(folder: &Path) -> u64 {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn a_checkpoint_takes_the_place_of_the_log_before_it() {
    let folder = tempdir().unwrap();
    let mut server = Process::on(folder.path(), free_port());
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, v text)").await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, max(k) AS highest FROM t").await.unwrap();
    let fill = "INSERT INTO t SELECT i, repeat('x', 50) FROM generate_series(1, 150000) AS s(i)";
    client.batch_execute(fill).await.unwrap();
    client.batch_execute("DELETE FROM t WHERE k <= 1000").await.unwrap();
    let log = folder.path().join("log");
    let before = bytes(&log);
    // The log that leads on from the checkpoint before the last one is kept, too.
    client.batch_execute("CHECKPOINT").await.unwrap();
    client.batch_execute("CHECKPOINT").await.unwrap();
    assert!(bytes(&log) < before / 10, "{before} bytes became {}", bytes(&log));
    let rewritten = number(&client, "SELECT bytes_new FROM millrace.checkpoints ORDER BY tick DESC LIMIT 1").await;
    assert_eq!(rewritten, 0, "what has not changed is not written again");

    client.batch_execute("UPDATE t SET v = 'y' WHERE k = 2000; INSERT INTO t VALUES (200000, 'z')").await.unwrap();
    server.kill();
    server = Process::on(folder.path(), server.port);
    let client = server.client().await;
    assert_eq!(number(&client, "SELECT n FROM v").await, 149_001);
    assert_eq!(number(&client, "SELECT highest::bigint FROM v").await, 200_000);
    assert_eq!(number(&client, "SELECT count(*) FROM t").await, 149_001);
    assert_eq!(number(&client, "SELECT count(*) FROM t WHERE v = 'y'").await, 1);
    assert_eq!(number(&client, "SELECT count(*) FROM millrace.checkpoints WHERE state = 'recovered'").await, 1);
    // What is dropped is not in the next one, and its files go with the last one that names them.
    client.batch_execute("DROP TABLE t CASCADE").await.unwrap();
    client.batch_execute("CHECKPOINT").await.unwrap();
    client.batch_execute("CHECKPOINT").await.unwrap();
    assert_eq!(bytes(&folder.path().join("state")), 0);
    assert!(server.terminate().success());
    let server = Process::on(folder.path(), server.port);
    assert_eq!(number(&server.client().await, "SELECT count(*) FROM pg_class WHERE relname = 't'").await, 0);
}

#[tokio::test]
async fn a_view_over_a_source_is_never_seen_older_than_before() {
    let folder = tempdir().unwrap();
    let mut server = Process::on(folder.path(), free_port());
    let client = server.client().await;
    let source = "CREATE SOURCE numbers (n bigint) WITH (connector = 'datagen', rate = '50000')";
    client.batch_execute(source).await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM numbers").await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW w AS SELECT n + 0 AS n FROM v").await.unwrap();
    let mut seen = 0;
    for round in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let client = server.client().await;
        if round == 2 {
            client.batch_execute("CHECKPOINT").await.unwrap();
        }
        let now = number(&client, "SELECT n FROM w").await;
        assert!(now > seen, "the source goes on: {now} after {seen}");
        seen = now;
        match round {
            3 => assert!(server.terminate().success()),
            _ => server.kill(),
        }
        server = Process::on(folder.path(), server.port);
        let now = number(&server.client().await, "SELECT n FROM w").await;
        assert!(now >= seen, "round {round}: {now} after {seen}");
        seen = now;
    }
}

#[tokio::test]
async fn a_snapshot_is_one_tick_and_becomes_a_folder_of_its_own() {
    let (folder, elsewhere) = (tempdir().unwrap(), tempdir().unwrap());
    let mut server = Process::on(folder.path(), free_port());
    let client = server.client().await;
    client
        .batch_execute(
            "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint);
             CREATE MATERIALIZED VIEW total AS SELECT sum(balance)::bigint AS balance, count(*) AS n FROM accounts;
             INSERT INTO accounts SELECT i, 100 FROM generate_series(1, 1000) AS s(i)",
        )
        .await
        .unwrap();
    let writer = server.client().await;
    let writing = tokio::spawn(async move {
        for round in 0.. {
            let (from, to) = (round % 1000 + 1, (round * 7 + 3) % 1000 + 1);
            let transfer = format!(
                "BEGIN; UPDATE accounts SET balance = balance - 1 WHERE id = {from};
                 UPDATE accounts SET balance = balance + 1 WHERE id = {to}; COMMIT"
            );
            if writer.batch_execute(&transfer).await.is_err() {
                return round;
            }
        }
        0
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.batch_execute("CREATE SNAPSHOT first").await.unwrap();
    let bytes = number(&client, "SELECT bytes FROM millrace.snapshots WHERE name = 'first'").await;
    assert!(bytes > 0);
    client.batch_execute("DELETE FROM accounts WHERE id > 500; CHECKPOINT; CHECKPOINT").await.unwrap();
    server.kill();
    assert!(writing.await.unwrap() > 0, "transfers went on meanwhile");

    let (snapshot, restored) = (folder.path().join("snapshots/first"), elsewhere.path().join("data"));
    let data = |path: &Path| path.to_str().unwrap().to_owned();
    let restore = || wait(binary().args(["restore", "--from", &data(&snapshot), "--data-dir", &data(&restored)]));
    assert!(restore().status.success());
    assert!(!restore().status.success(), "a folder with something in it stays as it is");
    for whole in [folder.path(), &restored] {
        let verified = wait(binary().args(["verify", "--data-dir", &data(whole)]));
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }
    let server = Process::on(&restored, free_port());
    let client = server.client().await;
    assert_eq!(number(&client, "SELECT balance FROM total").await, 100_000, "no transfer is there by half");
    assert_eq!(number(&client, "SELECT n FROM total").await, 1000);
    client.batch_execute("INSERT INTO accounts VALUES (5000, 1); CREATE SNAPSHOT second").await.unwrap();
    assert_eq!(number(&client, "SELECT balance FROM total").await, 100_001);
}
