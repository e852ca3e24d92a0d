//! Arrays of scalars: JSON arrays, or Postgres's `{a,b}` in a text.

use super::column::{About, Column, Failures, Tokens, column_of, is_json};
use super::{Epoch, Fault, Kind, Texts, Token, json};
use arrow::array::{Array, ArrayRef, ListArray, NullBufferBuilder};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use std::sync::Arc;

/// A column of lists.
pub(super) struct Lists {
    about: About,
    element: FieldRef,
    /// Whether the elements are JSON values.
    as_json: bool,
    elements: Box<dyn Column>,
    lengths: Vec<usize>,
    validity: NullBufferBuilder,
    /// Elements that had to be rewritten.
    rewritten: Vec<u8>,
}

impl Lists {
    pub fn new(about: About, field: &Field, epoch: Epoch) -> Lists {
        let element = match field.data_type() {
            DataType::List(element) => element.clone(),
            _ => Arc::new(Field::new("item", DataType::Null, true)),
        };
        let named = element.as_ref().clone().with_name(field.name());
        Lists {
            about,
            elements: column_of(&named, epoch),
            as_json: is_json(&element),
            element,
            lengths: Vec::new(),
            validity: NullBufferBuilder::new(0),
            rewritten: Vec::new(),
        }
    }

    /// The elements of one list, appended to `tokens`.
    fn split(&mut self, token: Token, texts: &Texts<'_>, tokens: &mut Vec<Token>) -> Result<(), Fault> {
        match token.kind() {
            Kind::Json => {
                let range = token.start()..token.start() + token.len();
                json::elements(texts.block, range, self.as_json, &mut self.rewritten, tokens).map_err(|_| Fault::Syntax)
            }
            Kind::Text | Kind::Rewritten => split_literal(texts.of(token), &mut self.rewritten, tokens),
            _ => Err(Fault::Syntax),
        }
    }
}

impl Column for Lists {
    fn append(&mut self, tokens: Tokens<'_>, texts: &Texts<'_>, failures: &mut Failures) {
        let mut elements = Vec::new();
        let mut rows_of_elements = Vec::new();
        for (row, token) in tokens.iter().enumerate() {
            let before = elements.len();
            if token.is_null() {
                self.about.check_null(row, failures);
                self.validity.append_null();
            } else if let Err(fault) = self.split(token, texts, &mut elements) {
                elements.truncate(before);
                self.about.refuse(row, fault, texts.of(token), failures);
                self.validity.append_null();
            } else {
                self.validity.append_non_null();
            }
            self.lengths.push(elements.len() - before);
            rows_of_elements.resize(elements.len(), row);
        }
        let texts = Texts { block: texts.block, extra: &self.rewritten };
        let mut refused = Failures::default();
        self.elements.append(Tokens::of_one(&elements), &texts, &mut refused);
        for (element, reason) in refused.take() {
            failures.add(rows_of_elements[element], reason);
        }
    }

    fn finish(&mut self, block: &Buffer, _: &Buffer) -> ArrayRef {
        let rewritten = Buffer::from_vec(std::mem::take(&mut self.rewritten));
        let values = self.elements.finish(block, &rewritten);
        let offsets = OffsetBuffer::from_lengths(self.lengths.drain(..));
        debug_assert_eq!(offsets.last().copied().unwrap_or(0) as usize, values.len());
        Arc::new(ListArray::new(self.element.clone(), offsets, values, self.validity.finish()))
    }
}

/// The elements of a one-dimensional array in Postgres's notation, `{1,"a b",NULL}`.
fn split_literal(text: &[u8], rewritten: &mut Vec<u8>, tokens: &mut Vec<Token>) -> Result<(), Fault> {
    let inner = text.trim_ascii().strip_prefix(b"{").and_then(|text| text.strip_suffix(b"}")).ok_or(Fault::Syntax)?;
    if inner.trim_ascii().is_empty() {
        return Ok(());
    }
    let mut rest = inner;
    loop {
        let (token, after) = literal_element(rest.trim_ascii_start(), rewritten)?;
        tokens.push(token);
        match after.trim_ascii_start() {
            [] => return Ok(()),
            [b',', after @ ..] => rest = after,
            _ => return Err(Fault::Syntax),
        }
    }
}

fn literal_element<'a>(text: &'a [u8], rewritten: &mut Vec<u8>) -> Result<(Token, &'a [u8]), Fault> {
    let start = rewritten.len();
    if let Some(mut rest) = text.strip_prefix(b"\"") {
        loop {
            match rest {
                [b'"', after @ ..] => return Ok((Token::new(Kind::Rewritten, start, rewritten.len()), after)),
                [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                    rewritten.push(*byte);
                    rest = after;
                }
                [] => return Err(Fault::Syntax),
            }
        }
    }
    let end = memchr::memchr(b',', text).unwrap_or(text.len());
    let element = text[..end].trim_ascii_end();
    if element.is_empty() || element.iter().any(|byte| matches!(byte, b'{' | b'}' | b'"' | b'\\')) {
        return Err(Fault::Syntax);
    }
    if element.eq_ignore_ascii_case(b"null") {
        return Ok((Token::new(Kind::Null, 0, 0), &text[end..]));
    }
    rewritten.extend_from_slice(element);
    Ok((Token::new(Kind::Rewritten, start, rewritten.len()), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str) -> Result<Vec<Option<String>>, Fault> {
        let (mut rewritten, mut tokens) = (Vec::new(), Vec::new());
        split_literal(text.as_bytes(), &mut rewritten, &mut tokens)?;
        let texts = Texts { block: b"", extra: &rewritten };
        let text = |token: &Token| (!token.is_null()).then(|| String::from_utf8(texts.of(*token).to_vec()).unwrap());
        Ok(tokens.iter().map(text).collect())
    }

    #[test]
    fn array_literals_are_split_as_postgres_does() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(elements("{}"), Ok(vec![]));
        assert_eq!(elements(r#" {1, "a,\"b" ,NULL,"null"} "#), Ok(vec![some("1"), some("a,\"b"), None, some("null")]));
        for text in ["", "{", "{1,}", "{{1}}", "{\"a}", "1"] {
            assert_eq!(elements(text), Err(Fault::Syntax), "{text}");
        }
    }
}
