//! Topics as sinks: what they hold after changes, crashes and a broker that was away.

use crate::cluster::{Out, PATIENCE, Seen, Server, broker, create_topic, error, read_all, rows, servers, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

fn sink(topic: &str, more: &str) -> String {
    format!("WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{}'{more})", servers())
}

/// The rows by key that a topic of FORMAT UPSERT comes to.
fn upserted(topic: &str) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for Seen { key, value, .. } in read_all(topic) {
        match value {
            Some(value) => drop(rows.insert(key.unwrap(), value)),
            None => assert!(rows.remove(&key.unwrap()).is_some(), "a tombstone for a row that is not there"),
        }
    }
    rows
}

/// Waits until a topic holds what it shall.
async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn run(client: &Client, statements: &[&str]) {
    for statement in statements {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
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
    wait_until("the revenue", || upserted("revenue") == wanted).await;
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
    server.crash();
    let client = server.client().await;
    run(&client, &["DELETE FROM orders WHERE id = 1"]).await;
    wait_until("the deletion", || upserted("revenue").len() == 1).await;
    wait_until("the deletion", || read_all("history").len() == before.1 + 1).await;
    assert_eq!(read_all("revenue").len(), before.0 + 1);
    assert_eq!(rows(&client, "SELECT count(*) FROM millrace.sinks WHERE error IS NULL").await, ["2"]);
}

/// Every record of the input comes out once, in the order of its key, whatever is killed in between.
#[tokio::test]
async fn what_is_added_goes_out_once_over_crashes() {
    create_topic("in", 3).await;
    create_topic("once", 2).await;
    create_topic("sums", 2).await;
    let mut server = Server::start();
    let client = server.client().await;
    let exactly = ", key = 'k', delivery = 'exactly_once', commit.interval.ms = '20'";
    run(
        &client,
        &[
            &format!("CREATE SOURCE input (k int, n bigint) {}", sink("in", "")),
            &format!(
                "CREATE SINK once AS SELECT k, n FROM input WHERE n % 5 <> 0 {} FORMAT PLAIN ENCODE JSON",
                sink("once", exactly)
            ),
            "CREATE MATERIALIZED VIEW sums AS SELECT k, count(*) AS c, sum(n) AS s FROM input GROUP BY k",
            &format!("CREATE SINK sums_out FROM sums {} FORMAT UPSERT ENCODE JSON", sink("sums", exactly)),
        ],
    )
    .await;
    let out = Out::new();
    let rounds: u64 = std::env::var("MILLRACE_KAFKA_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let mut sent = 0u64;
    for round in 0..rounds {
        for _ in 0..20 {
            for _ in 0..100 {
                let key = sent % 17;
                let value = format!(r#"{{"k":{key},"n":{sent}}}"#);
                out.send("in", (key % 3) as i32, None, Some(value.as_bytes()));
                sent += 1;
            }
            out.flush();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // At another moment each time.
        tokio::time::sleep(Duration::from_millis((round * 37) % 150)).await;
        server.crash();
        drop(server.client().await);
    }
    let client = server.client().await;
    wait_for(&client, "SELECT sum(c) FROM sums", &[&sent.to_string()]).await;
    let wanted = sent - sent.div_ceil(5);
    wait_until("all records", || read_all("once").len() as u64 >= wanted).await;
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in read_all("once") {
        let value = record.value.unwrap();
        let number: u64 = value.rsplit(':').next().unwrap().trim_end_matches('}').parse().unwrap();
        assert!(seen.insert(number), "{number} came twice");
        let before = last.insert(record.key.unwrap(), number);
        assert!(before < Some(number), "{number} after {before:?}");
    }
    assert_eq!(seen.len() as u64, wanted);
    let by_key = rows(&client, "SELECT k, c, s FROM sums ORDER BY k").await;
    let as_row = |line: &String| {
        let parts: Vec<_> = line.split('|').collect();
        (format!(r#"{{"k":{}}}"#, parts[0]), format!(r#"{{"k":{},"c":{},"s":{}}}"#, parts[0], parts[1], parts[2]))
    };
    let by_key: BTreeMap<_, _> = by_key.iter().map(as_row).collect();
    wait_until("the sums", || upserted("sums") == by_key).await;
    assert_eq!(rows(&client, "SELECT count(*) FROM millrace.sinks WHERE error IS NULL").await, ["2"]);
}

#[tokio::test]
async fn a_broker_that_is_away_stalls_nobody_else() {
    let mut own = millrace_sqllogictest::broker::Broker::start().unwrap();
    let _shared = broker;
    let servers = own.servers();
    let admin: rdkafka::admin::AdminClient<_> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
    let topic = rdkafka::admin::NewTopic::new("late", 1, rdkafka::admin::TopicReplication::Fixed(1));
    admin.create_topics([&topic], &rdkafka::admin::AdminOptions::new()).await.unwrap();
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
