//! What transactions see of each other at each isolation level.

use super::process::{Process, free_port};
use tempfile::tempdir;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

/// The SQLSTATE with which a statement is refused; `None` when it is not.
async fn refusal(client: &Client, statement: &str) -> Option<SqlState> {
    client.batch_execute(statement).await.err().map(|error| error.code().expect("a code").clone())
}

/// A server with two accounts, and two sessions.
async fn two_sessions(folder: &std::path::Path) -> (Process, Client, Client) {
    let server = Process::on(folder, free_port());
    let (one, other) = (server.client().await, server.client().await);
    one.batch_execute(
        "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
         CREATE MATERIALIZED VIEW total AS SELECT sum(balance)::bigint AS balance FROM accounts;
         INSERT INTO accounts VALUES (1, 100), (2, 100)",
    )
    .await
    .unwrap();
    (server, one, other)
}

#[tokio::test]
async fn a_repeatable_read_block_keeps_its_state_and_changes_no_row_that_has_changed() {
    let folder = tempdir().unwrap();
    let (_server, one, other) = two_sessions(folder.path()).await;
    one.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    assert_eq!(number(&one, "SELECT balance FROM accounts WHERE id = 1").await, 100);
    other.batch_execute("UPDATE accounts SET balance = 70 WHERE id = 1").await.unwrap();
    assert_eq!(number(&one, "SELECT balance FROM accounts WHERE id = 1").await, 100);
    assert_eq!(number(&one, "SELECT balance FROM total").await, 200);
    assert_eq!(number(&other, "SELECT balance FROM total").await, 170);
    one.batch_execute("UPDATE accounts SET balance = 90 WHERE id = 2").await.unwrap();
    assert_eq!(number(&one, "SELECT sum(balance)::bigint FROM accounts").await, 190, "with its own changes");
    let refused = refusal(&one, "UPDATE accounts SET balance = balance - 1 WHERE id = 1").await;
    assert_eq!(refused, Some(SqlState::T_R_SERIALIZATION_FAILURE));
    one.batch_execute("ROLLBACK").await.unwrap();

    one.batch_execute("BEGIN").await.unwrap();
    assert_eq!(number(&one, "SELECT balance FROM total").await, 170);
    other.batch_execute("UPDATE accounts SET balance = 60 WHERE id = 1").await.unwrap();
    assert_eq!(number(&one, "SELECT balance FROM total").await, 160, "read committed sees what is committed");
    one.batch_execute("COMMIT").await.unwrap();
}

/// Each of two sessions reads both accounts and takes 150 from one of them, as long as both together have that much.
async fn skew(level: &str) -> (Option<SqlState>, i64) {
    let folder = tempdir().unwrap();
    let (_server, one, other) = two_sessions(folder.path()).await;
    for (client, id) in [(&one, 1), (&other, 2)] {
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).await.unwrap();
        assert_eq!(number(client, "SELECT sum(balance)::bigint FROM accounts").await, 200);
        let take = format!("UPDATE accounts SET balance = balance - 150 WHERE id = {id}");
        client.batch_execute(&take).await.unwrap();
    }
    assert_eq!(refusal(&one, "COMMIT").await, None);
    let refused = refusal(&other, "COMMIT").await;
    (refused, number(&one, "SELECT balance FROM total").await)
}

#[tokio::test]
async fn write_skew_is_refused_to_serializable_transactions() {
    assert_eq!(skew("REPEATABLE READ").await, (None, -100));
    assert_eq!(skew("SERIALIZABLE").await, (Some(SqlState::T_R_SERIALIZATION_FAILURE), 50));
}

#[tokio::test]
async fn what_was_looked_up_by_a_key_is_checked_by_that_key() {
    let folder = tempdir().unwrap();
    let (_server, one, other) = two_sessions(folder.path()).await;
    for (client, id) in [(&one, 1), (&other, 2)] {
        client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
        number(client, &format!("SELECT balance FROM accounts WHERE id = {id}")).await;
        client.batch_execute(&format!("UPDATE accounts SET balance = 5 WHERE id = {id}")).await.unwrap();
    }
    assert_eq!((refusal(&one, "COMMIT").await, refusal(&other, "COMMIT").await), (None, None));

    one.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
    assert!(one.query_opt("SELECT balance FROM accounts WHERE id = 9", &[]).await.unwrap().is_none());
    one.batch_execute("INSERT INTO accounts VALUES (3, 0)").await.unwrap();
    other.batch_execute("INSERT INTO accounts VALUES (8, 0)").await.unwrap();
    other.batch_execute("INSERT INTO accounts VALUES (9, 0)").await.unwrap();
    assert_eq!(refusal(&one, "COMMIT").await, Some(SqlState::T_R_SERIALIZATION_FAILURE), "a row where none was");

    one.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
    number(&one, "SELECT balance FROM total").await;
    one.batch_execute("INSERT INTO accounts VALUES (4, 0)").await.unwrap();
    other.batch_execute("DELETE FROM accounts WHERE id = 8").await.unwrap();
    assert_eq!(refusal(&one, "COMMIT").await, Some(SqlState::T_R_SERIALIZATION_FAILURE), "a view that changed");
}

#[tokio::test]
async fn levels_are_settings_and_are_chosen_before_the_first_query() {
    let folder = tempdir().unwrap();
    let (_server, one, _) = two_sessions(folder.path()).await;
    let invalid = refusal(&one, "SET default_transaction_isolation = 'dirty'").await;
    assert_eq!(invalid, Some(SqlState::INVALID_PARAMETER_VALUE));
    one.batch_execute("SET default_transaction_isolation = 'serializable'; BEGIN").await.unwrap();
    let shown: String = one.query_one("SHOW transaction_isolation", &[]).await.unwrap().get(0);
    assert_eq!(shown, "serializable");
    one.batch_execute("SELECT * FROM accounts").await.unwrap();
    let late = refusal(&one, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await;
    assert_eq!(late, Some(SqlState::ACTIVE_SQL_TRANSACTION));
    one.batch_execute("ROLLBACK; BEGIN; SELECT * FROM accounts").await.unwrap();
    one.batch_execute("CREATE TABLE made (n int); INSERT INTO made VALUES (1); COMMIT").await.unwrap();
    assert_eq!(number(&one, "SELECT count(*) FROM made").await, 1, "a block goes on with what it defined");
}

/// Takes 30 from an account if the sum of all allows it.
async fn take(client: &Client, id: i32) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await?;
    if number(client, "SELECT sum(balance)::bigint FROM accounts").await >= 30 {
        client.batch_execute(&format!("UPDATE accounts SET balance = balance - 30 WHERE id = {id}")).await?;
    }
    client.batch_execute("COMMIT").await
}

/// Takes so often, tries again what is refused, and answers how often it was.
async fn take_often(client: Client, id: i32, rounds: usize) -> usize {
    let (mut done, mut refused) = (0, 0);
    while done < rounds {
        match take(&client, id).await {
            Ok(()) => done += 1,
            Err(error) => {
                assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{error}");
                client.batch_execute("ROLLBACK").await.unwrap();
                refused += 1;
            }
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_keep_what_each_of_them_alone_keeps() {
    let folder = tempdir().unwrap();
    let (server, one, _) = two_sessions(folder.path()).await;
    one.batch_execute("UPDATE accounts SET balance = 1000").await.unwrap();
    let mut tasks = vec![];
    for id in [1, 2, 1, 2] {
        tasks.push(tokio::spawn(take_often(server.client().await, id, 30)));
    }
    let mut refused = 0;
    for task in tasks {
        refused += task.await.unwrap();
    }
    assert_eq!(number(&one, "SELECT balance FROM total").await, 2000 - 66 * 30, "never below zero, and all taken");
    assert!(refused > 0, "they met");
}

#[tokio::test]
async fn what_a_block_reads_for_update_is_checked_when_it_commits() {
    let folder = tempdir().unwrap();
    let (_server, one, other) = two_sessions(folder.path()).await;
    for (locks, expected) in
        [("", None), (" FOR UPDATE", Some(SqlState::T_R_SERIALIZATION_FAILURE)), (" FOR SHARE", None)]
    {
        one.batch_execute("BEGIN").await.unwrap();
        number(&one, &format!("SELECT balance FROM accounts WHERE id = 1{locks}")).await;
        // By its key it is another row that others may change.
        let changed = if locks == " FOR SHARE" { 2 } else { 1 };
        other.batch_execute(&format!("UPDATE accounts SET balance = balance + 1 WHERE id = {changed}")).await.unwrap();
        one.batch_execute("INSERT INTO accounts SELECT max(id) + 1, 0 FROM accounts").await.unwrap();
        assert_eq!(refusal(&one, "COMMIT").await, expected, "{locks}");
    }
    let read_only = "BEGIN READ ONLY; SELECT balance FROM accounts FOR UPDATE";
    assert_eq!(refusal(&one, read_only).await, Some(SqlState::READ_ONLY_SQL_TRANSACTION));
}
