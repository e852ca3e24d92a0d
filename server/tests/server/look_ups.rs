//! Look-ups as of processing time: what a row has found stays.

use crate::process::{Process, free_port};
use tempfile::tempdir;
use tokio_postgres::{Client, SimpleQueryMessage};

async fn lines(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap();
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let text = |row: &tokio_postgres::SimpleQueryRow| {
        let values: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("NULL")).collect();
        values.join("|")
    };
    rows.map(text).collect()
}

const VIEWS: &str = "
    CREATE MATERIALIZED VIEW inner_view AS SELECT o.id, r.rate
    FROM orders o JOIN rates FOR SYSTEM_TIME AS OF PROCTIME() AS r ON r.currency = o.currency;
    CREATE MATERIALIZED VIEW left_view AS SELECT o.id, r.rate
    FROM orders o LEFT JOIN rates FOR SYSTEM_TIME AS OF o.came AS r ON r.currency = o.currency AND r.rate > 0";

async fn both(client: &Client) -> [Vec<String>; 2] {
    [
        lines(client, "SELECT * FROM inner_view ORDER BY id").await,
        lines(client, "SELECT * FROM left_view ORDER BY id").await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_row_has_found_stays() {
    let data = tempdir().unwrap();
    let mut server = Process::on(data.path(), free_port());
    let client = server.client().await;
    let tables = "CREATE TABLE orders (id int PRIMARY KEY, currency text, came AS PROCTIME());
        CREATE TABLE rates (currency text PRIMARY KEY, rate int);
        INSERT INTO rates VALUES ('EUR', 100), ('USD', -1)";
    client.batch_execute(tables).await.unwrap();
    client.batch_execute(VIEWS).await.unwrap();
    client.batch_execute("INSERT INTO orders VALUES (1, 'EUR'), (2, 'USD'), (3, 'GBP')").await.unwrap();
    assert_eq!(both(&client).await, [vec!["1|100", "2|-1"], vec!["1|100", "2|NULL", "3|NULL"]]);

    client.batch_execute("UPDATE rates SET rate = rate + 10; INSERT INTO rates VALUES ('GBP', 120)").await.unwrap();
    client.batch_execute("DELETE FROM rates WHERE currency = 'USD'").await.unwrap();
    assert_eq!(both(&client).await, [vec!["1|100", "2|-1"], vec!["1|100", "2|NULL", "3|NULL"]]);

    // In one transaction both are at one time.
    client
        .batch_execute("BEGIN; INSERT INTO orders VALUES (4, 'CHF'); INSERT INTO rates VALUES ('CHF', 95); COMMIT")
        .await
        .unwrap();
    // A row that changes is looked up anew, and one that goes takes with it what it had found.
    client.batch_execute("UPDATE orders SET id = 5 WHERE id = 1; DELETE FROM orders WHERE id = 2").await.unwrap();
    assert_eq!(both(&client).await, [vec!["4|95", "5|110"], vec!["3|NULL", "4|95", "5|110"]]);

    let came = lines(&client, "SELECT id, came FROM orders ORDER BY id").await;
    server.terminate();
    let server = Process::on(data.path(), free_port());
    let client = server.client().await;
    assert_eq!(lines(&client, "SELECT id, came FROM orders ORDER BY id").await, came);
    // Views go on from where they were.
    assert_eq!(both(&client).await, [vec!["4|95", "5|110"], vec!["3|NULL", "4|95", "5|110"]]);
}
