//! Cases: a query over tables after changes, on both servers, and the smallest of them that still fails.

use super::query::Query;
use crate::{Client, Failure};
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// The servers that are compared.
pub struct Peers {
    pub millrace: Client,
    pub postgres: Option<Client>,
    /// How many statements `millrace` was sent.
    pub statements: usize,
}

/// What makes a failure happen again.
#[derive(Clone)]
pub struct Case {
    pub create: Vec<String>,
    pub changes: Vec<String>,
    pub query: Query,
    /// After how many changes the view that keeps it is made; without one it is only run.
    pub kept: Option<usize>,
}

/// How long smaller cases are tried: a report soon is worth more than the very smallest one.
const TRIED: Duration = Duration::from_secs(40);

/// The state of a statement that took too long.
const TIMEOUT: &str = "57014";

impl Case {
    /// All statements before the query.
    pub fn statements(&self) -> Vec<String> {
        let mut statements = [self.create.clone(), self.changes.clone()].concat();
        if let Some(after) = self.kept {
            let create = format!("CREATE MATERIALIZED VIEW random_view_0 AS {}", self.query);
            statements.insert(self.create.len() + after, create);
        }
        statements
    }

    /// The smallest case found that still differs, and how; `first` is how this one did.
    pub async fn smallest(self, peers: &mut Peers, first: &str) -> Result<(Case, String)> {
        let mut best = self;
        let mut difference = match best.differs(peers).await? {
            Some(difference) => difference,
            None => return Ok((best, format!("not when replayed alone, but once: {first}"))),
        };
        let begun = Instant::now();
        'smaller: while begun.elapsed() < TRIED {
            for smaller in best.smaller() {
                if let Some(found) = smaller.differs(peers).await? {
                    (best, difference) = (smaller, found);
                    continue 'smaller;
                }
                if begun.elapsed() >= TRIED {
                    break;
                }
            }
            break;
        }
        Ok((best, difference))
    }

    /// Cases with fewer changes, large steps first, then with smaller queries.
    fn smaller(&self) -> Vec<Case> {
        let mut smaller = vec![];
        let mut length = self.changes.len();
        while length > 0 {
            for start in (0..self.changes.len()).step_by(length) {
                let end = (start + length).min(self.changes.len());
                let changes = [&self.changes[..start], &self.changes[end..]].concat();
                let kept = self.kept.map(|after| after.min(start) + after.saturating_sub(end));
                smaller.push(Case { changes, kept, ..self.clone() });
            }
            length /= 2;
        }
        // The whole history away is tried last: a failure hardly ever needs none.
        let first = usize::from(!smaller.is_empty());
        smaller.rotate_left(first);
        smaller.extend(self.query.smaller().into_iter().map(|query| Case { query, ..self.clone() }));
        smaller
    }

    /// How the answers differ, when the case is run from the start; `None` when they agree or the query is not valid.
    async fn differs(&self, peers: &mut Peers) -> Result<Option<String>> {
        peers.set_up(&self.create).await?;
        if !peers.is_valid(&self.query).await {
            return Ok(None);
        }
        for after in 0..=self.changes.len() {
            if self.kept == Some(after) && !matches!(peers.make_view(0, &self.query).await, Ok(true)) {
                return Ok(None);
            }
            // Without the changes before it one may fail, which is no matter.
            if let Some(change) = self.changes.get(after)
                && peers.change(change).await.is_err()
            {
                return Ok(None);
            }
        }
        let view = self.kept.map(|_| 0);
        Ok(peers.compare(view, &self.query).await.err().map(|error| format!("{error:#}")))
    }
}

impl Peers {
    /// Makes the tables anew.
    pub async fn set_up(&mut self, create: &[String]) -> Result<()> {
        // What takes PostgreSQL longer says nothing; what takes us so long is a failure.
        self.own("SET statement_timeout = '30s'").await?;
        if let Some(postgres) = &mut self.postgres {
            postgres.execute("SET statement_timeout = '1s'").await?;
        }
        for number in 0..4 {
            self.everywhere(&format!("DROP TABLE IF EXISTS random_{number} CASCADE")).await?;
        }
        for statement in create {
            self.everywhere(statement).await?;
        }
        Ok(())
    }

    /// Changes rows on both.
    pub async fn change(&mut self, statement: &str) -> Result<()> {
        self.everywhere(statement).await
    }

    async fn everywhere(&mut self, statement: &str) -> Result<()> {
        self.own(statement).await.with_context(|| statement.to_owned())?;
        if let Some(postgres) = &mut self.postgres {
            postgres.execute(statement).await.with_context(|| format!("PostgreSQL: {statement}"))?;
        }
        Ok(())
    }

    /// Makes the view of this number; `false` when PostgreSQL says that the query is not valid.
    pub async fn make_view(&mut self, number: usize, query: &Query) -> Result<bool, Failure> {
        if !self.is_valid(query).await {
            return Ok(false);
        }
        let create = format!("CREATE MATERIALIZED VIEW random_view_{number} AS {query}");
        self.own(&create).await.map(|()| true)
    }

    /// Whether PostgreSQL takes a query.
    async fn is_valid(&mut self, query: &Query) -> bool {
        match &mut self.postgres {
            Some(postgres) => postgres.rows(&format!("EXPLAIN {query}")).await.is_ok(),
            None => true,
        }
    }

    /// Compares a query with the view of this number, if one keeps it, and with PostgreSQL.
    ///
    /// # Errors
    /// How they differ.
    pub async fn compare(&mut self, view: Option<usize>, query: &Query) -> Result<()> {
        let sql = query.to_string();
        let theirs = match &mut self.postgres {
            Some(postgres) => Some(sorted(postgres.rows(&sql).await)),
            None => None,
        };
        if matches!(&theirs, Some(Err(state)) if state == TIMEOUT) {
            return Ok(());
        }
        let fresh = sorted(self.ours(&sql).await);
        if let Some(number) = view {
            let kept = sorted(self.ours(&format!("SELECT * FROM random_view_{number}")).await);
            if kept != fresh {
                bail!("a view differs from its query\n{}", side_by_side("view", &kept, "ad hoc", &fresh));
            }
        }
        let (Some(theirs), ours) = (theirs, fresh.map(|rows| plain(&rows))) else { return Ok(()) };
        let theirs = theirs.map(|rows| plain(&rows));
        if ours != theirs {
            bail!("differs from PostgreSQL\n{}", side_by_side("millrace", &ours, "PostgreSQL", &theirs));
        }
        Ok(())
    }

    /// Whether the server does not answer any more.
    pub async fn lost(&mut self) -> bool {
        self.ours("SELECT 1").await.is_err()
    }

    async fn own(&mut self, statement: &str) -> Result<(), Failure> {
        self.statements += 1;
        self.millrace.execute(statement).await
    }

    /// What `millrace` answers.
    pub async fn ours(&mut self, query: &str) -> Result<Vec<Vec<String>>, Failure> {
        self.statements += 1;
        self.millrace.rows(query).await
    }
}

type Answer = Result<Vec<Vec<String>>, String>;

/// Rows in a common order, or the SQLSTATE.
fn sorted(answer: Result<Vec<Vec<String>>, Failure>) -> Answer {
    let mut rows = answer.map_err(|failure| failure.state.clone().unwrap_or_else(|| failure.to_string()))?;
    rows.sort();
    Ok(rows)
}

/// Rows with numbers without the zeros at the end of their fraction: Postgres chooses the scale of a quotient by its
/// value, we by its type.
fn plain(rows: &[Vec<String>]) -> Vec<Vec<String>> {
    let number = |value: &String| {
        let is_number = value.contains('.') && value.bytes().all(|byte| byte.is_ascii_digit() || b"-.".contains(&byte));
        match is_number {
            true => value.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => value.clone(),
        }
    };
    let mut rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(number).collect()).collect();
    rows.sort();
    rows
}

fn side_by_side(one: &str, left: &Answer, other: &str, right: &Answer) -> String {
    let (Ok(left), Ok(right)) = (left, right) else {
        let shown = |answer: &Answer| match answer {
            Ok(rows) => format!("{} rows", rows.len()),
            Err(state) => format!("error {state}"),
        };
        return format!("  {one}: {}\n  {other}: {}", shown(left), shown(right));
    };
    let only = |rows: &[Vec<String>], of: &[Vec<String>]| -> Vec<String> {
        let mut of = of.to_vec();
        let missing = rows.iter().filter(|row| match of.iter().position(|known| known == *row) {
            Some(at) => {
                of.swap_remove(at);
                false
            }
            None => true,
        });
        missing.take(5).map(|row| format!("({})", row.join(", "))).collect()
    };
    format!("  only {one}: {}\n  only {other}: {}", only(left, right).join(" "), only(right, left).join(" "))
}
