//! Crashes of the server and of the broker at any moment: nothing is lost, and nothing comes twice.

use crate::cluster::{Out, Server, create_topic_at, read_all_at, rows, run, upserted, wait_for, wait_until};
use millrace_sqllogictest::broker::Broker;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Records of a round.
const RECORDS: u64 = 2000;

/// Every record of the input comes out once, in the order of its key, whatever is killed in between.
/// `MILLRACE_CRASH_ROUNDS` says how many rounds.
#[tokio::test]
async fn what_is_added_goes_out_once() {
    let mut broker = Broker::start().unwrap();
    let servers = broker.servers();
    create_topic_at(&servers, "in", 3).await;
    create_topic_at(&servers, "once", 2).await;
    create_topic_at(&servers, "sums", 2).await;
    let of = |topic: &str, more: &str| {
        format!("WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{servers}'{more})")
    };
    let mut server = Server::start();
    let client = server.client().await;
    let exactly = ", key = 'k', delivery = 'exactly_once', commit.interval.ms = '20'";
    let once = "CREATE SINK once AS SELECT k, n FROM input WHERE n % 5 <> 0";
    let sums = "CREATE MATERIALIZED VIEW sums AS SELECT k, count(*) AS c, sum(n) AS s FROM input GROUP BY k";
    run(
        &client,
        &[
            &format!("CREATE SOURCE input (k int, n bigint) {}", of("in", "")),
            &format!("{once} {} FORMAT PLAIN ENCODE JSON", of("once", exactly)),
            &format!("CREATE TABLE kept (k int, n bigint) {}", of("in", "")),
            sums,
            &format!("CREATE SINK sums_out FROM sums {} FORMAT UPSERT ENCODE JSON", of("sums", exactly)),
        ],
    )
    .await;
    drop(client);
    let out = Out::at(&servers);
    let rounds = std::env::var("MILLRACE_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4u64);
    let mut sent = 0u64;
    for round in 0..rounds {
        for _ in 0..20 {
            for _ in 0..RECORDS / 20 {
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
        match round % 4 {
            2 => {
                broker.stop();
                broker.begin().unwrap();
            }
            3 => {
                broker.stop();
                server.crash();
                broker.begin().unwrap();
            }
            1 => {
                server.client().await.batch_execute("CHECKPOINT").await.unwrap();
                server.crash();
            }
            _ => server.crash(),
        }
        drop(server.client().await);
    }
    let client = server.client().await;
    wait_for(&client, "SELECT sum(c) FROM sums", &[&sent.to_string()]).await;
    let wanted = sent - sent.div_ceil(5);
    wait_until("all records", || read_all_at(&servers, "once").len() as u64 >= wanted).await;
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in read_all_at(&servers, "once") {
        let value = record.value.unwrap();
        let number: u64 = value.rsplit(':').next().unwrap().trim_end_matches('}').parse().unwrap();
        assert!(seen.insert(number), "{number} came twice");
        let before = last.insert(record.key.unwrap(), number);
        assert!(before < Some(number), "{number} after {before:?}");
    }
    assert_eq!(seen.len() as u64, wanted);
    wait_for(&client, "SELECT count(*), count(DISTINCT n) FROM kept", &[&format!("{sent}|{sent}")]).await;
    let by_key = rows(&client, "SELECT k, c, s FROM sums ORDER BY k").await;
    let as_row = |line: &String| {
        let parts: Vec<_> = line.split('|').collect();
        (format!(r#"{{"k":{}}}"#, parts[0]), format!(r#"{{"k":{},"c":{},"s":{}}}"#, parts[0], parts[1], parts[2]))
    };
    let by_key: BTreeMap<_, _> = by_key.iter().map(as_row).collect();
    wait_until("the sums", || upserted(&read_all_at(&servers, "sums")) == by_key).await;
    wait_for(&client, "SELECT count(*) FROM millrace.sinks WHERE error IS NULL", &["2"]).await;
}
