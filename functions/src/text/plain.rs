//! The functions that look at a text, or at bytes, as a whole: lengths, case, trimming, searching, replacing.

use super::bytes::{bytes, position, trimmed};
use crate::function::{Call, Overload, immutable};
use arrow::array::ArrayRef;
use arrow::datatypes::Int32Type;
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlType};
use std::collections::HashMap;

const TEXT: SqlType = SqlType::Text;
const INT: SqlType = SqlType::Int4;
const BYTEA: SqlType = SqlType::Bytea;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        immutable(
            "length",
            &["char_length", "character_length"],
            measures(|text| text.chars().count(), |bytes| bytes.len()),
        ),
        immutable("octet_length", &[], measures(str::len, |bytes| bytes.len())),
        immutable("bit_length", &[], measures(|text| text.len() * 8, |bytes| bytes.len() * 8)),
        immutable("upper", &[], vec![mapped(upper)]),
        immutable("lower", &[], vec![mapped(lower)]),
        immutable("reverse", &[], vec![mapped(|text| text.chars().rev().collect())]),
        immutable("btrim", &["trim"], trims(true, true)),
        immutable("ltrim", &[], trims(true, false)),
        immutable("rtrim", &[], trims(false, true)),
        immutable(
            "strpos",
            &["position", "instr"],
            vec![
                Overload::new(&[TEXT, TEXT], INT, |call| {
                    call.values::<Int32Type>(|row| Ok(Some(place(call.text(0).value(row), call.text(1).value(row)))))
                }),
                Overload::new(&[BYTEA, BYTEA], INT, |call| {
                    call.values::<Int32Type>(|row| Ok(Some(position(bytes(call, 0, row), bytes(call, 1, row)))))
                }),
            ],
        ),
        immutable(
            "starts_with",
            &[],
            vec![Overload::new(&[TEXT, TEXT], SqlType::Bool, |call| {
                call.booleans(|row| Ok(Some(call.text(0).value(row).starts_with(call.text(1).value(row)))))
            })],
        ),
        immutable("replace", &[], vec![Overload::new(&[TEXT, TEXT, TEXT], TEXT, replaced)]),
        immutable("translate", &[], vec![Overload::new(&[TEXT, TEXT, TEXT], TEXT, translated)]),
    ]
}

/// Lengths of a text and of bytes.
fn measures(text: fn(&str) -> usize, of_bytes: fn(&[u8]) -> usize) -> Vec<Overload> {
    vec![
        Overload::new(&[TEXT], INT, move |call| {
            call.values::<Int32Type>(|row| Ok(Some(text(call.text(0).value(row)) as i32)))
        }),
        Overload::new(&[BYTEA], INT, move |call| {
            call.values::<Int32Type>(|row| Ok(Some(of_bytes(bytes(call, 0, row)) as i32)))
        }),
    ]
}

fn mapped(f: fn(&str) -> String) -> Overload {
    Overload::new(&[TEXT], TEXT, move |call| call.texts(|row| Ok(Some(f(call.text(0).value(row))))))
}

/// Characters whose counterpart is several ones stay as they are, as in the collation `C`.
fn upper(text: &str) -> String {
    let one = |c: char| {
        let mut upper = c.to_uppercase();
        if upper.len() == 1 { upper.next().unwrap_or(c) } else { c }
    };
    if text.is_ascii() { text.to_ascii_uppercase() } else { text.chars().map(one).collect() }
}

fn lower(text: &str) -> String {
    let one = |c: char| {
        let mut lower = c.to_lowercase();
        if lower.len() == 1 { lower.next().unwrap_or(c) } else { c }
    };
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.chars().map(one).collect() }
}

fn trims(left: bool, right: bool) -> Vec<Overload> {
    let trim = move |text: &str, set: &str| -> (usize, usize) {
        let outside = |c: char| set.contains(c);
        let head = if left { text.trim_start_matches(outside) } else { text };
        let from = text.len() - head.len();
        let kept = if right { head.trim_end_matches(outside) } else { head };
        (from, from + kept.len())
    };
    let cut = move |call: &Call, set: &dyn Fn(usize) -> String| -> Result<ArrayRef> {
        call.texts(|row| {
            let text = call.text(0).value(row);
            let (from, to) = trim(text, &set(row));
            Ok(Some(&text[from..to]))
        })
    };
    vec![
        Overload::new(&[TEXT], TEXT, move |call| {
            call.texts(|row| {
                let text = call.text(0).value(row);
                let (from, to) = trim(text, " ");
                Ok(Some(&text[from..to]))
            })
        }),
        Overload::new(&[TEXT, TEXT], TEXT, move |call| cut(call, &|row| call.text(1).value(row).to_owned())),
        Overload::new(&[BYTEA, BYTEA], BYTEA, move |call| {
            call.byteas(|row| Ok(trimmed(bytes(call, 0, row), bytes(call, 1, row), left, right).to_vec()))
        }),
    ]
}

/// The character, from 1, where a text begins in another; 0 when it does not.
fn place(text: &str, sought: &str) -> i32 {
    text.find(sought).map_or(0, |at| text[..at].chars().count() as i32 + 1)
}

fn replaced(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let (text, from, to) = (call.text(0).value(row), call.text(1).value(row), call.text(2).value(row));
        Ok(Some(if from.is_empty() { text.to_owned() } else { text.replace(from, to) }))
    })
}

/// Each character of the second argument becomes the one at its place in the third, or nothing.
fn translated(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let mut to = call.text(2).value(row).chars();
        let mut map: HashMap<char, Option<char>> = HashMap::new();
        for from in call.text(1).value(row).chars() {
            let target = to.next();
            map.entry(from).or_insert(target);
        }
        let characters = call.text(0).value(row).chars();
        Ok(Some(characters.filter_map(|c| map.get(&c).copied().unwrap_or(Some(c))).collect::<String>()))
    })
}
