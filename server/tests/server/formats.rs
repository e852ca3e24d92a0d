//! Data folders of released formats are opened, and hold what they held.

use super::process::{Process, free_port};
use std::fs;
use std::path::Path;
use tempfile::tempdir;
use tokio_postgres::SimpleQueryMessage;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// What `server/tests/fixtures/README.md` leaves behind.
const FORMAT_1: &[(&str, &str)] = &[
    ("SELECT count(*), sum(balance) FROM accounts", "50 1603.75"),
    ("SELECT * FROM totals", "2026-01-01 50 1603.75 owner 9"),
    ("SELECT count(*), count(owner), max(tags::text) FROM pairs", "35 35 {a,b9}"),
    ("SELECT count(*) FROM rich", "10"),
    ("SELECT id, balance FROM accounts WHERE owner = 'owner 7'", "7 9.75"),
    ("SELECT doc->>'n', at AT TIME ZONE 'UTC' FROM events WHERE id = 35", "35 2026-01-02 11:00:00"),
    ("SELECT string_agg(n::text, ',' ORDER BY k) FROM counted", "14,15,15,14,14,14,14"),
    ("SELECT most FROM later", "62.50"),
    ("INSERT INTO events (account) VALUES (1) RETURNING id", "41"),
    ("SELECT count(*), count(owner) FROM pairs", "36 36"),
];

#[tokio::test]
async fn a_folder_of_format_1_is_opened() {
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1"), &data);
    let server = Process::on(&data, free_port());
    let client = server.client().await;
    for (query, expected) in FORMAT_1 {
        let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.unwrap_or_else(|| panic!("{query} gives no row"));
        let found: Vec<_> = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect();
        assert_eq!(found.join(" "), *expected, "{query}; the log: {}", server.log());
    }
}
