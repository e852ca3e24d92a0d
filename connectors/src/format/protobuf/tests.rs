use super::*;
use crate::format::Rows;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::util::display::array_value_to_string;
use millrace_types::field_of;

const ALL: &str = r#"syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "other.proto";
message First {}
message All {
  bool b = 1; int32 i = 2; sint64 l = 3; uint64 u = 4; float f = 5; double d = 6; string s = 7; bytes y = 8;
  optional int32 o = 9; Color e = 10; repeated int32 a = 11; repeated string t = 12; map<string, Inner> m = 13;
  Inner r = 14; google.protobuf.Timestamp at = 15; google.protobuf.Duration took = 16;
  google.protobuf.StringValue w = 17; google.protobuf.Struct st = 18; oneof one { int32 x = 19; string z = 20; }
  other.Far far = 21;
  message Inner { string k = 1; repeated Color colors = 2; }
}
enum Color { RED = 0; BLUE = 1; }
"#;
const OTHER: &str = "syntax = \"proto3\"; package other; message Far { int32 n = 1; }";

fn file() -> ProtobufFile {
    ProtobufFile::parse(ALL, &[("other.proto".to_owned(), OTHER.to_owned())]).unwrap()
}

fn schema(columns: &[(String, SqlType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, of)| field_of(name, of, true)).collect::<Vec<_>>()))
}

fn lines(rows: &RecordBatch) -> Vec<String> {
    let text =
        |row| rows.columns().iter().map(|column| array_value_to_string(column, row).unwrap()).collect::<Vec<_>>();
    (0..rows.num_rows()).map(|row| text(row).join("|")).collect()
}

fn decode(format: &ProtobufFormat, schema: &SchemaRef, record: &[u8]) -> (Vec<String>, Vec<String>) {
    let mut decoder = ProtobufDecoder::new(format, schema, Epoch::Milliseconds).unwrap();
    let mut rows = Rows::new(schema.clone(), Epoch::Microseconds);
    rows.set_limit(usize::MAX);
    let block = Block::new(record.to_vec(), 0);
    rows.record(&block, 0..block.len(), |tokens, extra| decoder.fill(&block, 0..block.len(), tokens, extra));
    let (rows, bad, _) = rows.finish_records(&block).unwrap();
    (lines(&rows), bad.into_iter().map(|record| record.reason).collect())
}

/// A message, from prost's text form of it.
fn message(text: &str) -> Vec<u8> {
    use protox::prost::Message;
    let descriptor = file().message(Some("All")).unwrap();
    DynamicMessage::parse_text_format(descriptor, text).unwrap().encode_to_vec()
}

#[test]
fn every_type_has_its_column() {
    let file = Arc::new(file());
    let own = columns(&file.message(Some("shop.All")).unwrap());
    let types: Vec<_> = own.iter().map(|(_, of)| of.to_string()).collect();
    assert_eq!(
        types.join(" "),
        "boolean integer bigint numeric(20,0) real double precision text bytea integer text integer[] text[] jsonb jsonb \
         timestamp with time zone interval text jsonb integer text jsonb"
    );
    let format = ProtobufFormat { file: Some(file), message: Some("All".to_owned()), registry: None };
    let bytes = message(
        r#"b: true i: -7 l: -9223372036854775808 u: 18446744073709551615 f: 0.5 d: inf s: "ä" y: "\000\377" e: BLUE
           a: [1, -2] t: ["a\"b", ""] m: { key: "k" value: { k: "v" colors: [RED, BLUE] } } r: { k: "x" }
           at: { seconds: 1714557600 nanos: 123000000 } took: { seconds: 1 nanos: 500000000 } w: { value: "in" }
           st: { fields: { key: "n" value: { number_value: 1.5 } } fields: { key: "z" value: { null_value: NULL_VALUE } } }
           z: "one" far: { n: 4 }"#,
    );
    let (rows, bad) = decode(&format, &schema(&own), &bytes);
    assert_eq!(bad, Vec::<String>::new());
    assert_eq!(
        rows,
        ["true|-7|-9223372036854775808|18446744073709551615|0.5|inf|ä|00ff||BLUE|[1, -2]|[a\"b, ]|\
          {\"k\":{\"k\":\"v\",\"colors\":[\"RED\",\"BLUE\"]}}|{\"k\":\"x\",\"colors\":[]}|2024-05-01T10:00:00.123Z|\
          1.500000000 secs|in|{\"n\":1.5,\"z\":null}||one|{\"n\":4}"]
    );
    // Fields without presence have their defaults; the others are null.
    let (rows, _) = decode(&format, &schema(&own[..10]), b"");
    assert_eq!(rows, ["false|0|0|0|0.0|0.0||||RED"]);
    let numbers = [("e".to_owned(), SqlType::Int4), ("missing".to_owned(), SqlType::Text)];
    assert_eq!(decode(&format, &schema(&numbers), &bytes).0, ["1|"]);
}

#[test]
fn what_is_no_message_is_refused() {
    let format = ProtobufFormat { file: Some(Arc::new(file())), message: Some("All".to_owned()), registry: None };
    let own = schema(&columns(&file().message(Some("All")).unwrap()));
    let (rows, bad) = decode(&format, &own, b"\x08");
    assert_eq!((rows.len(), bad.len()), (0, 1));
    let bytes = message(r#"s: "text" m: { key: "k" value: { k: "v" } } at: { seconds: 1 } t: "x""#);
    let mut seed = 1u64;
    for _ in 0..5_000 {
        let mut bytes = bytes.clone();
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = (seed >> 33) as usize % bytes.len();
        bytes[at] = (seed >> 20) as u8;
        let (rows, bad) = decode(&format, &own, &bytes);
        assert_eq!(rows.len() + bad.len(), 1);
    }
    let error = ProtobufFile::parse("message {", &[]).unwrap_err();
    assert!(error.message().starts_with("invalid Protobuf schema: "), "{error}");
    assert!(file().message(Some("Nothing")).is_err());
}

#[test]
fn what_is_written_is_read_back() {
    let own: Vec<_> = columns(&file().message(Some("All")).unwrap())
        .into_iter()
        .filter(|(_, of)| !matches!(of, SqlType::Array(_) | SqlType::Jsonb | SqlType::Interval))
        .collect();
    let format = ProtobufFormat { file: Some(Arc::new(file())), message: Some("All".to_owned()), registry: None };
    let bytes =
        message(r#"b: true i: -7 l: 5 u: 9 f: 0.5 d: 1 s: "ä" y: "\000" at: { seconds: -1 nanos: 999000 } x: 3"#);
    let own = schema(&own);
    let mut decoder = ProtobufDecoder::new(&format, &own, Epoch::Milliseconds).unwrap();
    let mut rows = Rows::new(own.clone(), Epoch::Microseconds);
    rows.set_limit(usize::MAX);
    let block = Block::new(bytes, 0);
    rows.record(&block, 0..block.len(), |tokens, extra| decoder.fill(&block, 0..block.len(), tokens, extra));
    let (rows, _, _) = rows.finish_records(&block).unwrap();
    let text = schema_of_columns(&own, "Row").unwrap();
    let again = ProtobufFormat {
        file: Some(Arc::new(ProtobufFile::parse(&text, &[]).unwrap())),
        message: None,
        registry: None,
    };
    let mut out = vec![];
    ProtobufEncoder::new(&own).row(&mut out, &rows, 0);
    assert_eq!(decode(&again, &own, &out), (lines(&rows), vec![]));
}
