//! The rows of an input of a join, of its own or borrowed.

use crate::operator::{StateReader, StateSize, StateWriter};
use crate::state::{Arrangement, Backlog, Borrowed, Source, corrupt};
use arrow::datatypes::SchemaRef;
use millrace_ir::Closing;
use millrace_types::{Delta, KeyGroupRange, Result};

/// All that has arrived at an input, by the join's key.
pub struct Input {
    rows: Rows,
    key: Vec<usize>,
    all: Vec<usize>,
}

enum Rows {
    Own(Kept),
    Borrowed(Borrowed),
}

/// Rows that are dropped when the watermark has passed them, if it ever does.
struct Kept {
    rows: Arrangement,
    passing: Option<(Closing, Backlog)>,
}

impl Kept {
    fn new(rows: Arrangement, closing: Option<Closing>) -> Kept {
        Kept { rows, passing: closing.map(|closing| (closing, Backlog::new(closing.column))) }
    }

    fn append_all(&mut self, deltas: &[Delta]) -> Result<()> {
        if let Some((_, backlog)) = &mut self.passing {
            deltas.iter().for_each(|delta| backlog.note(delta.rows()));
        }
        self.rows.append_all(deltas)
    }

    /// Drops what the watermark has passed, when it is much; answers whether it did.
    fn pass(&mut self, watermark: i64) -> Result<bool> {
        let Some((closing, backlog)) = &mut self.passing else { return Ok(false) };
        let passed = watermark.saturating_sub(closing.delay);
        if !backlog.pass(passed) {
            return Ok(false);
        }
        self.rows.drop_until(closing.column, passed).map(|()| true)
    }

    /// Writes the rows; also when there are none, so that nobody takes them for rows that were borrowed.
    fn snapshot(&self, section: &str, to: &mut dyn StateWriter) -> Result<()> {
        to.write(section, self.rows.no_rows())?;
        self.rows.snapshot(section, to)
    }

    fn restore(&mut self, section: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        if from.read(section)?.is_empty() {
            return Err(corrupt("the rows of an input were kept elsewhere"));
        }
        self.rows.restore(section, from, groups)?;
        if let Some((_, backlog)) = &mut self.passing {
            self.rows.runs().flat_map(|run| run.chunks()).for_each(|chunk| backlog.note(&chunk.rows));
        }
        Ok(())
    }
}

impl Input {
    /// No rows yet; those of a relation that are `borrowed` are there as soon as they are lent. `closing`: when rows are
    /// dropped.
    pub fn new(
        schema: SchemaRef,
        key: Vec<usize>,
        append_only: bool,
        borrowed: Option<Borrowed>,
        closing: Option<Closing>,
    ) -> Input {
        let all = (0..schema.fields().len()).collect();
        let own = || Rows::Own(Kept::new(Arrangement::sharing(schema, key.clone(), append_only), closing));
        let rows = borrowed.map_or_else(own, Rows::Borrowed);
        Input { rows, key, all }
    }

    /// The columns of the input that are its key.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    pub fn append(&mut self, delta: &Delta) -> Result<()> {
        match &mut self.rows {
            Rows::Own(kept) => kept.append_all(std::slice::from_ref(delta)),
            Rows::Borrowed(rows) => rows.append(delta),
        }
    }

    /// Drops what the watermark has passed, when it is much.
    pub fn pass(&mut self, watermark: i64) -> Result<()> {
        match &mut self.rows {
            Rows::Own(kept) => kept.pass(watermark).map(drop),
            Rows::Borrowed(_) => Ok(()),
        }
    }

    /// Calls `read` with all rows, in one or two parts.
    pub fn read(&self, mut read: impl FnMut(Source<'_>) -> Result<()>) -> Result<()> {
        match &self.rows {
            Rows::Own(kept) => read(Source { runs: &kept.rows.freeze(), key: &self.key, columns: &self.all }),
            Rows::Borrowed(rows) => rows.read(read),
        }
    }

    /// Borrowed rows are in the snapshot of the relation.
    pub fn snapshot(&self, section: &str, to: &mut dyn StateWriter) -> Result<()> {
        match &self.rows {
            Rows::Own(kept) => kept.snapshot(section, to),
            Rows::Borrowed(_) => Ok(()),
        }
    }

    pub fn restore(&mut self, section: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        match &mut self.rows {
            Rows::Own(kept) => kept.restore(section, from, groups),
            Rows::Borrowed(_) => Ok(()),
        }
    }

    /// How much it keeps itself.
    pub fn size(&self) -> StateSize {
        match &self.rows {
            Rows::Own(kept) => kept.rows.size(),
            Rows::Borrowed(rows) => rows.size(),
        }
    }
}

/// The rows of two inputs that are the same relation by the same key: kept once, and lent to both as of the tick before.
pub struct Shared {
    kept: Kept,
    lent: [Borrowed; 2],
    /// What the open tick changes.
    open: Vec<Delta>,
}

impl Shared {
    /// No rows yet; the second value is what the inputs borrow. `closing`: when rows are dropped.
    pub fn new(
        schema: &SchemaRef,
        key: &[usize],
        append_only: bool,
        closing: Option<Closing>,
    ) -> (Shared, [Option<Borrowed>; 2]) {
        let all = || (0..schema.fields().len()).collect();
        let lent = [0, 1].map(|_| Borrowed::new(all(), schema.clone(), key.to_vec()));
        let borrowed = lent.clone().map(Some);
        let rows = Arrangement::sharing(schema.clone(), key.to_vec(), append_only);
        (Shared { kept: Kept::new(rows, closing), lent, open: Vec::new() }, borrowed)
    }

    /// Notes changes of one of the inputs, which are those of the other, too.
    pub fn note(&mut self, delta: &Delta) {
        self.open.push(delta.clone());
    }

    /// Ends the tick: lends both inputs what they have seen.
    pub fn end_tick(&mut self) -> Result<()> {
        if !self.open.is_empty() {
            self.kept.append_all(&std::mem::take(&mut self.open))?;
            self.lend();
        }
        Ok(())
    }

    /// Drops what the watermark has passed, when it is much.
    pub fn pass(&mut self, watermark: i64) -> Result<()> {
        if self.kept.pass(watermark)? {
            self.lend();
        }
        Ok(())
    }

    fn lend(&self) {
        let runs = self.kept.rows.freeze();
        self.lent.iter().for_each(|borrowed| borrowed.lend(runs.clone()));
    }

    pub fn snapshot(&self, section: &str, to: &mut dyn StateWriter) -> Result<()> {
        self.kept.snapshot(section, to)
    }

    pub fn restore(&mut self, section: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        self.kept.restore(section, from, groups)?;
        self.lend();
        Ok(())
    }

    pub fn size(&self) -> StateSize {
        self.kept.rows.size()
    }
}
