//! Topics of Avro, Protobuf and bare values, with a registry of their schemas.

use crate::cluster::{Cluster, PATIENCE, drain, id_and_name, open, schema};
use crate::{delta, sink};
use millrace_connectors::{Poll, create_feed, create_source, settled, settled_sink};
use millrace_sqllogictest::registry::Registry;
use millrace_types::{SqlState, SqlType, Tick};
use serde_json::json;
use std::time::Instant;

/// A value by the schema of this id in a registry.
fn framed(id: u32, value: &[u8]) -> Option<Vec<u8>> {
    Some([&[0], &id.to_be_bytes()[..], value].concat())
}

fn avro(fields: &str) -> serde_json::Value {
    json!({ "schema": format!(r#"{{"type": "record", "name": "Bid", "fields": [{fields}]}}"#) })
}

#[test]
fn avro_schemas_come_from_the_registry_and_change() {
    let (cluster, registry) = (Cluster::new("avro", 1), Registry::start().unwrap());
    let subject = format!("{}-value", cluster.topic);
    let options = cluster.options(&[("format", "avro"), ("schema.registry", &registry.url())]);
    let error = settled(options.clone()).unwrap_err();
    assert_eq!(error.state(), SqlState::UNDEFINED_OBJECT, "{error}");
    let old = registry.add(&subject, avro(r#"{"name": "id", "type": "int"}, {"name": "old", "type": "string"}"#));
    let fields = r#"{"name": "id", "type": "long"}, {"name": "name", "type": "string", "default": "none"}"#;
    let new = registry.add(&subject, avro(fields));
    let options = settled(options).unwrap();
    let (own, source) = create_source(&options, &schema(&[])).unwrap();
    let names: Vec<_> = own.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "name"]);
    let later =
        registry.add(&subject, avro(r#"{"name": "name", "type": ["null", "string"]}, {"name": "id", "type": "long"}"#));
    cluster.send_bytes(&[
        (0, None, framed(old, b"\x02\x02x")),
        (0, None, framed(new, b"\x04\x02b")),
        (0, None, framed(99, b"\x04\x02b")),
        (0, None, framed(later, b"\x00\x06")),
        (0, None, Some(b"\x04\x02b".to_vec())),
        (0, None, framed(new, b"\x04\x02")),
        (0, None, framed(later, b"\x02\x02d\x08")),
    ]);
    let mut reader = open(&source, 0, 0, &[0, 1]);
    registry.set_away(true);
    // What is known of a record is waited for, and it is not passed over.
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE);
        match reader.poll(10).unwrap() {
            Poll::Waiting(Some(error)) => {
                assert!(error.message().contains("the registry is away"), "{error}");
                break;
            }
            Poll::Waiting(None) | Poll::Pending => reader.wait(),
            other => panic!("{other:?}"),
        }
    }
    registry.set_away(false);
    let (lines, bad, _) = drain(&mut *reader).unwrap();
    assert_eq!(lines, ["1|none", "2|b", "3|", "4|d"]);
    let reasons: Vec<_> = bad.iter().map(|record| (record.offset.0, record.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (2, "the schema registry has no schema 99"),
            (4, "the value does not begin with the id of a schema"),
            (5, "field \"name\": the record ends inside of a value"),
        ]
    );
}

#[test]
fn avro_rows_by_key_and_out_again() {
    let (cluster, registry) = (Cluster::new("avro-rows", 1), Registry::start().unwrap());
    let url = registry.url();
    let more = [("format", "avro"), ("schema.registry", &url[..]), ("envelope", "upsert"), ("key", "id")];
    let options = settled_sink(cluster.options(&more), &id_and_name()).unwrap();
    assert_eq!(registry.of(&format!("{}-value", cluster.topic)).len(), 1);
    assert_eq!(registry.of(&format!("{}-key", cluster.topic)).len(), 1);
    let mut first = sink(&options, false);
    first.recovered().unwrap();
    first.write(Tick(1), &[delta(&[(1, "a", 1), (2, "b", 1)])]).unwrap();
    first.write(Tick(2), &[delta(&[(1, "a", -1), (1, "c", 1), (2, "b", -1)])]).unwrap();
    first.flush().unwrap();
    let records = cluster.read_bytes();
    assert_eq!((records.len(), &records[0].1), (4, &framed(1, b"\x02\x02\x02\x02a")));
    assert_eq!(records[3], (framed(2, b"\x02\x04"), None));
    // A second process sends nothing again.
    let mut second = sink(&options, false);
    second.write(Tick(3), &[delta(&[(1, "c", 1)])]).unwrap();
    second.recovered().unwrap();
    second.flush().unwrap();
    assert_eq!(cluster.read_bytes().len(), 4);
    let options = settled(cluster.options(&more[..3])).unwrap();
    let (_, source) = create_feed(&options, &id_and_name(), &[0]).unwrap();
    let (lines, bad, _) = drain(&mut *open(&source, 0, 0, &[0, 1])).unwrap();
    assert_eq!((lines, bad.len()), (vec!["1|a".into(), "2|b".into(), "1|c".into(), "-2|".into()], 0));
}

#[test]
fn a_schema_may_stand_in_the_statement() {
    let cluster = Cluster::new("inline", 1);
    let text = r#"{"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]}"#;
    cluster.send_bytes(&[(0, None, Some(b"\x02\x02a".to_vec()))]);
    let options = settled(cluster.options(&[("format", "avro"), ("schema", text)])).unwrap();
    let (_, source) = create_source(&options, &schema(&[("name", SqlType::Text)])).unwrap();
    assert_eq!(drain(&mut *open(&source, 0, 0, &[0])).unwrap().0, ["a"]);
    let error = settled(cluster.options(&[("format", "avro"), ("schema", "{")]))
        .and_then(|options| create_source(&options, &schema(&[])))
        .unwrap_err();
    assert_eq!(error.state(), SqlState::INVALID_PARAMETER_VALUE, "{error}");

    let cluster = Cluster::new("proto", 1);
    let text = r#"syntax = "proto3"; message Bid { int64 id = 1; optional string name = 2; }"#;
    cluster.send_bytes(&[
        (0, None, Some(b"\x08\x07\x12\x01x".to_vec())),
        (0, None, Some(vec![])),
        (0, None, Some(vec![8])),
    ]);
    let options = settled(cluster.options(&[("format", "protobuf"), ("schema", text)])).unwrap();
    let (_, source) = create_source(&options, &schema(&[])).unwrap();
    let (lines, bad, _) = drain(&mut *open(&source, 0, 0, &[0, 1])).unwrap();
    assert_eq!((lines, bad.len()), (vec!["7|x".to_owned(), "0|".to_owned()], 1));
}

#[test]
fn protobuf_goes_out_and_comes_in_by_the_registry() {
    let (cluster, registry) = (Cluster::new("protobuf", 1), Registry::start().unwrap());
    let url = registry.url();
    let more = [("format", "protobuf"), ("schema.registry", &url[..])];
    let mut out = sink(&settled_sink(cluster.options(&more), &id_and_name()).unwrap(), true);
    out.recovered().unwrap();
    out.write(Tick(1), &[delta(&[(-1, "a", 1), (2, "b", 1)])]).unwrap();
    out.flush().unwrap();
    let subject = format!("{}-value", cluster.topic);
    assert_eq!(registry.of(&subject)[0]["schemaType"], "PROTOBUF");
    // A message inside of another one, of a schema that imports one.
    registry.add(
        "common",
        json!({ "schemaType": "PROTOBUF", "schema": "syntax = \"proto3\"; message Id { int64 id = 1; }" }),
    );
    let outer = "syntax = \"proto3\"; import \"common.proto\"; message A { message B { string name = 2; int64 id = 1; Id x = 3; } }";
    let references = json!([{ "name": "common.proto", "subject": "common", "version": 1 }]);
    let inner = registry.add("other", json!({ "schemaType": "PROTOBUF", "schema": outer, "references": references }));
    cluster.send_bytes(&[
        (0, None, framed(inner, b"\x04\x00\x00\x08\x05\x12\x01c")),
        (0, None, framed(inner, b"\x02\x08")),
    ]);
    let options = settled(cluster.options(&more)).unwrap();
    let (own, source) = create_source(&options, &schema(&[])).unwrap();
    assert_eq!(own.fields().len(), 2);
    let (lines, bad, _) = drain(&mut *open(&source, 0, 0, &[0, 1])).unwrap();
    assert_eq!(lines, ["-1|a", "2|b", "5|c"]);
    assert_eq!(bad[0].reason, format!("schema {inner} has no such message"));
}

#[test]
fn bare_values_go_out() {
    let cluster = Cluster::new("bare", 1);
    let more = [("format", "text"), ("key", "id")];
    let mut out = sink(&settled_sink(cluster.options(&more), &id_and_name()).unwrap(), true);
    out.recovered().unwrap();
    out.write(Tick(1), &[delta(&[(1, "a", 1), (2, "", 1)])]).unwrap();
    out.flush().unwrap();
    let pair = |key: &str, value: &str| (Some(key.to_owned()), Some(value.to_owned()));
    assert_eq!(cluster.read(), [pair("1", "a"), pair("2", "")]);
    let wide = cluster.options(&[("format", "bytes")]);
    let error = millrace_connectors::create_sink(&wide, &id_and_name(), true).err().unwrap();
    assert_eq!(error.state(), SqlState::INVALID_TABLE_DEFINITION, "{error}");
}

#[test]
fn changes_of_avro_keep_a_table() {
    let (cluster, registry) = (Cluster::new("avro-changes", 1), Registry::start().unwrap());
    let row = r#"{"type": "record", "name": "Value", "fields": [{"name": "id", "type": "long"}, {"name": "name", "type": ["null", "string"]}]}"#;
    let id = registry.add(
        &format!("{}-value", cluster.topic),
        avro(&format!(
            r#"{{"name": "before", "type": ["null", {row}]}}, {{"name": "after", "type": ["null", "Value"]}},
               {{"name": "source", "type": {{"type": "record", "name": "S", "fields": [{{"name": "db", "type": "string"}}]}}}},
               {{"name": "op", "type": "string"}}, {{"name": "ts_ms", "type": ["null", "long"]}}"#
        )),
    );
    cluster.send_bytes(&[
        (0, None, framed(id, b"\x00\x02\x02\x02\x02a\x02d\x02c\x00")),
        (0, None, framed(id, b"\x02\x02\x02\x02a\x02\x02\x00\x02d\x02u\x02\x08")),
        (0, None, framed(id, b"\x02\x02\x00\x00\x02d\x02d\x00")),
        (0, None, None),
        (0, None, framed(id, b"\x00\x00\x02d\x02t\x00")),
        (0, None, framed(id, b"\x00\x00\x02d\x02c\x00")),
    ]);
    let more = [("format", "avro"), ("schema.registry", &registry.url()[..]), ("envelope", "debezium")];
    let options = settled(cluster.options(&more)).unwrap();
    let (_, source) = create_feed(&options, &id_and_name(), &[0]).unwrap();
    let (lines, bad, _) = drain(&mut *open(&source, 0, 0, &[0, 1])).unwrap();
    assert_eq!(lines, ["1|a", "1|", "-1|"]);
    let reasons: Vec<_> = bad.iter().map(|record| record.reason.as_str()).collect();
    assert_eq!(reasons, ["unknown Debezium operation \"t\"", "the change has no row after it"]);
}

#[test]
fn changes_go_out_as_avro() {
    let (cluster, registry) = (Cluster::new("avro-out", 1), Registry::start().unwrap());
    let url = registry.url();
    let more = [("format", "avro"), ("schema.registry", &url[..]), ("envelope", "debezium"), ("key", "id")];
    let options = settled_sink(cluster.options(&more), &id_and_name()).unwrap();
    let schema = registry.of(&format!("{}-value", cluster.topic)).remove(0).to_string();
    assert!(schema.contains("Envelope") && schema.contains("before"), "{schema}");
    let mut first = sink(&options, false);
    first.recovered().unwrap();
    first.write(Tick(1), &[delta(&[(1, "a", 1), (2, "b", 1)])]).unwrap();
    first.write(Tick(2), &[delta(&[(1, "a", -1), (1, "c", 1), (2, "b", -1)])]).unwrap();
    first.flush().unwrap();
    let records = cluster.read_bytes();
    let row = |name: &[u8]| [b"\x02\x02\x02\x02\x02", name].concat();
    assert_eq!(records[0].1, framed(1, &[&b"\x00"[..], &row(b"a"), b"\x02c"].concat()));
    assert_eq!(records[2].1, framed(1, &[row(b"a"), row(b"c"), b"\x02u".to_vec()].concat()));
    // A second process corrects what differs, and sends nothing else.
    let mut second = sink(&options, false);
    second.write(Tick(3), &[delta(&[(1, "c", 1), (3, "d", 1)])]).unwrap();
    second.recovered().unwrap();
    second.flush().unwrap();
    assert_eq!(cluster.read_bytes().len(), 5);
    let options = settled(cluster.options(&more[..3])).unwrap();
    let (_, source) = create_feed(&options, &id_and_name(), &[0]).unwrap();
    let (lines, bad, _) = drain(&mut *open(&source, 0, 0, &[0, 1])).unwrap();
    assert_eq!((lines, bad.len()), (vec!["1|a".into(), "2|b".into(), "1|c".into(), "-2|".into(), "3|d".into()], 0));
}
