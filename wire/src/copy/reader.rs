//! Lines to columns of values, from data that comes in pieces.

use super::{CopyFormat, CopyKind, Header, csv, text};
use crate::decode::parse_text;
use crate::encoding;
use crate::format::TextFormat;
use arrow::array::ArrayRef;
use millrace_types::{Result, SqlError, SqlState, SqlType};

/// The longest row.
const MAX_ROW_BYTES: usize = 256 << 20;

/// How much of a bad value an error shows.
const SHOWN_CHARACTERS: usize = 100;

/// How the lines of the data end; the first one decides.
#[derive(Clone, Copy, PartialEq)]
enum LineEnd {
    Newline,
    CarriageReturnNewline,
}

/// Reads rows in one of COPY's formats. Errors name the relation, the line and the column in their detail.
pub struct RowReader {
    format: CopyFormat,
    relation: String,
    columns: Vec<String>,
    /// Data of a row that is not complete.
    pending: Vec<u8>,
    /// How much of `pending` has been searched for the row's end, and what the search knows there.
    searched: usize,
    in_quotes: bool,
    escaped: bool,
    line_end: Option<LineEnd>,
    /// The number of lines that have begun.
    line: u64,
    header_due: bool,
    ended: bool,
    rows: Rows,
}

impl RowReader {
    /// A reader of rows with these columns, for a relation of this name.
    pub fn new(format: CopyFormat, relation: impl Into<String>, columns: Vec<String>) -> RowReader {
        let relation = relation.into();
        let rows = Rows::new(&relation, &columns);
        let header_due = format.header != Header::None;
        RowReader {
            format,
            relation,
            columns,
            pending: Vec::new(),
            searched: 0,
            in_quotes: false,
            escaped: false,
            line_end: None,
            line: 0,
            header_due,
            ended: false,
            rows,
        }
    }

    /// Takes a piece of the data. It is complete rows only by chance: the rest waits for the next piece.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.pending.extend_from_slice(bytes);
        let data = std::mem::take(&mut self.pending);
        let mut start = 0;
        while let Some(end) = self.find_end(&data, start) {
            self.row(&data[start..end])?;
            start = end + 1;
            if self.ended {
                return Ok(());
            }
        }
        self.pending = data;
        self.pending.drain(..start);
        self.searched -= start;
        match self.pending.len() > MAX_ROW_BYTES {
            true => Err(self.failure(SqlState::PROGRAM_LIMIT_EXCEEDED, "a row of COPY data is too long")),
            false => Ok(()),
        }
    }

    /// The data is complete: its last line may lack its end.
    pub fn finish(&mut self) -> Result<()> {
        let last = std::mem::take(&mut self.pending);
        if self.ended || last.is_empty() {
            return Ok(());
        }
        if self.in_quotes {
            self.line += 1 + last.iter().filter(|&&byte| byte == b'\n').count() as u64;
            return Err(self.failure(SqlState::BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field"));
        }
        self.row(&last)
    }

    /// The complete rows so far, which leave the reader.
    pub fn take(&mut self) -> Rows {
        std::mem::replace(&mut self.rows, Rows::new(&self.relation, &self.columns))
    }

    /// How many complete rows wait to be taken.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no complete row waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the row that starts at `start` ends: at a newline that is not part of a field.
    fn find_end(&mut self, data: &[u8], start: usize) -> Option<usize> {
        let CopyFormat { kind, quote, escape, .. } = self.format;
        for (at, &byte) in data.iter().enumerate().skip(self.searched.max(start)) {
            match kind {
                _ if self.escaped => self.escaped = false,
                CopyKind::Text if byte == b'\\' => self.escaped = true,
                // A doubled quote ends the quotes and begins them again; only another byte escapes visibly.
                CopyKind::Csv if self.in_quotes && byte == escape && escape != quote => self.escaped = true,
                CopyKind::Csv if byte == quote => self.in_quotes = !self.in_quotes,
                _ if byte == b'\n' && !self.in_quotes => {
                    self.searched = at + 1;
                    return Some(at);
                }
                _ => {}
            }
        }
        self.searched = data.len();
        None
    }

    /// Takes one row without its newline.
    fn row(&mut self, row: &[u8]) -> Result<()> {
        self.line += 1;
        let row = self.without_carriage_return(row)?;
        if row == b"\\." {
            self.ended = true;
            return Ok(());
        }
        let line = self.line;
        // A newline inside of a field begins a line, too.
        self.line += row.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let text = encoding::text(row).map_err(|error| self.with_place(error, None))?;
        let fields = self.fields(row)?;
        if std::mem::take(&mut self.header_due) {
            return match self.format.header {
                Header::Match => self.check_header(&fields).map_err(|error| self.with_place(error, Some(text))),
                _ => Ok(()),
            };
        }
        let wrong = |message: String| SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message);
        let width = match fields.len() {
            // An empty line is a row of no columns.
            1 if self.columns.is_empty() && row.is_empty() => 0,
            width => width,
        };
        if width > self.columns.len() {
            return Err(self.with_place(wrong("extra data after last expected column".to_owned()), Some(text)));
        }
        if let Some(missing) = self.columns.get(width) {
            let error = wrong(format!("missing data for column \"{missing}\""));
            return Err(self.with_place(error, Some(text)));
        }
        self.rows.push(&fields[..width], line);
        Ok(())
    }

    /// The row without the first byte of a line end of two.
    fn without_carriage_return<'a>(&mut self, row: &'a [u8]) -> Result<&'a [u8]> {
        let (stripped, seen) = match row.strip_suffix(b"\r") {
            Some(stripped) => (stripped, LineEnd::CarriageReturnNewline),
            None => (row, LineEnd::Newline),
        };
        // In CSV as in text a line end of the other kind would silently change the last field.
        match (*self.line_end.get_or_insert(seen), seen) {
            (LineEnd::CarriageReturnNewline, LineEnd::CarriageReturnNewline) => Ok(stripped),
            (LineEnd::Newline, LineEnd::CarriageReturnNewline) => Err(self.failure(
                SqlState::BAD_COPY_FILE_FORMAT,
                match self.format.kind {
                    CopyKind::Text => "literal carriage return found in data",
                    CopyKind::Csv => "unquoted carriage return found in data",
                },
            )),
            (_, LineEnd::Newline) => Ok(row),
        }
    }

    /// The values of a row; `None` is null.
    fn fields(&self, row: &[u8]) -> Result<Vec<Option<String>>> {
        let null = self.format.null.as_bytes();
        let value =
            |bytes: &[u8]| encoding::text(bytes).map(str::to_owned).map_err(|error| self.with_place(error, None));
        match self.format.kind {
            CopyKind::Text => text::fields(&self.format, row)
                .map(|field| (field != null).then(|| value(&text::unescape(field))).transpose())
                .collect(),
            CopyKind::Csv => {
                let mut fields = Vec::with_capacity(self.columns.len());
                let mut rest = Some(row);
                while let Some(line) = rest {
                    let (field, after) = csv::field(&self.format, line);
                    let is_null = !field.quoted && field.bytes == null;
                    fields.push((!is_null).then(|| value(&field.bytes)).transpose()?);
                    rest = after;
                }
                Ok(fields)
            }
        }
    }

    fn check_header(&self, names: &[Option<String>]) -> Result<()> {
        let wrong = |message| Err(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message));
        if names.len() != self.columns.len() {
            let (got, expected) = (names.len(), self.columns.len());
            return wrong(format!("wrong number of fields in header line: got {got}, expected {expected}"));
        }
        for (number, (name, column)) in names.iter().zip(&self.columns).enumerate() {
            let place = format!("column name mismatch in header line field {}", number + 1);
            match name {
                Some(name) if name == column => {}
                Some(name) => return wrong(format!("{place}: got \"{name}\", expected \"{column}\"")),
                None => {
                    return wrong(format!("{place}: got null value (\"{}\"), expected \"{column}\"", self.format.null));
                }
            }
        }
        Ok(())
    }

    fn failure(&self, state: SqlState, message: &str) -> SqlError {
        self.with_place(SqlError::new(state, message), None)
    }

    fn with_place(&self, error: SqlError, row: Option<&str>) -> SqlError {
        let place = format!("COPY {}, line {}", self.relation, self.line);
        placed(error, place, row)
    }
}

/// The error with the place that it came up at, and what stands there, after its own detail.
fn placed(error: SqlError, place: String, value: Option<&str>) -> SqlError {
    let place = match value {
        Some(value) => format!("{place}: \"{}\"", shown(value)),
        None => place,
    };
    let detail = match error.detail() {
        Some(detail) => format!("{detail} {place}"),
        None => place,
    };
    error.with_detail(detail)
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Rows as columns of text.
pub struct Rows {
    relation: String,
    columns: Vec<Column>,
    /// The line that each row begins at, from 1.
    lines: Vec<u64>,
}

struct Column {
    name: String,
    text: String,
    /// Where each value ends in `text`.
    ends: Vec<usize>,
    valid: Vec<bool>,
}

impl Rows {
    fn new(relation: &str, columns: &[String]) -> Rows {
        let column =
            |name: &String| Column { name: name.clone(), text: String::new(), ends: Vec::new(), valid: Vec::new() };
        Rows { relation: relation.to_owned(), columns: columns.iter().map(column).collect(), lines: Vec::new() }
    }

    fn push(&mut self, fields: &[Option<String>], line: u64) {
        for (column, field) in self.columns.iter_mut().zip(fields) {
            column.text.push_str(field.as_deref().unwrap_or_default());
            column.ends.push(column.text.len());
            column.valid.push(field.is_some());
        }
        self.lines.push(line);
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The line that a row begins at, counted from 1.
    pub fn line(&self, row: usize) -> u64 {
        self.lines[row]
    }

    /// The values of a column; `None` is null.
    pub fn column(&self, index: usize) -> Vec<Option<&str>> {
        let column = &self.columns[index];
        let starts = std::iter::once(0).chain(column.ends.iter().copied());
        let values = starts.zip(&column.ends).zip(&column.valid);
        values.map(|((start, &end), &valid)| valid.then(|| &column.text[start..end])).collect()
    }

    /// A column as an array of a type. An error names the line, the column and the value.
    pub fn parse(&self, index: usize, sql_type: &SqlType, format: &TextFormat) -> Result<ArrayRef> {
        let values = self.column(index);
        parse_text(sql_type, &values, format).map_err(|failed| {
            let (line, name) = (self.line(failed.row), &self.columns[index].name);
            let place = format!("COPY {}, line {line}, column {name}", self.relation);
            placed(failed.error, place, values[failed.row])
        })
    }
}
