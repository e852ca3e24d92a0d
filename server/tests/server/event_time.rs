//! Event time from end to end: random rows with random delays in several splits, read in random batches, against doing
//! it by hand.

use crate::process::{Process, free_port};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use tempfile::tempdir;
use tokio_postgres::{Client, SimpleQueryMessage};

/// A row of a source: a key, a time in seconds, and a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    key: i64,
    time: i64,
    id: i64,
}

/// A row with the watermark that it came behind.
type Stamped = (Row, Option<i64>);

/// The watermark is so many seconds behind the greatest time.
const DISORDER: i64 = 3;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// The rows of a source's splits in their orders: time goes on, most rows are in time, some are very late.
fn splits(random: &mut Random, count: usize, rows: usize) -> Vec<Vec<Row>> {
    let mut id = 0;
    let split = |_| {
        let mut now = 100;
        let row = |_| {
            now += random.below(3) as i64;
            id += 1;
            let delay = if random.below(6) == 0 { random.below(60) } else { random.below(DISORDER as u64 + 1) };
            Row { key: random.below(3) as i64, time: now - delay as i64, id }
        };
        (0..rows).map(row).collect()
    };
    (0..count).map(split).collect()
}

/// Each row with the greatest time before it, less the disorder; and how far each split has come.
fn stamped(splits: &[Vec<Row>]) -> (Vec<Stamped>, i64) {
    let (mut all, mut least) = (vec![], i64::MAX);
    for split in splits {
        let mut watermark = None;
        for row in split {
            all.push((*row, watermark));
            watermark = watermark.max(Some(row.time - DISORDER));
        }
        least = least.min(watermark.unwrap_or(i64::MIN));
    }
    (all, least)
}

/// The windows of a time, as start and end.
type Windows = fn(i64) -> Vec<(i64, i64)>;

fn tumbling(time: i64) -> Vec<(i64, i64)> {
    let start = time.div_euclid(10) * 10;
    vec![(start, start + 10)]
}

fn hopping(time: i64) -> Vec<(i64, i64)> {
    let last = time.div_euclid(5) * 5;
    (0..4).map(|back| (last - back * 5, last - back * 5 + 20)).collect()
}

fn cumulating(time: i64) -> Vec<(i64, i64)> {
    let start = time.div_euclid(20) * 20;
    (1..=4).map(|steps| (start, start + steps * 5)).filter(|(_, end)| time < *end).collect()
}

/// The rows of each window and key.
type Groups = BTreeMap<(i64, i64, i64), Vec<Row>>;

/// The windows with their rows, of those that are in time for them, and how many rows are late for some.
fn windowed(rows: &[Stamped], windows: Windows) -> (Groups, usize) {
    let (mut all, mut late) = (Groups::new(), BTreeSet::new());
    for (row, before) in rows {
        for (start, end) in windows(row.time) {
            match before.is_some_and(|before| end <= before) {
                true => drop(late.insert(row.id)),
                false => all.entry((start, end, row.key)).or_default().push(*row),
            }
        }
    }
    (all, late.len())
}

const GAP: i64 = 4;

/// The sessions of the rows whose time and `more` is not before the watermark, that end before `until`.
fn sessions(rows: &[Stamped], more: i64, until: i64) -> Vec<String> {
    let in_time = rows.iter().filter(|(row, before)| before.is_none_or(|before| row.time + more >= before));
    let mut rows: Vec<Row> = in_time.map(|(row, _)| *row).collect();
    rows.sort();
    let mut sessions: Vec<(Row, Row, i64)> = vec![];
    for row in rows {
        match sessions.last_mut().filter(|(_, last, _)| last.key == row.key && row.time - last.time <= GAP) {
            Some((_, last, count)) => (*last, *count) = (row, *count + 1),
            None => sessions.push((row, row, 1)),
        }
    }
    let text = |(first, last, n): (Row, Row, i64)| format!("{} {} {} {n}", first.key, first.time, last.time + GAP);
    let done = sessions.into_iter().filter(|(_, last, _)| last.time + GAP < until);
    let mut texts: Vec<String> = done.map(text).collect();
    texts.sort();
    texts
}

/// A left row is at most so many seconds before a right one, and at most so many after it.
const SPAN: (i64, i64) = (2, 5);

/// The pairs of rows that are in time for their spans.
fn pairs(left: &[Stamped], right: &[Stamped]) -> Vec<String> {
    let in_time = |rows: &[Stamped], more: i64| -> Vec<Row> {
        let known = |(row, before): &&Stamped| before.is_none_or(|before| row.time + more >= before);
        rows.iter().filter(known).map(|(row, _)| *row).collect()
    };
    let (left, right) = (in_time(left, SPAN.0), in_time(right, SPAN.1));
    let mut texts = vec![];
    for l in &left {
        let partners = right.iter().filter(|r| l.key == r.key && (-SPAN.0..=SPAN.1).contains(&(l.time - r.time)));
        let before = texts.len();
        texts.extend(partners.map(|r| format!("{} {}", l.id, r.id)));
        if texts.len() == before {
            texts.push(format!("{} -", l.id));
        }
    }
    texts.sort();
    texts
}

/// The lines of a query's one text column, in order.
async fn lines(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
        _ => None,
    });
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    rows
}

fn path(folder: &Path, source: &str, split: usize) -> std::path::PathBuf {
    folder.join(format!("{source}_{split}.csv"))
}

fn append(folder: &Path, source: &str, split: usize, rows: &[Row]) {
    let mut file = OpenOptions::new().create(true).append(true).open(path(folder, source, split)).unwrap();
    let mut text = String::new();
    for row in rows {
        let (hour, minute, second) = (10 + row.time / 3600, row.time / 60 % 60, row.time % 60);
        text += &format!("{},2024-05-01 {hour}:{minute:02}:{second:02},{}\n", row.key, row.id);
    }
    file.write_all(text.as_bytes()).unwrap();
}

/// Seconds since 10 o'clock.
fn seconds(column: &str) -> String {
    format!("(extract(epoch FROM {column}) - extract(epoch FROM TIMESTAMP '2024-05-01 10:00:00'))::bigint")
}

const WINDOWED: [(&str, &str, Windows); 3] = [
    ("tumbled", "tumble(a, ts, INTERVAL '10 seconds')", tumbling),
    ("hopped", "hop(a, ts, INTERVAL '5 seconds', INTERVAL '20 seconds')", hopping),
    ("cumulated", "cumulate(a, ts, INTERVAL '5 seconds', INTERVAL '20 seconds')", cumulating),
];

async fn define(client: &Client, folder: &Path, late: &str) {
    for source in ["a", "b"] {
        let path = folder.join(format!("{source}_*.csv"));
        client
            .batch_execute(&format!(
                "CREATE SOURCE {source} (k bigint, ts timestamp, id bigint, \
                 WATERMARK FOR ts AS ts - INTERVAL '{DISORDER} seconds' WITH (late = '{late}')) \
                 WITH (connector = 'file', path = '{}', format = 'csv', follow = 'true')",
                path.display()
            ))
            .await
            .unwrap();
    }
    let mut views = vec![];
    for (name, windows, _) in WINDOWED {
        let grouped = "GROUP BY k, window_start, window_end";
        let counted = "k, window_start AS s, window_end AS e, count(*) AS n, sum(id) AS total, max(id) AS high, \
                       count(id) FILTER (WHERE id % 2 = 0) AS even, sum(id) FILTER (WHERE id % 3 = 0) AS third";
        views.push((name.to_owned(), format!("SELECT {counted} FROM {windows} {grouped}")));
        let kept = "k, window_start AS s, window_end AS e, count(DISTINCT id % 5) AS different, \
                    string_agg(id::text, ',' ORDER BY id) AS ids";
        views.push((format!("{name}_kept"), format!("SELECT {kept} FROM {windows} {grouped}")));
        let best = format!(
            "SELECT k, s, e, id FROM (SELECT k, window_start AS s, window_end AS e, id, row_number() OVER (PARTITION BY k, \
             window_start, window_end ORDER BY id DESC) AS place FROM {windows}) r WHERE place <= 2"
        );
        views.push((format!("{name}_best"), best));
        views.push((
            format!("{name}_distinct"),
            format!("SELECT DISTINCT k, window_start AS s, window_end AS e FROM {windows}"),
        ));
    }
    let met = "SELECT x.k, x.window_start AS s, x.window_end AS e, x.id AS a, y.id AS b \
               FROM tumble(a, ts, INTERVAL '10 seconds') x JOIN tumble(b, ts, INTERVAL '10 seconds') y \
               ON x.k = y.k AND x.window_start = y.window_start AND x.window_end = y.window_end";
    views.push(("met".to_owned(), met.to_owned()));
    for (name, query) in &views {
        for (suffix, emission) in [("", ""), ("_closed", "EMIT ON WINDOW CLOSE")] {
            let view = format!("CREATE MATERIALIZED VIEW {name}{suffix} AS {query} {emission}");
            client.batch_execute(&view).await.unwrap_or_else(|error| panic!("{view}: {error:?}"));
        }
    }
    let more = [
        format!(
            "CREATE MATERIALIZED VIEW sessions AS SELECT k, window_start AS s, window_end AS e, count(*) AS n \
             FROM session(a PARTITION BY k, ts, INTERVAL '{GAP} seconds') GROUP BY k, window_start, window_end"
        ),
        format!(
            "CREATE MATERIALIZED VIEW sessions_closed AS SELECT k, window_start AS s, window_end AS e, count(*) AS n \
             FROM session(a PARTITION BY k, ts, INTERVAL '{GAP} seconds') GROUP BY k, window_start, window_end \
             EMIT ON WINDOW CLOSE"
        ),
        format!(
            "CREATE MATERIALIZED VIEW paired AS SELECT a.id AS l, b.id AS r FROM a LEFT JOIN b ON a.k = b.k \
             AND a.ts BETWEEN b.ts - INTERVAL '{} seconds' AND b.ts + INTERVAL '{} seconds'",
            SPAN.0, SPAN.1
        ),
        "CREATE MATERIALIZED VIEW everything AS SELECT count(*) AS n FROM a".to_owned(),
    ];
    for view in more {
        client.batch_execute(&view).await.unwrap_or_else(|error| panic!("{view}: {error:?}"));
    }
}

/// The splits with the rows that nobody sees left out.
fn seen(rows: Vec<Stamped>, late: &str) -> Vec<Stamped> {
    match late {
        "drop" => rows.into_iter().filter(|(row, before)| before.is_none_or(|before| row.time >= before)).collect(),
        "keep" => rows.into_iter().map(|(row, _)| (row, None)).collect(),
        _ => rows,
    }
}

async fn check(client: &Client, a: &[Vec<Row>], b: &[Vec<Row>], late: &str, name: &str) {
    let ((rows, watermark), (others, watermark_of_b)) = (stamped(a), stamped(b));
    let all = rows.len();
    let (rows, others) = (seen(rows, late), seen(others, late));
    let (s, e) = (seconds("s"), seconds("e"));
    for (view, _, windows) in WINDOWED {
        let (groups, late_rows) = windowed(&rows, windows);
        let of_group = |((start, end, key), rows): (&(i64, i64, i64), &Vec<Row>)| {
            let ids = || rows.iter().map(|row| row.id);
            let third: Vec<i64> = ids().filter(|id| id % 3 == 0).collect();
            let third = if third.is_empty() { "-".to_owned() } else { third.iter().sum::<i64>().to_string() };
            let (n, total, high) = (rows.len(), ids().sum::<i64>(), ids().max().unwrap_or(0));
            let even = ids().filter(|id| id % 2 == 0).count();
            let counted = format!("{key} {start} {end} {n} {total} {high} {even} {third}");
            let mut sorted: Vec<i64> = ids().collect();
            sorted.sort_unstable();
            let different: BTreeSet<i64> = ids().map(|id| id % 5).collect();
            let texts: Vec<String> = sorted.iter().map(i64::to_string).collect();
            let kept = format!("{key} {start} {end} {} {}", different.len(), texts.join(","));
            let best: Vec<String> = sorted.iter().rev().take(2).map(|id| format!("{key} {start} {end} {id}")).collect();
            (*end, counted, kept, best, format!("{key} {start} {end}"))
        };
        let groups: Vec<_> = groups.iter().map(of_group).collect();
        let counted = format!(
            "k || ' ' || {s} || ' ' || {e} || ' ' || n || ' ' || total || ' ' || high || ' ' || even || ' ' || coalesce(third::text, '-')"
        );
        let kept = format!("k || ' ' || {s} || ' ' || {e} || ' ' || different || ' ' || ids");
        let (best, distinct) =
            (format!("k || ' ' || {s} || ' ' || {e} || ' ' || id"), format!("k || ' ' || {s} || ' ' || {e}"));
        for (suffix, until) in [("", i64::MAX), ("_closed", watermark)] {
            // A late row that is kept comes to a window that has closed, or not: that depends on when it is read.
            if late == "keep" && suffix == "_closed" {
                continue;
            }
            let done = || groups.iter().filter(|group| group.0 <= until);
            let expected = [
                (String::new(), &counted, done().map(|group| group.1.clone()).collect::<Vec<_>>()),
                ("_kept".to_owned(), &kept, done().map(|group| group.2.clone()).collect()),
                ("_best".to_owned(), &best, done().flat_map(|group| group.3.clone()).collect()),
                ("_distinct".to_owned(), &distinct, done().map(|group| group.4.clone()).collect()),
            ];
            for (kind, text, mut expected) in expected {
                expected.sort();
                let found = lines(client, &format!("SELECT {text} FROM {view}{kind}{suffix}")).await;
                assert_eq!(found, expected, "{view}{kind}{suffix}, {name}");
            }
        }
        if late == "window" {
            let kept = lines(client, &format!("SELECT count(*) FROM a_late WHERE view = '{view}'")).await;
            assert_eq!(kept, [late_rows.to_string()], "rows late for {view}, {name}");
        }
    }
    let ((left, _), (right, _)) = (windowed(&rows, tumbling), windowed(&others, tumbling));
    for (view, until) in [("met", i64::MAX), ("met_closed", watermark.min(watermark_of_b))] {
        if late == "keep" && view == "met_closed" {
            continue;
        }
        let met = left
            .iter()
            .filter(|((_, end, _), _)| *end <= until)
            .filter_map(|(window, rows)| Some((rows, right.get(window)?)));
        let met = met.flat_map(|(rows, others)| {
            rows.iter().flat_map(move |l| others.iter().map(move |r| format!("{} {}", l.id, r.id)))
        });
        let mut expected: Vec<String> = met.collect();
        expected.sort();
        assert_eq!(lines(client, &format!("SELECT a || ' ' || b FROM {view}")).await, expected, "{view}, {name}");
    }
    let found = lines(client, &format!("SELECT k || ' ' || {s} || ' ' || {e} || ' ' || n FROM sessions")).await;
    assert_eq!(found, sessions(&rows, GAP - 1, i64::MAX), "sessions, {name}");
    if late != "keep" {
        // One that has appeared does not change: no late row is taken.
        let found = format!("SELECT k || ' ' || {s} || ' ' || {e} || ' ' || n FROM sessions_closed");
        assert_eq!(lines(client, &found).await, sessions(&rows, 0, watermark), "closed sessions, {name}");
    }
    let found = lines(client, "SELECT l || ' ' || coalesce(r::text, '-') FROM paired").await;
    assert_eq!(found, pairs(&rows, &others), "pairs, {name}");
    // Nothing is lost: what a view has and what it has rejected is everything.
    let sum =
        "SELECT (SELECT sum(n) FROM tumbled) + (SELECT count(*) FROM a_late WHERE view = 'tumbled' OR view IS NULL)";
    assert_eq!(lines(client, sum).await, [all.to_string()], "rows in all, {name}");
    assert_eq!(lines(client, "SELECT n FROM everything").await, [rows.len().to_string()], "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_give_what_the_rows_in_time_give_however_they_are_read() {
    for (seed, late) in [(1, "window"), (2, "window"), (3, "drop"), (4, "keep")] {
        let mut random = Random(seed);
        let (a, b) = (splits(&mut random, 3, 150), splits(&mut random, 2, 150));
        for round in 0..3 {
            let name = format!("seed {seed}, late = {late}, round {round}");
            let (data, files) = (tempdir().unwrap(), tempdir().unwrap());
            let mut server = Process::on(data.path(), free_port());
            let mut client = server.client().await;
            // Every split is there from the start, so that none is found later.
            let mut read = vec![0; a.len() + b.len()];
            let all: Vec<(&str, usize, &Vec<Row>)> = a
                .iter()
                .enumerate()
                .map(|(at, rows)| ("a", at, rows))
                .chain(b.iter().enumerate().map(|(at, rows)| ("b", at, rows)))
                .collect();
            for (at, (source, split, rows)) in all.iter().enumerate() {
                append(files.path(), source, *split, &rows[..1]);
                read[at] = 1;
            }
            define(&client, files.path(), late).await;
            client.batch_execute("FLUSH").await.unwrap();
            while read.iter().zip(&all).any(|(read, (.., rows))| *read < rows.len()) {
                for (at, (source, split, rows)) in all.iter().enumerate() {
                    let to = (read[at] + random.below(if round == 0 { 100 } else { 30 }) as usize).min(rows.len());
                    append(files.path(), source, *split, &rows[read[at]..to]);
                    read[at] = to;
                }
                client.batch_execute("FLUSH").await.unwrap();
                // In the last round the server crashes on the way, and goes on from a checkpoint of now or of before.
                let what = if round == 2 { random.below(4) } else { 3 };
                if what < 2 {
                    client.batch_execute("CHECKPOINT").await.unwrap();
                }
                if what == 1 || what == 2 {
                    server.kill();
                    server = Process::on(data.path(), server.port);
                    client = server.client().await;
                    client.batch_execute("FLUSH").await.unwrap();
                }
            }
            check(&client, &a, &b, late, &name).await;
        }
    }
}

/// What operators keep: rows, and bytes.
async fn kept(client: &Client) -> Vec<(String, i64)> {
    let of = lines(client, "SELECT job_name || ' ' || name || '|' || sum(rows) || '|' || sum(bytes) FROM millrace.operators WHERE name <> 'ReadModel' GROUP BY job_name, name").await;
    let parsed = of.iter().map(|line| {
        let parts: Vec<&str> = line.rsplitn(3, '|').collect();
        (parts[2].to_owned(), parts[1].parse().unwrap())
    });
    parsed.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_views_keep_does_not_grow_with_the_stream() {
    for late in ["window", "drop"] {
        let (data, files) = (tempdir().unwrap(), tempdir().unwrap());
        let server = Process::on(data.path(), free_port());
        let client = server.client().await;
        let mut random = Random(9);
        let mut early = vec![];
        for round in 0..60 {
            for (source, splits) in [("a", 3), ("b", 2)] {
                for split in 0..splits {
                    let row = |at: i64| Row {
                        key: random.below(3) as i64,
                        time: round * 200 + at + random.below(DISORDER as u64) as i64
                            - if at % 20 == 19 { 30 } else { 0 },
                        id: round * 1_000 + at * 5 + split as i64,
                    };
                    let rows: Vec<Row> = (0..200).map(row).map(|row| Row { time: row.time.max(0), ..row }).collect();
                    append(files.path(), source, split, &rows);
                }
            }
            if round == 0 {
                define(&client, files.path(), late).await;
            }
            client.batch_execute("FLUSH").await.unwrap();
            if round == 14 {
                early = kept(&client).await;
            }
        }
        let now = kept(&client).await;
        for (name, rows) in now {
            let before = early.iter().find(|(known, _)| *known == name).map_or(0, |(_, rows)| *rows);
            assert!(
                rows <= 2 * before + 200,
                "{name}: {rows} rows, {before} at a quarter of the stream, late = {late}"
            );
        }
    }
}
