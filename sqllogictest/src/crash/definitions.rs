//! Relations that come and go while others write.

use super::{check_view, gone};
use anyhow::{Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_postgres::Client;

/// What the views made here show.
const QUERY: &str = "SELECT writer, key % 4 AS part, count(*) AS n FROM ledger GROUP BY writer, key % 4";
/// How many there are at most.
const NAMES: u64 = 4;

/// The views that there must be.
#[derive(Debug, Default)]
pub struct Definitions {
    names: BTreeSet<String>,
    /// The names after the definition that was under way when the server went, if one was.
    under_way: Option<BTreeSet<String>>,
}

impl Definitions {
    /// Makes and drops views until the server goes; answers how many definitions were acknowledged.
    pub async fn work(mut self, client: Client, mut random: StdRng) -> Result<(Definitions, u64)> {
        for done in 0.. {
            let (name, mut after) = (format!("extra_{}", random.random_range(0..NAMES)), self.names.clone());
            let statement = match after.remove(&name) {
                true if random.random_ratio(1, 3) => {
                    after.insert(name.clone());
                    format!("CREATE OR REPLACE MATERIALIZED VIEW {name} AS {QUERY}")
                }
                true => format!("DROP MATERIALIZED VIEW {name}"),
                false => {
                    after.insert(name.clone());
                    format!("CREATE MATERIALIZED VIEW {name} AS {QUERY}")
                }
            };
            self.under_way = Some(after);
            if gone(client.batch_execute(&statement).await)?.is_none() {
                return Ok((self, done));
            }
            self.names = self.under_way.take().unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
        }
        Ok((self, 0))
    }

    /// Compares the views that are there with those that were acknowledged, and goes on from there.
    pub async fn check(&mut self, client: &Client) -> Result<()> {
        let listed = "SELECT relname::text FROM pg_class WHERE relkind = 'm' AND relname LIKE 'extra%'";
        let found: BTreeSet<String> = client.query(listed, &[]).await?.iter().map(|row| row.get(0)).collect();
        let under_way = self.under_way.take();
        let (names, known) = (&self.names, found == self.names || under_way.as_ref() == Some(&found));
        ensure!(known, "there are the views {found:?} instead of {names:?} or {under_way:?}");
        for name in &found {
            check_view(client, name, QUERY).await?;
        }
        self.names = found;
        Ok(())
    }
}
