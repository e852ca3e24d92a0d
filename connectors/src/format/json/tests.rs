//! The decoder against serde_json, and the guided way against the general one.

use super::*;
use crate::source::Chunk;
use crate::value::Epoch;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, Schema, TimestampMicrosecondType};
use millrace_types::{Offset, SqlType, field_of};
use std::sync::Arc;

fn bids() -> SchemaRef {
    use SqlType::*;
    Arc::new(Schema::new(vec![
        field_of("auction", &Int8, true),
        field_of("price", &Int8, false),
        field_of("channel", &Text, true),
        field_of("date_time", &Timestamp, true),
        field_of("extra", &Jsonb, true),
        field_of("tags", &Array(Box::new(Text)), true),
        field_of("inner.x", &Float8, true),
    ]))
}

fn decode_with(mut format: JsonLines, schema: &SchemaRef, text: &[u8], offset: u64) -> Chunk {
    let block = Block::new(text.to_vec(), offset);
    let mut rows = Rows::new(schema.clone(), Epoch::default());
    rows.set_limit(usize::MAX);
    let end = format.decode(&block, 0, true, &mut rows).unwrap();
    assert_eq!(end, text.len());
    rows.finish(&block, Offset(offset + end as u64)).unwrap()
}

fn decode(schema: &SchemaRef, text: &str) -> Chunk {
    decode_with(JsonLines::new(schema, 1 << 20), schema, text.as_bytes(), 0)
}

fn reasons(chunk: &Chunk) -> Vec<(u64, &str)> {
    chunk.bad.iter().map(|record| (record.offset.0, record.reason.as_str())).collect()
}

#[test]
fn lines_become_rows() {
    let chunk = decode(
        &bids(),
        r#"{"auction":1,"price":10,"channel":"a channel longer than a view","date_time":"2020-01-01 00:00:00","extra":{"a":[1]},"tags":["x","y\n"],"inner":{"x":1.5}}
{"auction":2,"price":20,"channel":"b","date_time":"2020-01-01 00:00:00","extra":"s","tags":[],"inner":{"x":2}}
  {"price":-3, "AUCTION" : 9223372036854775807, "date_time" : 1577836800001, "channel": 1.50, "extra": null, "unknown": {}}
"#,
    );
    assert_eq!(reasons(&chunk), []);
    let rows = &chunk.rows;
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values().to_vec(), [1, 2, i64::MAX]);
    assert_eq!(rows.column(1).as_primitive::<Int64Type>().values().to_vec(), [10, 20, -3]);
    let channels: Vec<_> = rows.column(2).as_string_view().iter().flatten().collect();
    assert_eq!(channels, ["a channel longer than a view", "b", "1.50"]);
    let times = rows.column(3).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value(2) - times.value(0), 1000);
    let extras: Vec<_> = rows.column(4).as_string_view().iter().collect();
    assert_eq!(extras, [Some(r#"{"a":[1]}"#), Some("\"s\""), None]);
    let tags = rows.column(5).as_list::<i32>();
    assert_eq!(tags.value(0).as_string_view().iter().flatten().collect::<Vec<_>>(), ["x", "y\n"]);
    assert!(tags.is_null(2) && rows.column(6).is_null(2));
}

#[test]
fn bad_lines_are_set_aside_with_their_place_and_reason() {
    let schema = Arc::new(Schema::new(vec![field_of("n", &SqlType::Int2, false), field_of("t", &SqlType::Text, true)]));
    let text = "{\"n\":1}\nnonsense\n{\"n\":99999}\n{\"n\":\"x\"}\n{\"t\":\"x\"}\n\n[1]\n{\"n\":2} x\n{\"n\":3,\"t\":\"\\u0000\"}\n{\"n\":4}";
    let chunk = decode(&schema, text);
    assert_eq!(
        reasons(&chunk),
        [
            (8, "invalid JSON at byte 1 of the line: expected an object"),
            (17, "column \"n\": value \"99999\" is out of range for type smallint"),
            (29, "column \"n\": invalid input syntax for type smallint: \"x\""),
            (39, "null value in column \"n\" violates not-null constraint"),
            (50, "invalid JSON at byte 1 of the line: expected an object"),
            (54, "invalid JSON at byte 8 of the line: something follows the object"),
            (64, "invalid JSON at byte 13 of the line: \\u0000 cannot be a character of a text"),
        ]
    );
    assert_eq!(chunk.bad[1].raw, b"{\"n\":99999}");
    assert_eq!(chunk.rows.num_rows(), 2);
}

#[test]
fn a_line_that_is_not_utf8_is_bad_and_its_neighbours_are_not() {
    let schema = Arc::new(Schema::new(vec![field_of("t", &SqlType::Text, true)]));
    let mut text = b"{\"t\":\"\xC3\xA4\"}\n{\"t\":\"\xFF\"}\n".to_vec();
    text.extend_from_slice(b"{\"t\":\"z\"}");
    let chunk = decode_with(JsonLines::new(&schema, 100), &schema, &text, 0);
    assert_eq!(reasons(&chunk), [(11, "invalid byte sequence for encoding \"UTF8\"")]);
    assert_eq!(chunk.rows.column(0).as_string_view().iter().flatten().collect::<Vec<_>>(), ["ä", "z"]);
}

#[test]
fn without_columns_lines_are_counted() {
    let chunk = decode(&Arc::new(Schema::empty()), "{\"a\":1}\n{\"a\":2}\nx\n{}\n");
    assert_eq!((chunk.rows.num_rows(), chunk.bad.len()), (3, 1));
}

#[test]
fn the_last_of_equal_keys_wins_and_the_same_case_wins_over_another() {
    let schema = Arc::new(Schema::new(vec![field_of("n", &SqlType::Int8, true)]));
    let text = "{\"n\":1,\"n\":2}\n{\"n\":3,\"n\":4}\n{\"n\":5,\"N\":6}\n{\"N\":7,\"n\":8}\n{\"N\":9}\n{\"n\":10}\n{\"N\":11,\"N\":12}\n";
    let chunk = decode(&schema, text);
    assert_eq!(chunk.rows.column(0).as_primitive::<Int64Type>().values().to_vec(), [2, 4, 5, 8, 9, 10, 12]);
}

/// A generator of numbers that is the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Lines much alike, some with fields left out, changed or in another order, some damaged.
fn mutated(dice: &mut Dice) -> Vec<u8> {
    const VALUES: &[&str] = &[
        "1",
        "-7",
        "12345678",
        "1234567890123456789",
        "99999999999999999999",
        "1.5",
        "1e3",
        "0",
        "-0",
        "01",
        "true",
        "null",
        "\"text\"",
        "\"a much longer text than that\"",
        "\"with \\\"quotes\\\" and \\u00e4\"",
        "\"\\ud800\"",
        "\"ä😀\"",
        "\"2020-01-01 00:00:00.123\"",
        "\"2020-02-30 00:00:00\"",
        "{\"x\":1}",
        "{\"x\":\"y\",\"x\":2}",
        "[]",
        "[1,\"a\\n\",null]",
        "[1,]",
        "\"tab\there\"",
        "\"12\"",
    ];
    const KEYS: &[&str] =
        &["auction", "price", "channel", "date_time", "extra", "tags", "inner", "Price", "other", "inner.x"];
    let mut text = Vec::new();
    for _ in 0..20 {
        let mut members = Vec::new();
        for key in KEYS.iter().take(7 + dice.roll(4)) {
            if dice.roll(8) > 0 {
                let usual = ["1", "22", "\"some text\"", "\"2020-01-01 00:00:00.123\"", "{}", "[\"a\"]", "{\"x\":2.5}"];
                let at = KEYS.iter().position(|other| other == key).unwrap();
                let value =
                    if dice.roll(5) == 0 { VALUES[dice.roll(VALUES.len())] } else { usual.get(at).unwrap_or(&"0") };
                let blank = if dice.roll(40) == 0 { " " } else { "" };
                members.push(format!("\"{key}\":{blank}{value}"));
            }
        }
        if dice.roll(10) == 0 && members.len() > 1 {
            let (a, b) = (dice.roll(members.len()), dice.roll(members.len()));
            members.swap(a, b);
        }
        let mut line = format!("{{{}}}", members.join(",")).into_bytes();
        if dice.roll(6) == 0 {
            let at = dice.roll(line.len());
            match dice.roll(3) {
                0 => line[at] = b"\"\\{}[],:0x \xFF\x01"[dice.roll(13)],
                1 => line.truncate(at),
                _ => line.insert(at, b"\"\\{}[],:0x"[dice.roll(10)]),
            }
        }
        text.extend_from_slice(&line);
        text.push(b'\n');
    }
    text
}

#[test]
fn guessing_changes_nothing() {
    let mut dice = Dice(1);
    let all = bids();
    for _ in 0..2000 {
        let text = mutated(&mut dice);
        let columns: Vec<usize> = (0..all.fields().len()).filter(|_| dice.roll(3) > 0).collect();
        let schema = Arc::new(all.project(&columns).unwrap());
        let guided = decode_with(JsonLines::new(&schema, 1 << 20), &schema, &text, 5);
        let general = decode_with(JsonLines::without_guessing(&schema, 1 << 20), &schema, &text, 5);
        assert_eq!(guided.rows, general.rows, "{}", String::from_utf8_lossy(&text));
        assert_eq!(guided.bad, general.bad, "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn a_line_is_json_exactly_if_serde_json_says_so() {
    let mut dice = Dice(2);
    let none = Arc::new(Schema::empty());
    let (mut good, mut bad) = (0, 0);
    for _ in 0..2000 {
        for line in mutated(&mut dice).split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let ours = decode_with(JsonLines::new(&none, 1 << 20), &none, line, 0).rows.num_rows() == 1;
            let theirs = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line);
            assert_eq!(ours, theirs.is_ok(), "{}: {theirs:?}", String::from_utf8_lossy(line));
            if ours { good += 1 } else { bad += 1 }
        }
    }
    assert!(good > 10_000 && bad > 2_000, "{good} good and {bad} bad lines are no mixture");
}

#[test]
fn values_are_those_of_serde_json() {
    let mut dice = Dice(3);
    let schema = Arc::new(Schema::new(vec![field_of("channel", &SqlType::Text, true)]));
    for _ in 0..2000 {
        let text = mutated(&mut dice);
        let lines = text.split(|byte| *byte == b'\n');
        let theirs: Vec<Option<String>> = lines
            .filter_map(|line| serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line).ok())
            .map(|object| object.get("channel").and_then(|value| value.as_str().map(str::to_owned)))
            .collect();
        let ours = decode_with(JsonLines::new(&schema, 1 << 20), &schema, &text, 0);
        let ours = ours.rows.column(0).as_string_view();
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            // What is not a string is its JSON text here and nothing there.
            assert!(theirs.is_none() || ours == theirs.as_deref(), "{ours:?} is not {theirs:?}");
        }
    }
}
