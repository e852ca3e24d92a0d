//! `json_agg`, `jsonb_agg`, `json_object_agg` and `jsonb_object_agg`.

use super::collections::settled;
use super::gathered::Definition;
use super::sorted::Sorted;
use crate::format::write_value;
use crate::function::is_null;
use crate::json::{self, Json};
use crate::json_functions::json_text;
use crate::temporal::zone;
use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, StringViewBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of};
use std::ops::Range;
use std::sync::Arc;

/// The definitions of this family.
pub static DEFINITIONS: &[Definition] = &[
    Definition {
        name: "json_agg",
        aliases: &[],
        resolve: |fields| resolve(fields, 1, SqlType::Json),
        skips_nulls: false,
        within_group: false,
        finish: |rows| texts(rows, |rows, group, zone| Ok(format!("[{}]", elements(rows, group, zone)?))),
    },
    Definition {
        name: "jsonb_agg",
        aliases: &[],
        resolve: |fields| resolve(fields, 1, SqlType::Jsonb),
        skips_nulls: false,
        within_group: false,
        finish: |rows| {
            texts(rows, |rows, group, zone| {
                let items = group.map(|row| value(rows, 0, row, zone).map(json::canonical));
                Ok(Json::Array(items.collect::<Result<_>>()?).to_string())
            })
        },
    },
    Definition {
        name: "json_object_agg",
        aliases: &[],
        resolve: |fields| resolve(fields, 2, SqlType::Json),
        skips_nulls: false,
        within_group: false,
        finish: |rows| {
            texts(rows, |rows, group, zone| {
                let members = group.map(|row| {
                    let key = json::quoted(&key(rows, row, zone)?);
                    Ok(format!("{key} : {}", json_text(rows.argument(1), row, &rows.fields[1], zone)?))
                });
                Ok(format!("{{ {} }}", members.collect::<Result<Vec<_>>>()?.join(", ")))
            })
        },
    },
    Definition {
        name: "jsonb_object_agg",
        aliases: &[],
        resolve: |fields| resolve(fields, 2, SqlType::Jsonb),
        skips_nulls: false,
        within_group: false,
        finish: |rows| {
            texts(rows, |rows, group, zone| {
                let members = group.map(|row| Ok((key(rows, row, zone)?, json::canonical(value(rows, 1, row, zone)?))));
                Ok(json::object(members.collect::<Result<_>>()?).to_string())
            })
        },
    },
];

fn resolve(fields: &[FieldRef], arguments: usize, result: SqlType) -> Option<(Vec<DataType>, Field)> {
    let types = fields.iter().map(|field| settled(field.data_type())).collect();
    (fields.len() == arguments).then(|| (types, field_of("", &result, true)))
}

/// A text for each group that has rows.
fn texts(rows: &Sorted<'_>, text: impl Fn(&Sorted<'_>, Range<usize>, &Tz) -> Result<String>) -> Result<ArrayRef> {
    // Aggregates know no session.
    let zone = zone("UTC")?;
    let mut column = StringViewBuilder::with_capacity(rows.starts.len());
    for group in rows.groups() {
        match group.is_empty() {
            true => column.append_null(),
            false => column.append_value(text(rows, group, &zone)?),
        }
    }
    Ok(Arc::new(column.finish()))
}

fn value(rows: &Sorted<'_>, argument: usize, row: usize, zone: &Tz) -> Result<Json> {
    json::parse(&json_text(rows.argument(argument), row, &rows.fields[argument], zone)?)
}

/// All values; arrays and rows stand on lines of their own.
fn elements(rows: &Sorted<'_>, group: Range<usize>, zone: &Tz) -> Result<String> {
    let (values, field, first) = (rows.argument(0), &rows.fields[0], group.start);
    let mut text = String::new();
    for row in group {
        if row > first {
            text.push_str(", ");
            if matches!(values.data_type(), DataType::List(_) | DataType::Struct(_)) && values.is_valid(row) {
                text.push_str("\n ");
            }
        }
        text.push_str(&json_text(values, row, field, zone)?);
    }
    Ok(text)
}

fn key(rows: &Sorted<'_>, row: usize, zone: &Tz) -> Result<String> {
    let keys = rows.argument(0);
    if is_null(keys, row) {
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "field name must not be null"));
    }
    let mut text = String::new();
    write_value(&mut text, keys, row, &rows.fields[0], zone)?;
    Ok(text)
}
