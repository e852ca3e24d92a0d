//! The Nexmark queries with joins as views, under one, two and three workers.

use crate::process::{Process, binary, free_port};
use tempfile::tempdir;
use tokio_postgres::{Client, SimpleQueryMessage};

const QUERIES: [(&str, &str); 4] = [
    (
        "q3",
        "SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id \
         WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA')",
    ),
    (
        "q4",
        "SELECT q.category, avg(q.final) AS average FROM (SELECT max(b.price) AS final, a.category \
         FROM auction a, bid b WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires \
         GROUP BY a.id, a.category) q GROUP BY q.category",
    ),
    (
        "q9",
        "SELECT id, item_name, auction, bidder, price, bid_time FROM (SELECT a.id, a.item_name, b.auction, b.bidder, \
         b.price, b.date_time AS bid_time, row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, \
         b.date_time, b.bidder) AS place FROM auction a, bid b WHERE a.id = b.auction \
         AND b.date_time BETWEEN a.date_time AND a.expires) q WHERE place <= 1",
    ),
    (
        "q20",
        "SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.date_time AS bid_time, a.item_name, a.description, \
         a.initial_bid, a.reserve, a.date_time, a.expires, a.seller, a.category \
         FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10",
    ),
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
async fn nexmark_joins_as_views_give_what_their_queries_give() {
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
        for (at, (name, query)) in QUERIES.into_iter().enumerate() {
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
