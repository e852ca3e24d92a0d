//! Files as sources and sinks, through the crate's front door.

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use millrace_connectors::{BadRecord, Poll, Source, SplitReader, create_sink, create_source};
use millrace_types::{Delta, Offset, Result, SqlError, SqlState, SqlType, Tick, field_of};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

fn options(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn schema(columns: &[(&str, SqlType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, kind)| field_of(*name, kind, true)).collect::<Vec<_>>()))
}

fn number_and_text() -> SchemaRef {
    schema(&[("n", SqlType::Int8), ("t", SqlType::Text)])
}

fn source(path: &Path, more: &[(&str, &str)], schema: &SchemaRef) -> Result<Arc<dyn Source>> {
    let mut given = vec![("connector", "file"), ("path", path.to_str().unwrap())];
    given.extend_from_slice(more);
    Ok(create_source(&options(&given), schema)?.1)
}

/// All that a reader has now, in chunks of at most `max_rows`, with the offset after each chunk.
fn drain(reader: &mut dyn SplitReader, max_rows: usize) -> (Vec<RecordBatch>, Vec<BadRecord>, Vec<u64>) {
    let (mut rows, mut bad, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    while let Poll::Chunk(chunk) = reader.poll(max_rows).unwrap() {
        assert!(chunk.rows.num_rows() <= max_rows);
        rows.push(chunk.rows);
        bad.extend(chunk.bad);
        ends.push(chunk.end.0);
    }
    (rows, bad, ends)
}

/// The column `n` of everything from an offset on.
fn numbers(source: &dyn Source, from: u64) -> Vec<Option<i64>> {
    let mut reader = source.open(&source.splits().unwrap()[0], Offset(from), &[0]).unwrap();
    let (rows, _, _) = drain(&mut *reader, 3);
    rows.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>()).collect()
}

fn error(result: Result<Arc<dyn Source>>) -> SqlError {
    result.expect_err("the source must be refused")
}

fn lines(count: i64) -> String {
    (0..count).map(|n| format!("{{\"n\":{n},\"t\":\"line number {n} of the file\"}}\n")).collect()
}

#[test]
fn reading_goes_on_from_the_offset_of_any_chunk() {
    let folder = TempDir::new().unwrap();
    for name in ["a.json", "a.csv", "a.json.gz", "a.json.zst", "header.csv"] {
        let path = folder.path().join(name);
        let csv: String = (0..10).map(|n| format!("{n},\"a\n\"\"{n}\"\"\"\r\n")).collect();
        match name {
            "a.csv" => fs::write(&path, csv).unwrap(),
            "header.csv" => fs::write(&path, format!("N,t\n{csv}")).unwrap(),
            "a.json.gz" => {
                let mut file = fs::File::create(&path).unwrap();
                // Two members, the first of which ends in the middle of a line.
                for part in [&lines(10)[..50], &lines(10)[50..]] {
                    let mut encoder = flate2::write::GzEncoder::new(&mut file, flate2::Compression::fast());
                    encoder.write_all(part.as_bytes()).unwrap();
                    encoder.finish().unwrap();
                }
            }
            "a.json.zst" => {
                let parts =
                    [&lines(10)[..50], &lines(10)[50..]].map(|part| zstd::encode_all(part.as_bytes(), 1).unwrap());
                fs::write(&path, parts.concat()).unwrap();
            }
            _ => fs::write(&path, lines(10)).unwrap(),
        }
        let header = if name == "header.csv" { "true" } else { "false" };
        let source = source(&path, &[("header", header)], &number_and_text()).unwrap();
        let split = &source.splits().unwrap()[0];
        let whole = numbers(&*source, 0);
        assert!(whole.iter().copied().eq((0..10).map(Some)), "{name}: {whole:?}");
        let (_, bad, ends) = drain(&mut *source.open(split, Offset(0), &[1, 0]).unwrap(), 3);
        assert_eq!((bad.len(), ends.len()), (0, 4), "{name}");
        for (chunk, end) in ends.iter().enumerate() {
            assert!(numbers(&*source, *end).into_iter().eq((3 * (chunk as i64 + 1)..10).map(Some)), "{name}");
        }
    }
}

#[test]
fn columns_are_projected_and_may_be_none() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, lines(5)).unwrap();
    let source = source(&path, &[], &number_and_text()).unwrap();
    let split = &source.splits().unwrap()[0];
    let (rows, _, _) = drain(&mut *source.open(split, Offset(0), &[]).unwrap(), 100);
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 5);
    let mut reader = source.open(split, Offset(0), &[1]).unwrap();
    assert_eq!(reader.lag(), Some(fs::metadata(&path).unwrap().len()));
    let (rows, _, _) = drain(&mut *reader, 100);
    assert_eq!(rows[0].column(0).as_string_view().value(4), "line number 4 of the file");
    assert_eq!(reader.lag(), Some(0));
}

#[test]
fn a_followed_file_gives_its_last_line_only_when_it_is_whole() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.json");
    fs::write(&path, "{\"n\":1}\n{\"n\"").unwrap();
    let followed = source(&path, &[("follow", "true")], &number_and_text()).unwrap();
    assert!(!followed.is_bounded());
    let mut reader = followed.open(&followed.splits().unwrap()[0], Offset(0), &[0]).unwrap();
    assert_eq!(drain(&mut *reader, 10).0.len(), 1);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b":2}\n{\"n\":3}").unwrap();
    assert_eq!(drain(&mut *reader, 10).2, [16]);
    assert!(matches!(reader.poll(10), Ok(Poll::Pending)));
    let once = source(&path, &[], &number_and_text()).unwrap();
    assert_eq!(numbers(&*once, 0), [Some(1), Some(2), Some(3)]);
    fs::write(&path, "").unwrap();
    assert_eq!(reader.poll(10).unwrap_err().state(), SqlState::DATA_CORRUPTED);
}

#[test]
fn new_matches_of_a_followed_pattern_are_new_splits() {
    let folder = TempDir::new().unwrap();
    let pattern = folder.path().join("*.json");
    fs::write(folder.path().join("b.json"), "").unwrap();
    let source = source(&pattern, &[("follow", "true")], &number_and_text()).unwrap();
    fs::write(folder.path().join("a.json"), "").unwrap();
    fs::write(folder.path().join("c.txt"), "").unwrap();
    let splits: Vec<_> = source.splits().unwrap().into_iter().map(|split| (split.id, split.name)).collect();
    let name = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    assert_eq!(splits, [(0, name("b.json")), (1, name("a.json"))]);
}

#[test]
fn bad_records_stand_beside_the_rows() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.json");
    let long = "x".repeat(200_000);
    fs::write(&path, format!("{{\"n\":1}}\nbad\n{{\"t\":\"{long}\"}}\n{{\"n\":2}}\n")).unwrap();
    let source = source(&path, &[("max.line.bytes", "1000")], &number_and_text()).unwrap();
    let (rows, bad, _) = drain(&mut *source.open(&source.splits().unwrap()[0], Offset(0), &[0]).unwrap(), 10);
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    assert_eq!(
        bad.iter().map(|record| (record.offset.0, record.raw.len())).collect::<Vec<_>>(),
        [(8, 3), (12, BadRecord::MAX_BYTES)]
    );
    assert_eq!(bad[1].reason, "line is longer than 1000 bytes");
}

#[test]
fn a_line_longer_than_memory_should_hold_is_passed_over() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.json");
    let mut text = "x".repeat(5_000_000);
    text.push_str("\n{\"n\":1}\n");
    fs::write(&path, &text).unwrap();
    let source = source(&path, &[("max.line.bytes", "100000")], &number_and_text()).unwrap();
    let (rows, bad, ends) = drain(&mut *source.open(&source.splits().unwrap()[0], Offset(0), &[0]).unwrap(), 10);
    assert_eq!((rows.last().unwrap().num_rows(), bad.len(), *ends.last().unwrap()), (1, 1, text.len() as u64));
}

#[test]
fn csv_knows_null_quotes_and_broken_records() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.csv");
    let text = "1;'a;''b'''\n2;\n3;''\nx;y\n4\n5;a;b\n6;'a'b\n7;NULL\n8;'never closed\n9;z\n";
    fs::write(&path, text).unwrap();
    let more = [("delimiter", ";"), ("quote", "'"), ("null", "NULL")];
    let source = source(&path, &more, &number_and_text()).unwrap();
    let (rows, bad, _) = drain(&mut *source.open(&source.splits().unwrap()[0], Offset(0), &[0, 1]).unwrap(), 100);
    let expected = "\
+---+-------+
| n | t     |
+---+-------+
| 1 | a;'b' |
| 2 |       |
| 3 |       |
| 7 |       |
| 9 | z     |
+---+-------+";
    assert_eq!(pretty_format_batches(&rows).unwrap().to_string(), expected);
    assert_eq!(rows[0].column(1).null_count(), 1);
    let bad: Vec<_> = bad.iter().map(|record| (String::from_utf8_lossy(&record.raw), record.reason.as_str())).collect();
    assert_eq!(
        bad,
        [
            ("x;y".into(), "column \"n\": invalid input syntax for type bigint: \"x\""),
            ("4".into(), "missing data for column \"t\""),
            ("5;a;b".into(), "extra data after last expected column"),
            ("6;'a'b\n".into(), "a quoted field is followed by something other than a delimiter"),
            ("8;'never closed".into(), "unterminated CSV quoted field"),
        ]
    );
}

#[test]
fn parquet_brings_its_schema_and_starts_at_any_row() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.parquet");
    let rows = RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from_iter_values(0..10)) as Arc<dyn Array>),
        ("t", Arc::new(StringArray::from_iter_values((0..10).map(|n| format!("text {n}"))))),
    ])
    .unwrap();
    let file = fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();

    let given = options(&[("connector", "file"), ("path", path.to_str().unwrap())]);
    let (own, source) = create_source(&given, &schema(&[])).unwrap();
    assert_eq!(own.fields().len(), 2);
    let mut reader = source.open(&source.splits().unwrap()[0], Offset(4), &[1, 0]).unwrap();
    let (rows, _, ends) = drain(&mut *reader, 4);
    assert_eq!(rows[0].column(0).as_string_view().value(0), "text 4");
    assert_eq!(rows[1].column(1).as_primitive::<Int64Type>().values().to_vec(), [8, 9]);
    assert_eq!(ends, [8, 10]);

    let mismatch = error(create_source(&given, &schema(&[("n", SqlType::Timestamp)])).map(|(_, source)| source));
    assert_eq!(mismatch.state(), SqlState::DATATYPE_MISMATCH);
    fs::write(&path, "no parquet").unwrap();
    let damaged = error(create_source(&given, &schema(&[])).map(|(_, source)| source));
    assert_eq!(damaged.state(), SqlState::DATA_CORRUPTED);
}

#[test]
fn what_cannot_be_read_is_refused_when_the_source_is_created() {
    let folder = TempDir::new().unwrap();
    let refused = |path: &Path, more: &[(&str, &str)]| error(source(path, more, &number_and_text()));
    let missing = refused(&folder.path().join("missing.json"), &[]);
    assert_eq!(missing.state(), SqlState::UNDEFINED_FILE);
    assert!(missing.message().ends_with("missing.json\": No such file or directory"), "{missing}");
    assert_eq!(refused(&folder.path().join("*.json"), &[]).state(), SqlState::UNDEFINED_FILE);
    let directory = refused(folder.path(), &[("format", "json")]);
    assert!(directory.message().ends_with("is a directory"), "{directory}");
    fs::write(folder.path().join("a.dat"), "").unwrap();
    assert!(refused(&folder.path().join("a.dat"), &[]).message().starts_with("could not tell the format"));
    fs::write(folder.path().join("a.json"), "").unwrap();
    assert_eq!(
        error(source(&folder.path().join("a.json"), &[], &schema(&[]))).state(),
        SqlState::INVALID_TABLE_DEFINITION
    );
}

#[test]
fn a_file_sink_writes_whole_ticks_and_begins_anew() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.json");
    fs::write(&path, "what was there before").unwrap();
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from(vec![Some(1), None])) as Arc<dyn Array>, true),
        ("t", Arc::new(arrow::array::StringViewArray::from(vec!["a \"b\"\n", "c"])) as _, true),
    ])
    .unwrap();
    let given = |more: &[(&str, &str)]| {
        let mut given = vec![("connector", "file"), ("path", path.to_str().unwrap())];
        given.extend_from_slice(more);
        options(&given)
    };
    let mut sink = create_sink(&given(&[]), &rows.schema(), true).unwrap();
    sink.begin(None).unwrap();
    sink.write(Tick(1), &[Delta::inserts(rows.clone())]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"n\":1,\"t\":\"a \\\"b\\\"\\n\"}\n{\"n\":null,\"t\":\"c\"}\n");
    assert!(!sink.accepts_retractions());
    assert!(sink.write(Tick(2), &[Delta::retractions(rows.clone())]).is_err());

    let refused = create_sink(&given(&[]), &rows.schema(), false).err().unwrap();
    assert_eq!(refused.state(), SqlState::FEATURE_NOT_SUPPORTED);
    let mut sink = create_sink(&given(&[("changes", "true")]), &rows.schema(), false).unwrap();
    sink.begin(None).unwrap();
    sink.write(Tick(1), &[Delta::inserts(rows.slice(1, 1)), Delta::retractions(rows.slice(1, 1))]).unwrap();
    let row = "{\"n\":null,\"t\":\"c\"}";
    let expected = format!("{{\"op\":\"+\",\"row\":{row}}}\n{{\"op\":\"-\",\"row\":{row}}}\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);

    let mut sink = create_sink(&given(&[("format", "csv"), ("header", "true")]), &rows.schema(), true).unwrap();
    sink.begin(None).unwrap();
    assert_eq!(sink.position().unwrap(), "4");
    sink.write(Tick(1), &[Delta::inserts(rows)]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "n,t\n1,\"a \"\"b\"\"\n\"\n,c\n");
}

#[test]
fn rows_of_the_last_chunk_can_be_had_with_all_columns() {
    let folder = TempDir::new().unwrap();
    let all = schema(&[("n", SqlType::Int8), ("t", SqlType::Text), ("m", SqlType::Int4)]);
    let bad = ["{\"n\":true}\n", "x,\"y\",2\n"];
    for (name, bad) in ["some.json", "some.csv"].into_iter().zip(bad) {
        let path = folder.path().join(name);
        let line = |n: i64| match name {
            _ if n % 7 == 3 => bad.to_owned(),
            // What does not fit into a column that nobody reads is no reason to refuse a row.
            "some.json" if n == 8 => format!("{{\"t\":\"row {n}\",\"m\":\"no\",\"n\":{n}}}\n"),
            "some.json" => format!("{{\"n\":{n},\"t\":\"row {n}\",\"m\":{}}}\n", n * 2),
            _ if n == 8 => format!("{n},\"row {n}\",no\n"),
            _ => format!("{n},\"row {n}\",{}\n", n * 2),
        };
        fs::write(&path, (0..1000).map(line).collect::<String>()).unwrap();
        let source = source(&path, &[], &all).unwrap();
        assert!(source.tells_whole());
        let mut reader = source.open(&source.splits().unwrap()[0], Offset(0), &[0]).unwrap();
        for max_rows in [5, 300, 1000] {
            let Poll::Chunk(chunk) = reader.poll(max_rows).unwrap() else { panic!("a chunk") };
            let numbers = chunk.rows.column(0).as_primitive::<Int64Type>().clone();
            let places: Vec<u32> = (0..numbers.len() as u32).filter(|place| place % 3 != 1).collect();
            let whole = reader.whole(&places).unwrap().unwrap();
            assert_eq!(whole.num_rows(), places.len());
            let (n, t) = (whole.column(0).as_primitive::<Int64Type>(), whole.column(1));
            let t = arrow::compute::cast(t, &arrow::datatypes::DataType::Utf8).unwrap();
            let m = whole.column(2).as_primitive::<arrow::datatypes::Int32Type>();
            for (row, place) in places.iter().enumerate() {
                let number = numbers.value(*place as usize);
                assert_eq!(
                    (n.value(row), t.as_string::<i32>().value(row)),
                    (number, &*format!("row {number}")),
                    "{name}"
                );
                assert_eq!(m.is_null(row), number == 8, "{name}, row {number}");
                assert!(m.is_null(row) || m.value(row) as i64 == number * 2, "{name}, row {number}");
            }
            assert!(reader.whole(&[5000]).unwrap().is_none());
        }
        // Who reads all columns has nothing more to ask for.
        let mut reader = source.open(&source.splits().unwrap()[0], Offset(0), &[2, 0, 1]).unwrap();
        assert!(matches!(reader.poll(5).unwrap(), Poll::Chunk(_)) && reader.whole(&[0]).unwrap().is_none());
    }
}

#[test]
fn a_file_sink_goes_on_at_its_position() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.csv");
    let given = options(&[("connector", "file"), ("path", path.to_str().unwrap()), ("header", "true")]);
    let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as Arc<dyn Array>)]).unwrap();
    let create = || create_sink(&given, &rows.schema(), true).unwrap();
    let mut sink = create();
    sink.begin(None).unwrap();
    sink.write(Tick(1), &[Delta::inserts(rows.slice(0, 1))]).unwrap();
    assert_eq!(sink.position(), None);
    sink.flush().unwrap();
    let position = sink.position().unwrap();
    sink.write(Tick(2), &[Delta::inserts(rows.clone())]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "n\n1\n1\n2\n");

    let mut sink = create();
    sink.begin(Some(&position)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "n\n1\n");
    sink.write(Tick(3), &[Delta::inserts(rows.slice(1, 1))]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "n\n1\n2\n");

    fs::write(&path, "n").unwrap();
    assert_eq!(create().begin(Some(&position)).unwrap_err().state(), SqlState::DATA_CORRUPTED);
    create().begin(None).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "n\n");
}
