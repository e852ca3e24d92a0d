//! Bytes as text: hexadecimal, base64, escaped.

use crate::function::Call;
use arrow::array::{ArrayRef, BinaryBuilder};
use millrace_types::{Result, SqlError, SqlState};
use std::sync::Arc;

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

pub fn encoded(bytes: &[u8], encoding: &str) -> Result<String> {
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

pub fn decode(call: &Call) -> Result<ArrayRef> {
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
