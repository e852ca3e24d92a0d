//! Topics in and out, on the client's own mock cluster; with a real broker's address in `MILLRACE_KAFKA`, on that.
#![cfg(feature = "kafka")]

#[path = "kafka/cluster.rs"]
mod cluster;
#[path = "kafka/formats.rs"]
mod formats;

use arrow::array::{AsArray, RecordBatch, StringViewArray};
use arrow::datatypes::Int64Type;
use cluster::{Cluster, PATIENCE, drain, id_and_name, open, schema};
use millrace_connectors::{Poll, Sink, create_feed, create_sink, create_source, settled, settled_sink};
use millrace_types::{Delta, Offset, SqlState, SqlType, Tick, Weights};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, TopicPartitionList};
use std::sync::Arc;
use std::time::Instant;

#[test]
fn partitions_are_read_from_any_offset_with_what_is_beside_the_values() {
    let cluster = Cluster::new("plain", 2);
    let values: Vec<_> = (0..100).map(|n| format!("{{\"id\": {n},\n\"name\": \"n{n}\"}}")).collect();
    let records: Vec<_> =
        values.iter().enumerate().map(|(n, value)| ((n % 2) as i32, Some("k"), Some(value.as_bytes()))).collect();
    cluster.send(&records);
    let include = [("include.partition", "p"), ("include.offset", "o"), ("include.key", "k")];
    let options = settled(cluster.options(&include)).unwrap();
    let (full, source) = create_source(&options, &id_and_name()).unwrap();
    let names: Vec<_> = full.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "name", "k", "p", "o"]);
    let source = source.for_one_thread().unwrap();
    let (mut even, mut odd) = (open(&source, 0, 0, &[0, 3, 4]), open(&source, 1, 45, &[4, 1, 2]));
    let (lines, bad, end) = drain(&mut *even).unwrap();
    assert!(bad.is_empty());
    assert_eq!((lines.len(), &lines[3][..], end), (50, "6|0|3", Offset(50)));
    let (lines, _, _) = drain(&mut *odd).unwrap();
    assert_eq!(lines, ["45|n91|6b", "46|n93|6b", "47|n95|6b", "48|n97|6b", "49|n99|6b"]);
    cluster.send(&[(0, None, Some(br#"{"id": 7}"#))]);
    let begun = Instant::now();
    while !matches!(even.poll(10).unwrap(), Poll::Chunk(_)) {
        assert!(begun.elapsed() < PATIENCE);
        even.wait();
    }
    drop(odd);
    let mut part = open(&source, 1, 10, &[4]);
    assert!(part.end_at(Offset(13)));
    assert_eq!(drain(&mut *part).unwrap().0, ["10", "11", "12"]);
}

#[test]
fn a_start_is_settled_once() {
    let cluster = Cluster::new("start", 1);
    cluster.send(&[(0, None, Some(br#"{"id": 1}"#))]);
    let latest = settled(cluster.options(&[("scan.startup.mode", "latest")])).unwrap();
    cluster.send(&[(0, None, Some(br#"{"id": 2}"#))]);
    let (_, source) = create_source(&latest, &id_and_name()).unwrap();
    assert_eq!(drain(&mut *open(&source, 0, 0, &[0])).unwrap().0, ["2"]);
    assert_eq!(settled(latest.clone()).unwrap(), latest);
    let options = [("connector", "kafka"), ("topic", "none"), ("properties.bootstrap.server", &cluster.servers[..])];
    let nothing: Vec<_> = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    if std::env::var("MILLRACE_KAFKA").is_ok() {
        assert_eq!(settled(nothing).unwrap_err().state(), SqlState::UNDEFINED_OBJECT);
    }
}

#[test]
fn bad_records_are_known_by_offset_and_the_others_count() {
    let cluster = Cluster::new("bad", 1);
    let records: [Option<&[u8]>; 6] =
        [Some(br#"{"id": 1}"#), Some(b"{"), None, Some(br#"{"id": "x"}"#), Some(b"\xff"), Some(br#"{"id": 2}"#)];
    cluster.send(&records.map(|value| (0, None, value)));
    let (_, source) =
        create_source(&settled(cluster.options(&[("include.offset", "o")])).unwrap(), &id_and_name()).unwrap();
    let (lines, bad, _) = drain(&mut *open(&source, 0, 0, &[0, 2])).unwrap();
    assert_eq!(lines, ["1|0", "2|5"]);
    let offsets: Vec<_> = bad.iter().map(|record| (record.offset.0, record.raw.as_slice())).collect();
    assert_eq!(offsets, [(1, &b"{"[..]), (2, b""), (3, br#"{"id": "x"}"#), (4, b"\xff")]);
    let tolerant = settled(cluster.options(&[("on_error", "null")])).unwrap();
    let (_, source) = create_source(&tolerant, &id_and_name()).unwrap();
    assert_eq!(drain(&mut *open(&source, 0, 0, &[0])).unwrap().0, ["1", "", "", "", "2"]);
    let strict = settled(cluster.options(&[("on_error", "fail")])).unwrap();
    let (_, source) = create_source(&strict, &id_and_name()).unwrap();
    let error = drain(&mut *open(&source, 0, 0, &[0])).unwrap_err();
    assert!(error.message().starts_with("offset 1 of partition 0: invalid JSON"), "{error}");
    let bytes = settled(cluster.options(&[("format", "bytes")])).unwrap();
    let (_, source) = create_source(&bytes, &schema(&[("v", SqlType::Bytea)])).unwrap();
    assert_eq!(drain(&mut *open(&source, 0, 0, &[0])).unwrap().0[1..3], ["7b", ""]);
}

#[test]
fn upserts_and_debezium_changes_say_which_rows_are_gone() {
    let cluster = Cluster::new("upsert", 1);
    let key = Some(r#"{"id": 1}"#);
    cluster.send(&[
        (0, key, Some(br#"{"id": 1, "name": "a"}"#)),
        (0, key, None),
        (0, Some("2"), None),
        (0, None, None),
        (0, key, Some(br#"{"id": 1, "name": "b"}"#)),
    ]);
    let options = settled(cluster.options(&[("envelope", "upsert"), ("include.offset", "o")])).unwrap();
    assert_eq!(create_source(&options, &id_and_name()).unwrap_err().state(), SqlState::FEATURE_NOT_SUPPORTED);
    let (_, source) = create_feed(&options, &id_and_name(), &[0]).unwrap();
    let (lines, bad, _) = drain(&mut *open(&source, 0, 0, &[0, 1, 2])).unwrap();
    assert_eq!(lines, ["1|a|0", "-1||1", "-2||2", "1|b|4"]);
    assert_eq!((bad.len(), bad[0].offset), (1, Offset(3)));

    let cluster = Cluster::new("debezium", 1);
    cluster.send(&[
        (0, key, Some(br#"{"op":"c","before":null,"after":{"id":1,"name":"a"}}"#)),
        (0, key, Some(br#"{"payload":{"op":"d","before":{"id":1,"name":"a"},"after":null}}"#)),
        (0, key, None),
    ]);
    let options = settled(cluster.options(&[("envelope", "debezium")])).unwrap();
    let (_, source) = create_feed(&options, &id_and_name(), &[0]).unwrap();
    let (lines, bad, _) = drain(&mut *open(&source, 0, 0, &[0, 1])).unwrap();
    assert_eq!((lines, bad.len()), (vec!["1|a".to_owned(), "-1|".to_owned()], 0));
}

pub fn delta(rows: &[(i64, &str, i64)]) -> Delta {
    let ids = arrow::array::Int64Array::from_iter_values(rows.iter().map(|row| row.0));
    let names = StringViewArray::from_iter_values(rows.iter().map(|row| row.1));
    let batch = RecordBatch::try_new(id_and_name(), vec![Arc::new(ids), Arc::new(names)]).unwrap();
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().len(), rows.len());
    Delta::new(batch, Weights::Each(rows.iter().map(|row| row.2).collect::<Vec<_>>().into()))
}

pub fn sink(options: &[(String, String)], append_only: bool) -> Box<dyn Sink> {
    create_sink(options, &id_and_name(), append_only).unwrap()
}

#[test]
fn a_sink_goes_on_where_its_topic_ends() {
    for delivery in ["at_least_once", "exactly_once"] {
        let make = if delivery == "exactly_once" { Cluster::real } else { Cluster::new };
        let cluster = make("added", 1);
        cluster.send(&[(0, None, Some(b"before"))]);
        let options = settled_sink(cluster.options(&[("delivery", delivery)]), &id_and_name()).unwrap();
        let mut first = sink(&options, true);
        first.recovered().unwrap();
        first.write(Tick(1), &[delta(&[(1, "a", 1), (2, "b", 2)])]).unwrap();
        first.flush().unwrap();
        first.write(Tick(2), &[delta(&[(9, "lost", 1)])]).unwrap();
        if delivery == "at_least_once" {
            first.flush().unwrap();
        }
        // Another process: the rows come again in another order, with new ones between.
        let mut second = sink(&options, true);
        second.write(Tick(3), &[delta(&[(3, "c", 1), (2, "b", 2)])]).unwrap();
        second.write(Tick(4), &[delta(&[(1, "a", 1), (2, "b", 1), (9, "lost", 1)])]).unwrap();
        second.recovered().unwrap();
        second.flush().unwrap();
        let mut found: Vec<_> = cluster.read().into_iter().map(|(_, value)| value.unwrap()).collect();
        found.sort();
        let row = |id: i64, name: &str| format!("{{\"id\":{id},\"name\":\"{name}\"}}");
        let wanted =
            ["before".to_owned(), row(1, "a"), row(2, "b"), row(2, "b"), row(2, "b"), row(3, "c"), row(9, "lost")];
        let mut wanted = wanted.to_vec();
        wanted.sort();
        assert_eq!(found, wanted, "{delivery}");
        if delivery == "exactly_once" {
            first.write(Tick(5), &[delta(&[(7, "zombie", 1)])]).ok();
            let error = first.flush().unwrap_err();
            assert_eq!(error.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{error}");
        }
    }
}

#[test]
fn a_sink_goes_on_at_its_position() {
    for (delivery, envelope) in [("at_least_once", "plain"), ("exactly_once", "plain"), ("at_least_once", "upsert")] {
        let make = if delivery == "exactly_once" { Cluster::real } else { Cluster::new };
        let cluster = make(&format!("position-{envelope}"), 1);
        let given = cluster.options(&[("delivery", delivery), ("envelope", envelope), ("key", "id")]);
        let options = settled_sink(given, &id_and_name()).unwrap();
        let begun = |position: Option<&str>| {
            let mut sink = sink(&options, true);
            sink.begin(position).unwrap();
            sink
        };
        let write = |sink: &mut Box<dyn Sink>, rows: &[(i64, &str)]| {
            let rows: Vec<_> = rows.iter().map(|(id, name)| (*id, *name, 1)).collect();
            sink.write(Tick(1), &[delta(&rows)]).unwrap();
            sink.flush().unwrap();
        };
        let mut first = begun(None);
        first.recovered().unwrap();
        write(&mut first, &[(1, "a"), (2, "b")]);
        let position = first.position().unwrap();
        write(&mut first, &[(1, "a"), (3, "c")]);
        // Another process: what came after the position comes again, and some of it later.
        let mut second = begun(Some(&position));
        assert_eq!(second.position().unwrap(), position);
        write(&mut second, &[(3, "c"), (4, "d")]);
        let position = second.position();
        if envelope == "upsert" {
            assert_eq!(position, None);
            write(&mut second, &[(1, "a")]);
            second.recovered().unwrap();
        } else {
            let mut third = begun(position.as_deref());
            write(&mut third, &[(1, "a"), (5, "e")]);
            third.recovered().unwrap();
            write(&mut third, &[(1, "a")]);
            let mut fourth = begun(third.position().as_deref());
            write(&mut fourth, &[(1, "a")]);
        }
        let mut found: Vec<_> = cluster.read().into_iter().map(|(_, value)| value.unwrap()).collect();
        found.sort();
        let again = if envelope == "upsert" { 0 } else { 2 };
        let mut wanted = vec![(1, "a"); 2 + again];
        wanted.extend([(2, "b"), (3, "c"), (4, "d")]);
        wanted.extend((again > 0).then_some((5, "e")));
        let wanted: Vec<_> = wanted.iter().map(|(id, name)| format!("{{\"id\":{id},\"name\":\"{name}\"}}")).collect();
        assert_eq!(found, wanted, "{delivery} {envelope}");
    }
}

#[test]
fn records_go_to_the_topics_that_their_rows_name() {
    let (own, other) = (Cluster::real("own", 1), Cluster::real("other", 1));
    // What others have sent does not count as delivered.
    other.send(&[(0, None, Some(b"{\"id\":1}"))]);
    let given = own.options(&[("delivery", "exactly_once"), ("topic.column", "name")]);
    let options = settled_sink(given, &id_and_name()).unwrap();
    let (to_own, to_other) = (&own.topic[..], &other.topic[..]);
    let mut first = sink(&options, true);
    first.recovered().unwrap();
    first.write(Tick(1), &[delta(&[(1, to_other, 1), (2, to_own, 1)])]).unwrap();
    first.flush().unwrap();
    first.write(Tick(2), &[delta(&[(9, to_other, 1)])]).unwrap();
    // Another process, which nobody has told where the first one stood.
    let mut second = sink(&options, true);
    second.write(Tick(3), &[delta(&[(2, to_own, 1), (3, to_other, 1), (1, to_other, 1), (9, to_other, 1)])]).unwrap();
    second.recovered().unwrap();
    second.flush().unwrap();
    let position = second.position().unwrap();
    second.write(Tick(4), &[delta(&[(4, to_other, 1)])]).unwrap();
    second.flush().unwrap();
    // And one that goes on at a position.
    let mut third = sink(&options, true);
    third.begin(Some(&position)).unwrap();
    third.write(Tick(5), &[delta(&[(4, to_other, 1), (4, to_own, 1)])]).unwrap();
    third.flush().unwrap();
    let values = |cluster: &Cluster| cluster.read().into_iter().map(|(_, value)| value.unwrap()).collect::<Vec<_>>();
    let rows = |ids: &[i64]| ids.iter().map(|id| format!("{{\"id\":{id}}}")).collect::<Vec<_>>();
    assert_eq!(values(&own), rows(&[2, 4]));
    assert_eq!(values(&other), rows(&[1, 1, 3, 9, 4]));
    let by_key = own.options(&[("topic.column", "name"), ("envelope", "upsert"), ("key", "id")]);
    let error = settled_sink(by_key, &id_and_name()).unwrap_err();
    assert_eq!(error.state(), SqlState::FEATURE_NOT_SUPPORTED, "{error}");
}

#[test]
fn a_sink_by_key_corrects_what_differs() {
    for envelope in ["upsert", "debezium"] {
        let cluster = Cluster::new("bykey", 1);
        let options = settled_sink(cluster.options(&[("envelope", envelope), ("key", "id")]), &id_and_name()).unwrap();
        let mut first = sink(&options, false);
        first.recovered().unwrap();
        first.write(Tick(1), &[delta(&[(1, "a", 1), (2, "b", 1), (3, "c", 1)])]).unwrap();
        first.write(Tick(2), &[delta(&[(1, "a", -1), (1, "A", 1)]), delta(&[(4, "x", 1), (4, "x", -1)])]).unwrap();
        first.flush().unwrap();
        assert_eq!(cluster.read().len(), 4);
        let mut second = sink(&options, false);
        second.write(Tick(3), &[delta(&[(1, "old", 1), (2, "b", 1), (5, "e", 1)])]).unwrap();
        second.write(Tick(4), &[delta(&[(1, "old", -1), (1, "new", 1)])]).unwrap();
        assert_eq!(cluster.read().len(), 4, "nothing is sent before all is known");
        second.recovered().unwrap();
        second.write(Tick(5), &[delta(&[(2, "b", -1)])]).unwrap();
        second.flush().unwrap();
        let found = cluster.read().split_off(4);
        let key = |id: i64| Some(format!("{{\"id\":{id}}}"));
        let row = |id: i64, name: &str| format!("{{\"id\":{id},\"name\":\"{name}\"}}");
        let change = |op: &str, before: Option<String>, after: Option<String>| {
            let or_null = |row: Option<String>| row.unwrap_or("null".to_owned());
            match envelope {
                "upsert" => after,
                _ => Some(format!("{{\"op\":\"{op}\",\"before\":{},\"after\":{}}}", or_null(before), or_null(after))),
            }
        };
        let wanted = [
            (key(1), change("u", Some(row(1, "A")), Some(row(1, "new")))),
            (key(5), change("c", None, Some(row(5, "e")))),
            (key(3), change("d", Some(row(3, "c")), None)),
            (key(2), change("d", Some(row(2, "b")), None)),
        ];
        assert_eq!(found, wanted, "{envelope}");
    }
}

#[test]
fn a_group_shows_how_far_a_topic_is_read() {
    let cluster = Cluster::new("group", 1);
    cluster.send(&[(0, None, Some(br#"{"id": 1}"#)), (0, None, Some(br#"{"id": 2}"#))]);
    let group = format!("group of {}", cluster.topic);
    let options = settled(cluster.options(&[("properties.group.id", &group)])).unwrap();
    let (_, source) = create_source(&options, &id_and_name()).unwrap();
    let source = source.for_one_thread().unwrap();
    let mut reader = open(&source, 0, 0, &[0]);
    drain(&mut *reader).unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&cluster.topic, 0);
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &cluster.servers).set("group.id", &group).create().unwrap();
    let begun = Instant::now();
    while client.committed_offsets(asked.clone(), PATIENCE).unwrap().elements()[0].offset()
        != rdkafka::Offset::Offset(2)
    {
        assert!(begun.elapsed() < PATIENCE);
        reader.wait();
    }
}
