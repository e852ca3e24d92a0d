//! Checkpoints and snapshots in an object store, and what a lost machine leaves.

use super::process::{Process, binary, free_port, wait};
use super::s3::{KEY, S3, SECRET};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};
use tempfile::tempdir;
use tokio_postgres::Client;

const STORE: &str = "s3://backups/prod/db";

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

fn serve(s3: &S3, folder: &Path, store: Option<&str>) -> Process {
    let (mut command, port) = (binary(), free_port());
    s3.configure(&mut command);
    command.args(["--workers", "2", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(folder);
    store.iter().for_each(|store| _ = command.args(["--checkpoint-store", store]));
    Process::start(command, port)
}

fn restore(s3: &S3, from: &str, to: &Path) -> Output {
    let mut command = binary();
    s3.configure(&mut command);
    wait(command.args(["restore", "--from", from, "--data-dir"]).arg(to))
}

/// Waits until a query gives true.
async fn until(client: &Client, query: &str) {
    let begun = Instant::now();
    while !client.query_one(query, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{query}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Takes a checkpoint and waits until it is copied.
async fn copy(client: &Client) {
    client.batch_execute("CHECKPOINT").await.unwrap();
    until(
        client,
        "SELECT coalesce((SELECT checkpoint FROM millrace.checkpoint_store) =
                         (SELECT max(id) FROM millrace.checkpoints), false)",
    )
    .await;
}

#[tokio::test]
async fn a_lost_machine_is_replaced_by_what_the_store_holds() {
    let (s3, folder, elsewhere) = (S3::start(), tempdir().unwrap(), tempdir().unwrap());
    let mut server = serve(&s3, folder.path(), Some(STORE));
    let client = server.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (k int PRIMARY KEY, v text);
             CREATE MATERIALIZED VIEW totals AS SELECT k % 7 AS g, count(*) AS n, max(v) AS v FROM t GROUP BY k % 7;
             INSERT INTO t SELECT i, md5(i::text) || repeat('x', 80) FROM generate_series(1, 200000) AS s(i)",
        )
        .await
        .unwrap();
    copy(&client).await;
    assert!(s3.requests("part") > 0, "a large file is sent in parts");
    let sent = number(&client, "SELECT bytes_sent FROM millrace.checkpoint_store").await;
    client.batch_execute("UPDATE t SET v = 'small' WHERE k = 5").await.unwrap();
    copy(&client).await;
    let more = number(&client, "SELECT bytes_sent FROM millrace.checkpoint_store").await - sent;
    let new = number(&client, "SELECT bytes_new FROM millrace.checkpoints ORDER BY id DESC LIMIT 1").await;
    assert_eq!(more, new, "what is there is not sent again");
    for k in 6..9 {
        client.batch_execute(&format!("UPDATE t SET v = 'small' WHERE k = {k}")).await.unwrap();
        copy(&client).await;
    }
    assert_eq!(s3.keys("backups/prod/db/manifests/").len(), 2, "older checkpoints go");
    let expected = text(&client, "SELECT string_agg(g || ':' || n || ':' || v, ';' ORDER BY g) FROM totals").await;
    client.batch_execute("INSERT INTO t VALUES (0, 'after the last checkpoint')").await.unwrap();
    server.kill();
    std::fs::remove_dir_all(folder.path()).unwrap();

    let restored = elsewhere.path().join("data");
    let output = restore(&s3, STORE, &restored);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!restore(&s3, STORE, &restored).status.success(), "a folder with something in it stays as it is");
    let verified = wait(binary().args(["verify", "--data-dir"]).arg(&restored));
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let mut server = serve(&s3, &restored, Some(STORE));
    let client = server.client().await;
    assert_eq!(
        text(&client, "SELECT string_agg(g || ':' || n || ':' || v, ';' ORDER BY g) FROM totals").await,
        expected
    );
    assert_eq!(number(&client, "SELECT count(*) FROM t WHERE v = 'small'").await, 4);
    // It goes on with the store, as the same database; the end of a server copies its last checkpoint.
    client.batch_execute("INSERT INTO t VALUES (0, 'on another machine')").await.unwrap();
    copy(&client).await;
    client.batch_execute("INSERT INTO t VALUES (-1, 'at the end')").await.unwrap();
    assert!(server.terminate().success());
    let again = elsewhere.path().join("again");
    assert!(restore(&s3, STORE, &again).status.success());
    let server = serve(&s3, &again, None);
    assert_eq!(number(&server.client().await, "SELECT count(*) FROM t WHERE k <= 0").await, 2);
    // Another database is kept from it.
    let other = tempdir().unwrap();
    let server = serve(&s3, other.path(), Some(STORE));
    let client = server.client().await;
    client.batch_execute("CREATE TABLE mine (a int); CHECKPOINT").await.unwrap();
    until(&client, "SELECT state = 'stopped' FROM millrace.checkpoint_store").await;
    let error = text(&client, "SELECT error FROM millrace.checkpoint_store").await;
    assert!(error.contains("belongs to another data folder"), "{error}");
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_stops_nothing() {
    let (s3, folder) = (S3::start(), tempdir().unwrap());
    s3.set_down(true);
    let server = serve(&s3, folder.path(), Some(STORE));
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1); CHECKPOINT").await.unwrap();
    until(&client, "SELECT state = 'retrying' AND failures > 0 FROM millrace.checkpoint_store").await;
    client.batch_execute("INSERT INTO t VALUES (2); CHECKPOINT; INSERT INTO t VALUES (3)").await.unwrap();
    let refused = client.batch_execute("CREATE SNAPSHOT nightly IN 's3://backups/nights'").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "58030", "{refused:?}");
    s3.set_down(false);
    s3.set_denied(true);
    let refused = client.batch_execute("CREATE SNAPSHOT nightly IN 's3://backups/nights'").await.unwrap_err();
    let told = refused.as_db_error().unwrap().message().to_owned();
    assert!(told.contains("s3://backups/nights"), "{told}");
    s3.set_denied(false);
    until(&client, "SELECT state = 'idle' AND error IS NULL FROM millrace.checkpoint_store").await;
    for shown in [told, server.log()] {
        assert!(!shown.contains(KEY) && !shown.contains(SECRET), "{shown}");
    }
}

#[tokio::test]
async fn a_snapshot_is_kept_in_a_store_and_restored_from_it() {
    let (s3, folder, elsewhere) = (S3::start(), tempdir().unwrap(), tempdir().unwrap());
    let server = serve(&s3, folder.path(), None);
    let client = server.client().await;
    assert_eq!(number(&client, "SELECT count(*) FROM millrace.checkpoint_store").await, 0);
    client.batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)").await.unwrap();
    let place = "IN 's3://backups/nights'";
    client.batch_execute(&format!("CREATE SNAPSHOT first {place}")).await.unwrap();
    client.batch_execute("INSERT INTO t VALUES (3)").await.unwrap();
    client.batch_execute(&format!("CREATE SNAPSHOT second {place}")).await.unwrap();
    let taken = client.batch_execute(&format!("CREATE SNAPSHOT first {place}")).await.unwrap_err();
    assert_eq!(taken.code().unwrap().code(), "42710");
    let shown = client.query(&format!("SHOW SNAPSHOTS {place}"), &[]).await.unwrap();
    assert_eq!(shown.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), ["first", "second"]);
    assert!(client.query("SHOW SNAPSHOTS", &[]).await.unwrap().is_empty());
    client
        .batch_execute(&format!("DROP SNAPSHOT second {place}; DROP SNAPSHOT IF EXISTS second {place}"))
        .await
        .unwrap();
    assert!(s3.keys("backups/nights/second").is_empty());

    let restored = elsewhere.path().join("data");
    assert!(restore(&s3, "s3://backups/nights/first", &restored).status.success());
    let copy = serve(&s3, &restored, None);
    assert_eq!(number(&copy.client().await, "SELECT count(*) FROM t").await, 2);
    // The server itself goes back to it, too.
    client.batch_execute(&format!("RESTORE FROM SNAPSHOT first {place}")).await.unwrap();
    assert_eq!(number(&client, "SELECT count(*) FROM t").await, 2);
    let state = s3.keys("backups/nights/first/state/");
    s3.damage(&state[0], |bytes| bytes[10] ^= 1);
    let damaged = client.batch_execute(&format!("RESTORE FROM SNAPSHOT first {place}")).await.unwrap_err();
    assert_eq!(damaged.code().unwrap().code(), "XX001");
    assert_eq!(number(&client, "SELECT count(*) FROM t").await, 2);
    let output = restore(&s3, "s3://backups/nights/first", &elsewhere.path().join("damaged"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("s3://backups/nights/first/state/"));
}
