//! RESTORE FROM SNAPSHOT: a running server goes back, for everyone, and a crash leaves one of the two.

use super::process::{Process, binary, free_port};
use std::path::Path;
use std::time::Duration;
use tempfile::tempdir;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

const BEGINNING: &str = "CREATE TABLE t (k int PRIMARY KEY, v int);
    CREATE SEQUENCE s;
    CREATE SOURCE numbers (n bigint) WITH (connector = 'datagen', rows = '1000');
    CREATE MATERIALIZED VIEW totals AS SELECT sum(v)::bigint AS v, count(*) AS n FROM t;
    CREATE MATERIALIZED VIEW over_totals AS SELECT v * 2 AS v FROM totals;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM numbers;
    INSERT INTO t SELECT i, i FROM generate_series(1, 1000) AS g(i)";

#[tokio::test]
async fn everything_is_as_it_was_and_goes_on_from_there() {
    let folder = tempdir().unwrap();
    let mut server = Process::on(folder.path(), free_port());
    let (client, other, idle) = (server.client().await, server.client().await, server.client().await);
    client.batch_execute(BEGINNING).await.unwrap();
    assert_eq!(number(&client, "SELECT nextval('s')").await, 1);
    client.batch_execute("CREATE SNAPSHOT first").await.unwrap();
    let prepared = client.prepare("SELECT v FROM totals").await.unwrap();
    for statement in [
        "CREATE TABLE since (a int)",
        "CREATE MATERIALIZED VIEW of_since AS SELECT count(*) FROM since",
        "DROP MATERIALIZED VIEW over_totals",
        "ALTER TABLE t ADD COLUMN w int DEFAULT 7",
        "UPDATE t SET v = 0",
        "DELETE FROM t WHERE k > 10",
        "CREATE TEMPORARY TABLE mine (a int)",
        "CREATE SNAPSHOT second",
    ] {
        client.batch_execute(statement).await.unwrap();
    }
    assert_eq!(number(&client, "SELECT nextval('s')").await, 2);
    other.batch_execute("BEGIN; INSERT INTO t (k, v) VALUES (5000, 1)").await.unwrap();
    for refused in ["RESTORE FROM SNAPSHOT third", "RESTORE FROM SNAPSHOT \"../first\""] {
        assert!(client.batch_execute(refused).await.is_err(), "{refused}");
    }
    let several = client.batch_execute("INSERT INTO since VALUES (1); RESTORE FROM SNAPSHOT first").await.unwrap_err();
    assert_eq!(several.code(), Some(&SqlState::ACTIVE_SQL_TRANSACTION));
    assert_eq!(number(&idle, "SELECT count(*) FROM since").await, 0, "nothing has changed");

    client.batch_execute("RESTORE FROM SNAPSHOT first").await.unwrap();
    for ended in [&other, &idle] {
        let error = ended.batch_execute("COMMIT").await.unwrap_err();
        assert!(error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN), "{error:?}");
    }
    let newcomer = server.client().await;
    for client in [&client, &newcomer] {
        assert_eq!(number(client, "SELECT v FROM totals").await, 500_500);
        assert_eq!(number(client, "SELECT v FROM over_totals").await, 1_001_000);
        assert_eq!(number(client, "SELECT n FROM counted").await, 1000);
        let gone = "SELECT count(*) FROM pg_class WHERE relname IN ('since', 'of_since', 'mine')";
        assert_eq!(number(client, gone).await, 0);
        assert!(client.query("SELECT w FROM t", &[]).await.is_err());
    }
    // What was prepared before means nothing any more; the session itself goes on.
    assert!(client.query(&prepared, &[]).await.is_err());
    assert_eq!(number(&client, "SELECT nextval('s')").await, 2);
    client.batch_execute("INSERT INTO t VALUES (5000, 1); CREATE TABLE anew (a int)").await.unwrap();
    assert_eq!(number(&newcomer, "SELECT v FROM totals").await, 500_501);
    server.kill();
    let mut server = Process::on(folder.path(), server.port);
    let client = server.client().await;
    assert_eq!(number(&client, "SELECT v FROM over_totals").await, 1_001_002);
    // Snapshots that were made later are still there, and lead on as well as back.
    client.batch_execute("RESTORE FROM SNAPSHOT second").await.unwrap();
    assert_eq!(number(&client, "SELECT n FROM totals").await, 10);
    assert_eq!(number(&client, "SELECT sum(w) FROM t").await, 70);
    assert!(server.terminate().success());
    let server = Process::on(folder.path(), server.port);
    assert_eq!(number(&server.client().await, "SELECT n FROM totals").await, 10);
}

#[tokio::test]
async fn a_crash_leaves_one_state_or_the_other() {
    let folder = tempdir().unwrap();
    let port = free_port();
    let mut server = Process::on(folder.path(), port);
    let client = server.client().await;
    client.batch_execute(BEGINNING).await.unwrap();
    client.batch_execute("CREATE SNAPSHOT first").await.unwrap();
    let (mut before, mut after) = (0, 0);
    for round in 0..12 {
        let client = server.client().await;
        client.batch_execute("UPDATE t SET v = 1").await.unwrap();
        let restoring = tokio::spawn(async move { client.batch_execute("RESTORE FROM SNAPSHOT first").await.is_ok() });
        tokio::time::sleep(Duration::from_millis(15 * round)).await;
        server.kill();
        let acknowledged = restoring.await.unwrap();
        server = Process::on(folder.path(), port);
        let client = server.client().await;
        match number(&client, "SELECT v FROM totals").await {
            500_500 => after += 1,
            1000 => before += 1,
            other => panic!("{other} in round {round}"),
        }
        let now = number(&client, "SELECT v FROM totals").await;
        assert!(!acknowledged || now == 500_500);
        assert_eq!(number(&client, "SELECT v FROM over_totals").await, 2 * now);
        assert_eq!(number(&client, "SELECT sum(v) FROM t").await, now);
        assert_eq!(number(&client, "SELECT n FROM counted").await, 1000);
    }
    assert_eq!(before + after, 12);
    let left = |name: &str| Path::new(folder.path()).join(name).exists();
    assert!(!["restoring", "replaced", "RESTORE"].iter().any(|name| left(name)));
    drop(server);
    assert!(binary().args(["verify", "--data-dir"]).arg(folder.path()).status().unwrap().success());
}

#[tokio::test]
async fn writers_see_an_end_and_never_half_of_a_state() {
    let folder = tempdir().unwrap();
    let server = Process::on(folder.path(), free_port());
    let client = server.client().await;
    client.batch_execute(BEGINNING).await.unwrap();
    client.batch_execute("CREATE SNAPSHOT first").await.unwrap();
    let mut writing = vec![];
    for writer in 0..4 {
        let session = server.client().await;
        writing.push(tokio::spawn(async move {
            let mut refused = None;
            for round in 0.. {
                // What is moved leaves the sum as it is.
                let (from, to) = (writer * 200 + round % 200 + 1, (round * 7 + writer) % 1000 + 1);
                let transfer = format!(
                    "BEGIN; UPDATE t SET v = v - 1 WHERE k = {from}; UPDATE t SET v = v + 1 WHERE k = {to}; COMMIT"
                );
                match session.batch_execute(&transfer).await {
                    Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                        let _ = session.batch_execute("ROLLBACK").await;
                    }
                    Err(error) => {
                        refused = Some(error);
                        break;
                    }
                    Ok(()) => {}
                }
            }
            refused
        }));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    client.batch_execute("RESTORE FROM SNAPSHOT first").await.unwrap();
    assert_eq!(number(&client, "SELECT v FROM totals").await, 500_500);
    assert_eq!(number(&client, "SELECT count(*) FROM t WHERE k <> v").await, 0, "no transfer is left");
    for writer in writing {
        let error = writer.await.unwrap().unwrap();
        assert!(error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN), "{error:?}");
    }
}
