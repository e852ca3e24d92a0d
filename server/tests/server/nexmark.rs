//! The Nexmark queries without event-time windows as views, under one, two and three workers.

use crate::process::{Process, binary, free_port};
use tempfile::tempdir;
use tokio_postgres::{Client, SimpleQueryMessage};

/// The texts that are measured, too.
const QUERIES: &[(&str, &str)] = &[
    ("q0", include_str!("../../../bench/nexmark/q0.sql")),
    ("q1", include_str!("../../../bench/nexmark/q1.sql")),
    ("q2", include_str!("../../../bench/nexmark/q2.sql")),
    ("q3", include_str!("../../../bench/nexmark/q3.sql")),
    ("q4", include_str!("../../../bench/nexmark/q4.sql")),
    ("q9", include_str!("../../../bench/nexmark/q9.sql")),
    ("q10", include_str!("../../../bench/nexmark/q10.sql")),
    ("q13", include_str!("../../../bench/nexmark/q13.sql")),
    ("q14", include_str!("../../../bench/nexmark/q14.sql")),
    ("q15", include_str!("../../../bench/nexmark/q15.sql")),
    ("q16", include_str!("../../../bench/nexmark/q16.sql")),
    ("q17", include_str!("../../../bench/nexmark/q17.sql")),
    ("q18", include_str!("../../../bench/nexmark/q18.sql")),
    ("q19", include_str!("../../../bench/nexmark/q19.sql")),
    ("q20", include_str!("../../../bench/nexmark/q20.sql")),
    ("q21", include_str!("../../../bench/nexmark/q21.sql")),
    ("q22", include_str!("../../../bench/nexmark/q22.sql")),
];

/// The rows of a query as text, in order.
async fn rows(client: &Client, query: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(query).await.unwrap();
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
        _ => None,
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn nexmark_views_give_what_their_queries_give() {
    let mut one_worker = vec![];
    for workers in ["1", "2", "3"] {
        let (folder, port) = (tempdir().unwrap(), free_port());
        let mut command = binary();
        command.args(["--workers", workers, "--listen", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(folder.path());
        let server = Process::start(command, port);
        let client = server.client().await;
        for table in ["auction", "bid", "person"] {
            let source = "CREATE SOURCE {table} WITH (connector = 'nexmark', table = '{table}', events = '20000', \
                          event.spacing.us = '100000')";
            client.batch_execute(&source.replace("{table}", table)).await.unwrap();
        }
        let side_input =
            "CREATE TABLE side_input AS SELECT key, 'value ' || key AS value FROM generate_series(0, 9999) key";
        client.batch_execute(side_input).await.unwrap();
        for (at, (name, query)) in QUERIES.iter().enumerate() {
            // Bids of one price have no order in q19, so that a query may number them as it likes.
            let query = &query.replace("ORDER BY price DESC)", "ORDER BY price DESC, date_time)");
            client.batch_execute(&format!("CREATE MATERIALIZED VIEW {name} AS {query}")).await.unwrap();
            let view = rows(&client, &format!("SELECT * FROM {name}")).await;
            assert!(!view.is_empty(), "{name}");
            assert_eq!(view, rows(&client, query).await, "{name} of {workers} workers");
            match one_worker.get(at) {
                Some(known) => assert_eq!(&view, known, "{name} of {workers} workers"),
                None => one_worker.push(view),
            }
        }
    }
}

/// A query about windows with `{bid}`, `{person}` and `{auction}` for its relations, and `{in_time}` where it is said which
/// rows are in time for their windows; whether that is told of sessions, and whether it holds on close in disorder.
struct Windowed {
    name: &'static str,
    query: &'static str,
    in_session: bool,
    closes: bool,
}

const WINDOWED: &[Windowed] = &[
    Windowed {
        name: "q5",
        query: "SELECT auction, bids, window_end FROM (SELECT auction, bids, window_end, rank() OVER (PARTITION BY \
                window_start, window_end ORDER BY bids DESC) AS place FROM (SELECT auction, count(*) AS bids, window_start, \
                window_end FROM hop({bid}, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds') {in_time} \
                GROUP BY auction, window_start, window_end) c) r WHERE place = 1",
        in_session: false,
        closes: true,
    },
    Windowed {
        name: "q7",
        query: "SELECT b.seq, b.price FROM {bid} b JOIN (SELECT max(price) AS price, window_start, window_end \
                FROM tumble({bid}, date_time, INTERVAL '10 seconds') {in_time} GROUP BY window_start, window_end) h \
                ON b.price = h.price AND b.date_time >= h.window_start AND b.date_time < h.window_end",
        in_session: false,
        closes: false,
    },
    Windowed {
        name: "q8",
        query: "SELECT p.id, p.window_start FROM (SELECT id, window_start, window_end \
                FROM tumble({person}, date_time, INTERVAL '10 seconds') {in_time} GROUP BY id, window_start, window_end) p \
                JOIN (SELECT seller, window_start, window_end FROM tumble({auction}, date_time, INTERVAL '10 seconds') \
                {in_time} GROUP BY seller, window_start, window_end) a \
                ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end",
        in_session: false,
        closes: true,
    },
    Windowed {
        name: "q11",
        query: "SELECT bidder, count(*) AS bids, window_start, window_end FROM session((SELECT * FROM {bid} b {in_time}) \
                PARTITION BY bidder, date_time, INTERVAL '10 seconds') GROUP BY bidder, window_start, window_end",
        in_session: true,
        closes: true,
    },
    Windowed {
        name: "q12",
        query: "SELECT bidder, count(*) AS bids, window_start, window_end FROM tumble({bid}, date_time, INTERVAL \
                '10 seconds') {in_time} GROUP BY bidder, window_start, window_end",
        in_session: false,
        closes: true,
    },
    Windowed {
        name: "q12_growing",
        query: "SELECT bidder, count(*) AS bids, sum(price) AS total, window_start, window_end FROM cumulate({bid}, \
                date_time, INTERVAL '2 seconds', INTERVAL '10 seconds') {in_time} GROUP BY bidder, window_start, window_end",
        in_session: false,
        closes: true,
    },
];

const TABLES: [(&str, &str, &str); 3] = [
    ("bid", "auction, bidder, price", "auction bigint, bidder bigint, price bigint"),
    ("person", "id", "id bigint"),
    ("auction", "seller", "seller bigint"),
];

/// The query over sources.
fn over_sources(query: &str) -> String {
    let query = query.replace("{in_time}", "");
    TABLES.iter().fold(query, |query, (table, ..)| query.replace(&format!("{{{table}}}"), table))
}

/// The query over the same rows as they lie in the files, where `rule` says which of them are in time.
fn over_rows(query: &str, rule: &str) -> String {
    let query = query.replace("{in_time}", &format!("WHERE before IS NULL OR {rule}"));
    let rows = |query: String, (table, ..): &(&str, &str, &str)| {
        let rows = format!(
            "(SELECT *, max(date_time) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) - \
             INTERVAL '4 seconds' AS before FROM {table}_rows)"
        );
        query.replace(&format!("{{{table}}}"), &rows)
    };
    TABLES.iter().fold(query, rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn nexmark_windows_give_what_the_rows_in_time_give() {
    for delay in [0, 7000] {
        let (folder, files, port) = (tempdir().unwrap(), tempdir().unwrap(), free_port());
        let server = Process::on(folder.path(), port);
        let client = server.client().await;
        for (table, columns, types) in TABLES {
            let made = format!(
                "CREATE SOURCE made_{table} WITH (connector = 'nexmark', table = '{table}', events = '20000', \
                 event.spacing.us = '20000')"
            );
            client.batch_execute(&made).await.unwrap();
            // Each row comes a while after its time, some too late.
            let first = columns.split(',').next().unwrap();
            let number = format!("(extract(epoch FROM date_time) * 1000)::bigint * 7919 + {first} * 104729");
            let order = format!("date_time + (({number}) % {}) * INTERVAL '1 millisecond'", delay + 1);
            let query = format!("SELECT {columns}, date_time FROM made_{table} ORDER BY {order}, date_time, 1");
            let messages = client.simple_query(&query).await.unwrap();
            let mut text = String::new();
            for (seq, row) in messages
                .iter()
                .filter_map(|m| if let SimpleQueryMessage::Row(row) = m { Some(row) } else { None })
                .enumerate()
            {
                let values: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap()).collect();
                text += &format!("{seq},{}\n", values.join(","));
            }
            let path = files.path().join(format!("{table}.csv"));
            std::fs::write(&path, text).unwrap();
            for (name, watermark) in [
                (table.to_owned(), ", WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'"),
                (format!("{table}_rows"), ""),
            ] {
                let source = format!(
                    "CREATE SOURCE {name} (seq bigint, {types}, date_time timestamp{watermark}) \
                     WITH (connector = 'file', path = '{}', format = 'csv')",
                    path.display()
                );
                client.batch_execute(&source).await.unwrap();
            }
        }
        for Windowed { name, query, in_session, closes } in WINDOWED {
            for (view, emission) in [(name.to_string(), ""), (format!("{name}_closed"), "EMIT ON WINDOW CLOSE")] {
                // A session that has appeared takes no late row.
                let rule = match (in_session, emission.is_empty()) {
                    (false, _) => "window_end > before",
                    (true, true) => "date_time + INTERVAL '10 seconds' > before",
                    (true, false) => "date_time >= before",
                };
                let create = format!("CREATE MATERIALIZED VIEW {view} AS {} {emission}", over_sources(query));
                client.batch_execute(&create).await.unwrap_or_else(|error| panic!("{create}: {error:?}"));
                if delay > 0 && !closes && !emission.is_empty() {
                    continue;
                }
                let expected = rows(&client, &over_rows(query, rule)).await;
                assert!(!expected.is_empty(), "{view}");
                let found = rows(&client, &format!("SELECT * FROM {view}")).await;
                assert!(found == expected, "{view} with delays of {delay} ms: {} of {}", found.len(), expected.len());
            }
            let late = rows(&client, &format!("SELECT count(*) FROM bid_late WHERE view = '{name}'")).await;
            let has_late = delay > 0 && !matches!(*name, "q8" | "q11");
            assert!(!has_late || late[0][0].as_deref() != Some("0"), "{name} has rejected nothing");
        }
    }
}
