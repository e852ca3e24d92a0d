//! What the wall clock decides about rows of a source holds when they are read again: after a crash, by a view that is made
//! later, and ad hoc.

use crate::process::{Process, binary, free_port};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use tempfile::tempdir;
use tokio_postgres::{Client, SimpleQueryMessage};

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

async fn lines(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let text = |row: &tokio_postgres::SimpleQueryRow| {
        let values: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("-")).collect();
        values.join(" ")
    };
    let mut rows: Vec<String> = rows.map(text).collect();
    rows.sort();
    rows
}

fn start(folder: &Path, port: u16) -> Process {
    let mut command = binary();
    command
        .args(["--workers", "2", "--test-clock", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
        .arg(folder);
    Process::start(command, port)
}

fn append(folder: &Path, split: u64, rows: &[(i64, i64)]) {
    let path = folder.join(format!("rows_{split}.csv"));
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let line = |(id, time): &(i64, i64)| format!("{id},2024-05-01 10:{:02}:{:02}\n", time / 60, time % 60);
    file.write_all(rows.iter().map(line).collect::<String>().as_bytes()).unwrap();
}

const JUDGED: &str = "SELECT id, came, CURRENT_WATERMARK(ts) AS before FROM s";

/// Everything that depends on how rows were judged.
async fn judged(client: &Client) -> [Vec<String>; 4] {
    client.batch_execute("FLUSH").await.unwrap();
    [
        lines(client, "SELECT * FROM judged").await,
        lines(client, "SELECT * FROM counted").await,
        lines(client, "SELECT * FROM closed").await,
        lines(client, "SELECT id, came, view FROM s_late").await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_read_again_are_judged_as_they_were() {
    for seed in 1..=4 {
        let mut random = Random(seed);
        let (data, files) = (tempdir().unwrap(), tempdir().unwrap());
        let mut server = start(data.path(), free_port());
        let mut client = server.client().await;
        let (mut now, mut next) = (0, 0);
        (0..2).for_each(|split| append(files.path(), split, &[(-1 - split as i64, 0)]));
        let define = format!(
            "ALTER SYSTEM SET CLOCK '2024-05-01 10:00:00+00';
             CREATE SOURCE s (came timestamp AS PROCTIME(), id bigint, ts timestamp, WATERMARK FOR ts AS ts - INTERVAL \
             '2 seconds' WITH (idle_timeout = '10 seconds', max_future_skew = '20 seconds'))
             WITH (connector = 'file', path = '{}/rows_*.csv', format = 'csv', follow = 'true');
             CREATE MATERIALIZED VIEW judged AS {JUDGED};
             CREATE MATERIALIZED VIEW counted AS SELECT window_end, count(*), max(came) AS last
             FROM tumble(s, ts, INTERVAL '5 seconds') GROUP BY window_end;
             CREATE MATERIALIZED VIEW closed AS SELECT window_end, count(*) AS n
             FROM tumble(s, ts, INTERVAL '5 seconds') GROUP BY window_end EMIT ON WINDOW CLOSE",
            files.path().display()
        );
        client.batch_execute(&define).await.unwrap();
        let mut known = judged(&client).await;
        for step in 0..40 {
            let name = format!("seed {seed}, step {step}");
            match random.below(8) {
                0 | 1 => {
                    let seconds = 1 + random.below(14) as i64;
                    now += seconds;
                    client.batch_execute(&format!("ADVANCE CLOCK BY INTERVAL '{seconds} seconds'")).await.unwrap();
                    known = judged(&client).await;
                }
                2 => client.batch_execute("CHECKPOINT").await.unwrap(),
                3 => {
                    server.kill();
                    server = start(data.path(), server.port);
                    client = server.client().await;
                    assert_eq!(judged(&client).await, known, "{name}");
                }
                _ => {
                    // A third split comes in the middle.
                    let split = random.below(if step < 20 { 2 } else { 3 });
                    let mut row = || {
                        next += 1;
                        let ahead = if random.below(6) == 0 { 60 } else { 0 };
                        (next, (now + ahead - random.below(8) as i64).max(0))
                    };
                    let rows: Vec<_> = (0..3).map(|_| row()).collect();
                    append(files.path(), split, &rows);
                    loop {
                        known = judged(&client).await;
                        if known[0].len() as i64 == next + 2 {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        }
        assert_eq!(lines(&client, JUDGED).await, known[0], "ad hoc, seed {seed}");
        let counted =
            "SELECT window_end, count(*), max(came) AS last FROM tumble(s, ts, INTERVAL '5 seconds') GROUP BY 1";
        assert_eq!(lines(&client, counted).await, known[1], "ad hoc, seed {seed}");
        let again = format!("CREATE MATERIALIZED VIEW again AS {JUDGED}; CREATE MATERIALIZED VIEW counts AS {counted}");
        client.batch_execute(&again).await.unwrap();
        assert_eq!(lines(&client, "SELECT * FROM again").await, known[0], "made later, seed {seed}");
        assert_eq!(lines(&client, "SELECT * FROM counts").await, known[1], "made later, seed {seed}");
        // What nobody has read for a while is judged as it was, too.
        client.batch_execute("DROP MATERIALIZED VIEW judged, counted, closed, again, counts").await.unwrap();
        client.batch_execute(&format!("CREATE MATERIALIZED VIEW judged AS {JUDGED}")).await.unwrap();
        assert_eq!(lines(&client, "SELECT * FROM judged").await, known[0], "read again, seed {seed}");
        assert!(known[3].len() > 1 && known[2].len() > 1, "nothing was late, or closed");
    }
}
