//! What sources read from outside: files that grow, and that no loss of power takes anything from.

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// How many files there are; each is a split of the source.
const FILES: i64 = 2;
/// Lines that are added at once, at most.
const MOST: i64 = 40;

/// The files. Line `n` of file `f` is `f,n`, counted from 1.
pub(crate) struct Input(PathBuf);

impl Input {
    /// The files in a folder, empty at first: a new one would be found when the source looks for files again, which is
    /// a matter of time.
    pub fn open(folder: &Path) -> Result<Input> {
        fs::create_dir_all(folder)?;
        let input = Input(folder.to_owned());
        (0..FILES).try_for_each(|file| input.append(file, ""))?;
        Ok(input)
    }

    fn append(&self, file: i64, text: &str) -> Result<()> {
        let mut open = OpenOptions::new().create(true).append(true).open(self.0.join(format!("{file}.csv")))?;
        Ok(open.write_all(text.as_bytes())?)
    }

    /// A source of them, and views of it: one that only sums up, one that keeps rows, one that joins a table.
    pub fn schema(&self) -> String {
        format!(
            "CREATE SOURCE input (file bigint, n bigint)
                 WITH (connector = 'file', path = '{}/*.csv', format = 'csv', follow = 'true');
             CREATE MATERIALIZED VIEW fed AS
                 SELECT file, count(*) AS n, sum(n)::bigint AS total, count(DISTINCT n) AS lines FROM input GROUP BY file;
             CREATE MATERIALIZED VIEW tail AS SELECT file, n FROM (
                 SELECT *, row_number() OVER (PARTITION BY file ORDER BY n DESC) AS place FROM input) AS p WHERE place = 1;
             CREATE MATERIALIZED VIEW bought AS
                 SELECT i.id, count(*) AS n FROM items i JOIN input f ON f.n % 24 = i.id GROUP BY i.id",
            self.0.display()
        )
    }

    /// Adds some lines to one of the files, all at once.
    pub fn grow(&self, lines: &mut BTreeMap<i64, i64>, random: &mut StdRng) -> Result<()> {
        let (file, count) = (random.random_range(0..FILES), random.random_range(1..MOST));
        let there = lines.entry(file).or_default();
        let text: String = (*there + 1..=*there + count).map(|n| format!("{file},{n}\n")).collect();
        self.append(file, &text)?;
        *there += count;
        Ok(())
    }

    /// How many lines each file has.
    pub fn lines(&self) -> Result<BTreeMap<i64, i64>> {
        let mut lines = BTreeMap::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let file = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).context("a file nobody made")?;
            match fs::read_to_string(&path)?.lines().count() as i64 {
                0 => None,
                count => lines.insert(file, count),
            };
        }
        Ok(lines)
    }
}
