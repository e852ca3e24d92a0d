//! Topics as sinks: what they hold after changes, crashes and a broker that was away.

use crate::cluster::{
    Seen, Server, create_topic, create_topic_at, error, read_all, read_all_at, rows, run, servers, upserted, wait_for,
    wait_until,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn sink(topic: &str, more: &str) -> String {
    format!("WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{}'{more})", servers())
}

#[tokio::test]
async fn changes_go_out_by_key() {
    create_topic("revenue", 2).await;
    create_topic("history", 1).await;
    let mut server = Server::start();
    let client = server.client().await;
    run(
        &client,
        &[
            "CREATE TABLE orders (id bigint PRIMARY KEY, customer text, amount numeric(10,2), tags jsonb)",
            "INSERT INTO orders VALUES (1, 'ada', 10, '{\"a\": \"b\"}'), (2, 'bob', 5, NULL)",
            "CREATE MATERIALIZED VIEW revenue AS SELECT customer, sum(amount) AS amount FROM orders GROUP BY customer",
        ],
    )
    .await;
    let refused = error(&client, &format!("CREATE SINK s FROM revenue {}", sink("revenue", ""))).await;
    assert_eq!(
        refused,
        ("0A000".into(), "a query whose rows change, into an append-only kafka sink is not supported".into())
    );
    let (state, _) =
        error(&client, &format!("CREATE SINK s FROM revenue {} FORMAT UPSERT ENCODE JSON", sink("revenue", ""))).await;
    assert_eq!(state, "22023");
    let upsert = sink("revenue", ", key = 'customer', delivery = 'exactly_once', commit.interval.ms = '20'");
    run(&client, &[&format!("CREATE SINK revenue_out FROM revenue {upsert} FORMAT UPSERT ENCODE JSON")]).await;
    let debezium = sink("history", ", key = 'id', headers = 'tags'");
    run(&client, &[&format!("CREATE SINK history_out FROM orders {debezium} FORMAT DEBEZIUM ENCODE JSON")]).await;
    run(
        &client,
        &[
            "UPDATE orders SET amount = 7 WHERE id = 2",
            "INSERT INTO orders VALUES (3, 'eve', 1, NULL)",
            "DELETE FROM orders WHERE id = 3",
        ],
    )
    .await;
    let wanted = [
        (r#"{"customer":"ada"}"#, r#"{"customer":"ada","amount":10.00}"#),
        (r#"{"customer":"bob"}"#, r#"{"customer":"bob","amount":7.00}"#),
    ];
    let wanted: BTreeMap<_, _> = wanted.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    wait_until("the revenue", || upserted(&read_all("revenue")) == wanted).await;
    wait_until("the history", || read_all("history").len() == 5).await;
    let history: Vec<_> = read_all("history").into_iter().map(|record| record.value.unwrap()).collect();
    assert!(history.contains(&r#"{"op":"u","before":{"id":2,"customer":"bob","amount":5.00},"after":{"id":2,"customer":"bob","amount":7.00}}"#.to_owned()), "{history:?}");
    assert_eq!(history[4], r#"{"op":"d","before":{"id":3,"customer":"eve","amount":1.00},"after":null}"#);
    assert_eq!(
        rows(&client, "SELECT name, state FROM millrace.sinks ORDER BY name").await,
        ["history_out|running", "revenue_out|running"]
    );

    // After a crash nothing is sent again, and what changes is.
    let before = (read_all("revenue").len(), read_all("history").len());
    // The views go on from here, and the sinks compare what these hold.
    client.batch_execute("CHECKPOINT").await.unwrap();
    server.crash();
    let client = server.client().await;
    run(&client, &["DELETE FROM orders WHERE id = 1"]).await;
    wait_until("the deletion", || upserted(&read_all("revenue")).len() == 1).await;
    wait_until("the deletion", || read_all("history").len() == before.1 + 1).await;
    assert_eq!(read_all("revenue").len(), before.0 + 1);
    assert_eq!(rows(&client, "SELECT count(*) FROM millrace.sinks WHERE error IS NULL").await, ["2"]);
}

#[tokio::test]
async fn a_broker_that_is_away_stalls_nobody_else() {
    let mut own = millrace_sqllogictest::broker::Broker::start().unwrap();
    let servers = own.servers();
    create_topic_at(&servers, "late", 1).await;
    let server = Server::start();
    let client = server.client().await;
    let with =
        format!("WITH (connector = 'kafka', topic = 'late', properties.bootstrap.servers = '{servers}', key = 'id')");
    run(
        &client,
        &[
            "CREATE TABLE t (id bigint PRIMARY KEY)",
            "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM t",
            &format!("CREATE SINK late FROM t {with} FORMAT UPSERT ENCODE JSON"),
            "INSERT INTO t VALUES (0)",
        ],
    )
    .await;
    wait_for(&client, "SELECT rows FROM millrace.sinks", &["1"]).await;
    own.stop();
    for id in 1..200 {
        let begun = Instant::now();
        run(&client, &[&format!("INSERT INTO t VALUES ({id})")]).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "a commit waits for the sink");
    }
    assert_eq!(rows(&client, "SELECT n FROM n").await, ["200"]);
    wait_for(&client, "SELECT state FROM millrace.sinks", &["retrying"]).await;
    own.begin().unwrap();
    wait_for(&client, "SELECT state, rows FROM millrace.sinks", &["running|200"]).await;
}

#[tokio::test]
async fn what_memory_has_no_room_for_waits_on_disk() {
    let mut own = millrace_sqllogictest::broker::Broker::start().unwrap();
    let servers = own.servers();
    create_topic_at(&servers, "large", 1).await;
    let server = Server::start();
    let client = server.client().await;
    let with =
        format!("WITH (connector = 'kafka', topic = 'large', properties.bootstrap.servers = '{servers}', key = 'id')");
    let sink = format!("CREATE SINK large FROM t {with} FORMAT UPSERT ENCODE JSON");
    let table = "CREATE TABLE t (id bigint PRIMARY KEY, note text)";
    run(&client, &[table, &sink, "INSERT INTO t VALUES (0, 'first')"]).await;
    wait_for(&client, "SELECT rows FROM millrace.sinks", &["1"]).await;
    own.stop();
    for part in 0..16 {
        let rows = format!(
            "SELECT n, repeat(n::text, 2500) FROM generate_series({}, {}) AS n",
            part * 1000 + 1,
            part * 1000 + 1000
        );
        run(&client, &[&format!("INSERT INTO t {rows}")]).await;
    }
    wait_for(&client, "SELECT queued_bytes > 0, queued_on_disk > 0 FROM millrace.sinks", &["t|t"]).await;
    wait_for(&client, "SELECT queued_bytes < 128 << 20 FROM millrace.sinks", &["t"]).await;
    own.begin().unwrap();
    wait_for(&client, "SELECT rows, queued_bytes, queued_on_disk FROM millrace.sinks", &["16001|0|0"]).await;
    let read = read_all_at(&servers, "large");
    let id = |seen: &Seen| {
        let value = seen.value.as_deref().unwrap();
        assert!(value.len() >= 2500 || value.contains("first"));
        let digits: String =
            value.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        digits.parse::<i64>().unwrap()
    };
    let mut ids: Vec<_> = read.iter().map(id).collect();
    assert!(ids.is_sorted(), "rows of later ticks come later");
    ids.dedup();
    assert_eq!(ids, (0..=16_000).collect::<Vec<_>>());
}
