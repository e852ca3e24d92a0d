use super::*;
use crate::format::Rows;
use apache_avro::Schema as Lib;
use apache_avro::types::{Record, Value};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::util::display::array_value_to_string;
use millrace_types::{SqlType, field_of};

fn columns(columns: &[(&str, SqlType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, of)| field_of(*name, of, true)).collect::<Vec<_>>()))
}

fn lines(rows: &RecordBatch) -> Vec<String> {
    let text =
        |row| rows.columns().iter().map(|column| array_value_to_string(column, row).unwrap()).collect::<Vec<_>>();
    (0..rows.num_rows()).map(|row| text(row).join("|")).collect()
}

/// The rows of records, and why others are none.
fn decode(format: &AvroFormat, schema: &SchemaRef, records: &[&[u8]]) -> (RecordBatch, Vec<String>) {
    let mut decoder = AvroDecoder::new(format, Row::Whole, schema, Epoch::Milliseconds);
    let mut rows = Rows::new(schema.clone(), Epoch::Microseconds);
    rows.set_limit(usize::MAX);
    let block = Block::new(records.concat(), 0);
    let mut at = 0;
    for record in records {
        let span = at..at + record.len();
        at = span.end;
        rows.record(&block, span.clone(), |tokens, extra| decoder.fill(&block, span, tokens, extra));
    }
    let (rows, bad, _) = rows.finish_records(&block).unwrap();
    (rows, bad.into_iter().map(|record| record.reason).collect())
}

fn of(schema: &str) -> AvroFormat {
    AvroFormat { schema: Some(Arc::new(AvroSchema::parse(schema, &[]).unwrap())), registry: None }
}

#[expect(deprecated)]
fn written(schema: &str, fields: Vec<(&str, Value)>) -> Vec<u8> {
    let schema = Lib::parse_str(schema).unwrap();
    let mut record = Record::new(&schema).unwrap();
    fields.into_iter().for_each(|(name, value)| record.put(name, value));
    apache_avro::to_avro_datum(&schema, record).unwrap()
}

const ALL: &str = r#"{"type": "record", "name": "All", "namespace": "n", "fields": [
    {"name": "b", "type": "boolean"}, {"name": "i", "type": "int"}, {"name": "l", "type": "long"},
    {"name": "f", "type": "float"}, {"name": "d", "type": "double"}, {"name": "s", "type": "string"},
    {"name": "y", "type": "bytes"}, {"name": "o", "type": ["null", "string"]},
    {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["ONE", "TWO"]}},
    {"name": "x", "type": {"type": "fixed", "name": "F", "size": 2}},
    {"name": "a", "type": {"type": "array", "items": "int"}},
    {"name": "t", "type": {"type": "array", "items": ["null", "string"]}},
    {"name": "m", "type": {"type": "map", "values": "long"}},
    {"name": "r", "type": {"type": "record", "name": "R", "fields": [
        {"name": "k", "type": "string"}, {"name": "next", "type": ["null", "R"]}]}},
    {"name": "dec", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "ms", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "us", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
    {"name": "tod", "type": {"type": "int", "logicalType": "time-millis"}},
    {"name": "u", "type": ["int", "string"]}]}"#;

fn all() -> Vec<u8> {
    let inner = Value::Record(vec![("k".into(), "y".into()), ("next".into(), Value::Union(0, Box::new(Value::Null)))]);
    let outer = vec![("k".into(), "x\"".into()), ("next".into(), Value::Union(1, Box::new(inner)))];
    let texts = vec![Value::Union(1, Box::new("a\"b,".into())), Value::Union(0, Box::new(Value::Null))];
    written(
        ALL,
        vec![
            ("b", true.into()),
            ("i", (-7).into()),
            ("l", i64::MIN.into()),
            ("f", 0.1f32.into()),
            ("d", f64::NAN.into()),
            ("s", "ä text longer than a view".into()),
            ("y", Value::Bytes(vec![0, 255])),
            ("o", Value::Union(0, Box::new(Value::Null))),
            ("e", Value::Enum(1, "TWO".into())),
            ("x", Value::Fixed(2, vec![1, 2])),
            ("a", Value::Array(vec![1.into(), (-2).into()])),
            ("t", Value::Array(texts)),
            ("m", Value::Map([("k".to_owned(), Value::Long(5))].into())),
            ("r", Value::Record(outer)),
            ("dec", Value::Decimal(apache_avro::Decimal::from((-12345i32).to_be_bytes()))),
            ("day", Value::Date(19_844)),
            ("ms", Value::TimestampMillis(1_714_557_600_123)),
            ("us", Value::LocalTimestampMicros(-1)),
            ("tod", Value::TimeMillis(3_600_001)),
            ("u", Value::Union(1, Box::new("z".into()))),
        ],
    )
}

#[test]
fn every_type_has_its_column() {
    let format = of(ALL);
    let own = format.schema.as_ref().unwrap().columns();
    let schema: Vec<_> = own.iter().map(|(name, of)| (name.as_str(), of.clone())).collect();
    let types: Vec<_> = own.iter().map(|(_, of)| of.to_string()).collect();
    assert_eq!(
        types.join(" "),
        "boolean bigint bigint real double precision text bytea text text bytea bigint[] text[] jsonb jsonb numeric(9,2) \
         date timestamp with time zone timestamp without time zone time without time zone jsonb"
    );
    let (rows, bad) = decode(&format, &columns(&schema), &[&all()]);
    assert_eq!(bad, Vec::<String>::new());
    assert_eq!(
        lines(&rows),
        ["true|-7|-9223372036854775808|0.1|NaN|ä text longer than a view|00ff||TWO|0102|[1, -2]|[a\"b,, ]|{\"k\":5}|\
          {\"k\":\"x\\\"\",\"next\":{\"k\":\"y\",\"next\":null}}|-123.45|2024-05-01|2024-05-01T10:00:00.123Z|\
          1969-12-31T23:59:59.999999|01:00:00.001|\"z\""]
    );
    // As other columns, and as text.
    let texts: Vec<_> = own.iter().map(|(name, _)| (name.as_str(), SqlType::Text)).collect();
    let (rows, bad) = decode(&format, &columns(&texts), &[&all()]);
    assert_eq!(bad, Vec::<String>::new());
    assert!(lines(&rows)[0].contains("|-123.45|2024-05-01|2024-05-01 10:00:00.123+00|"), "{:?}", lines(&rows));
    let (rows, _) = decode(&format, &columns(&[("D", SqlType::Float8), ("i", SqlType::Numeric(None))]), &[&all()]);
    assert!(lines(&rows)[0].starts_with("NaN|-7"), "{:?}", lines(&rows));
}

#[test]
fn columns_outlive_the_schemas_of_writers() {
    let reader = r#"{"type": "record", "name": "R", "fields": [
        {"name": "id", "type": "long"}, {"name": "name", "type": "string", "aliases": ["title"]},
        {"name": "n", "type": "int", "default": 7}, {"name": "tags", "type": {"type": "array", "items": "string"}, "default": ["x y"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 1000}]}"#;
    let writer = r#"{"type": "record", "name": "Old", "fields": [
        {"name": "more", "type": {"type": "map", "values": "string"}}, {"name": "title", "type": "string"}, {"name": "ID", "type": "int"}]}"#;
    let record = written(
        writer,
        vec![("more", Value::Map([("a".to_owned(), "b".into())].into())), ("title", "old".into()), ("ID", 3.into())],
    );
    let schema = columns(&[
        ("id", SqlType::Int8),
        ("name", SqlType::Text),
        ("n", SqlType::Int4),
        ("tags", SqlType::Array(Box::new(SqlType::Text))),
        ("at", SqlType::Timestamptz),
        ("other", SqlType::Text),
    ]);
    let known = Arc::new(AvroSchema::parse(reader, &[]).unwrap());
    let mut decoder =
        AvroDecoder::new(&AvroFormat { schema: Some(known), registry: None }, Row::Whole, &schema, Epoch::Milliseconds);
    let plan = decoder.plan(Arc::new(AvroSchema::parse(writer, &[]).unwrap()));
    decoder.plans.insert(UNNAMED, plan);
    let mut rows = Rows::new(schema, Epoch::Microseconds);
    rows.set_limit(usize::MAX);
    let block = Block::new(record, 0);
    rows.record(&block, 0..block.len(), |tokens, extra| decoder.fill(&block, 0..block.len(), tokens, extra));
    let (rows, bad, _) = rows.finish_records(&block).unwrap();
    assert_eq!((lines(&rows), bad.len()), (vec!["3|old|7|[x y]|1970-01-01T00:00:01Z|".to_owned()], 0));
}

#[test]
fn what_is_no_record_is_refused() {
    let format = of(ALL);
    let record = all();
    let schema = columns(&[("t", SqlType::Jsonb), ("u", SqlType::Jsonb)]);
    for cut in 0..record.len() {
        let (rows, bad) = decode(&format, &schema, &[&record[..cut]]);
        assert_eq!((rows.num_rows(), bad.len()), (0, 1), "{cut}");
    }
    let longer = [&record[..], b"x"].concat();
    assert_eq!(decode(&format, &schema, &[&longer]).1, ["1 bytes follow the record"]);
    // Any bytes at all: an answer, whatever it is.
    let mut seed = 1u64;
    for _ in 0..20_000 {
        let mut bytes = record.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = (seed >> 20) as u8;
        }
        let (rows, bad) = decode(&format, &schema, &[&bytes]);
        assert_eq!(rows.num_rows() + bad.len(), 1);
    }
    let recursive = r#"{"type": "record", "name": "R", "fields": [{"name": "next", "type": "R"}]}"#;
    assert_eq!(
        decode(&of(recursive), &columns(&[("next", SqlType::Jsonb)]), &[b""]).1,
        ["field \"next\": nested too deeply"]
    );
    let empty =
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}"#;
    let endless = decode(&of(empty), &columns(&[("a", SqlType::Jsonb)]), &[&[0xfe, 0xff, 0xff, 0xff, 0xff, 1, 0]]).1;
    assert_eq!(endless, ["field \"a\": more elements than bytes"]);
}

#[test]
fn what_is_written_is_read_back() {
    let format = of(ALL);
    let own = format.schema.as_ref().unwrap().columns();
    let schema: Vec<_> = own.iter().map(|(name, of)| (name.as_str(), of.clone())).collect();
    let schema = columns(&schema);
    let (rows, _) = decode(&format, &schema, &[&all()]);
    let text = schema_of_columns(&schema, "Row").unwrap();
    let encoder = AvroEncoder::new(&schema);
    let mut bytes = vec![];
    encoder.row(&mut bytes, &rows, 0);
    let (again, bad) = decode(&of(&text), &schema, &[&bytes]);
    assert_eq!(bad, Vec::<String>::new());
    let (again, rows) = (lines(&again), lines(&rows));
    // JSON is written as text, and so comes back as one.
    assert_eq!(again[0].split('|').take(11).collect::<Vec<_>>(), rows[0].split('|').take(11).collect::<Vec<_>>());
    assert!(again[0].contains("|-123.45|2024-05-01|2024-05-01T10:00:00.123Z|1969-12-31T23:59:59.999999|01:00:00.001|"));
    let lib = Lib::parse_str(&text).unwrap();
    #[expect(deprecated)]
    let value = apache_avro::from_avro_datum(&lib, &mut &bytes[..], None).unwrap();
    assert!(matches!(value, Value::Record(fields) if fields.len() == own.len()));
    let refused = schema_of_columns(&columns(&[("a b", SqlType::Int4)]), "Row").unwrap_err();
    assert_eq!(refused.state().0, "42602");
}
