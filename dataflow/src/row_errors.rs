//! The errors of rows whose expressions fail, kept like rows: net of what was taken back, at a cost per change.

use crate::operator::{RowError, StateReader, StateWriter};
use crate::state::{Arrangement, Run, Scan};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millrace_types::{Delta, KeyGroupRange, Result, SqlError, SqlState, Weights};
use std::sync::{Arc, LazyLock};

/// What is kept of an error. Where it occurs in the statement is not: readers wrote another one.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let columns = ["sqlstate", "message", "detail", "hint", "row"];
    Arc::new(Schema::new(columns.map(|name| Field::new(name, DataType::Utf8, true)).to_vec()))
});

/// The row errors of one worker, being maintained.
#[derive(Debug)]
pub struct MaintainedErrors(Arrangement);

/// Published row errors of one worker or several.
pub type Errors = Arc<[Arc<Run>]>;

impl Default for MaintainedErrors {
    fn default() -> MaintainedErrors {
        MaintainedErrors(Arrangement::new(SCHEMA.clone(), (0..SCHEMA.fields().len()).collect()))
    }
}

impl MaintainedErrors {
    /// Counts errors in, or out again.
    pub fn apply(&mut self, errors: &[RowError]) -> Result<()> {
        if errors.is_empty() {
            return Ok(());
        }
        let column = |of: fn(&RowError) -> Option<&str>| -> ArrayRef {
            Arc::new(errors.iter().map(of).collect::<StringArray>())
        };
        let columns = vec![
            column(|error| Some(error.error.state().0)),
            column(|error| Some(error.error.message())),
            column(|error| error.error.detail()),
            column(|error| error.error.hint()),
            column(|error| error.row.as_deref()),
        ];
        let weights: Vec<i64> = errors.iter().map(|error| error.weight).collect();
        let rows = RecordBatch::try_new(SCHEMA.clone(), columns)?;
        self.0.append(&Delta::new(rows, Weights::Each(weights.into())))
    }

    /// Writes the errors as the section `name`.
    pub fn snapshot(&self, name: &str, to: &mut dyn StateWriter) -> Result<()> {
        self.0.snapshot(name, to)
    }

    /// Adds the errors of the section `name` that belong to `groups`.
    pub fn restore(&mut self, name: &str, from: &mut dyn StateReader, groups: &KeyGroupRange) -> Result<()> {
        self.0.restore(name, from, groups)
    }

    /// The errors as of now.
    pub fn freeze(&self) -> Errors {
        self.0.freeze()
    }
}

/// The errors that are there, each with how often. A row may fail on one worker and be retracted on another, so only
/// the runs of all workers together are net.
pub fn net(runs: &[Arc<Run>]) -> impl Iterator<Item = Result<RowError>> + use<> {
    Scan::new(runs, &SCHEMA, None).flat_map(|delta| match delta {
        Ok(delta) => {
            let there = (0..delta.len()).filter(|row| delta.weight(*row) > 0);
            there.map(|row| Ok(error_of(&delta, row))).collect::<Vec<_>>()
        }
        Err(error) => vec![Err(error)],
    })
}

fn error_of(delta: &Delta, row: usize) -> RowError {
    let text = |column: usize| {
        let column = delta.rows().column(column).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row))
    };
    let state = text(0).and_then(SqlState::from_code).unwrap_or(SqlState::INTERNAL_ERROR);
    let mut error = SqlError::new(state, text(1).unwrap_or_default());
    if let Some(detail) = text(2) {
        error = error.with_detail(detail);
    }
    if let Some(hint) = text(3) {
        error = error.with_hint(hint);
    }
    RowError { error, weight: delta.weight(row), row: text(4).map(Arc::from) }
}

/// A row as people read it: `(a, b)=(1, null)`.
pub fn row_text(rows: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::default().with_null("null");
    let value = |column: &ArrayRef| {
        let formatted = ArrayFormatter::try_new(column, &options).map(|formatter| formatter.value(row).to_string());
        formatted.unwrap_or_else(|_| "?".to_owned())
    };
    let schema = rows.schema();
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let values: Vec<_> = rows.columns().iter().map(value).collect();
    format!("({})=({})", names.join(", "), values.join(", "))
}
