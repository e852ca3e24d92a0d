//! Topics as sources and as what feeds tables.

use crate::cluster::{
    Out, Server, create_topic, create_topic_at, delete_records, error, grow_topic, rows, servers, wait_for,
};
use rdkafka::message::{Header, OwnedHeaders};
use std::time::{Duration, Instant};

fn options(topic: &str, more: &str) -> String {
    format!("WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{}'{more})", servers())
}

fn bid(number: usize) -> String {
    format!(r#"{{"id": {number}, "price": {}, "bidder": "b{}"}}"#, number * 10, number % 7)
}

#[tokio::test]
async fn a_topic_is_read_by_partition_grows_and_is_there_after_a_crash() {
    create_topic("bids", 3).await;
    let out = Out::new();
    for number in 0..3000 {
        out.send("bids", (number % 3) as i32, Some(format!("k{number}").as_bytes()), Some(bid(number).as_bytes()));
    }
    out.flush();
    let mut server = Server::start();
    let client = server.client().await;
    let source = format!(
        "CREATE SOURCE bids (id bigint, price bigint, bidder text) INCLUDE partition AS p INCLUDE offset AS o \
         INCLUDE key INCLUDE timestamp AS at INCLUDE headers {} FORMAT PLAIN ENCODE JSON",
        options("bids", "")
    );
    client.batch_execute(&source).await.unwrap();
    assert_eq!(rows(&client, "SELECT count(*), sum(price), max(o) FROM bids").await, ["3000|44985000|999"]);
    let beside = "SELECT p, o, convert_from(key, 'UTF8'), at > '2020-01-01', headers FROM bids WHERE id = 7";
    assert_eq!(rows(&client, beside).await, ["1|2|k7|t|NULL"]);
    client
        .batch_execute("CREATE MATERIALIZED VIEW by_p AS SELECT p, count(*) AS n, max(o) AS o FROM bids GROUP BY p")
        .await
        .unwrap();
    assert_eq!(rows(&client, "SELECT * FROM by_p ORDER BY p").await, ["0|1000|999", "1|1000|999", "2|1000|999"]);
    wait_for(&client, "SELECT DISTINCT state, lag FROM millrace.splits", &["caught up|0"]).await;

    grow_topic("bids", 5).await;
    // A producer does not see the new partitions for some minutes.
    let out = Out::new();
    let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some("x\"1") });
    out.send_with("bids", 4, None, Some(bid(3000).as_bytes()), Some(headers));
    out.send("bids", 0, None, Some(bid(3001).as_bytes()));
    out.flush();
    wait_for(&client, "SELECT * FROM by_p ORDER BY p", &["0|1001|1000", "1|1000|999", "2|1000|999", "4|1|0"]).await;
    assert_eq!(rows(&client, "SELECT key, headers FROM bids WHERE p = 4").await, [r#"NULL|{"trace": "x\"1"}"#]);

    // A view that comes later reads the history beside what goes on.
    client.batch_execute("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM bids").await.unwrap();
    assert_eq!(rows(&client, "SELECT n FROM total").await, ["3002"]);
    server.crash();
    let client = server.client().await;
    wait_for(&client, "SELECT n FROM total", &["3002"]).await;
    out.send("bids", 3, None, Some(bid(9).as_bytes()));
    out.flush();
    wait_for(&client, "SELECT n FROM total", &["3003"]).await;
    wait_for(&client, "SELECT count(*) FROM by_p", &["5"]).await;
}

#[tokio::test]
async fn reading_begins_where_it_was_said_and_stays_there() {
    create_topic("modes", 2).await;
    let out = Out::new();
    let send = |from: usize, to: usize| {
        for number in from..to {
            out.send("modes", (number % 2) as i32, None, Some(bid(number).as_bytes()));
        }
        out.flush();
    };
    send(0, 100);
    std::thread::sleep(Duration::from_millis(20));
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    std::thread::sleep(Duration::from_millis(20));
    send(100, 150);
    let mut server = Server::start();
    let client = server.client().await;
    for (name, mode) in [
        ("latest", ", scan.startup.mode = 'latest'".to_owned()),
        ("since", format!(", scan.startup.mode = 'timestamp', scan.startup.timestamp.millis = '{time}'")),
        ("exact", ", scan.startup.mode = 'specific-offsets', scan.startup.specific-offsets = '1:70'".to_owned()),
    ] {
        client.batch_execute(&format!("CREATE SOURCE {name} (id bigint) {}", options("modes", &mode))).await.unwrap();
        let view = format!("CREATE MATERIALIZED VIEW of_{name} AS SELECT count(*) AS n, min(id) AS m FROM {name}");
        client.batch_execute(&view).await.unwrap();
    }
    send(150, 160);
    let all = "SELECT l.n, l.m, s.n, s.m, e.n, e.m FROM of_latest l, of_since s, of_exact e";
    wait_for(&client, all, &["10|150|60|100|90|0"]).await;
    server.crash();
    wait_for(&server.client().await, all, &["10|150|60|100|90|0"]).await;
}

#[tokio::test]
async fn records_that_cannot_be_decoded_are_kept_aside_or_null_or_stop_the_source() {
    create_topic("poison", 1).await;
    let out = Out::new();
    let long = format!(r#"{{"id": 4, "price": 1, "bidder": "{}"}}"#, "x".repeat(3 << 20));
    let values: [Option<&[u8]>; 8] = [
        Some(br#"{"id": 1, "price": 1}"#),
        Some(b"{\"id\": 2,\n \"price\": 2}"),
        Some(br#"{"id": "two", "price": 3}"#),
        Some(br#"{"id": 3"#),
        Some(b""),
        None,
        Some(b"\xff\xfe"),
        Some(b"{\"id\": 9, \"bidder\": \"a\nb\"}"),
    ];
    for value in values {
        out.send("poison", 0, None, value);
    }
    out.flush();
    let server = Server::start();
    let client = server.client().await;
    client
        .batch_execute(&format!(
            "CREATE SOURCE poison (id bigint, price int, bidder text) INCLUDE offset AS o {}",
            options("poison", "")
        ))
        .await
        .unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW good AS SELECT id, price, o FROM poison").await.unwrap();
    assert_eq!(rows(&client, "SELECT * FROM good ORDER BY o").await, ["1|1|0", "2|2|1"]);
    let bad = rows(&client, "SELECT split, record_offset, raw, reason FROM millrace.bad_records ORDER BY 2").await;
    let reasons = [
        "invalid input syntax for type bigint: \"two\"",
        "invalid JSON",
        "empty value",
        "no value",
        "UTF8",
        "invalid JSON",
    ];
    assert_eq!(bad.len(), reasons.len(), "{bad:?}");
    for (index, (line, reason)) in bad.iter().zip(reasons).enumerate() {
        assert!(line.starts_with(&format!("poison-0|{}|", index + 2)) && line.contains(reason), "{line}: {reason}");
    }
    assert!(bad[1].contains("\\x7b226964223a2033|"), "{}", bad[1]);
    out.send("poison", 0, None, Some(br#"{"id": 5}"#));
    out.flush();
    wait_for(&client, "SELECT count(*) FROM good", &["3"]).await;
    assert_eq!(rows(&client, "SELECT records, bad_records FROM millrace.splits").await, ["9|6"]);

    let tolerant = options("poison", ", on_error = 'null'");
    client
        .batch_execute(&format!("CREATE SOURCE lenient (id bigint, price int) INCLUDE offset AS o {tolerant}"))
        .await
        .unwrap();
    let found = rows(&client, "SELECT o, id, price FROM lenient ORDER BY o").await;
    assert_eq!(
        found,
        ["0|1|1", "1|2|2", "2|NULL|3", "3|NULL|NULL", "4|NULL|NULL", "6|NULL|NULL", "7|NULL|NULL", "8|5|NULL"]
    );

    let strict = options("poison", ", on_error = 'fail'");
    client.batch_execute(&format!("CREATE SOURCE strict (id bigint, price int) {strict}")).await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW stops AS SELECT id FROM strict").await.unwrap();
    let failed = "SELECT state, error LIKE 'offset 2 of partition 0: column \"id\"%' FROM millrace.splits WHERE source = 'strict'";
    wait_for(&client, failed, &["failed|t"]).await;

    client
        .batch_execute(&format!("CREATE SOURCE raw (v bytea) {} FORMAT PLAIN ENCODE BYTES", options("poison", "")))
        .await
        .unwrap();
    assert_eq!(
        rows(&client, "SELECT count(*), count(v), sum(length(v)) FROM raw").await[0].split('|').next(),
        Some("9")
    );
    out.send("poison", 0, None, Some(long.as_bytes()));
    out.flush();
    wait_for(&client, "SELECT count(*) FROM good WHERE id = 4", &["1"]).await;
}

#[tokio::test]
async fn what_a_topic_forgot_still_counts_after_a_crash() {
    create_topic("forgets", 2).await;
    let out = Out::new();
    let send = |numbers: std::ops::Range<usize>| {
        numbers.for_each(|number| out.send("forgets", (number % 2) as i32, None, Some(bid(number).as_bytes())));
        out.flush();
    };
    send(0..200);
    let mut server = Server::start();
    let client = server.client().await;
    client.batch_execute(&format!("CREATE SOURCE forgets (id bigint) {}", options("forgets", ""))).await.unwrap();
    let view =
        "CREATE MATERIALIZED VIEW sums AS SELECT id % 10 AS k, count(*) AS n, sum(id) AS s FROM forgets GROUP BY 1";
    client.batch_execute(view).await.unwrap();
    let summed = "SELECT sum(n), sum(s) FROM sums";
    wait_for(&client, summed, &["200|19900"]).await;
    client.batch_execute("CHECKPOINT").await.unwrap();
    // The checkpoint has what the topic does not have any more, and the topic what the checkpoint does not have yet.
    delete_records("forgets", 0, 50).await;
    send(200..210);
    wait_for(&client, summed, &["210|21945"]).await;
    for round in 0..2 {
        server.crash();
        let client = server.client().await;
        wait_for(&client, summed, &[&format!("{}|{}", 210 + round * 10, [21945, 24090][round])]).await;
        send(210 + round * 10..220 + round * 10);
        wait_for(&client, summed, &[&format!("{}|{}", 220 + round * 10, [24090, 26335][round])]).await;
    }
}

#[tokio::test]
async fn what_is_missing_or_gone_is_said() {
    let server = Server::start();
    let client = server.client().await;
    let missing = error(&client, &format!("CREATE SOURCE nothing (a int) {}", options("nothing", ""))).await;
    assert_eq!(missing, ("42704".to_owned(), "Kafka topic \"nothing\" does not exist".to_owned()));
    let unknown = options("nothing", ", properties.nonsense = '1'");
    let (state, message) = error(&client, &format!("CREATE SOURCE nothing (a int) {unknown}")).await;
    assert_eq!(state, "22023", "{message}");

    create_topic("short", 1).await;
    let out = Out::new();
    for number in 0..10 {
        out.send("short", 0, None, Some(bid(number).as_bytes()));
    }
    out.flush();
    let source = |name: &str, more: &str| format!("CREATE SOURCE {name} (id bigint) {}", options("short", more));
    client.batch_execute(&source("short", "")).await.unwrap();
    client.batch_execute(&source("skips", ", on_gap = 'skip'")).await.unwrap();
    delete_records("short", 0, 4).await;
    client.batch_execute("SET background_ddl = true").await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW of_short AS SELECT count(*) AS n FROM short").await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW of_skips AS SELECT count(*) AS n FROM skips").await.unwrap();
    wait_for(&client, "SELECT n FROM of_skips", &["6"]).await;
    let said = "SELECT state, error FROM millrace.splits WHERE source = 'short'";
    wait_for(&client, said, &["failed|offset 0 of partition 0 of Kafka topic \"short\" is no longer available"]).await;
}

#[tokio::test]
async fn tables_are_fed_by_key_and_go_on_after_a_crash() {
    create_topic("states", 2).await;
    let out = Out::new();
    let put = |id: usize, value: Option<&str>| {
        let key = format!(r#"{{"id": {id}}}"#);
        out.send("states", (id % 2) as i32, Some(key.as_bytes()), value.map(str::as_bytes));
    };
    for id in 0..10 {
        put(id, Some(&format!(r#"{{"id": {id}, "state": "new"}}"#)));
    }
    put(3, Some(r#"{"id": 3, "state": "paid"}"#));
    put(4, None);
    put(5, None);
    put(5, Some(r#"{"id": 5, "state": "again"}"#));
    out.flush();
    let mut server = Server::start();
    let client = server.client().await;
    let table = format!(
        "CREATE TABLE states (id bigint PRIMARY KEY, state text NOT NULL) INCLUDE partition AS p {} FORMAT UPSERT ENCODE JSON",
        options("states", "")
    );
    client.batch_execute(&table).await.unwrap();
    client
        .batch_execute("CREATE MATERIALIZED VIEW n AS SELECT state, count(*) AS n FROM states GROUP BY state")
        .await
        .unwrap();
    let by_state = "SELECT * FROM n ORDER BY state";
    wait_for(&client, by_state, &["again|1", "new|7", "paid|1"]).await;
    assert_eq!(
        rows(&client, "SELECT * FROM states WHERE id IN (3, 4, 5) ORDER BY id").await,
        ["3|paid|1", "5|again|1"]
    );
    let (state, _) = error(&client, "INSERT INTO states VALUES (1, 'x', 0)").await;
    assert_eq!(state, "42809");

    server.crash();
    let client = server.client().await;
    wait_for(&client, by_state, &["again|1", "new|7", "paid|1"]).await;
    wait_for(&client, "SELECT DISTINCT state FROM millrace.splits", &["caught up"]).await;
    assert_eq!(rows(&client, "SELECT sum(records) FROM millrace.splits").await, ["0"], "nothing is read twice");
    put(0, None);
    put(1, Some(r#"{"id": 1, "state": "paid"}"#));
    out.flush();
    wait_for(&client, by_state, &["again|1", "new|5", "paid|2"]).await;

    create_topic("plain", 1).await;
    client.batch_execute(&format!("CREATE TABLE plain (id bigint) {}", options("plain", ""))).await.unwrap();
    for round in 1..6 {
        for number in 0..500 {
            out.send("plain", 0, None, Some(bid(number).as_bytes()));
        }
        out.flush();
        std::thread::sleep(Duration::from_millis(30 * round));
        server.crash();
        let wanted = (500 * round).to_string();
        wait_for(&server.client().await, "SELECT count(*) FROM plain", &[&wanted]).await;
    }

    create_topic("changes", 1).await;
    let client = server.client().await;
    for change in [
        r#"{"op":"r","before":null,"after":{"id":1,"name":"a"}}"#,
        r#"{"op":"c","before":null,"after":{"id":2,"name":"b"}}"#,
        r#"{"schema":{},"payload":{"op":"u","before":{"id":2,"name":"b"},"after":{"id":2,"name":"c"}}}"#,
        r#"{"op":"d","before":{"id":1,"name":"a"},"after":null}"#,
        r#"{"op":"x"}"#,
    ] {
        out.send("changes", 0, None, Some(change.as_bytes()));
    }
    out.send("changes", 0, Some(br#"{"id":1}"#), None);
    out.flush();
    let table = format!(
        "CREATE TABLE changes (id bigint PRIMARY KEY, name text) {} FORMAT DEBEZIUM ENCODE JSON",
        options("changes", "")
    );
    client.batch_execute(&table).await.unwrap();
    wait_for(&client, "SELECT * FROM changes", &["2|c"]).await;
    let bad = "SELECT record_offset, reason FROM millrace.bad_records WHERE source = 'changes'";
    wait_for(&client, bad, &["4|unknown Debezium operation \"x\""]).await;
}

#[tokio::test]
async fn a_broker_that_is_away_is_waited_for() {
    let mut own = millrace_sqllogictest::broker::Broker::start().unwrap();
    let out = Out::at(&own.servers());
    create_topic_at(&own.servers(), "away", 2).await;
    let send = |number: usize| {
        out.send("away", 0, None, Some(bid(number).as_bytes()));
        out.flush();
    };
    send(1);
    let mut server = Server::start();
    let client = server.client().await;
    let with =
        format!("WITH (connector = 'kafka', topic = 'away', properties.bootstrap.servers = '{}')", own.servers());
    client.batch_execute(&format!("CREATE SOURCE away (id bigint) {with}")).await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW of_away AS SELECT count(*) AS n FROM away").await.unwrap();
    assert_eq!(rows(&client, "SELECT n FROM of_away").await, ["1"]);
    own.stop();
    wait_for(
        &client,
        "SELECT count(*) FROM millrace.splits WHERE state = 'retrying' AND error LIKE 'could not read%'",
        &["2"],
    )
    .await;
    assert_eq!(rows(&client, "SELECT n FROM of_away").await, ["1"], "what was read stays");
    let begun = Instant::now();
    let (state, message) = error(&client, &format!("CREATE SOURCE later (id bigint) {with}")).await;
    assert!(state == "08006" && begun.elapsed() < Duration::from_secs(30), "{state}: {message}");
    server.crash();
    let client = server.client().await;
    wait_for(&client, "SELECT state FROM millrace.sources", &["retrying"]).await;
    own.begin().unwrap();
    send(2);
    wait_for(&client, "SELECT n FROM of_away", &["2"]).await;
    wait_for(&client, "SELECT DISTINCT state, error FROM millrace.splits", &["caught up|NULL"]).await;
}

#[tokio::test]
async fn many_partitions_and_large_records_are_read() {
    create_topic("wide", 64).await;
    let out = Out::new();
    for number in 0..12_800 {
        // Most of them in one partition.
        let partition = if number % 4 == 0 { number / 4 % 64 } else { 7 };
        out.send("wide", partition as i32, None, Some(bid(number).as_bytes()));
    }
    let long = format!(r#"{{"id": 1000000, "bidder": "{}"}}"#, "x".repeat(10 << 20));
    out.send("wide", 3, None, Some(long.as_bytes()));
    out.flush();
    let server = Server::start();
    let client = server.client().await;
    let source = format!("CREATE SOURCE wide (id bigint, bidder text) {}", options("wide", ""));
    client.batch_execute(&source).await.unwrap();
    let view = "CREATE MATERIALIZED VIEW of_wide AS SELECT count(*) AS n, count(DISTINCT id) AS ids, max(length(bidder)) AS l FROM wide";
    client.batch_execute(view).await.unwrap();
    wait_for(&client, "SELECT * FROM of_wide", &["12801|12801|10485760"]).await;
    wait_for(&client, "SELECT state, count(*) FROM millrace.splits GROUP BY 1", &["caught up|64"]).await;
    assert_eq!(rows(&client, "SELECT count(*) FROM wide").await, ["12801"]);
}
