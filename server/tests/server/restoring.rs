//! Views go on after a crash from the state that a checkpoint has, and sources from the offsets that belong to it.

use super::process::{Process, binary, free_port};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};
use tokio_postgres::{Client, SimpleQueryMessage};

/// The rows of a query as text, in order.
pub async fn rows(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let mut rows: Vec<String> = messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).unwrap_or("-")).collect::<Vec<_>>().join(" "))
            }
            _ => None,
        })
        .collect();
    rows.sort();
    rows
}

const VIEWS: &[(&str, &str)] = &[
    ("sums", "SELECT k, count(*) AS n, sum(v) AS total, max(v) AS high FROM events GROUP BY k"),
    ("named", "SELECT label, n, total FROM sums LEFT JOIN labels USING (k)"),
    ("kinds", "SELECT DISTINCT k % 3 AS kind FROM events"),
    (
        "best",
        "SELECT k, v FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS r FROM events) x \
              WHERE r <= 2",
    ),
    ("twice", "SELECT a.k, b.n FROM sums AS a JOIN sums AS b ON a.k = b.k + 1"),
    ("nothing", "SELECT count(*) AS n FROM labels WHERE k < 0"),
    ("stored", "SELECT l.label, count(*) AS n FROM labels AS l JOIN labels AS r ON l.k = r.k GROUP BY l.label"),
];

/// A server whose source follows a file.
pub struct World {
    data: TempDir,
    pub files: TempDir,
    pub server: Process,
    pub client: Client,
    pub lines: i64,
}

impl World {
    pub async fn new() -> World {
        let (data, files) = (tempdir().unwrap(), tempdir().unwrap());
        let server = Process::on(data.path(), free_port());
        let client = server.client().await;
        let mut world = World { data, files, server, client, lines: 0 };
        world.append(1000);
        let source = format!(
            "CREATE SOURCE events (k bigint, v bigint)
             WITH (connector = 'file', path = '{}', format = 'csv', follow = 'true')",
            world.file().display()
        );
        world.run(&source).await;
        world.run("CREATE TABLE labels (k bigint PRIMARY KEY, label text)").await;
        world.run("INSERT INTO labels SELECT i, 'label ' || i % 4 FROM generate_series(0, 7) AS s(i)").await;
        for (name, query) in VIEWS {
            world.run(&format!("CREATE MATERIALIZED VIEW {name} AS {query}")).await;
        }
        world.run("CREATE INDEX ON sums (n)").await;
        world.run("FLUSH").await;
        world
    }

    pub fn file(&self) -> PathBuf {
        self.files.path().join("events.csv")
    }

    pub fn append(&mut self, count: i64) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.file()).unwrap();
        let lines: String = (self.lines..self.lines + count).map(|n| format!("{},{n:06}\n", n % 10)).collect();
        file.write_all(lines.as_bytes()).unwrap();
        self.lines += count;
    }

    pub async fn run(&self, statement: &str) {
        self.client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }

    pub async fn restart(&mut self, workers: usize) {
        self.server.kill();
        let mut command = binary();
        let address = format!("127.0.0.1:{}", self.server.port);
        command.args(["--workers", &workers.to_string(), "--listen", &address, "--data-dir"]).arg(self.data.path());
        self.server = Process::start(command, self.server.port);
        self.client = self.server.client().await;
    }

    /// Waits until the views show all lines, and compares them with their queries. `first`: what the first line counts.
    pub async fn check(&self, first: i64, place: &str) {
        let begun = Instant::now();
        let total = self.lines * (self.lines - 1) / 2 + first;
        let wanted = [format!("{} {total}", self.lines)];
        loop {
            let found = rows(&self.client, "SELECT sum(n), sum(total) FROM sums").await;
            if found == wanted {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{place}: {found:?} instead of {wanted:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What stands in the file now is not what was read; so the queries are asked of a view over all rows as counted.
        for (name, query) in VIEWS.iter().filter(|(_, query)| !query.contains("events")) {
            assert_eq!(
                rows(&self.client, &format!("TABLE {name}")).await,
                rows(&self.client, query).await,
                "{name}, {place}"
            );
        }
        let best = rows(&self.client, "SELECT count(*), sum(v) FROM best").await;
        let high: i64 = (self.lines - 20..self.lines).sum();
        assert_eq!(best, [format!("20 {high}")], "{place}");
        assert_eq!(rows(&self.client, "TABLE kinds").await, ["0", "1", "2"], "{place}");
        let by_index = rows(&self.client, &format!("SELECT count(*) FROM sums WHERE n = {}", self.lines / 10)).await;
        assert_eq!(by_index, ["10"], "{place}");
    }
}

/// Writes other numbers over the first line of the file, which has been read.
pub fn overwrite(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[..9].copy_from_slice(b"0,900000\n");
    let mut open = OpenOptions::new().write(true).open(file).unwrap();
    open.write_all(&bytes[..9]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_not_read_again() {
    let mut world = World::new().await;
    world.check(0, "at first").await;
    world.run("CHECKPOINT").await;
    overwrite(&world.file());
    // The log and the file go on after the checkpoint.
    world.append(500);
    world.run("INSERT INTO labels VALUES (8, 'eight'); UPDATE labels SET label = 'new' WHERE k = 1").await;
    world.run("DELETE FROM labels WHERE k = 2").await;
    world.run("FLUSH").await;
    world.check(0, "before the crash").await;
    for (round, workers) in [2, 3, 1, 2, 2].into_iter().enumerate() {
        world.restart(workers).await;
        world.check(0, &format!("after crash {round} with {workers} workers")).await;
        assert!(world.server.log().contains("views go on from the last checkpoint"), "{}", world.server.log());
        assert!(!world.server.log().contains("made anew"), "{}", world.server.log());
        world.append(100);
        world.run(&format!("INSERT INTO labels VALUES ({}, 'more')", 100 + round)).await;
        world.check(0, &format!("with more, {round}")).await;
        if round != 2 {
            world.run("CHECKPOINT").await;
        }
    }
    // A view that is made now reads what stands in the file.
    world.run("CREATE MATERIALIZED VIEW late AS SELECT sum(v) AS total FROM events").await;
    let total = world.lines * (world.lines - 1) / 2 + 900_000;
    assert_eq!(rows(&world.client, "TABLE late").await, [total.to_string()]);
    // The checkpoint does not know it: it is made anew, and the others go on.
    world.restart(2).await;
    world.check(0, "with a view that was made since the checkpoint").await;
    assert_eq!(rows(&world.client, "TABLE late").await, [total.to_string()]);
    world.append(100);
    world.check(0, "in the end").await;
    let total = world.lines * (world.lines - 1) / 2 + 900_000;
    assert_eq!(rows(&world.client, "TABLE late").await, [total.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_whose_state_is_damaged_or_of_another_query_is_made_anew() {
    let mut world = World::new().await;
    world.run("CHECKPOINT").await;
    world.run("CREATE OR REPLACE MATERIALIZED VIEW kinds AS SELECT DISTINCT k % 4 AS kind FROM events").await;
    world.run("DROP MATERIALIZED VIEW nothing").await;
    world.run("CREATE MATERIALIZED VIEW nothing AS SELECT count(*) AS n FROM labels WHERE k < 0").await;
    world.append(50);
    world.run("FLUSH").await;
    let kinds = rows(&world.client, "TABLE kinds").await;
    assert_eq!(kinds.len(), 4);
    world.restart(2).await;
    assert_eq!(rows(&world.client, "TABLE kinds").await, kinds);
    assert!(world.server.log().contains("made anew"), "{}", world.server.log());
    assert!(world.server.log().contains("views go on from the last checkpoint"), "{}", world.server.log());
    world.run("CREATE OR REPLACE MATERIALIZED VIEW kinds AS SELECT DISTINCT k % 3 AS kind FROM events").await;
    world.check(0, "with some made anew").await;

    world.run("CHECKPOINT").await;
    world.append(50);
    world.run("FLUSH").await;
    world.server.kill();
    for entry in fs::read_dir(world.data.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "state") {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    world.restart(2).await;
    world.check(0, "with all made anew").await;
    assert!(!world.server.log().contains("views go on from the last checkpoint"), "{}", world.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_written_anew_does_not_count_twice() {
    let mut world = World::new().await;
    world.run("CHECKPOINT").await;
    world.run("ALTER TABLE labels ADD COLUMN more int DEFAULT 7").await;
    world.run("ALTER TABLE labels ADD COLUMN other int GENERATED ALWAYS AS (k + 1) STORED").await;
    world.run("INSERT INTO labels VALUES (9, 'nine', 1)").await;
    for round in 0..2 {
        world.restart(2).await;
        world.check(0, &format!("round {round}")).await;
        world.run(&format!("INSERT INTO labels VALUES ({}, 'more', 1)", 20 + round)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_and_row_errors_are_as_they_were() {
    let mut world = World::new().await;
    world.run("CREATE MATERIALIZED VIEW parts AS SELECT k, 100 / v AS part FROM events WHERE v < 3").await;
    let mut file = OpenOptions::new().append(true).open(world.file()).unwrap();
    file.write_all(b"not a number,1\n").unwrap();
    world.run("FLUSH").await;
    let shown = "SELECT source, split, records, bad_records FROM millrace.splits";
    let before = rows(&world.client, shown).await;
    assert_eq!(rows(&world.client, "SELECT count(*) FROM millrace.bad_records").await, ["1"]);
    assert!(world.client.simple_query("TABLE parts").await.is_err(), "one over nothing");
    world.run("CHECKPOINT").await;
    world.restart(2).await;
    world.check(0, "after the crash").await;
    assert!(world.client.simple_query("TABLE parts").await.is_err(), "one over nothing");
    assert_eq!(rows(&world.client, "SELECT count(*) FROM millrace.bad_records").await, ["1"]);
    assert_eq!(rows(&world.client, shown).await, before);
}
