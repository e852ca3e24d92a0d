//! A file that grows, and a view over the source that follows it.

use super::gone;
use anyhow::{Context, Result, ensure};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// How long the last lines may take to be read after a start.
const CATCH_UP: Duration = Duration::from_secs(30);

/// A file of the numbers from 0 on, one a line.
#[derive(Debug, Default)]
pub struct Events {
    file: Option<File>,
    /// How many lines it has.
    lines: i64,
    /// The most that a reader has seen of them.
    seen: i64,
}

impl Events {
    /// An empty file in a folder, with a source and a view.
    pub async fn new(client: &Client, folder: &Path) -> Result<Events> {
        let path = folder.join("events.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let source = format!(
            "CREATE SOURCE events (n bigint) WITH (connector = 'file', path = '{}', format = 'json', follow = 'true');
             CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS lines, coalesce(sum(n), 0)::bigint AS total FROM events",
            path.display()
        );
        client.batch_execute(&source).await?;
        Ok(Events { file: Some(file), lines: 0, seen: 0 })
    }

    /// Appends lines and reads the view until the server goes.
    pub async fn work(mut self, client: Client, reads: Arc<AtomicU64>) -> Result<Events> {
        loop {
            self.append(20)?;
            if self.look(&client).await?.is_none() {
                return Ok(self);
            }
            reads.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads the view, which must show some first lines, each once, and no fewer than were seen before. `None` when the
    /// server is gone.
    async fn look(&mut self, client: &Client) -> Result<Option<()>> {
        let read = client.query_one("SELECT lines, total FROM counted", &[]).await;
        let Some(row) = gone(read)? else { return Ok(None) };
        let (lines, total): (i64, i64) = (row.get(0), row.get(1));
        ensure!(total == lines * (lines - 1) / 2, "{lines} lines with the total {total} are not the first ones");
        ensure!(lines <= self.lines, "{lines} lines were read of {}", self.lines);
        ensure!(lines >= self.seen, "{lines} lines are there after {} were seen", self.seen);
        self.seen = lines;
        Ok(Some(()))
    }

    /// Waits until the view shows the whole file.
    pub async fn check(&mut self, client: &Client) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.look(client).await?.context("the server is gone")?;
            if self.seen == self.lines {
                return Ok(());
            }
            ensure!(begun.elapsed() < CATCH_UP, "{} of {} lines are read", self.seen, self.lines);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn append(&mut self, count: i64) -> Result<()> {
        let lines: String = (self.lines..self.lines + count).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        self.file.as_mut().context("the file is open")?.write_all(lines.as_bytes())?;
        self.lines += count;
        Ok(())
    }
}
