//! One suite in one mode.

use crate::{Client, Mode, Server};
use anyhow::{Context, Result, anyhow, bail};
use sqllogictest::{AsyncDB, Condition, DefaultColumnType, MakeConnection, QueryExpect, Record, Runner};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

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

/// Runs the suite in `file` on a server of its own, to its end whatever fails.
///
/// # Errors
/// The records whose outcomes are not the expected ones, and the views that differ from their queries.
pub async fn run(binary: &Path, file: &Path, mode: Mode) -> Result<Outcome> {
    let records = sqllogictest::parse_file::<DefaultColumnType>(file).map_err(|error| anyhow!("{error}"))?;
    let server = Server::start(binary)?;
    let mut suite = Suite::new(server, mode);
    suite.run(&records).await;
    let log = suite.server.log();
    if log.contains("panicked at") {
        suite.failures.push(anyhow!("the server panicked: {log}"));
    }
    if suite.failures.is_empty() {
        return Ok(suite.outcome);
    }
    let failures: Vec<_> = suite.failures.iter().map(|failure| format!("{failure:#}")).collect();
    bail!("{} ({}): {} failures\n{}", file.display(), mode.label(), failures.len(), failures.join("\n"))
}

/// How often a suite's server is restarted before its end, at most: a restart takes longer than a suite otherwise does.
const RESTARTS_MAX: usize = 6;

/// How long sources may take to be read again after a restart.
const READ_AGAIN: Duration = Duration::from_secs(60);

struct Suite {
    server: Server,
    client: Client,
    mode: Mode,
    outcome: Outcome,
    failures: Vec<anyhow::Error>,
    /// Views by the index of the record that they answer.
    views: BTreeMap<usize, View>,
    /// Whether something changed since the server was last restarted, or the rows last churned.
    changed: bool,
    restarts: usize,
    /// When the server was restarted, if it has sources, which it reads again since.
    behind: Option<Instant>,
    /// Whether a transaction is open, in which only its own session sees what it changed.
    in_transaction: bool,
}

struct View {
    name: String,
    query: String,
}

impl Suite {
    fn new(server: Server, mode: Mode) -> Suite {
        let client = Client::new(server.address());
        Suite {
            server,
            client,
            mode,
            outcome: Outcome::default(),
            failures: vec![],
            views: BTreeMap::new(),
            changed: false,
            restarts: 0,
            behind: None,
            in_transaction: false,
        }
    }

    async fn run(&mut self, records: &[SuiteRecord]) {
        let address = self.server.address();
        let mut runner = Runner::new(move || async move { Ok(Client::new(address)) });
        runner.add_label(self.mode.label());
        if self.mode.is_maintained() {
            runner.add_label("maintained");
        }
        for (index, record) in records.iter().enumerate() {
            let ran = self.record(records, index, record, &mut runner).await;
            self.failures.extend(ran.err());
        }
        self.compare_all().await;
        if self.mode == Mode::Restarted {
            match self.restart().await {
                Ok(()) => self.compare_all().await,
                Err(error) => self.failures.push(error),
            }
        }
    }

    async fn record<D, M>(
        &mut self,
        records: &[SuiteRecord],
        index: usize,
        record: &SuiteRecord,
        runner: &mut Runner<D, M>,
    ) -> Result<()>
    where
        D: AsyncDB<ColumnType = DefaultColumnType>,
        M: MakeConnection<Conn = D>,
    {
        let follows_definition = index.checked_sub(1).is_none_or(|previous| is_definition(&records[previous]));
        if self.mode.is_early() && !self.in_transaction && follows_definition {
            self.make_early_views(records, index).await;
        }
        if starts_with(record, &["drop", "alter", "create or replace"]) {
            self.drop_views().await;
        }
        match record {
            Record::Query { loc, .. } if self.is_maintainable(record) => {
                self.query(index, record).await.with_context(|| format!("at {loc}"))?;
            }
            _ => {
                self.in_transaction |= starts_with(record, &["begin", "start transaction"]);
                self.in_transaction &= !starts_with(record, &["commit", "end", "rollback", "abort"]);
                self.changed |= !starts_with(record, &["select", "with", "values", "show", "explain"]);
                runner.run_async(record.clone()).await.map_err(|error| anyhow!("{error}"))?;
            }
        }
        self.outcome.records += usize::from(matches!(record, Record::Statement { .. } | Record::Query { .. }));
        Ok(())
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
        self.mode.is_maintained()
            && !self.in_transaction
            && included
            && ["select", "with", "values"].contains(&first.as_str())
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
        let expected = sorted(results.iter().cloned());
        let mut actual = self.client.sorted_rows(&read).await.with_context(|| sql.clone())?;
        while actual != expected && self.may_follow().await {
            actual = self.client.sorted_rows(&read).await.with_context(|| sql.clone())?;
        }
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
                Mode::Restarted if self.restarts < RESTARTS_MAX => {
                    self.restart().await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Kills the server and starts it again. Views on tables are complete from its first answer on; sources are read
    /// on, and views on them follow. Every other time there is a checkpoint of right before, else
    /// there is one of a while ago and a log since.
    async fn restart(&mut self) -> Result<()> {
        self.restarts += 1;
        if !self.restarts.is_multiple_of(2) {
            self.client.execute("CHECKPOINT").await?;
        }
        self.server.restart()?;
        // Lets the tasks of connections run, which notice that they ended: the next use opens new ones.
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.behind = self.client.rows("SELECT name FROM millrace.sources").await?.first().map(|_| Instant::now());
        Ok(())
    }

    /// Whether an answer that is not the expected one may become it, as sources are still being read again.
    async fn may_follow(&self) -> bool {
        let follows = self.behind.is_some_and(|restart| restart.elapsed() < READ_AGAIN);
        if follows {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        follows
    }

    /// Lets every row of every table go and come again.
    async fn churn(&mut self) -> Result<()> {
        // Rows that others refer to cannot go alone, and those that tell when they came in cannot come back.
        let query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN \
            (SELECT relname FROM pg_class c JOIN pg_constraint r ON r.confrelid = c.oid WHERE r.contype = 'f') \
            AND tablename NOT IN (SELECT table_name FROM information_schema.columns WHERE column_default = 'proctime()')";
        let tables = self.client.rows(query).await?;
        let sinks = self.client.rows("SELECT name FROM millrace.sinks").await?;
        for table in tables.into_iter().filter(|table| !sinks.contains(table)).flatten() {
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

    /// Every view against its query, as both are now.
    async fn compare_all(&mut self) {
        for view in self.views.values() {
            let mut compared = compare(&mut self.client, view).await;
            while compared.is_err() && self.may_follow().await {
                compared = compare(&mut self.client, view).await;
            }
            self.failures.extend(compared.err());
        }
    }

    /// Compares the views made so far for the last time: the relations under them are about to go.
    async fn drop_views(&mut self) {
        self.compare_all().await;
        for view in std::mem::take(&mut self.views).into_values() {
            let dropped = self.client.execute(&format!("DROP MATERIALIZED VIEW {}", view.name)).await;
            self.failures.extend(dropped.err().map(anyhow::Error::from));
        }
    }
}

async fn compare(client: &mut Client, view: &View) -> Result<()> {
    let kept = format!("SELECT * FROM {}", view.name);
    let kept = client.sorted_rows(&kept).await.with_context(|| view.query.clone())?;
    let fresh = client.sorted_rows(&view.query).await.with_context(|| view.query.clone())?;
    if kept != fresh {
        bail!("{}\nview and query differ\nquery:\n{}\nview:\n{}", view.query, fresh.join("\n"), kept.join("\n"));
    }
    Ok(())
}

fn starts_with(record: &SuiteRecord, words: &[&str]) -> bool {
    let (Record::Statement { sql, .. } | Record::Query { sql, .. }) = record else { return false };
    let sql = sql.trim_start().to_lowercase();
    words.iter().any(|word| sql.starts_with(word))
}

/// Whether a record changes which relations there are, or which of their rows a session sees.
fn is_definition(record: &SuiteRecord) -> bool {
    starts_with(
        record,
        &["create", "drop", "alter", "begin", "start transaction", "commit", "end", "rollback", "abort", "set"],
    )
}

/// Rows in a common order, with white space as the suites write it.
fn sorted(rows: impl Iterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<_> = rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    rows.sort();
    rows
}

impl Client {
    async fn sorted_rows(&mut self, sql: &str) -> Result<Vec<String>, crate::Failure> {
        Ok(sorted(self.rows(sql).await?.iter().map(|row| row.join(" "))))
    }
}
