//! Arrays: element by element, and from texts like `{1,2,NULL,"a b"}`.

use super::{Purpose, cast};
use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayBuilder, ArrayRef, AsArray, ListArray, StringViewArray, StringViewBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use millrace_types::{Result, SqlError, SqlState};
use std::sync::Arc;

/// An array with each element cast.
pub fn elementwise(array: &ArrayRef, from: &Field, to: &Field, purpose: Purpose, zone: &Tz) -> Result<ArrayRef> {
    let (Some(source), Some(target)) = (element(from), element(to)) else {
        return Err(SqlError::unsupported(format!("cast from {} to {}", from.data_type(), to.data_type())));
    };
    let list = array.as_list::<i32>();
    let values = cast(list.values(), source, target, purpose, zone)?;
    Ok(Arc::new(ListArray::try_new(target.clone(), list.offsets().clone(), values, list.nulls().cloned())?))
}

fn element(field: &Field) -> Option<&FieldRef> {
    match field.data_type() {
        DataType::List(element) => Some(element),
        _ => None,
    }
}

/// Texts read as arrays.
pub fn parsed(texts: &StringViewArray, to: &Field, zone: &Tz) -> Result<ArrayRef> {
    let Some(target) = element(to) else {
        return Err(SqlError::unsupported(format!("cast to {}", to.data_type())));
    };
    let mut elements = StringViewBuilder::new();
    let mut lengths = Vec::with_capacity(texts.len());
    for text in texts {
        let before = elements.len();
        if let Some(text) = text {
            elements_of(text, &mut elements)?;
        }
        lengths.push(elements.len() - before);
    }
    let elements: ArrayRef = Arc::new(elements.finish());
    let text = Field::new("", DataType::Utf8View, true);
    let values = cast(&elements, &text, target, Purpose::Explicit, zone)?;
    let nulls: Option<NullBuffer> = texts.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(target.clone(), OffsetBuffer::from_lengths(lengths), values, nulls)?))
}

fn malformed(text: &str, detail: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\""))
        .with_detail(detail)
}

fn elements_of(text: &str, out: &mut StringViewBuilder) -> Result<()> {
    let trimmed = text.trim();
    let Some(inner) = trimmed.strip_prefix('{') else {
        return Err(malformed(text, "Array value must start with \"{\" or dimension information."));
    };
    let Some(inner) = inner.strip_suffix('}') else {
        return Err(malformed(text, "Unexpected end of input."));
    };
    if inner.trim().is_empty() {
        return Ok(());
    }
    let mut chars = inner.chars().peekable();
    loop {
        let (mut item, mut quoted, mut kept) = (String::new(), false, 0);
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        let mut more = false;
        while let Some(c) = chars.next() {
            match c {
                ',' => {
                    more = true;
                    break;
                }
                '{' | '}' => return Err(SqlError::unsupported("an array of more than one dimension")),
                '"' => {
                    quoted = true;
                    quoted_text(&mut chars, &mut item).ok_or_else(|| malformed(text, "Unexpected end of input."))?;
                    kept = item.len();
                }
                '\\' => {
                    item.extend(chars.next());
                    kept = item.len();
                }
                c => {
                    item.push(c);
                    if !c.is_ascii_whitespace() {
                        kept = item.len();
                    }
                }
            }
        }
        item.truncate(kept);
        match (quoted, item.as_str()) {
            (false, "") => return Err(malformed(text, "Unexpected \",\" character.")),
            (false, null) if null.eq_ignore_ascii_case("null") => out.append_null(),
            (_, item) => out.append_value(item),
        }
        if !more {
            return Ok(());
        }
    }
}

fn quoted_text(chars: &mut impl Iterator<Item = char>, item: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '\\' => item.push(chars.next()?),
            c => item.push(c),
        }
    }
}
