//! Arrays as texts.

use super::{flat, list_at};
use crate::format::write_value;
use crate::function::Call;
use crate::generic::{element_of, generic};
use arrow::array::{Array, ArrayRef, StringViewBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::Result;
use std::sync::Arc;

pub fn functions() -> Vec<ScalarUDF> {
    vec![generic("array_to_string", &[], types, joined)]
}

fn types(fields: &[FieldRef]) -> Result<Option<(Vec<DataType>, Field)>> {
    let Some((array, texts)) = fields.split_first() else { return Ok(None) };
    let text = |field: &FieldRef| field.data_type().is_string() || field.data_type().is_null();
    let is_array = element_of(array).is_some() || array.data_type().is_null();
    let fits = is_array && (1..=2).contains(&texts.len()) && texts.iter().all(text);
    let texts = std::iter::repeat_n(DataType::Utf8View, texts.len());
    let taken = std::iter::once(array.data_type().clone()).chain(texts).collect();
    Ok(fits.then(|| (taken, Field::new("", DataType::Utf8View, true))))
}

/// The elements of all dimensions between separators; NULLs are left out, or stand as the third argument.
fn joined(call: &Call) -> Result<ArrayRef> {
    let mut builder = StringViewBuilder::with_capacity(call.rows);
    let (element, _) = super::innermost(&call.fields[0]);
    for row in 0..call.rows {
        let Some(list) = list_at(&call.arrays[0], row).filter(|_| call.arrays[1].is_valid(row)) else {
            builder.append_null();
            continue;
        };
        let separator = call.text(1).value(row);
        let null = (call.count() > 2 && call.arrays[2].is_valid(row)).then(|| call.text(2).value(row));
        let (values, range) = flat(list, row);
        let (mut text, mut first) = (String::new(), true);
        for at in range {
            let is_null = values.is_null(at);
            if is_null && null.is_none() {
                continue;
            }
            if !first {
                text.push_str(separator);
            }
            first = false;
            match null.filter(|_| is_null) {
                Some(null) => text.push_str(null),
                None if values.data_type() == &DataType::Boolean => {
                    text.push(if arrow::array::AsArray::as_boolean(&values).value(at) { 't' } else { 'f' });
                }
                None => write_value(&mut text, &values, at, &element, &call.zone)?,
            }
        }
        builder.append_value(text);
    }
    Ok(Arc::new(builder.finish()))
}
