//! One suite in one mode.

use crate::{Client, Mode, Server};
use anyhow::{Context, Result, anyhow, bail};
use sqllogictest::{Condition, DefaultColumnType, QueryExpect, Record, Runner};
use std::collections::BTreeMap;
use std::path::Path;

type SuiteRecord = Record<DefaultColumnType>;

/// What a suite's run amounted to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Statements and queries that ran.
    pub records: usize,
    /// Queries that a view answered.
    pub maintained: usize,
    /// Queries that the server refused to maintain (`0A000`) and that were run ad hoc instead.
    pub refused: usize,
}

/// Runs the suite in `file` on a server of its own.
///
/// # Errors
/// The first record whose outcome is not the expected one, or view that differs from its query.
pub async fn run(binary: &Path, file: &Path, mode: Mode) -> Result<Outcome> {
    let records = sqllogictest::parse_file::<DefaultColumnType>(file).map_err(|error| anyhow!("{error}"))?;
    let server = Server::start(binary)?;
    let mut suite = Suite::new(server, mode);
    let ran = suite.run(&records).await;
    let outcome = ran.with_context(|| format!("{} ({})", file.display(), mode.label()))?;
    let log = suite.server.log();
    if log.contains("panicked at") {
        bail!("{} ({}): the server panicked: {log}", file.display(), mode.label());
    }
    Ok(outcome)
}

struct Suite {
    server: Server,
    client: Client,
    mode: Mode,
    outcome: Outcome,
    /// Views by the index of the record that they answer.
    views: BTreeMap<usize, View>,
    /// Whether something changed since the server was last restarted, or the rows last churned.
    changed: bool,
}

struct View {
    name: String,
    query: String,
}

impl Suite {
    fn new(server: Server, mode: Mode) -> Suite {
        let client = Client::new(server.address());
        Suite { server, client, mode, outcome: Outcome::default(), views: BTreeMap::new(), changed: false }
    }

    async fn run(&mut self, records: &[SuiteRecord]) -> Result<Outcome> {
        let address = self.server.address();
        let mut runner = Runner::new(move || async move { Ok(Client::new(address)) });
        runner.add_label(self.mode.label());
        if self.mode.is_maintained() {
            runner.add_label("maintained");
        }
        for (index, record) in records.iter().enumerate() {
            if self.mode.is_early() && (index == 0 || is_definition(&records[index - 1])) {
                self.make_early_views(records, index).await;
            }
            match record {
                Record::Query { loc, .. } if self.is_maintainable(record) => {
                    self.query(index, record).await.with_context(|| format!("at {loc}"))?;
                }
                _ => {
                    runner.run_async(record.clone()).await.map_err(|error| anyhow!("{error}"))?;
                }
            }
            self.outcome.records += usize::from(matches!(record, Record::Statement { .. } | Record::Query { .. }));
            self.changed |= matches!(record, Record::Statement { .. });
        }
        self.compare_all().await?;
        if self.mode == Mode::Restarted {
            self.server.restart()?;
            self.compare_all().await?;
        }
        Ok(self.outcome)
    }

    /// SELECTs with expected rows, unless a condition excludes this mode.
    fn is_maintainable(&self, record: &SuiteRecord) -> bool {
        let Record::Query { sql, expected: QueryExpect::Results { .. }, conditions, .. } = record else { return false };
        let labels = [self.mode.label(), "maintained", "millrace"];
        let included = conditions.iter().all(|condition| match condition {
            Condition::OnlyIf { label } => labels.contains(&label.as_str()),
            Condition::SkipIf { label } => !labels.contains(&label.as_str()),
        });
        let first = sql.trim_start().split(|c: char| !c.is_alphabetic()).next().unwrap_or_default().to_lowercase();
        self.mode.is_maintained() && included && ["select", "with", "values"].contains(&first.as_str())
    }

    /// Makes the views of the queries up to the next definition: their relations exist from here on.
    async fn make_early_views(&mut self, records: &[SuiteRecord], from: usize) {
        for (index, record) in records.iter().enumerate().skip(from) {
            if index > from && is_definition(record) {
                return;
            }
            if self.is_maintainable(record) {
                // One that cannot be made here may still be refused, or made, when its query is reached.
                let _ = self.make_view(index, record).await;
            }
        }
    }

    async fn make_view(&mut self, index: usize, record: &SuiteRecord) -> Result<(), crate::Failure> {
        let Record::Query { sql, expected: QueryExpect::Results { types, .. }, .. } = record else { return Ok(()) };
        let names: Vec<_> = (1..=types.len()).map(|column| format!("c{column}")).collect();
        let name = format!("slt_view_{index}");
        let query = sql.trim().trim_end_matches(';').to_owned();
        let create = format!("CREATE MATERIALIZED VIEW {name} ({}) AS {query}", names.join(", "));
        self.client.execute(&create).await?;
        self.views.insert(index, View { name, query });
        Ok(())
    }

    async fn query(&mut self, index: usize, record: &SuiteRecord) -> Result<()> {
        let Record::Query { sql, expected: QueryExpect::Results { results, .. }, .. } = record else { return Ok(()) };
        if !self.views.contains_key(&index) {
            match self.make_view(index, record).await {
                Ok(()) => {}
                Err(failure) if failure.state.as_deref() == Some("0A000") => self.outcome.refused += 1,
                Err(failure) => bail!("cannot make a view of {sql}: {failure}"),
            }
        }
        self.disturb().await?;
        let read = match self.views.get(&index) {
            Some(view) => format!("SELECT * FROM {}", view.name),
            None => sql.clone(),
        };
        let actual = sorted(self.client.rows(&read).await.with_context(|| sql.clone())?.iter().map(|row| row.join(" ")));
        let expected = sorted(results.iter().cloned());
        if actual != expected {
            bail!("{sql}\nexpected:\n{}\nactual:\n{}", expected.join("\n"), actual.join("\n"));
        }
        self.outcome.maintained += usize::from(self.views.contains_key(&index));
        Ok(())
    }

    async fn disturb(&mut self) -> Result<()> {
        if std::mem::take(&mut self.changed) {
            match self.mode {
                Mode::Churned => self.churn().await?,
                Mode::Restarted => self.server.restart()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets every row of every table go and come again.
    async fn churn(&mut self) -> Result<()> {
        let tables = self.client.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").await?;
        for table in tables.into_iter().flatten() {
            let count = self.client.rows(&format!("SELECT count(*) FROM \"{table}\"")).await?;
            if count == [["0"]] {
                continue;
            }
            let steps = [
                format!("CREATE TABLE slt_saved AS SELECT * FROM \"{table}\""),
                format!("DELETE FROM \"{table}\""),
                format!("INSERT INTO \"{table}\" SELECT * FROM slt_saved"),
            ];
            for step in steps {
                self.client.execute(&step).await.with_context(|| step.clone())?;
            }
            self.client.execute("DROP TABLE slt_saved").await?;
        }
        Ok(())
    }

    /// Every view against its query, as both are now; views that are gone are left out.Views whose relations are gone are left out.
    async fn compare_all(&mut self) -> Result<()> {
        for view in self.views.values() {
            let Ok(kept) = self.client.rows(&format!("SELECT * FROM {}", view.name)).await else { continue };
            let fresh = self.client.rows(&view.query).await.with_context(|| view.query.clone())?;
            let (kept, fresh) = (sorted(kept.iter().map(|r| r.join(" "))), sorted(fresh.iter().map(|r| r.join(" "))));
            if kept != fresh {
                bail!("{} differs at the end\nquery:\n{}\nview:\n{}", view.query, fresh.join("\n"), kept.join("\n"));
            }
        }
        Ok(())
    }
}

/// Whether a record changes which relations there are.
fn is_definition(record: &SuiteRecord) -> bool {
    let Record::Statement { sql, .. } = record else { return false };
    let sql = sql.trim_start().to_lowercase();
    ["create", "drop", "alter", "begin", "commit", "rollback", "set"].iter().any(|word| sql.starts_with(word))
}

/// Rows in a common order, with white space as the suites write it.
fn sorted(rows: impl Iterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<_> = rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    rows.sort();
    rows
}
