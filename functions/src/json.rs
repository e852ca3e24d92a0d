//! JSON values: reading, and writing as Postgres's `jsonb` does. Numbers keep every digit.

use millrace_types::{Result, SqlError, SqlState};

/// Nesting that a value may have: reading recurses.
const DEPTH_MAX: usize = 512;

/// A JSON value. Members of an object stand in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// The number as written.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// The value that a text says.
pub fn parse(text: &str) -> Result<Json> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(reader.unexpected());
    }
    Ok(value)
}

/// A text in the form of `jsonb`: keys once, by length and then bytes; numbers plain; one blank after `:` and `,`.
pub fn normalized(text: &str) -> Result<String> {
    Ok(canonical(parse(text)?).to_string())
}

/// A value as `jsonb` holds it.
pub fn canonical(value: Json) -> Json {
    match value {
        Json::Object(members) => object(members.into_iter().map(|(key, value)| (key, canonical(value))).collect()),
        Json::Array(items) => Json::Array(items.into_iter().map(canonical).collect()),
        Json::Number(number) => Json::Number(plain_number(&number)),
        other => other,
    }
}

/// An object of members of which the last with a key counts, in `jsonb`'s order.
pub fn object(members: Vec<(String, Json)>) -> Json {
    let mut members = members;
    // The sort is stable: of equal keys the last written stays last.
    members.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
    let mut kept: Vec<(String, Json)> = Vec::with_capacity(members.len());
    for member in members {
        match kept.last_mut() {
            Some(last) if last.0 == member.0 => *last = member,
            _ => kept.push(member),
        }
    }
    Json::Object(kept)
}

/// A number without an exponent, as `numeric` prints it.
pub fn plain_number(number: &str) -> String {
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else {
        return if number == "-0" { "0".to_owned() } else { number.to_owned() };
    };
    let exponent: i64 = exponent.parse().unwrap_or(0);
    // Numerics end near there; a text of that length is not written out.
    if exponent.abs() > 16_383 {
        return number.to_owned();
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i64 + exponent;
    let plain = if point <= 0 {
        format!("0.{}{digits}", "0".repeat(-point as usize))
    } else if point as usize >= digits.len() {
        format!("{digits}{}", "0".repeat(point as usize - digits.len()))
    } else {
        format!("{}.{}", &digits[..point as usize], &digits[point as usize..])
    };
    let trimmed = plain.trim_start_matches('0');
    let lead = if trimmed.is_empty() || trimmed.starts_with('.') { "0" } else { "" };
    format!("{sign}{lead}{trimmed}")
}

/// A value without a blank.
pub fn compact(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(compact).collect::<Vec<_>>().join(",")),
        Json::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("{}:{}", quoted(key), compact(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// A value over several lines, as `jsonb_pretty` lays it out.
pub fn pretty(value: &Json) -> String {
    let mut out = String::new();
    write_pretty(value, 0, &mut out);
    out
}

fn write_pretty(value: &Json, depth: usize, out: &mut String) {
    let line = |depth: usize, out: &mut String| {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    };
    let (open, close) = if matches!(value, Json::Array(_)) { ('[', ']') } else { ('{', '}') };
    let members: Vec<(Option<&String>, &Json)> = match value {
        Json::Array(items) => items.iter().map(|item| (None, item)).collect(),
        Json::Object(members) => members.iter().map(|(key, value)| (Some(key), value)).collect(),
        scalar => return out.push_str(&scalar.to_string()),
    };
    out.push(open);
    for (at, (key, member)) in members.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        line(depth + 1, out);
        if let Some(key) = key {
            out.push_str(&quoted(key));
            out.push_str(": ");
        }
        write_pretty(member, depth + 1, out);
    }
    line(depth, out);
    out.push(close);
}

/// Bytes that are ordered as jsonb values are: null, texts, numbers, booleans, arrays, objects; arrays and objects by how
/// much they hold first. An empty array comes before everything.
pub fn sort_key(value: &Json) -> Vec<u8> {
    let mut key = Vec::new();
    match value {
        Json::Array(items) if items.is_empty() => key.push(0),
        value => write_key(value, &mut key),
    }
    key
}

fn write_key(value: &Json, key: &mut Vec<u8>) {
    match value {
        Json::Null => key.push(1),
        Json::Text(text) => {
            key.push(2);
            write_text_key(text, key);
        }
        Json::Number(number) => {
            key.push(3);
            write_number_key(number, key);
        }
        Json::Bool(value) => key.extend([4, u8::from(*value)]),
        Json::Array(items) => {
            key.push(5);
            key.extend((items.len() as u32).to_be_bytes());
            items.iter().for_each(|item| write_key(item, key));
        }
        Json::Object(members) => {
            key.push(6);
            key.extend((members.len() as u32).to_be_bytes());
            for (name, value) in members {
                write_text_key(name, key);
                write_key(value, key);
            }
        }
    }
}

/// No text in jsonb holds a zero byte, so one ends it.
fn write_text_key(text: &str, key: &mut Vec<u8>) {
    key.extend(text.bytes());
    key.push(0);
}

/// Sign, place of the first digit, digits; of a negative number all turned around.
fn write_number_key(number: &str, key: &mut Vec<u8>) {
    let plain = plain_number(number);
    let (negative, digits) = plain.strip_prefix('-').map_or((false, plain.as_str()), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let zeros = all.len() - all.trim_start_matches('0').len();
    let significant = all.trim_matches('0');
    if significant.is_empty() {
        return key.push(1);
    }
    let place = whole.len() as i32 - zeros as i32;
    let flip = if negative { 0xff } else { 0 };
    key.push(if negative { 0 } else { 2 });
    key.extend(place.wrapping_add(i32::MIN).to_be_bytes().map(|byte| byte ^ flip));
    key.extend(significant.bytes().chain([0]).map(|byte| byte ^ flip));
}

impl Json {
    /// What `jsonb_typeof` says.
    pub fn type_name(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(_) => "number",
            Json::Text(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// The member with a key; the last one where the text has several.
    pub fn member(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The element at an index, from the end when negative.
    pub fn element(&self, index: i64) -> Option<&Json> {
        match self {
            Json::Array(items) => {
                let at = if index < 0 { index + items.len() as i64 } else { index };
                usize::try_from(at).ok().and_then(|at| items.get(at))
            }
            _ => None,
        }
    }

    /// The value as `->>` gives it: texts bare, `null` as NULL.
    pub fn into_text(self) -> Option<String> {
        match self {
            Json::Null => None,
            Json::Text(text) => Some(text),
            other => Some(other.to_string()),
        }
    }

    /// Whether `held` is inside, as `@>` means it.
    pub fn contains(&self, held: &Json) -> bool {
        match (self, held) {
            (Json::Object(_), Json::Object(members)) => {
                members.iter().all(|(key, value)| self.member(key).is_some_and(|mine| mine.contains(value)))
            }
            (Json::Array(mine), Json::Array(items)) => items
                .iter()
                .all(|item| mine.iter().any(|own| own.type_name() == item.type_name() && own.contains(item))),
            // An array holds a bare value that is one of its elements.
            (Json::Array(mine), scalar) if !matches!(scalar, Json::Object(_)) => mine.contains(scalar),
            (Json::Number(a), Json::Number(b)) => {
                a == b || a.parse::<f64>().ok().is_some_and(|a| Some(a) == b.parse::<f64>().ok())
            }
            (a, b) => a == b,
        }
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(number) => f.write_str(number),
            Json::Text(text) => f.write_str(&quoted(text)),
            Json::Array(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    let gap = if at == 0 { "" } else { ", " };
                    write!(f, "{gap}{item}")?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (at, (key, value)) in members.iter().enumerate() {
                    let gap = if at == 0 { "" } else { ", " };
                    write!(f, "{gap}{}: {value}", quoted(key))?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A value taken apart by one level: what is inside stays text.
pub enum Parts<'a> {
    /// The members in the order of the text.
    Object(Vec<(String, &'a str)>),
    Array(Vec<&'a str>),
    Scalar(&'a str),
}

impl<'a> Parts<'a> {
    /// The parts of a text that is a JSON value.
    pub fn of(text: &'a str) -> Result<Parts<'a>> {
        let mut reader = Reader { text, at: 0 };
        reader.blanks();
        let first = reader.peek();
        reader.at += 1;
        match first {
            Some(b'{') => reader.members().map(Parts::Object),
            Some(b'[') => reader.items().map(Parts::Array),
            _ => Ok(Parts::Scalar(text.trim_ascii())),
        }
    }
}

/// The text of a value as `->>` gives it: that of a string bare, `null` as NULL, anything else as it stands.
pub fn bare(value: &str) -> Result<Option<String>> {
    match value.as_bytes().first() {
        Some(b'"') => Reader { text: value, at: 0 }.string().map(Some),
        _ if value == "null" => Ok(None),
        _ => Ok(Some(value.to_owned())),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// The members of an object of which `{` has been read.
    fn members(&mut self) -> Result<Vec<(String, &'a str)>> {
        let mut members = Vec::new();
        while !self.eat(b'}') {
            if !members.is_empty() && !self.eat(b',') {
                return Err(self.unexpected());
            }
            self.blanks();
            let key = self.string()?;
            if !self.eat(b':') {
                return Err(self.unexpected());
            }
            members.push((key, self.skipped()?));
        }
        Ok(members)
    }

    /// The elements of an array of which `[` has been read.
    fn items(&mut self) -> Result<Vec<&'a str>> {
        let mut items = Vec::new();
        while !self.eat(b']') {
            if !items.is_empty() && !self.eat(b',') {
                return Err(self.unexpected());
            }
            items.push(self.skipped()?);
        }
        Ok(items)
    }

    /// The text of the next value, which is known to be well-formed: only strings and brackets are looked at.
    fn skipped(&mut self) -> Result<&'a str> {
        self.blanks();
        let (start, mut depth) = (self.at, 0usize);
        loop {
            match self.peek() {
                Some(b'"') => self.skip_string(),
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b'}' | b']') if depth == 0 => break,
                Some(_) => self.at += 1,
                None => return Err(self.unexpected()),
            }
        }
        Ok(self.text[start..self.at].trim_ascii_end())
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return;
            }
        }
        self.at = self.text.len();
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn error(&self, detail: String) -> SqlError {
        SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json").with_detail(detail)
    }

    fn unexpected(&self) -> SqlError {
        let rest = &self.text[self.at..];
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
        let length = match rest.find(|c| !plain(c)) {
            Some(0) => rest.chars().next().map_or(0, char::len_utf8),
            Some(end) => end,
            None => rest.len(),
        };
        match length {
            0 => self.error("The input string ended unexpectedly.".to_owned()),
            _ => self.error(format!("Token \"{}\" is invalid.", &rest[..length])),
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json> {
        if depth > DEPTH_MAX {
            let message = "stack depth limit exceeded";
            return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, message));
        }
        self.blanks();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let words = [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))];
                for (word, value) in words {
                    let rest = &self.text[self.at..];
                    let ends = |c: char| !c.is_alphanumeric() && c != '_';
                    if rest.strip_prefix(word).is_some_and(|after| after.is_empty() || after.starts_with(ends)) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.unexpected())
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut members = Vec::new();
        if self.eat(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let key = self.string()?;
            if !self.eat(b':') {
                return Err(self.unexpected());
            }
            members.push((key, self.value(depth + 1)?));
            if self.eat(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.eat(b',') {
                return Err(self.unexpected());
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.eat(b']') {
                return Ok(Json::Array(items));
            }
            if !self.eat(b',') {
                return Err(self.unexpected());
            }
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Json> {
        let start = self.at;
        let fail = |reader: &mut Self| {
            reader.at = start;
            Err(reader.unexpected())
        };
        self.at += usize::from(self.peek() == Some(b'-'));
        let zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (zero && whole > 1) {
            return fail(self);
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return fail(self);
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return fail(self);
            }
        }
        if self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return fail(self);
        }
        Ok(Json::Number(self.text[start..self.at].to_owned()))
    }

    fn string(&mut self) -> Result<String> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ').unwrap_or(rest.len());
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(control) => {
                    return Err(self.error(format!("Character with value 0x{control:02x} must be escaped.")));
                }
                None => {
                    self.at = start;
                    let token = &self.text[start..];
                    return Err(self.error(format!("Token \"{token}\" is invalid.")));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let code = self.text.as_bytes().get(self.at + 1).copied();
        self.at += 2;
        Ok(match code {
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(c @ (b'"' | b'\\' | b'/')) => c as char,
            Some(b'u') => return self.unicode(),
            _ => return Err(self.error("Escape sequence is invalid.".to_owned())),
        })
    }

    fn four_digits(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or_else(|| self.error("\"\\u\" must be followed by four hexadecimal digits.".to_owned()))
    }

    fn unicode(&mut self) -> Result<char> {
        let first = self.four_digits()?;
        if first == 0 {
            return Err(SqlError::new(SqlState::UNTRANSLATABLE_CHARACTER, "unsupported Unicode escape sequence")
                .with_detail("\\u0000 cannot be converted to text."));
        }
        let code = match first {
            0xd800..=0xdbff if self.text[self.at.min(self.text.len())..].starts_with("\\u") => {
                self.at += 2;
                let second = self.four_digits()?;
                match second {
                    0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    // No character: refused below.
                    _ => first,
                }
            }
            code => code,
        };
        let lonely = "Unicode high surrogate must not follow a high surrogate.";
        char::from_u32(code).ok_or_else(|| self.error(lonely.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jsonb_prints_as_postgres_does() {
        let pairs = [
            (r#"{"bb":1,"a":{"x":[1,2.50,1e2]},"a":null}"#, r#"{"a": null, "bb": 1}"#),
            (r#"[1e2, 1.50e-3, -0.0, 12E+1, "é\n"]"#, r#"[100, 0.00150, -0.0, 120, "é\n"]"#),
        ];
        for (text, expected) in pairs {
            assert_eq!(normalized(text).unwrap(), expected);
        }
    }

    #[test]
    fn keys_are_ordered_as_values_are() {
        let ordered = [
            "[]",
            "null",
            "\"\"",
            "\"a\"",
            "\"ab\"",
            "-10",
            "-9.5",
            "-0.01",
            "0",
            "0.001",
            "0.5",
            "1",
            "9",
            "10",
            "1e3",
            "false",
            "true",
            "[1]",
            "[2]",
            "[1, 1]",
            "{}",
            "{\"a\": 1}",
            "{\"a\": 2}",
            "{\"a\": 1, \"b\": 1}",
        ];
        let keys: Vec<_> = ordered.iter().map(|text| sort_key(&parse(text).unwrap())).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(sort_key(&parse("1.0").unwrap()), sort_key(&parse("1").unwrap()));
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in ["", "{", "[1,]", "{\"a\" 1}", "01", "nul", "\"a", "1 2", "\"\\ud800\"", "1.", "-"] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.state(), SqlState::INVALID_TEXT_REPRESENTATION, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parse(&deep).unwrap_err().state(), SqlState::STATEMENT_TOO_COMPLEX);
    }
}
