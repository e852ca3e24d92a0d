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
