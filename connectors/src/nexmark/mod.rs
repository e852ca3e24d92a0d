//! The events of the Nexmark benchmark: an online auction with persons, auctions and bids, in the published proportions
//! (1 : 3 : 46) with its hot auctions, bidders and sellers.
//!
//! One source reads one of the three tables. With several splits, each takes every n-th block of events; an offset
//! counts the events, of all kinds, of its split.

mod columns;
mod generator;
mod reader;
mod words;

pub use columns::schema;
pub use generator::{Generator, Table};

use crate::format::json_writer::JsonWriter;
use crate::format::rows::batch;
use crate::options::{OptionInfo, OptionKind, Options};
use crate::pace::Pace;
use crate::source::{Source, Split, SplitReader};
use crate::value::write::DateStyle;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millrace_types::{Offset, Result, SqlError, SqlState, sql_type_of};
use reader::{Reader, SplitEvents};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// The options of the generator.
pub static OPTIONS: &[OptionInfo] = &[
    OptionInfo::new("table", OptionKind::OneOf(&["bid", "auction", "person"]), "Which events to read.")
        .aliases(&["type", "nexmark.table.type"])
        .required(),
    OptionInfo::new(
        "events",
        OptionKind::Integer(0),
        "How many events there are of all three kinds; endless if not set.",
    )
    .aliases(&["nexmark.event.num"]),
    OptionInfo::new("rate", OptionKind::Number(1e-3, 1e12), "Events of all kinds per second; unbounded if not set.")
        .aliases(&["nexmark.rate"]),
    OptionInfo::new("splits", OptionKind::Integer(1), "How many readers share the events.").default("1"),
    OptionInfo::new("seed", OptionKind::Integer(i64::MIN), "Another seed gives other events.").default("0"),
    OptionInfo::new("base.time", OptionKind::Timestamp, "Event time of the first event.")
        .default("2015-07-15 00:00:00"),
    OptionInfo::new(
        "event.spacing.us",
        OptionKind::Number(1e-3, 1e12),
        "Microseconds of event time between events; by default what the rate says, else 100.",
    ),
    OptionInfo::new(
        "start.time",
        OptionKind::Timestamp,
        "When the first event of a paced source is due; by default now.",
    ),
];

/// A Nexmark source.
#[derive(Debug)]
struct Nexmark {
    generator: Generator,
    table: Table,
    schema: SchemaRef,
    /// Where each column of the schema is among the table's columns.
    places: Vec<usize>,
    events: Option<u64>,
    splits: u32,
    pace: Option<Pace>,
}

/// Checks the options and the columns, if any are declared.
pub(crate) fn create_source(options: &Options, declared: &SchemaRef) -> Result<(SchemaRef, Arc<dyn Source>)> {
    let table = options.text("table").and_then(|name| Table::from_name(&name)).unwrap_or(Table::Bid);
    let rate = options.number("rate");
    let spacing = match (options.number("event.spacing.us"), rate) {
        (Some(micros), _) => (micros * 1e3).round() as u64,
        (None, Some(rate)) => (1e9 / rate).round().max(1.0) as u64,
        (None, None) => Generator::SPACING,
    };
    let base_time = options.integer("base.time").unwrap_or(Generator::BASE_TIME);
    let seed = options.integer("seed").unwrap_or(0) as u64;
    let splits = options.integer("splits").unwrap_or(1);
    let splits = u32::try_from(splits)
        .ok()
        .filter(|splits| *splits <= 1024)
        .ok_or_else(|| options.invalid("splits", "There can be at most 1024 splits."))?;
    let (schema, places) = places(table, declared)?;
    let source = Nexmark {
        generator: Generator::new(seed, base_time, spacing),
        table,
        schema: schema.clone(),
        places,
        events: options.integer("events").map(|events| events as u64),
        splits,
        pace: rate.map(|rate| Pace::new(rate, options.integer("start.time"))),
    };
    Ok((schema, Arc::new(source)))
}

/// The columns declared, found among the table's; all of these when none are declared.
fn places(table: Table, declared: &SchemaRef) -> Result<(SchemaRef, Vec<usize>)> {
    let own = schema(table);
    if declared.fields().is_empty() {
        let places = (0..own.fields().len()).collect();
        return Ok((own, places));
    }
    let place = |field: &Arc<arrow::datatypes::Field>| {
        let place = own.index_of(field.name()).map_err(|_| {
            let message = format!("column \"{}\" does not exist in the Nexmark table", field.name());
            let names: Vec<_> = own.fields().iter().map(|field| field.name().as_str()).collect();
            SqlError::new(SqlState::UNDEFINED_COLUMN, message)
                .with_hint(format!("The columns are {}.", names.join(", ")))
        })?;
        match own.field(place).data_type() == field.data_type() {
            true => Ok(place),
            false => Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "column \"{}\" is of type {} but is declared as {}",
                    field.name(),
                    sql_type_of(own.field(place)),
                    sql_type_of(field)
                ),
            )),
        }
    };
    let places = declared.fields().iter().map(place).collect::<Result<_>>()?;
    Ok((declared.clone(), places))
}

impl Source for Nexmark {
    fn splits(&self) -> Result<Vec<Split>> {
        Ok((0..self.splits).map(|id| Split { id, name: id.to_string() }).collect())
    }

    fn open(&self, split: &Split, from: Offset, columns: &[usize]) -> Result<Box<dyn SplitReader>> {
        let places = columns.iter().map(|column| self.places.get(*column).copied()).collect::<Option<Vec<_>>>();
        Ok(Box::new(Reader {
            generator: self.generator.clone(),
            table: self.table,
            schema: Arc::new(self.schema.project(columns)?),
            columns: places.ok_or_else(|| SqlError::internal("a column is not in the schema"))?,
            events: SplitEvents { splits: self.splits.into(), split: split.id.into() },
            limit: self.events,
            pace: self.pace.clone(),
            at: from.0,
            numbers: Vec::new(),
        }))
    }

    fn resume(&self, split: &Split, read: Offset) {
        if let Some(pace) = &self.pace {
            let events = SplitEvents { splits: self.splits.into(), split: split.id.into() };
            pace.resume(events.number(read.0));
        }
    }

    fn is_bounded(&self) -> bool {
        self.events.is_some()
    }
}

/// The rows of a table among the events `from..to`, as one batch with the columns at these places of its [`schema`].
pub fn rows(generator: &Generator, table: Table, from: u64, to: u64, columns: &[usize]) -> Result<RecordBatch> {
    let places = table.places();
    let events: Vec<u64> = (from..to).filter(|event| places.contains(&(event % Table::EPOCH))).collect();
    batch_of(generator, table, &Arc::new(schema(table).project(columns)?), columns, &events)
}

fn batch_of(
    generator: &Generator,
    table: Table,
    schema: &SchemaRef,
    columns: &[usize],
    events: &[u64],
) -> Result<RecordBatch> {
    let arrays = columns.iter().map(|column| columns::column(generator, table, *column, events)).collect();
    batch(schema, arrays, events.len())
}

/// The rows of a table among the first `events` events, in batches of about `rows_per_batch` rows: the stream from
/// memory. All the rows are made at once, so that a reader of them pays nothing for their making.
pub fn memory_batches(table: Table, events: u64, columns: &[usize], rows_per_batch: usize) -> Result<Vec<RecordBatch>> {
    let generator = Generator::new(0, Generator::BASE_TIME, Generator::SPACING);
    let places = table.places();
    let epochs = (rows_per_batch as u64).div_ceil(places.end - places.start).max(1);
    let step = epochs * Table::EPOCH;
    (0..events)
        .step_by(step as usize)
        .map(|from| rows(&generator, table, from, (from + step).min(events), columns))
        .collect()
}

/// Writes the rows of a table among the first `events` events as JSON lines; how many rows there were.
pub fn write_json(table: Table, events: u64, path: &Path) -> Result<u64> {
    const STEP: u64 = 200 * Table::EPOCH;
    let generator = Generator::new(0, Generator::BASE_TIME, Generator::SPACING);
    let schema = schema(table);
    let columns: Vec<usize> = (0..schema.fields().len()).collect();
    let writer = JsonWriter::new(&schema, DateStyle::Sql);
    let mut file = std::fs::File::create(path)?;
    let mut written = 0;
    for from in (0..events).step_by(STEP as usize) {
        let rows = rows(&generator, table, from, (from + STEP).min(events), &columns)?;
        let mut text = Vec::new();
        for row in 0..rows.num_rows() {
            writer.row(&mut text, &rows, row);
            text.push(b'\n');
        }
        file.write_all(&text)?;
        written += rows.num_rows() as u64;
    }
    Ok(written)
}
