//! Event time of topics: each partition has a watermark of its own, and what is late is known by partition.

use crate::cluster::{Out, Server, create_topic, rows, servers, wait_for};

#[tokio::test]
async fn a_partition_is_a_split_with_its_own_watermark() {
    create_topic("times", 3).await;
    let out = Out::new();
    let send = |partition: i32, times: &[&str]| {
        for time in times {
            let value = format!(r#"{{"at": "2024-05-01 {time}"}}"#);
            out.send("times", partition, None, Some(value.as_bytes()));
        }
        out.flush();
    };
    let mut server = Server::with(&["--test-clock"]);
    let client = server.client().await;
    client
        .batch_execute(&format!(
            "ALTER SYSTEM SET CLOCK '2024-05-01 12:00:00+00';
             CREATE SOURCE times (at timestamp,
                 WATERMARK FOR at AS at - INTERVAL '5 seconds' WITH (idle_timeout = '10 seconds', late = 'drop'))
             INCLUDE partition AS p INCLUDE offset AS o
             WITH (connector = 'kafka', topic = 'times', properties.bootstrap.server = '{}');
             CREATE MATERIALIZED VIEW heard AS SELECT p, count(*) AS n FROM times GROUP BY p;
             CREATE MATERIALIZED VIEW minutes AS SELECT window_start, count(*) AS n
                 FROM TUMBLE(times, at, INTERVAL '1 minute') GROUP BY window_start EMIT ON WINDOW CLOSE",
            servers()
        ))
        .await
        .unwrap();
    // Partition 1 is behind partition 0, but in its own order; the third record of partition 0 is not.
    send(0, &["10:00:00", "10:01:30", "10:01:20", "10:01:26"]);
    send(1, &["10:00:10", "10:01:10"]);
    wait_for(&client, "SELECT * FROM heard ORDER BY p", &["0|3", "1|2"]).await;
    wait_for(&client, "SELECT p, o, at FROM times_late", &["0|2|2024-05-01 10:01:20"]).await;
    assert_eq!(rows(&client, "SELECT * FROM heard ORDER BY p").await, ["0|3", "1|2"]);
    let splits = "SELECT split, watermark AT TIME ZONE 'UTC', state, rows, late_rows FROM millrace.watermarks \
                  WHERE relation = 'times' ORDER BY split NULLS LAST";
    let one_and_two = ["times-0|2024-05-01 10:01:25|active|4|1", "times-1|2024-05-01 10:01:05|active|2|0"];
    let behind = [&one_and_two[..], &["times-2|NULL|active|0|0", "NULL|NULL|active|NULL|NULL"]].concat();
    wait_for(&client, splits, &behind).await;
    assert!(rows(&client, "SELECT * FROM minutes").await.is_empty(), "partition 2 holds the windows back");

    // It does so until it has been silent for the idle timeout.
    client.batch_execute("ADVANCE CLOCK BY INTERVAL '6 seconds'").await.unwrap();
    send(0, &["10:01:30"]);
    send(1, &["10:01:10"]);
    wait_for(&client, "SELECT * FROM heard ORDER BY p", &["0|4", "1|3"]).await;
    client.batch_execute("ADVANCE CLOCK BY INTERVAL '6 seconds'").await.unwrap();
    let known = "SELECT split, state FROM millrace.watermarks WHERE relation = 'times' AND state = 'idle'";
    wait_for(&client, known, &["times-2|idle"]).await;
    let least =
        "SELECT watermark AT TIME ZONE 'UTC' FROM millrace.watermarks WHERE relation = 'times' AND split IS NULL";
    wait_for(&client, least, &["2024-05-01 10:01:05"]).await;
    wait_for(&client, "SELECT * FROM minutes", &["2024-05-01 10:00:00|2"]).await;

    // When it speaks again it is judged by the source's watermark.
    send(2, &["10:01:00", "10:02:00"]);
    wait_for(&client, "SELECT * FROM heard ORDER BY p", &["0|4", "1|3", "2|1"]).await;
    wait_for(&client, "SELECT p, o FROM times_late ORDER BY p", &["0|2", "2|0"]).await;

    // A restart reads the records again. The order among partitions is not the same, those of each are.
    server.crash();
    let client = server.client().await;
    wait_for(&client, "SELECT p, n FROM heard WHERE p < 2 ORDER BY p", &["0|4", "1|3"]).await;
    wait_for(&client, "SELECT p, o FROM times_late WHERE p = 0", &["0|2"]).await;
}
