//! COPY's text and CSV formats: rows to lines, and lines to columns of values.
//!
//! [`RowWriter`] and [`chunks`] are the way out, [`RowReader`] is the way in. Neither knows statements or files.

mod csv;
mod reader;
mod text;
mod writer;

pub use reader::{RowReader, Rows};
pub use writer::{RowWriter, chunks};

/// The format of COPY data.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyFormat {
    /// Which of the two formats.
    pub kind: CopyKind,
    /// The byte between two fields.
    pub delimiter: u8,
    /// What stands for null; in CSV, when it is not quoted.
    pub null: String,
    /// Whether the first line holds the names of the columns.
    pub header: Header,
    /// CSV: the byte around fields that need it.
    pub quote: u8,
    /// CSV: the byte before a quote, or itself, inside of a quoted field.
    pub escape: u8,
    /// CSV, writing: quote every value that is not null.
    pub force_quote: bool,
}

/// Which format the data is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyKind {
    /// Fields with backslash escapes, one row a line.
    Text,
    /// Fields in quotes where needed.
    Csv,
}

/// What the first line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A row like the others.
    None,
    /// Names, which are written, and skipped when read.
    Names,
    /// Names, which must be those of the columns when read.
    Match,
}

impl CopyFormat {
    /// The text format with its usual settings: tabs, and `\N` for null.
    pub fn text() -> CopyFormat {
        CopyFormat {
            kind: CopyKind::Text,
            delimiter: b'\t',
            null: "\\N".to_owned(),
            header: Header::None,
            quote: b'"',
            escape: b'"',
            force_quote: false,
        }
    }

    /// CSV with its usual settings: commas, double quotes, and nothing for null.
    pub fn csv() -> CopyFormat {
        CopyFormat { kind: CopyKind::Csv, delimiter: b',', null: String::new(), ..CopyFormat::text() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TextFormat;
    use arrow::array::{Array, AsArray, Int32Array, RecordBatch, StringViewArray};
    use arrow::datatypes::{Int32Type, Schema};
    use millrace_types::{Result, SqlState, SqlType, field_of};
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![field_of("a", &SqlType::Int4, true), field_of("b c", &SqlType::Text, true)]);
        let texts = [Some("plain"), Some(""), None, Some("a\tb,c\\\"\n\r\u{8}"), Some("\\."), Some("grün")];
        let numbers: Int32Array = (1..=6).map(|n| (n != 3).then_some(n)).collect();
        let columns: Vec<Arc<dyn Array>> =
            vec![Arc::new(numbers), Arc::new(texts.into_iter().collect::<StringViewArray>())];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    fn written(format: &CopyFormat) -> String {
        let (batch, mut to) = (batch(), Vec::new());
        let writer = RowWriter::new(format.clone(), TextFormat::default());
        writer.header(&batch.schema(), &mut to);
        writer.write(&batch.schema(), &batch, &mut to).unwrap();
        String::from_utf8(to).unwrap()
    }

    fn reader(format: CopyFormat) -> RowReader {
        RowReader::new(format, "t", vec!["a".to_owned(), "b c".to_owned()])
    }

    /// Reads data that comes in pieces of `size` bytes.
    fn read(format: CopyFormat, data: &[u8], size: usize) -> Result<Vec<(Option<String>, Option<String>)>> {
        let mut reader = reader(format);
        for piece in data.chunks(size) {
            reader.push(piece)?;
        }
        reader.finish()?;
        let rows = reader.take();
        let column = |index| rows.column(index).into_iter().map(|v| v.map(str::to_owned)).collect::<Vec<_>>();
        Ok(column(0).into_iter().zip(column(1)).collect())
    }

    #[test]
    fn rows_are_written_as_postgres_does() {
        assert_eq!(
            written(&CopyFormat::text()),
            "1\tplain\n2\t\n\\N\t\\N\n4\ta\\tb,c\\\\\"\\n\\r\\b\n5\t\\\\.\n6\tgrün\n"
        );
        let csv = CopyFormat { header: Header::Names, ..CopyFormat::csv() };
        assert_eq!(written(&csv), "a,b c\n1,plain\n2,\"\"\n,\n4,\"a\tb,c\\\"\"\n\r\u{8}\"\n5,\\.\n6,grün\n");
    }

    #[test]
    fn what_was_written_is_read_in_pieces_of_any_size() {
        for format in [
            CopyFormat::text(),
            CopyFormat::csv(),
            CopyFormat { header: Header::Match, ..CopyFormat::csv() },
            CopyFormat { delimiter: b'|', null: "nil".to_owned(), header: Header::Match, ..CopyFormat::text() },
            CopyFormat { escape: b'\\', quote: b'\'', force_quote: true, ..CopyFormat::csv() },
        ] {
            let data = written(&format);
            let whole = read(format.clone(), data.as_bytes(), data.len()).unwrap();
            let texts: Vec<_> = whole.iter().map(|(_, text)| text.clone()).collect();
            let batch = batch();
            let expected: Vec<_> = batch.column(1).as_string_view().iter().map(|v| v.map(str::to_owned)).collect();
            assert_eq!(texts, expected, "{format:?}");
            for size in [1, 2, 3, 7] {
                assert_eq!(read(format.clone(), data.as_bytes(), size).unwrap(), whole, "{format:?} by {size}");
            }
        }
    }

    #[test]
    fn escapes_line_ends_and_the_end_of_data() {
        let rows = read(CopyFormat::text(), b"1\t\\x41\\102\\q\\\n.\r\n2\tx\r\n\\.\r\nrubbish", 5).unwrap();
        assert_eq!(rows[0].1.as_deref(), Some("ABq\n."));
        assert_eq!(rows.len(), 2);
        let rows = read(CopyFormat::csv(), b"1,\"a\r\nb\"\n2,x\n\\.\nrubbish", 4).unwrap();
        assert_eq!(rows[0].1.as_deref(), Some("a\r\nb"));
        assert_eq!(rows.len(), 2);
        assert_eq!(read(CopyFormat::csv(), b"1,last line without an end", 4).unwrap().len(), 1);
    }

    #[test]
    fn errors_name_line_and_column() {
        for (format, data, state, message, detail) in [
            (
                CopyFormat::text(),
                &b"1\ta\n2\n"[..],
                "22P04",
                "missing data for column \"b c\"",
                "COPY t, line 2: \"2\"",
            ),
            (
                CopyFormat::text(),
                b"1\ta\tx\n",
                "22P04",
                "extra data after last expected column",
                "COPY t, line 1: \"1\ta\tx\"",
            ),
            (CopyFormat::csv(), b"1,\"a\n", "22P04", "unterminated CSV quoted field", "COPY t, line 2"),
            (
                CopyFormat::text(),
                b"1\t\xff\n",
                "22021",
                "invalid byte sequence for encoding \"UTF8\": 0xff",
                "COPY t, line 1",
            ),
            (
                CopyFormat { header: Header::Match, ..CopyFormat::csv() },
                b"a,c\n",
                "22P04",
                "column name mismatch in header line field 2: got \"c\", expected \"b c\"",
                "COPY t, line 1: \"a,c\"",
            ),
        ] {
            let error = read(format, data, 100).unwrap_err();
            assert_eq!((error.state().0, error.message()), (state, message));
            assert_eq!(error.detail(), Some(detail));
        }
    }

    #[test]
    fn columns_become_arrays() {
        let mut reader = reader(CopyFormat::csv());
        reader.push(b"1,x\n,\n").unwrap();
        let rows = reader.take();
        let numbers = rows.parse(0, &SqlType::Int4, &TextFormat::default()).unwrap();
        assert_eq!(numbers.as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(1), None]);
        reader.push(b"3,x\nabc,y\n").unwrap();
        let error = reader.take().parse(0, &SqlType::Int4, &TextFormat::default()).unwrap_err();
        assert_eq!(error.state(), SqlState::INVALID_TEXT_REPRESENTATION);
        assert_eq!(error.detail(), Some("COPY t, line 4, column a: \"abc\""));
    }
}
