//! The parts of texts. What gives arrays as a function gives the same values as a set.

use crate::function::{Call, Overload, immutable};
use crate::regex::{Patterns, each_match, split, string_to_array};
use arrow::array::{Array, ArrayRef, ListBuilder, StringViewBuilder};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlType};
use std::sync::Arc;

const TEXT: SqlType = SqlType::Text;

pub fn functions() -> Vec<ScalarUDF> {
    let texts = || SqlType::Array(Box::new(TEXT));
    let groups = || SqlType::Array(Box::new(texts()));
    vec![
        immutable(
            "regexp_split_to_table",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT], texts(), |call| split(call, "regexp_split_to_table")),
                Overload::new(&[TEXT, TEXT, TEXT], texts(), |call| split(call, "regexp_split_to_table")),
            ],
        ),
        immutable(
            "string_to_table",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT], texts(), string_to_array),
                Overload::new(&[TEXT, TEXT, TEXT], texts(), string_to_array),
            ],
        ),
        immutable(
            "regexp_matches",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT], groups(), matches),
                Overload::new(&[TEXT, TEXT, TEXT], groups(), matches),
            ],
        ),
    ]
}

/// The groups of the first match, or with the flag `g` of every match; the whole match without groups.
fn matches(call: &Call) -> Result<ArrayRef> {
    let patterns = Patterns::default();
    let mut builder = ListBuilder::new(ListBuilder::new(StringViewBuilder::new()));
    for row in 0..call.rows {
        if call.arrays.iter().any(|array| array.is_null(row)) {
            builder.append_null();
            continue;
        }
        let flags = if call.count() > 2 { call.text(2).value(row) } else { "" };
        let every = flags.contains('g');
        patterns.with(call.text(1).value(row), flags, |pattern| {
            let first = usize::from(pattern.count() > 1);
            each_match(pattern, call.text(0).value(row), 0, true, |groups| {
                let list = builder.values();
                for at in first..pattern.count() {
                    list.values().append_option(groups.text(at));
                }
                list.append(true);
                every
            })
        })?;
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}
