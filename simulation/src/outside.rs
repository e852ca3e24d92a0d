//! What lies outside of the server, and from which no loss of power takes anything: files that a source reads while they
//! grow, and files that sinks write.
//!
//! | sink | of | its file must tell |
//! |---|---|---|
//! | `copied` | the source's rows, which are only added | each line once |
//! | `summed` | an aggregate over the source | counts that grow, the last of which stand |
//! | `counted` | a table of one row | numbers that grow, the last of which stands |
//! | `grouped` | a view of a table | changes that come to the view's rows |

use crate::model::Model;
use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many files the source has; each is a split.
const FILES: i64 = 2;
/// Lines that are added at once, at most.
const MOST: i64 = 40;
/// How long a sink may take until it has written what has happened.
const PATIENCE: Duration = Duration::from_secs(20);

/// The views of the source.
pub(crate) const OF_SOURCE: [&str; 3] = ["fed", "tail", "bought"];

/// A folder with the files. Line `n` of the source's file `f` is `f,n`, counted from 1.
pub(crate) struct Outside(PathBuf);

/// What a sink has written: weights and rows.
type Changes = Vec<(i64, Vec<i64>)>;

impl Outside {
    /// The source's files, empty at first: a new one would be found when the source looks for files again, which is a
    /// matter of time.
    pub fn open(folder: &Path) -> Result<Outside> {
        let outside = Outside(folder.to_owned());
        fs::create_dir_all(outside.input())?;
        (0..FILES).try_for_each(|file| outside.append(file, ""))?;
        Ok(outside)
    }

    fn input(&self) -> PathBuf {
        self.0.join("input")
    }

    fn append(&self, file: i64, text: &str) -> Result<()> {
        let mut open = OpenOptions::new().create(true).append(true).open(self.input().join(format!("{file}.csv")))?;
        Ok(open.write_all(text.as_bytes())?)
    }

    /// The source, views of it (one that only sums up, one that keeps rows, one that joins a table), and the sinks.
    pub fn schema(&self) -> String {
        let sink = |name: &str, of: &str, changes: bool| {
            let path = self.0.join(name).display().to_string();
            format!(
                "CREATE SINK {name} {of}
                     WITH (connector = 'file', path = '{path}', format = 'csv', changes = '{changes}');"
            )
        };
        let sinks = [
            sink("copied", "AS SELECT file, n FROM input", false),
            sink("summed", "AS SELECT file, count(*) AS n FROM input GROUP BY file", true),
            sink("counted", "FROM counter", true),
            sink("grouped", "FROM groups", true),
        ];
        format!(
            "CREATE SOURCE input (file bigint, n bigint)
                 WITH (connector = 'file', path = '{}/*.csv', format = 'csv', follow = 'true');
             CREATE MATERIALIZED VIEW fed AS
                 SELECT file, count(*) AS n, sum(n)::bigint AS total, count(DISTINCT n) AS lines FROM input GROUP BY file;
             CREATE MATERIALIZED VIEW tail AS SELECT file, n FROM (
                 SELECT *, row_number() OVER (PARTITION BY file ORDER BY n DESC) AS place FROM input) AS p WHERE place = 1;
             CREATE MATERIALIZED VIEW bought AS
                 SELECT i.id, count(*) AS n FROM items i JOIN input f ON f.n % 24 = i.id GROUP BY i.id;
             {}",
            self.input().display(),
            sinks.join("\n"),
        )
    }

    /// Adds some lines to one of the source's files, all at once.
    pub fn grow(&self, lines: &mut BTreeMap<i64, i64>, random: &mut StdRng) -> Result<()> {
        let (file, count) = (random.random_range(0..FILES), random.random_range(1..MOST));
        let there = lines.entry(file).or_default();
        let text: String = (*there + 1..=*there + count).map(|n| format!("{file},{n}\n")).collect();
        self.append(file, &text)?;
        *there += count;
        Ok(())
    }

    /// How many lines each of the source's files has.
    pub fn lines(&self) -> Result<BTreeMap<i64, i64>> {
        let mut lines = BTreeMap::new();
        for file in 0..FILES {
            let count = fs::read_to_string(self.input().join(format!("{file}.csv")))?.lines().count() as i64;
            if count > 0 {
                lines.insert(file, count);
            }
        }
        Ok(lines)
    }

    /// Waits until the sinks have written what the model holds: each change once, in order.
    pub async fn check(&self, known: &Model) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.compare(known) {
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(10)).await,
                compared => return compared,
            }
        }
    }

    fn compare(&self, known: &Model) -> Result<()> {
        let lines = || known.lines.iter().flatten();
        let all_lines = lines().flat_map(|(file, lines)| (1..=*lines).map(|n| vec![*file, n]));
        holds("copied", &self.written("copied")?, all_lines)?;
        let summed = self.written("summed")?;
        holds("summed", &summed, lines().map(|(file, lines)| vec![*file, *lines]))?;
        grows("summed", &summed)?;
        let counted = self.written("counted")?;
        holds("counted", &counted, [vec![known.counter]])?;
        grows("counted", &counted)?;
        holds("grouped", &self.written("grouped")?, known.groups())
    }

    /// The whole lines that a sink has written.
    fn written(&self, sink: &str) -> Result<Changes> {
        let text = fs::read_to_string(self.0.join(sink)).with_context(|| format!("reading what {sink} has written"))?;
        let change = |line: &str| {
            let (weight, row) = match line.split_once(',') {
                Some(("+", row)) => (1, row),
                Some(("-", row)) => (-1, row),
                _ => (1, line),
            };
            let row: Result<_, _> = row.split(',').map(str::parse).collect();
            Ok((weight, row.with_context(|| format!("{sink} has written {line}"))?))
        };
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(change).collect()
    }
}

/// Whether changes come to these rows, each once.
fn holds(sink: &str, changes: &Changes, rows: impl IntoIterator<Item = Vec<i64>>) -> Result<()> {
    let mut net = BTreeMap::<&[i64], i64>::new();
    changes.iter().for_each(|(weight, row)| *net.entry(row).or_default() += weight);
    net.retain(|_, weight| *weight != 0);
    let wanted: BTreeMap<_, _> = rows.into_iter().map(|row| (row, 1)).collect();
    let same = net.len() == wanted.len() && wanted.iter().all(|(row, weight)| net.get(&row[..]) == Some(weight));
    ensure!(same, "what sink {sink} has written comes to {net:?}, and should to {wanted:?}");
    Ok(())
}

/// Whether the last column of each row that comes, and of each that goes, is larger than before.
fn grows(sink: &str, changes: &Changes) -> Result<()> {
    let mut last = BTreeMap::new();
    for (weight, row) in changes {
        let Some((value, key)) = row.split_last() else { continue };
        let before = last.insert((*weight, key), value);
        ensure!(before.is_none_or(|before| before < value), "sink {sink} has written {row:?} ({weight}) out of order");
    }
    Ok(())
}
