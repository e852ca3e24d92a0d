//! The Nexmark source: proportions, replay, splits, and its JSON lines read back.

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use millrace_connectors::nexmark::{self, Table};
use millrace_connectors::{Poll, Source, create_sink, create_source};
use millrace_types::{Offset, Result, SqlState, SqlType, field_of};
use std::collections::BTreeSet;
use std::sync::Arc;

fn create(given: &[(&str, &str)], schema: SchemaRef) -> Result<(SchemaRef, Arc<dyn Source>)> {
    let given = [&[("connector", "nexmark")], given].concat();
    let given: Vec<_> = given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    create_source(&given, &schema)
}

fn own_schema() -> SchemaRef {
    Arc::new(Schema::empty())
}

fn read(source: &dyn Source, split: usize, from: u64, max_rows: usize) -> (RecordBatch, Vec<u64>) {
    let splits = source.splits().unwrap();
    let mut reader = source.open(&splits[split], Offset(from), &[0, 1, 2]).unwrap();
    let (mut rows, mut ends) = (Vec::new(), Vec::new());
    while let Poll::Chunk(chunk) = reader.poll(max_rows).unwrap() {
        assert!(chunk.rows.num_rows() <= max_rows);
        rows.push(chunk.rows);
        ends.push(chunk.end.0);
    }
    (concat_batches(&rows[0].schema(), &rows).unwrap(), ends)
}

#[test]
fn of_fifty_events_one_is_a_person_three_are_auctions_and_the_rest_bids() {
    for (table, count) in [("person", 20), ("auction", 60), ("bid", 920)] {
        let (_, source) = create(&[("table", table), ("events", "1000")], own_schema()).unwrap();
        assert_eq!(read(&*source, 0, 0, 7).0.num_rows(), count, "{table}");
    }
}

#[test]
fn a_stream_is_the_same_from_any_offset_and_in_any_splits() {
    let bids =
        |splits: &str| create(&[("type", "bid"), ("events", "45678"), ("splits", splits)], own_schema()).unwrap().1;
    let one = bids("1");
    let (whole, ends) = read(&*one, 0, 0, 1000);
    for (chunk, end) in ends.iter().enumerate().step_by(7).take(6) {
        let (rest, _) = read(&*one, 0, *end, 1000);
        assert_eq!(rest, whole.slice((chunk + 1) * 1000, rest.num_rows()));
    }
    let three = bids("3");
    let parts: Vec<_> = (0..3).map(|split| read(&*three, split, 0, 1000).0).collect();
    let line = |rows: &RecordBatch, row: usize| format!("{:?}", rows.slice(row, 1).columns());
    let lines = |rows: &RecordBatch| (0..rows.num_rows()).step_by(97).map(|row| line(rows, row)).collect::<Vec<_>>();
    assert_eq!(parts.iter().map(RecordBatch::num_rows).sum::<usize>(), whole.num_rows());
    let all: BTreeSet<_> = (0..whole.num_rows()).map(|row| line(&whole, row)).collect();
    assert!(parts.iter().flat_map(lines).all(|line| all.contains(&line)));
}

#[test]
fn declared_columns_are_checked_against_the_table() {
    let declared = |name: &str, sql_type| Arc::new(Schema::new(vec![field_of(name, &sql_type, true)]));
    let (schema, _) = create(&[("table", "bid")], declared("price", SqlType::Int8)).unwrap();
    assert_eq!(schema.fields().len(), 1);
    let state = |name: &str, sql_type| create(&[("table", "bid")], declared(name, sql_type)).unwrap_err().state();
    assert_eq!(state("cost", SqlType::Int8), SqlState::UNDEFINED_COLUMN);
    assert_eq!(state("price", SqlType::Text), SqlState::DATATYPE_MISMATCH);
}

#[test]
fn a_paced_source_gives_what_is_due_and_then_waits() {
    let (_, source) = create(&[("table", "bid"), ("rate", "1000")], own_schema()).unwrap();
    let mut reader = source.open(&source.splits().unwrap()[0], Offset(0), &[0]).unwrap();
    let started = std::time::Instant::now();
    let mut rows = 0;
    while started.elapsed().as_millis() < 300 {
        if let Poll::Chunk(chunk) = reader.poll(10_000).unwrap() {
            rows += chunk.rows.num_rows();
        }
    }
    let due = started.elapsed().as_millis() as usize;
    assert!((150..=due).contains(&rows), "{rows} rows in {due} ms");
}

#[test]
fn json_lines_read_back_are_the_events() {
    let folder = tempfile::TempDir::new().unwrap();
    for table in [Table::Bid, Table::Auction, Table::Person] {
        let path = folder.path().join("events.json");
        let count = nexmark::write_json(table, 5000, &path).unwrap();
        let schema = nexmark::schema(table);
        let columns: Vec<usize> = (0..schema.fields().len()).collect();
        let expected = nexmark::memory_batches(table, 5000, &columns, 512).unwrap();
        let expected = concat_batches(&schema, &expected).unwrap();
        let given = [("connector", "file"), ("path", path.to_str().unwrap())];
        let given: Vec<_> = given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let (_, source) = create_source(&given, &schema).unwrap();
        let mut reader = source.open(&source.splits().unwrap()[0], Offset(0), &columns).unwrap();
        let mut rows = Vec::new();
        while let Poll::Chunk(chunk) = reader.poll(1000).unwrap() {
            assert!(chunk.bad.is_empty(), "{:?}", chunk.bad);
            rows.push(chunk.rows);
        }
        let rows = concat_batches(&schema, &rows).unwrap();
        assert_eq!(rows.num_rows() as u64, count);
        for (column, (ours, theirs)) in rows.columns().iter().zip(expected.columns()).enumerate() {
            assert_eq!(ours.to_data(), theirs.to_data(), "{table:?} column {column}");
        }
    }
}

#[test]
fn connectors_that_are_none_are_refused_with_what_was_meant() {
    let given = |name: &str| vec![("connector".to_owned(), name.to_owned())];
    let unknown = create_source(&given("nexmrak"), &own_schema()).unwrap_err();
    assert_eq!(unknown.hint(), Some("Perhaps you meant \"nexmark\"."));
    let no_sink = create_sink(&given("nexmark"), &own_schema(), true).err().unwrap();
    assert_eq!(no_sink.state(), SqlState::FEATURE_NOT_SUPPORTED);
    assert!(create_source(&[], &own_schema()).unwrap_err().message().contains("\"connector\" is missing"));
}
