//! Functions over text.

use crate::format::text_of;
use crate::function::{Call, Overload, immutable};
use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, StringViewArray, StringViewBuilder};
use arrow::datatypes::{BinaryType, DataType, Int32Type, Int64Type};
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};
use std::sync::Arc;

const TEXT: SqlType = SqlType::Text;
const INT: SqlType = SqlType::Int4;
const ANY: SqlType = SqlType::Unknown;
/// Bytes that a value may have, as in Postgres.
const BYTES_MAX: usize = (1 << 30) - 1;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        immutable(
            "||",
            &[],
            vec![Overload::new(&[TEXT, TEXT], TEXT, |call| {
                call.texts(|row| Ok(Some([call.text(0).value(row), call.text(1).value(row)].concat())))
            })],
        ),
        immutable("concat", &[], vec![Overload::variadic(&[ANY], TEXT, |call| joined(call, None))]),
        immutable("concat_ws", &[], vec![Overload::variadic(&[TEXT, ANY], TEXT, |call| joined(call, Some(0)))]),
        immutable(
            "substr",
            &["substring"],
            vec![
                Overload::new(&[TEXT, INT], TEXT, |call| call.texts(|row| substring(call, row, None).map(Some))),
                Overload::new(&[TEXT, INT, INT], TEXT, |call| {
                    call.texts(|row| substring(call, row, Some(call.value::<Int32Type>(2, row))).map(Some))
                }),
                Overload::new(&[TEXT, TEXT], TEXT, crate::regex::substring),
            ],
        ),
        immutable(
            "left",
            &[],
            vec![Overload::new(&[TEXT, INT], TEXT, |call| call.texts(|row| Ok(Some(ends(call, row).0))))],
        ),
        immutable(
            "right",
            &[],
            vec![Overload::new(&[TEXT, INT], TEXT, |call| call.texts(|row| Ok(Some(ends(call, row).1))))],
        ),
        immutable(
            "repeat",
            &[],
            vec![Overload::new(&[TEXT, INT], TEXT, |call| call.texts(|row| repeated(call, row).map(Some)))],
        ),
        immutable("lpad", &[], padding(true)),
        immutable("rpad", &[], padding(false)),
        immutable(
            "split_part",
            &[],
            vec![Overload::new(&[TEXT, TEXT, INT], TEXT, |call| call.texts(|row| split_part(call, row).map(Some)))],
        ),
        immutable(
            "initcap",
            &[],
            vec![Overload::new(&[TEXT], TEXT, |call| call.texts(|row| Ok(Some(initcap(call.text(0).value(row))))))],
        ),
        immutable(
            "ascii",
            &[],
            vec![Overload::new(&[TEXT], INT, |call| {
                call.values::<Int32Type>(|row| Ok(Some(call.text(0).value(row).chars().next().map_or(0, |c| c as i32))))
            })],
        ),
        immutable(
            "chr",
            &[],
            vec![Overload::new(&[INT], TEXT, |call| {
                call.texts(|row| character(call.value::<Int32Type>(0, row)).map(Some))
            })],
        ),
        immutable(
            "to_hex",
            &[],
            vec![
                Overload::new(&[INT], TEXT, |call| {
                    call.texts(|row| Ok(Some(format!("{:x}", call.value::<Int32Type>(0, row)))))
                }),
                Overload::new(&[SqlType::Int8], TEXT, |call| {
                    call.texts(|row| Ok(Some(format!("{:x}", call.value::<Int64Type>(0, row)))))
                }),
            ],
        ),
        immutable(
            "quote_ident",
            &[],
            vec![Overload::new(&[TEXT], TEXT, |call| call.texts(|row| Ok(Some(quote_ident(call.text(0).value(row))))))],
        ),
        immutable(
            "quote_literal",
            &[],
            vec![Overload::new(&[ANY], TEXT, |call| {
                let texts = as_texts(call, 0)?;
                call.texts(|row| Ok(Some(quote_literal(texts.value(row)))))
            })],
        ),
        immutable("quote_nullable", &[], vec![Overload::new(&[ANY], TEXT, quote_nullable)]),
        immutable("format", &[], vec![Overload::variadic(&[TEXT, ANY], TEXT, formatted)]),
        immutable(
            "overlay",
            &[],
            vec![
                Overload::new(&[TEXT, TEXT, INT], TEXT, |call| call.texts(|row| overlay(call, row, None).map(Some))),
                Overload::new(&[TEXT, TEXT, INT, INT], TEXT, |call| {
                    call.texts(|row| overlay(call, row, Some(call.value::<Int32Type>(3, row))).map(Some))
                }),
            ],
        ),
        immutable(
            "encode",
            &[],
            vec![Overload::new(&[SqlType::Bytea, TEXT], TEXT, |call| {
                let bytes = call.arrays[0].as_bytes::<BinaryType>();
                call.texts(|row| encoded(bytes.value(row), call.text(1).value(row)).map(Some))
            })],
        ),
        immutable("decode", &[], vec![Overload::new(&[TEXT, TEXT], SqlType::Bytea, decode)]),
    ]
}

/// An argument of any type as texts.
fn as_texts(call: &Call, at: usize) -> Result<StringViewArray> {
    if call.arrays[at].data_type() == &DataType::Null {
        return Ok(StringViewArray::new_null(call.rows));
    }
    let texts = text_of(&call.arrays[at], &call.fields[at], &call.zone)?;
    // Functions show booleans as output does, unlike casts.
    match sql_type_of(&call.fields[at]) {
        SqlType::Bool => Ok(texts.iter().map(|text| text.map(|text| &text[..1])).collect()),
        _ => Ok(texts),
    }
}

/// The arguments in a row, those that are NULL left out; with a separator, which makes NULL when it is NULL.
fn joined(call: &Call, separator: Option<usize>) -> Result<ArrayRef> {
    let first = usize::from(separator.is_some());
    let columns = (first..call.count()).map(|at| as_texts(call, at)).collect::<Result<Vec<_>>>()?;
    let mut builder = StringViewBuilder::with_capacity(call.rows);
    let mut text = String::new();
    for row in 0..call.rows {
        if separator.is_some_and(|at| call.arrays[at].is_null(row)) {
            builder.append_null();
            continue;
        }
        text.clear();
        let mut empty = true;
        for column in columns.iter().filter(|column| column.is_valid(row)) {
            if let (Some(at), false) = (separator, empty) {
                text.push_str(call.text(at).value(row));
            }
            text.push_str(column.value(row));
            empty = false;
        }
        builder.append_value(&text);
    }
    Ok(Arc::new(builder.finish()))
}

/// The byte where a character stands, or the end.
fn byte_at(text: &str, character: usize) -> usize {
    if text.is_ascii() {
        return character.min(text.len());
    }
    text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
}

fn substring<'a>(call: &'a Call, row: usize, length: Option<i32>) -> Result<&'a str> {
    let text = call.text(0).value(row);
    let start = i64::from(call.value::<Int32Type>(1, row));
    let end = match length {
        Some(..0) => {
            return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        Some(length) => start + i64::from(length),
        None => i64::MAX,
    };
    let from = byte_at(text, (start.max(1) - 1) as usize);
    let to = byte_at(text, (end.max(1) - 1) as usize);
    Ok(&text[from..to.max(from)])
}

/// `left(s, n)` and `right(s, n)`; a negative `n` counts from the other end.
fn ends<'a>(call: &'a Call, row: usize) -> (&'a str, &'a str) {
    let (text, n) = (call.text(0).value(row), i64::from(call.value::<Int32Type>(1, row)));
    let length = text.chars().count() as i64;
    let left = if n < 0 { length + n } else { n };
    let right = if n < 0 { -n } else { length - n };
    let cut = |at: i64| byte_at(text, at.max(0) as usize);
    (&text[..cut(left)], &text[cut(right)..])
}

fn too_large() -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
}

fn repeated(call: &Call, row: usize) -> Result<String> {
    let (text, times) = (call.text(0).value(row), call.value::<Int32Type>(1, row).max(0) as usize);
    match text.len().checked_mul(times) {
        Some(length) if length <= BYTES_MAX => Ok(text.repeat(times)),
        _ => Err(too_large()),
    }
}

fn padding(left: bool) -> Vec<Overload> {
    vec![
        Overload::new(&[TEXT, INT], TEXT, move |call| call.texts(|row| padded(call, row, " ", left).map(Some))),
        Overload::new(&[TEXT, INT, TEXT], TEXT, move |call| {
            call.texts(|row| padded(call, row, call.text(2).value(row), left).map(Some))
        }),
    ]
}

fn padded(call: &Call, row: usize, fill: &str, left: bool) -> Result<String> {
    let (text, length) = (call.text(0).value(row), call.value::<Int32Type>(1, row).max(0) as usize);
    if length > BYTES_MAX / 4 {
        return Err(too_large());
    }
    let have = text.chars().count();
    if have >= length || fill.is_empty() {
        return Ok(text[..byte_at(text, length)].to_owned());
    }
    let missing: String = fill.chars().cycle().take(length - have).collect();
    Ok(if left { missing + text } else { text.to_owned() + &missing })
}

fn split_part<'a>(call: &'a Call, row: usize) -> Result<&'a str> {
    let (text, separator, n) = (call.text(0).value(row), call.text(1).value(row), call.value::<Int32Type>(2, row));
    if n == 0 {
        let message = "field position must not be zero";
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    if separator.is_empty() {
        return Ok(if n == 1 || n == -1 { text } else { "" });
    }
    let at = n.unsigned_abs() as usize - 1;
    let found = if n > 0 { text.split(separator).nth(at) } else { text.rsplit(separator).nth(at) };
    Ok(found.unwrap_or(""))
}

fn initcap(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_alphanumeric();
    }
    out
}

fn character(code: i32) -> Result<String> {
    let fail = |message: String| SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message);
    match code {
        0 => Err(fail("null character not permitted".to_owned())),
        ..0 => Err(fail("character number must be positive".to_owned())),
        code => char::from_u32(code as u32).map(String::from).ok_or_else(|| match code {
            0x11_0000.. => fail("requested character too large for encoding: ".to_owned() + &code.to_string()),
            _ => fail(format!("requested character not valid for encoding: {code}")),
        }),
    }
}

fn overlay(call: &Call, row: usize, length: Option<i32>) -> Result<String> {
    let (text, with, start) = (call.text(0).value(row), call.text(1).value(row), call.value::<Int32Type>(2, row));
    if start <= 0 {
        return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let from = i64::from(start) - 1;
    let cut = length.map_or(with.chars().count() as i64, i64::from);
    let head = &text[..byte_at(text, from as usize)];
    let tail = &text[byte_at(text, (from + cut).max(0) as usize)..];
    Ok([head, with, tail].concat())
}

/// Words that an identifier must be quoted to be.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

fn quote_ident(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    match starts && name.chars().all(plain) && RESERVED.binary_search(&name).is_err() {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

fn quote_literal(text: &str) -> String {
    let quoted = format!("'{}'", text.replace('\'', "''").replace('\\', "\\\\"));
    if text.contains('\\') { format!("E{quoted}") } else { quoted }
}

fn quote_nullable(call: &Call) -> Result<ArrayRef> {
    let quoted = as_texts(call, 0)?;
    let quoted = quoted.iter().map(|text| Some(text.map_or("NULL".to_owned(), quote_literal)));
    Ok(Arc::new(quoted.collect::<StringViewArray>()))
}

fn formatted(call: &Call) -> Result<ArrayRef> {
    let columns = (1..call.count()).map(|at| as_texts(call, at)).collect::<Result<Vec<_>>>()?;
    let mut builder = StringViewBuilder::with_capacity(call.rows);
    for row in 0..call.rows {
        if call.arrays[0].is_null(row) {
            builder.append_null();
            continue;
        }
        builder.append_value(format_row(call.text(0).value(row), &columns, row)?);
    }
    Ok(Arc::new(builder.finish()))
}

fn format_row(template: &str, columns: &[StringViewArray], row: usize) -> Result<String> {
    let invalid = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let mut out = String::new();
    let mut chars = template.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut number = String::new();
        let mut left = chars.next_if_eq(&'-').is_some();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            number.push(digit);
        }
        let mut width: usize = 0;
        if chars.next_if_eq(&'$').is_some() {
            let position: usize = number.parse().unwrap_or(0);
            if position == 0 {
                return Err(invalid("format specifies argument 0, but arguments are numbered from 1".to_owned()));
            }
            next = position - 1;
            left |= chars.next_if_eq(&'-').is_some();
            number.clear();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                number.push(digit);
            }
        }
        if !number.is_empty() {
            width = number.parse().ok().filter(|width| *width <= BYTES_MAX / 4).ok_or_else(too_large)?;
        }
        let kind = chars.next().ok_or_else(|| invalid("unterminated format() type specifier".to_owned()))?;
        let column = columns.get(next).ok_or_else(|| invalid("too few arguments for format()".to_owned()))?;
        let value = column.is_valid(row).then(|| column.value(row));
        next += 1;
        let text = match (kind, value) {
            ('s', value) => value.unwrap_or("").to_owned(),
            ('I', Some(value)) => quote_ident(value),
            ('I', None) => {
                return Err(SqlError::new(SqlState("22004"), "null values cannot be formatted as an SQL identifier"));
            }
            ('L', value) => value.map_or("NULL".to_owned(), quote_literal),
            (other, _) => return Err(invalid(format!("unrecognized format() type specifier \"{other}\""))),
        };
        let gap = " ".repeat(width.saturating_sub(text.chars().count()));
        if left {
            out.extend([text.as_str(), &gap]);
        } else {
            out.extend([gap.as_str(), &text]);
        }
    }
    Ok(out)
}

/// The bytes that hexadecimal digits, with blanks between bytes or not, stand for.
pub fn hex_bytes(text: &str) -> Result<Vec<u8>> {
    let invalid = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut chars = text.chars().filter(|c| !c.is_ascii_whitespace());
    while let Some(high) = chars.next() {
        let digit = |c: char| c.to_digit(16).ok_or_else(|| invalid(format!("invalid hexadecimal digit: \"{c}\"")));
        let high = digit(high)?;
        let low = chars.next().ok_or_else(|| invalid("invalid hexadecimal data: odd number of digits".to_owned()))?;
        bytes.push((high << 4 | digit(low)?) as u8);
    }
    Ok(bytes)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn unrecognized(encoding: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unrecognized encoding: \"{encoding}\""))
}

fn encoded(bytes: &[u8], encoding: &str) -> Result<String> {
    match encoding {
        "hex" => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        "escape" => Ok(bytes
            .iter()
            .map(|byte| match byte {
                b'\\' => "\\\\".to_owned(),
                0 | 0x80.. => format!("\\{byte:03o}"),
                byte => char::from(*byte).to_string(),
            })
            .collect()),
        "base64" => Ok(base64(bytes)),
        other => Err(unrecognized(other)),
    }
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            match at <= chunk.len() {
                true => out.push(char::from(BASE64[(word >> (18 - 6 * at) & 63) as usize])),
                false => out.push('='),
            }
        }
        // Lines of 76 characters, as in mail.
        if out.len() % 77 == 76 {
            out.push('\n');
        }
    }
    out.truncate(out.trim_end_matches('\n').len());
    out
}

fn decode(call: &Call) -> Result<ArrayRef> {
    let mut builder = BinaryBuilder::with_capacity(call.rows, call.rows * 16);
    for (text, encoding) in call.text(0).iter().zip(call.text(1)) {
        let (Some(text), Some(encoding)) = (text, encoding) else {
            builder.append_null();
            continue;
        };
        builder.append_value(match encoding {
            "hex" => hex_bytes(text)?,
            "escape" => crate::casts::bytea(text)?,
            "base64" => base64_bytes(text)?,
            other => return Err(unrecognized(other)),
        });
    }
    Ok(Arc::new(builder.finish()))
}

fn base64_bytes(text: &str) -> Result<Vec<u8>> {
    let invalid = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0u32, 0);
    let mut padding = 0;
    let mut count = 0;
    for c in text.chars().filter(|c| !c.is_ascii_whitespace()) {
        count += 1;
        if c == '=' {
            padding += 1;
            continue;
        }
        let value = BASE64.iter().position(|b| char::from(*b) == c).filter(|_| padding == 0);
        let value =
            value.ok_or_else(|| invalid(format!("invalid symbol \"{c}\" found while decoding base64 sequence")))?;
        word = word << 6 | value as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    match count % 4 == 0 && padding <= 2 {
        true => Ok(bytes),
        false => Err(invalid("invalid base64 end sequence".to_owned())
            .with_hint("Input data is missing padding, is truncated, or is otherwise corrupted.")),
    }
}
