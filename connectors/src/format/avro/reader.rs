//! The bytes of an Avro value, read by its schema.

use super::schema::{AvroSchema, Id, Node};
use crate::format::cell::{Cell, Value, quote_element, write_element, write_json, written};
use crate::format::json::NOT_UTF8;
use crate::format::json_writer::write_string;
use crate::value::{Kind, Token};

type Read<T> = std::result::Result<T, String>;

/// Values may be nested this deep.
const MAX_DEPTH: usize = 64;
/// So many elements that take no bytes may follow each other.
const EMPTY_ELEMENTS: usize = 4096;

/// Reads the values of one record.
pub(super) struct Reader<'a> {
    pub schema: &'a AvroSchema,
    /// The whole block.
    pub bytes: &'a [u8],
    pub at: usize,
    pub end: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        match length <= self.end - self.at {
            true => {
                self.at += length;
                Ok(&self.bytes[self.at - length..self.at])
            }
            false => Err("the record ends inside of a value".to_owned()),
        }
    }

    /// A whole number: seven bits a byte, the lowest first, with the sign in the last bit.
    #[inline]
    fn long(&mut self) -> Read<i64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err("a number of more than 64 bits".to_owned())
    }

    fn length(&mut self) -> Read<usize> {
        usize::try_from(self.long()?).map_err(|_| "a negative length".to_owned())
    }

    fn text(&mut self) -> Read<Value<'a>> {
        let length = self.length()?;
        let place = Some(self.at);
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) if memchr::memchr(0, bytes).is_none() => Ok(Value::Text { text: text.into(), place }),
            _ => Err(NOT_UTF8.to_owned()),
        }
    }

    /// The number of a block of elements, 0 after the last one.
    fn elements(&mut self) -> Read<usize> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        let count = count.unsigned_abs() as usize;
        match count <= EMPTY_ELEMENTS.max(self.end - self.at) {
            true => Ok(count),
            false => Err("more elements than bytes".to_owned()),
        }
    }

    /// The node of the value that follows: the branch, if it is a union.
    fn branch(&mut self, id: Id) -> Read<Id> {
        let Node::Union(branches) = self.schema.node(id) else { return Ok(id) };
        let index = self.long()?;
        usize::try_from(index)
            .ok()
            .and_then(|index| branches.get(index).copied())
            .ok_or_else(|| format!("branch {index} of a union of {}", branches.len()))
    }

    /// The value for a column.
    pub fn token(&mut self, id: Id, cell: &Cell, extra: &mut Vec<u8>) -> Read<Token> {
        let id = self.branch(id)?;
        let nested = matches!(self.schema.node(id), Node::Array(_) | Node::Map(_) | Node::Record(_));
        let start = extra.len();
        match self.schema.node(id) {
            Node::Null => return Ok(Token::new(Kind::Null, 0, 0)),
            Node::Array(items) if cell.is_list() => self.list(*items, extra)?,
            _ if nested || cell.is_document() => self.json(id, extra, 0)?,
            _ => {
                let value = self.scalar(id)?;
                return Ok(cell.token(&value, extra));
            }
        }
        Ok(Token::new(Kind::Rewritten, start, extra.len()))
    }

    /// A text, of a string or an enum; whatever else follows has none.
    pub fn word(&mut self, id: Id) -> Read<String> {
        let id = self.branch(id)?;
        match self.scalar(id)? {
            Value::Text { text, .. } => Ok(text.into_owned()),
            _ => Ok(String::new()),
        }
    }

    /// Passes over a value; where it begins, if it is a record.
    pub fn pass(&mut self, id: Id) -> Read<Option<usize>> {
        let id = self.branch(id)?;
        let begin = matches!(self.schema.node(id), Node::Record(_)).then_some(self.at);
        self.skip(id, 0)?;
        Ok(begin)
    }

    /// A value that is no list, map, record or union.
    fn scalar(&mut self, id: Id) -> Read<Value<'a>> {
        let schema = self.schema;
        Ok(match schema.node(id) {
            Node::Boolean => match self.take(1)?[0] {
                0 => Value::Boolean(false),
                1 => Value::Boolean(true),
                byte => return Err(format!("{byte} as a boolean")),
            },
            Node::Integer => Value::Integer(self.long()?),
            Node::Float => Value::Single(f32::from_le_bytes(self.array()?)),
            Node::Double => Value::Float(f64::from_le_bytes(self.array()?)),
            Node::Bytes => {
                let length = self.length()?;
                Value::Bytes(self.take(length)?.into())
            }
            Node::Fixed(length) => Value::Bytes(self.take(*length)?.into()),
            Node::String => self.text()?,
            Node::Uuid => Value::Uuid(self.array()?),
            Node::Enum(symbols) => {
                let index = self.long()?;
                let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
                Value::text(symbol.ok_or_else(|| format!("symbol {index} of an enum of {}", symbols.len()))?)
            }
            Node::Decimal { scale, fixed, .. } => {
                let length = fixed.map_or_else(|| self.length(), Ok)?;
                Value::Decimal(digits(self.take(length)?)?, *scale)
            }
            node @ (Node::Date | Node::Time(_) | Node::Moment { .. }) => {
                let count = self.long()?;
                counted(count, node).ok_or("a time out of range")?
            }
            Node::Duration => {
                let bytes: [u8; 12] = self.array()?;
                let part = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                Value::Interval { months: part(0).into(), days: part(4).into(), micros: i64::from(part(8)) * 1000 }
            }
            Node::Null | Node::Array(_) | Node::Map(_) | Node::Record(_) | Node::Union(_) => Value::Null,
        })
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| "the record ends inside of a value".to_owned())
    }

    /// Appends a value as JSON.
    fn json(&mut self, id: Id, out: &mut Vec<u8>, depth: usize) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err("nested too deeply".to_owned());
        }
        let id = self.branch(id)?;
        let schema = self.schema;
        match schema.node(id) {
            Node::Array(items) => {
                out.push(b'[');
                self.each(|reader, index| {
                    separate(out, index);
                    reader.json(*items, out, depth + 1)
                })?;
                out.push(b']');
            }
            Node::Map(values) => {
                out.push(b'{');
                self.each(|reader, index| {
                    separate(out, index);
                    write_json(out, &reader.text()?);
                    out.push(b':');
                    reader.json(*values, out, depth + 1)
                })?;
                out.push(b'}');
            }
            Node::Record(fields) => {
                out.push(b'{');
                for (index, field) in fields.iter().enumerate() {
                    separate(out, index);
                    write_string(out, field.name.as_bytes());
                    out.push(b':');
                    self.json(field.node, out, depth + 1)?;
                }
                out.push(b'}');
            }
            _ => write_json(out, &self.scalar(id)?),
        }
        Ok(())
    }

    /// Appends the elements of an array as Postgres writes it; those that are no scalars as JSON.
    fn list(&mut self, items: Id, out: &mut Vec<u8>) -> Read<()> {
        out.push(b'{');
        self.each(|reader, index| {
            separate(out, index);
            let id = reader.branch(items)?;
            match reader.schema.node(id) {
                Node::Array(_) | Node::Map(_) | Node::Record(_) => {
                    let start = out.len();
                    reader.json(id, out, 0)?;
                    quote_element(out, start);
                }
                _ => write_element(out, &reader.scalar(id)?),
            }
            Ok(())
        })?;
        out.push(b'}');
        Ok(())
    }

    fn each(&mut self, mut element: impl FnMut(&mut Self, usize) -> Read<()>) -> Read<()> {
        let mut index = 0;
        loop {
            let count = self.elements()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                element(self, index)?;
                index += 1;
            }
        }
    }

    /// Passes over a value.
    pub fn skip(&mut self, id: Id, depth: usize) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err("nested too deeply".to_owned());
        }
        let id = self.branch(id)?;
        let schema = self.schema;
        match schema.node(id) {
            Node::Array(items) => self.each(|reader, _| reader.skip(*items, depth + 1)),
            Node::Map(values) => self.each(|reader, _| {
                let length = reader.length()?;
                reader.take(length)?;
                reader.skip(*values, depth + 1)
            }),
            Node::Record(fields) => fields.iter().try_for_each(|field| self.skip(field.node, depth + 1)),
            Node::String => {
                let length = self.length()?;
                self.take(length).map(drop)
            }
            _ => self.scalar(id).map(drop),
        }
    }
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

/// The number that big-endian bytes in two's complement are.
fn digits(bytes: &[u8]) -> Read<i128> {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let filler = if negative { 0xff } else { 0 };
    let significant = bytes.iter().position(|byte| *byte != filler).unwrap_or(bytes.len());
    let rest = &bytes[significant..];
    let mut number = [filler; 16];
    if rest.len() > 16 {
        return Err("a decimal of more than 38 digits".to_owned());
    }
    number[16 - rest.len()..].copy_from_slice(rest);
    let number = i128::from_be_bytes(number);
    match (number < 0) == negative && number.unsigned_abs() < 10u128.pow(38) {
        true => Ok(number),
        false => Err("a decimal of more than 38 digits".to_owned()),
    }
}

/// What a number stands for.
fn counted<'a>(count: i64, node: &Node) -> Option<Value<'a>> {
    Some(match node {
        Node::Date => Value::Date(i32::try_from(count).ok()?),
        Node::Time(unit) => Value::Time(count.checked_mul(*unit)?),
        Node::Moment { per_second, zoned } => {
            let micros = match per_second {
                1_000 => count.checked_mul(1_000)?,
                1_000_000 => count,
                _ => count.div_euclid(1_000),
            };
            Value::Moment { micros, zoned: *zoned }
        }
        _ => Value::Integer(count),
    })
}

/// The default of a field of this node, as the token of a column.
pub(super) fn default_token(value: &serde_json::Value, node: &Node, cell: &Cell, extra: &mut Vec<u8>) -> Token {
    use serde_json::Value as Json;
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => match number.as_i64().and_then(|number| counted(number, node)) {
            Some(value) => value,
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::text(text),
        Json::Array(elements) if cell.is_list() => {
            return written(extra, |out| {
                out.push(b'{');
                for (index, element) in elements.iter().enumerate() {
                    separate(out, index);
                    let start = out.len();
                    match element {
                        Json::Null => out.extend_from_slice(b"NULL"),
                        Json::String(text) => {
                            out.extend_from_slice(text.as_bytes());
                            quote_element(out, start);
                        }
                        other => {
                            out.extend_from_slice(other.to_string().as_bytes());
                            quote_element(out, start);
                        }
                    }
                }
                out.push(b'}');
            });
        }
        other => return written(extra, |out| out.extend_from_slice(other.to_string().as_bytes())),
    };
    cell.token(&value, extra)
}
