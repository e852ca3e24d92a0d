//! Arrays: element by element, and from texts like `{1,2,NULL,"a b"}`.

use super::{Purpose, cast};
use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringViewArray, StringViewBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use millrace_types::{Result, SqlError, SqlState};
use std::sync::Arc;

/// How many dimensions an array may have.
pub const MAX_DIMENSIONS: usize = 6;

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
    let mut depths: Vec<FieldRef> = vec![];
    let mut innermost = Arc::new(to.clone());
    while let Some(element) = element(&innermost) {
        innermost = element.clone();
        depths.push(innermost.clone());
    }
    let mut read = Read { elements: StringViewBuilder::new(), lengths: vec![vec![]; depths.len()] };
    for text in texts {
        match text {
            Some(text) => read.array(text)?,
            None => read.lengths[0].push(0),
        }
    }
    let elements: ArrayRef = Arc::new(read.elements.finish());
    let text = Field::new("", DataType::Utf8View, true);
    let mut values = cast(&elements, &text, &innermost, Purpose::Explicit, zone)?;
    // From the innermost arrays outwards.
    for (level, (lengths, element)) in read.lengths.into_iter().zip(depths).enumerate().rev() {
        let nulls: Option<NullBuffer> = if level == 0 { texts.nulls().cloned() } else { None };
        values = Arc::new(ListArray::try_new(element, OffsetBuffer::from_lengths(lengths), values, nulls)?);
    }
    Ok(values)
}

fn malformed(text: &str, detail: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\""))
        .with_detail(detail)
}

/// What has been read: the innermost elements, and the lengths of the arrays of each dimension.
struct Read {
    elements: StringViewBuilder,
    lengths: Vec<Vec<usize>>,
}

impl Read {
    fn array(&mut self, text: &str) -> Result<()> {
        let body = without_bounds(text.trim())?;
        if !body.starts_with('{') {
            return Err(malformed(text, "Array value must start with \"{\" or dimension information."));
        }
        let mut reader = Reader { text, chars: body.chars().peekable() };
        self.level(&mut reader, 0)?;
        reader.blanks();
        match reader.chars.next() {
            None => Ok(()),
            Some(_) => Err(malformed(text, "Junk after closing right brace.")),
        }
    }

    /// An array of a dimension, from its opening brace to its closing one.
    fn level(&mut self, reader: &mut Reader, level: usize) -> Result<usize> {
        reader.chars.next();
        let (mut length, mut inner) = (0, None);
        loop {
            reader.blanks();
            match reader.chars.peek() {
                None => return Err(reader.ended()),
                Some('}') if length == 0 => {
                    reader.chars.next();
                    break;
                }
                Some('{') if level + 1 < self.lengths.len() => {
                    let there = self.level(reader, level + 1)?;
                    if *inner.get_or_insert(there) != there {
                        let detail = "Multidimensional arrays must have sub-arrays with matching dimensions.";
                        return Err(malformed(reader.text, detail));
                    }
                }
                Some('{') if level + 1 == MAX_DIMENSIONS => {
                    let dimensions = reader.chars.clone().take_while(|c| *c == '{').count() + MAX_DIMENSIONS;
                    let message = format!(
                        "number of array dimensions ({dimensions}) exceeds the maximum allowed ({MAX_DIMENSIONS})"
                    );
                    return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
                }
                Some('{') => return Err(SqlError::unsupported("an array of more dimensions than its type has")),
                Some(_) if level + 1 < self.lengths.len() => {
                    return Err(SqlError::unsupported("an array of fewer dimensions than its type has"));
                }
                Some(_) => self.elements.append_option(reader.element()?),
            }
            length += 1;
            reader.blanks();
            match reader.chars.next() {
                Some(',') => {
                    reader.blanks();
                    if reader.chars.peek() == Some(&'}') {
                        return Err(malformed(reader.text, "Unexpected \"}\" character."));
                    }
                }
                Some('}') => break,
                None => return Err(reader.ended()),
                Some(other) => return Err(malformed(reader.text, &format!("Unexpected \"{other}\" character."))),
            }
        }
        self.lengths[level].push(length);
        Ok(length)
    }
}

/// `[1:2][1:3]={...}` without its bounds, which start at 1 here.
fn without_bounds(text: &str) -> Result<&str> {
    match text.split_once('=') {
        Some((bounds, body)) if bounds.starts_with('[') => {
            let ranges = bounds.trim().split('[').skip(1);
            let from_one = |range: &str| !range.contains(':') || range.starts_with("1:");
            match ranges.clone().all(from_one) {
                true => Ok(body.trim_start()),
                false => Err(SqlError::unsupported("an array whose subscripts do not start at 1")),
            }
        }
        _ => Ok(text),
    }
}

struct Reader<'a> {
    text: &'a str,
    chars: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Reader<'_> {
    fn ended(&self) -> SqlError {
        malformed(self.text, "Unexpected end of input.")
    }

    fn blanks(&mut self) {
        while self.chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
    }

    /// An element up to the comma or brace behind it; `None` is NULL.
    fn element(&mut self) -> Result<Option<String>> {
        let (mut item, mut quoted, mut kept) = (String::new(), false, 0);
        while let Some(c) = self.chars.next_if(|c| !matches!(c, ',' | '}' | '{')) {
            match c {
                '"' => {
                    quoted = true;
                    quoted_text(&mut self.chars, &mut item).ok_or_else(|| self.ended())?;
                    kept = item.len();
                }
                '\\' => {
                    item.extend(self.chars.next());
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
            (false, "") => {
                let next = self.chars.peek().copied().unwrap_or('}');
                Err(malformed(self.text, &format!("Unexpected \"{next}\" character.")))
            }
            (false, null) if null.eq_ignore_ascii_case("null") => Ok(None),
            _ => Ok(Some(item)),
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
