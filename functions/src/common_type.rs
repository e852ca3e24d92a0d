//! The type that values of two types have together: in arrays, and between an array and an element.

use crate::generic::{element_of, like, list_of};
use arrow::datatypes::{DataType, Field};
use millrace_types::{SqlType, field_of, sql_type_of};

/// The field of values of either field's type; `None` where Postgres converts neither to the other by itself.
pub fn common(a: &Field, b: &Field) -> Option<Field> {
    use SqlType::*;
    let (x, y) = (sql_type_of(a), sql_type_of(b));
    if x == y && (a.data_type() == b.data_type() || is_text(&x)) {
        return Some(like(a));
    }
    if let (Some(a), Some(b)) = (element_of(a), element_of(b)) {
        return common(a, b).map(|element| list_of(&element));
    }
    if let (Numeric(_), Numeric(_) | Int2 | Int4 | Int8) | (Int2 | Int4 | Int8, Numeric(_)) = (&x, &y) {
        return Some(numeric(a, b));
    }
    match (&x, &y) {
        (Unknown, _) => return Some(like(b)),
        (_, Unknown) => return Some(like(a)),
        _ => {}
    }
    if is_text(&x) && is_text(&y) {
        return Some(field_of("", &without_length(&x), true));
    }
    match (rank(&x)?, rank(&y)?) {
        (x, y) if x / 10 != y / 10 => None,
        (x, y) if x >= y => Some(like(a)),
        _ => Some(like(b)),
    }
}

/// A text type of any length: what texts of two types have together is of the first one's.
fn without_length(sql_type: &SqlType) -> SqlType {
    match sql_type {
        SqlType::Varchar(_) => SqlType::Varchar(None),
        SqlType::Bpchar(_) => SqlType::Bpchar(None),
        other => other.clone(),
    }
}

/// The element that an array and a value beside it have together: a text is read as what the array holds.
pub fn common_element(element: &Field, value: &Field) -> Option<Field> {
    let (held, given) = (sql_type_of(element), sql_type_of(value));
    match given == SqlType::Text && !is_text(&held) && held != SqlType::Unknown {
        true => Some(like(element)),
        false => common(element, value),
    }
}

fn is_text(sql_type: &SqlType) -> bool {
    use SqlType::*;
    matches!(sql_type, Text | Varchar(_) | Bpchar(_) | Name | Char)
}

/// The place of a type in its family (the tens), whose later members take values of the earlier ones.
fn rank(sql_type: &SqlType) -> Option<u32> {
    use SqlType::*;
    Some(match sql_type {
        Int2 => 10,
        Int4 => 11,
        Int8 => 12,
        Numeric(_) => 13,
        Float4 => 14,
        Float8 => 15,
        Date => 20,
        Timestamp => 21,
        Timestamptz => 22,
        _ => return None,
    })
}

/// A numeric for both: with the finer scale, and shown without trailing zeros where the scales differ.
fn numeric(a: &Field, b: &Field) -> Field {
    let scale = |field: &Field| match field.data_type() {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    };
    let (x, y) = (scale(a), scale(b));
    let data_type = DataType::Decimal128(38, x.max(y).max(0));
    let marked = [a, b].iter().any(|field| sql_type_of(field) == SqlType::Numeric(None));
    match marked || x != y {
        true => field_of("", &SqlType::Numeric(None), true).with_data_type(data_type),
        false => Field::new("", data_type, true),
    }
}
