//! One-dimensional arrays from text: `{1,NULL,"a b"}`.

use super::RowError;
use super::text::{parse_text, trim};
use crate::format::TextFormat;
use arrow::array::{ArrayRef, ListArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of};
use std::sync::Arc;

/// Reads array literals, and their elements all at once.
pub(super) fn parse(
    element: &SqlType,
    values: &[Option<&str>],
    format: &TextFormat,
) -> std::result::Result<ArrayRef, RowError> {
    let mut elements: Vec<Option<String>> = Vec::new();
    let mut lengths = Vec::with_capacity(values.len());
    let mut row_of_element = Vec::new();
    for (row, value) in values.iter().enumerate() {
        let before = elements.len();
        if let Some(text) = value {
            Literal { text, rest: trim(text) }.read(&mut elements).map_err(|error| RowError { row, error })?;
        }
        lengths.push(elements.len() - before);
        row_of_element.resize(elements.len(), row);
    }
    let texts: Vec<Option<&str>> = elements.iter().map(Option::as_deref).collect();
    let elements = parse_text(element, &texts, format)
        .map_err(|failed| RowError { row: row_of_element[failed.row], error: failed.error })?;
    let nulls = values.iter().map(Option::is_some).collect();
    Ok(list(element, elements, lengths, nulls))
}

/// The list array over `elements`, so many for each row.
pub(super) fn list(element: &SqlType, elements: ArrayRef, lengths: Vec<usize>, valid: Vec<bool>) -> ArrayRef {
    let field = Arc::new(field_of("item", element, true));
    let (offsets, nulls) = (OffsetBuffer::from_lengths(lengths), NullBuffer::from(valid));
    let rows = nulls.len();
    match ListArray::try_new(field.clone(), offsets, elements, Some(nulls)) {
        Ok(list) => Arc::new(list),
        // Only an element type without an Arrow type of its own does not fit: its values are unknown.
        Err(_) => new_null_array(&DataType::List(field), rows),
    }
}

/// An array literal being read.
struct Literal<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn malformed(&self, detail: &str) -> SqlError {
        let message = format!("malformed array literal: \"{}\"", self.text);
        SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message).with_detail(detail)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches(|c| matches!(c, ' ' | '\t'..='\r'));
    }

    fn take(&mut self, character: char) -> bool {
        match self.rest.strip_prefix(character) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn read(&mut self, elements: &mut Vec<Option<String>>) -> Result<()> {
        if self.rest.starts_with('[') {
            return Err(SqlError::unsupported("an array literal with explicit bounds"));
        }
        if !self.take('{') {
            return Err(self.malformed("Array value must start with \"{\" or dimension information."));
        }
        self.skip_space();
        if !self.take('}') {
            loop {
                self.skip_space();
                let element = self.element()?;
                elements.push(element);
                self.skip_space();
                match (self.take(','), self.take('}')) {
                    (true, false) => {}
                    (false, true) => break,
                    _ => return Err(self.malformed("Unexpected array element.")),
                }
            }
        }
        self.skip_space();
        match self.rest {
            "" => Ok(()),
            _ => Err(self.malformed("Junk after closing right brace.")),
        }
    }

    fn element(&mut self) -> Result<Option<String>> {
        if self.rest.starts_with('{') {
            return Err(SqlError::unsupported("an array of more than one dimension"));
        }
        if self.take('"') {
            return self.quoted().map(Some);
        }
        let mut element = String::new();
        // White space at the end belongs to the element only where it is escaped.
        let mut kept = 0;
        let mut escaped = false;
        loop {
            let mut characters = self.rest.chars();
            match characters.next() {
                Some('\\') => match characters.next() {
                    Some(character) => {
                        element.push(character);
                        (kept, escaped) = (element.len(), true);
                    }
                    None => return Err(self.malformed("Unexpected end of input.")),
                },
                Some(',' | '}') => break,
                Some('"' | '{') => return Err(self.malformed("Unexpected array element.")),
                Some(character) => {
                    element.push(character);
                    if !matches!(character, ' ' | '\t'..='\r') {
                        kept = element.len();
                    }
                }
                None => return Err(self.malformed("Unexpected end of input.")),
            }
            self.rest = characters.as_str();
        }
        element.truncate(kept);
        match element.as_str() {
            "" if !escaped => Err(self.malformed("Unexpected \",\" character.")),
            word if !escaped && word.eq_ignore_ascii_case("null") => Ok(None),
            _ => Ok(Some(element)),
        }
    }

    /// The rest of a quoted element.
    fn quoted(&mut self) -> Result<String> {
        let mut element = String::new();
        loop {
            let mut characters = self.rest.chars();
            let next = match characters.next() {
                Some('\\') => characters.next(),
                Some('"') => {
                    self.rest = characters.as_str();
                    return Ok(element);
                }
                other => other,
            };
            element.push(next.ok_or_else(|| self.malformed("Unexpected end of input."))?);
            self.rest = characters.as_str();
        }
    }
}
