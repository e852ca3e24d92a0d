//! Made-up rows: every column is a sequence or random, and row n is the same whenever it is made.

mod column;

use crate::format::rows::batch;
use crate::options::{OptionInfo, OptionKind, Options, nearest};
use crate::pace::Pace;
use crate::source::{Chunk, Poll, Source, Split, SplitReader};
use arrow::datatypes::SchemaRef;
use column::ColumnGenerator;
use millrace_types::{Offset, Result, SqlError, SqlState};
use std::sync::Arc;

/// The options of the generator.
pub static OPTIONS: &[OptionInfo] = &[
    OptionInfo::new("rows", OptionKind::Integer(0), "How many rows there are; endless if not set."),
    OptionInfo::new("rate", OptionKind::Number(1e-3, 1e12), "Rows per second; unbounded if not set."),
    OptionInfo::new(
        "start.time",
        OptionKind::Timestamp,
        "When the first row of a paced source is due; by default now.",
    ),
    OptionInfo::new(
        "fields.<column>.kind",
        OptionKind::OneOf(&["random", "sequence"]),
        "How values of the column are made: at random (the default), or one after the other.",
    ),
    OptionInfo::new("fields.<column>.start", OptionKind::Text, "Sequence: the first value."),
    OptionInfo::new("fields.<column>.end", OptionKind::Text, "Sequence: the last value, after which it starts again."),
    OptionInfo::new("fields.<column>.min", OptionKind::Text, "Random: the least value."),
    OptionInfo::new("fields.<column>.max", OptionKind::Text, "Random: the greatest value."),
    OptionInfo::new(
        "fields.<column>.length",
        OptionKind::Integer(0),
        "Random text and bytea: how long; by default 16.",
    ),
    OptionInfo::new("fields.<column>.seed", OptionKind::Integer(i64::MIN), "Another seed gives other values."),
    OptionInfo::new("fields.<column>.null_rate", OptionKind::Number(0.0, 1.0), "Which part of the values is NULL."),
];

#[derive(Debug)]
struct Datagen {
    schema: SchemaRef,
    columns: Vec<ColumnGenerator>,
    rows: Option<u64>,
    pace: Option<Pace>,
}

/// Checks the options against the columns, which must be declared.
pub(crate) fn create_source(options: &Options, schema: &SchemaRef) -> Result<(SchemaRef, Arc<dyn Source>)> {
    if schema.fields().is_empty() {
        let message = "a datagen source needs a list of columns";
        return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    }
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    if let Some(unknown) = options.columns().find(|column| !names().any(|name| name == *column)) {
        let error = SqlError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{unknown}\", for which there are options, does not exist"),
        );
        return Err(match nearest(unknown, names()) {
            Some(known) => error.with_hint(format!("Perhaps you meant the column \"{known}\".")),
            None => error,
        });
    }
    let generators = schema.fields().iter().enumerate();
    let columns =
        generators.map(|(index, field)| ColumnGenerator::new(options, index, field)).collect::<Result<_>>()?;
    let source = Datagen {
        schema: schema.clone(),
        columns,
        rows: options.integer("rows").map(|rows| rows as u64),
        pace: options.number("rate").map(|rate| Pace::new(rate, options.integer("start.time"))),
    };
    Ok((schema.clone(), Arc::new(source)))
}

impl Source for Datagen {
    fn splits(&self) -> Result<Vec<Split>> {
        Ok(vec![Split { id: 0, name: "0".to_owned() }])
    }

    fn open(&self, _: &Split, from: Offset, columns: &[usize]) -> Result<Box<dyn SplitReader>> {
        let schema = Arc::new(self.schema.project(columns)?);
        let columns = columns.iter().map(|column| self.columns[*column].clone()).collect();
        Ok(Box::new(Reader { schema, columns, rows: self.rows, pace: self.pace.clone(), at: from.0 }))
    }

    fn resume(&self, _: &Split, read: Offset) {
        if let Some(pace) = &self.pace {
            pace.resume(read.0);
        }
    }

    fn is_bounded(&self) -> bool {
        self.rows.is_some()
    }
}

struct Reader {
    schema: SchemaRef,
    columns: Vec<ColumnGenerator>,
    rows: Option<u64>,
    pace: Option<Pace>,
    /// The next row.
    at: u64,
}

impl Reader {
    /// Up to which row there are rows now, if that is bounded.
    fn available(&self) -> Option<u64> {
        let due = self.pace.as_ref().map(Pace::due);
        match (self.rows, due) {
            (Some(rows), Some(due)) => Some(rows.min(due)),
            (rows, due) => rows.or(due),
        }
    }
}

impl SplitReader for Reader {
    fn poll(&mut self, max_rows: usize) -> Result<Poll> {
        if self.rows.is_some_and(|rows| self.at >= rows) {
            return Ok(Poll::Finished);
        }
        let count = self.available().unwrap_or(u64::MAX).saturating_sub(self.at).min(max_rows.max(1) as u64);
        if count == 0 {
            if let Some(pace) = &self.pace {
                std::thread::sleep(pace.wait_for(self.at));
            }
            return Ok(Poll::Pending);
        }
        let range = self.at..self.at + count;
        let arrays = self.columns.iter().map(|column| column.values(range.clone())).collect();
        let rows = batch(&self.schema, arrays, count as usize)?;
        self.at = range.end;
        Ok(Poll::Chunk(Chunk { rows, deletes: None, bad: Vec::new(), end: Offset(self.at) }))
    }

    fn lag(&self) -> Option<u64> {
        self.available().map(|available| available.saturating_sub(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray, RecordBatch};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use millrace_types::{SqlType, field_of};

    fn read(options: &[(&str, &str)], fields: Vec<Field>, from: u64, count: usize) -> Result<RecordBatch> {
        let options: Vec<_> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let options = Options::parse("datagen", OPTIONS, &options)?;
        let columns: Vec<usize> = (0..fields.len()).collect();
        let (_, source) = create_source(&options, &Arc::new(Schema::new(fields)))?;
        let mut reader = source.open(&source.splits()?[0], Offset(from), &columns)?;
        match reader.poll(count)? {
            Poll::Chunk(chunk) => Ok(chunk.rows),
            other => panic!("{other:?} is no chunk"),
        }
    }

    fn all_types() -> Vec<Field> {
        use SqlType::*;
        let types = [
            Bool,
            Int2,
            Int4,
            Int8,
            Float4,
            Float8,
            Numeric(Some((8, 2))),
            Numeric(None),
            Text,
            Varchar(Some(4)),
            Date,
            Time,
            Timestamp,
            Timestamptz,
            Uuid,
            Jsonb,
            Bytea,
        ];
        types.iter().enumerate().map(|(at, sql_type)| field_of(format!("c{at}"), sql_type, true)).collect()
    }

    #[test]
    fn a_row_is_the_same_wherever_reading_starts() {
        let whole = read(&[], all_types(), 0, 100).unwrap();
        let part = read(&[], all_types(), 40, 60).unwrap();
        assert_eq!(whole.slice(40, 60), part);
    }

    #[test]
    fn sequences_count_and_start_again() {
        let options = [("fields.c.kind", "sequence"), ("fields.c.start", "5"), ("fields.c.end", "7")];
        let rows = read(&options, vec![field_of("c", &SqlType::Int8, false)], 0, 5).unwrap();
        assert_eq!(rows.column(0).as_primitive::<Int64Type>().values().to_vec(), [5, 6, 7, 5, 6]);
    }

    #[test]
    fn random_values_keep_within_their_bounds() {
        let options = [("fields.c.min", "-3"), ("fields.c.max", "3"), ("fields.c.null_rate", "0.5")];
        let rows = read(&options, vec![field_of("c", &SqlType::Int8, true)], 0, 1000).unwrap();
        let values = rows.column(0).as_primitive::<Int64Type>();
        assert!((400..600).contains(&values.null_count()));
        let distinct: std::collections::BTreeSet<_> = values.iter().flatten().collect();
        assert!(distinct.into_iter().eq(-3..=3));
    }

    #[test]
    fn options_that_fit_no_column_are_refused() {
        let message = |options: &[(&str, &str)]| {
            read(options, vec![field_of("c", &SqlType::Int2, false)], 0, 1).unwrap_err().message().to_owned()
        };
        assert_eq!(message(&[("fields.d.min", "1")]), "column \"d\", for which there are options, does not exist");
        let invalid = "invalid value for option \"fields.c.min\" of connector \"datagen\"";
        assert_eq!(message(&[("fields.c.min", "x")]), invalid);
        assert_eq!(message(&[("fields.c.min", "99999")]), invalid);
        assert_eq!(message(&[("fields.c.min", "1"), ("fields.c.kind", "sequence")]), invalid);
        assert!(message(&[("fields.c.null_rate", "0.1")]).contains("null_rate"));
        let array = SqlType::Array(Box::new(SqlType::Int8));
        let error = read(&[], vec![field_of("c", &array, true)], 0, 1).unwrap_err();
        assert_eq!(error.state(), SqlState::FEATURE_NOT_SUPPORTED);
    }
}
