//! Columns: arrays under construction, fed with tokens.

use super::{Epoch, Fault, Kind, Texts, Token};
use super::{boolean, bytes, datetime, list, number, string};
use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, BooleanBufferBuilder, FixedSizeBinaryArray,
    NullBufferBuilder, PrimitiveArray, new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use millrace_types::{SqlType, sql_type_of};
use std::sync::Arc;

/// An array under construction.
pub(crate) trait Column: Send {
    /// Appends one value per token. A value that is refused is reported and leaves a null in its place.
    fn append(&mut self, tokens: Tokens<'_>, texts: &Texts<'_>, failures: &mut Failures);

    /// The array of everything appended, leaving the column empty. `block` and `extra` are the texts that all tokens
    /// since the last call pointed into.
    fn finish(&mut self, block: &Buffer, extra: &Buffer) -> ArrayRef;
}

/// The tokens of one column among the tokens of many rows, which lie row after row.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    all: &'a [Token],
    stride: usize,
}

impl<'a> Tokens<'a> {
    /// The tokens of column `index` of `width`.
    pub fn of_column(rows: &'a [Token], index: usize, width: usize) -> Tokens<'a> {
        Tokens { all: rows.get(index..).unwrap_or(&[]), stride: width }
    }

    /// Tokens of a single column.
    pub fn of_one(all: &'a [Token]) -> Tokens<'a> {
        Tokens { all, stride: 1 }
    }

    /// The tokens in the order of the rows.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = Token> + 'a {
        self.all.iter().step_by(self.stride).copied()
    }
}

/// Which rows of a pass are refused, and why. The first column that refuses a row gives its reason.
#[derive(Default)]
pub(crate) struct Failures {
    reasons: Vec<(usize, String)>,
    /// Whether a value that is refused becomes NULL where that is allowed.
    pub tolerant: bool,
}

impl Failures {
    pub fn add(&mut self, row: usize, reason: String) {
        self.reasons.push((row, reason));
    }

    /// The refused rows in order, each once, leaving none.
    pub fn take(&mut self) -> Vec<(usize, String)> {
        let mut reasons = std::mem::take(&mut self.reasons);
        reasons.sort_by_key(|(row, _)| *row);
        reasons.dedup_by_key(|(row, _)| *row);
        reasons
    }
}

/// What a column's complaints need to know.
pub(crate) struct About {
    pub name: String,
    pub sql_type: SqlType,
    pub nullable: bool,
}

impl About {
    /// Why a value is refused.
    #[cold]
    pub fn refusal(&self, fault: Fault, text: &[u8]) -> String {
        const SHOWN: usize = 100;
        let About { name, sql_type, .. } = self;
        let value = String::from_utf8_lossy(text);
        let value = match value.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}...", &value[..end]),
            None => value.into_owned(),
        };
        match fault {
            Fault::Syntax => format!("column \"{name}\": invalid input syntax for type {sql_type}: \"{value}\""),
            Fault::Range => format!("column \"{name}\": value \"{value}\" is out of range for type {sql_type}"),
            Fault::Length => format!("column \"{name}\": value too long for type {sql_type}: \"{value}\""),
        }
    }

    /// Reports a value that is refused.
    #[cold]
    pub fn refuse(&self, row: usize, fault: Fault, text: &[u8], failures: &mut Failures) {
        if !(failures.tolerant && self.nullable) {
            failures.add(row, self.refusal(fault, text));
        }
    }

    /// Whether a null may stand here; reports it if not.
    #[inline]
    pub fn check_null(&self, row: usize, failures: &mut Failures) {
        if !self.nullable {
            failures.add(row, format!("null value in column \"{}\" violates not-null constraint", self.name));
        }
    }
}

/// Whether a field holds JSON values, which are kept as their text.
pub(crate) fn is_json(field: &Field) -> bool {
    matches!(sql_type_of(field), SqlType::Json | SqlType::Jsonb)
}

/// A column for a field. `epoch` says how numbers count time.
pub(crate) fn column_of(field: &Field, epoch: Epoch) -> Box<dyn Column> {
    use SqlType as S;
    let sql_type = sql_type_of(field);
    let about = About { name: field.name().clone(), sql_type: sql_type.clone(), nullable: field.is_nullable() };
    match sql_type {
        S::Bool => Box::new(Parsed::new(about, Bits(BooleanBufferBuilder::new(0)), boolean::boolean)),
        S::Int2 => primitive::<Int16Type>(about, number::integer::<i16>),
        S::Int4 => primitive::<Int32Type>(about, number::integer::<i32>),
        S::Int8 => primitive::<Int64Type>(about, number::integer::<i64>),
        S::Oid | S::Regclass | S::Regtype | S::Regproc | S::Regnamespace => {
            primitive::<UInt32Type>(about, number::integer::<u32>)
        }
        S::Float4 => primitive::<Float32Type>(about, number::float4),
        S::Float8 => primitive::<Float64Type>(about, number::float8),
        S::Numeric(_) => {
            let (precision, scale) = match field.data_type() {
                DataType::Decimal128(precision, scale) => (*precision, *scale),
                _ => (DECIMAL128_MAX_PRECISION, SqlType::NUMERIC_SCALE),
            };
            let store = Natives::<Decimal128Type> { values: Vec::new(), data_type: field.data_type().clone() };
            Box::new(Parsed::new(about, store, move |token, texts: &Texts<'_>| {
                number::decimal(token, texts, precision, scale)
            }))
        }
        S::Date => primitive::<Date32Type>(about, datetime::date_of),
        S::Time => primitive::<Time64MicrosecondType>(about, datetime::time_of),
        S::Timestamp | S::Timestamptz => {
            let zoned = sql_type == S::Timestamptz;
            let store =
                Natives::<TimestampMicrosecondType> { values: Vec::new(), data_type: field.data_type().clone() };
            Box::new(Parsed::new(about, store, move |token, texts: &Texts<'_>| {
                datetime::timestamp_of(token, texts, zoned, epoch)
            }))
        }
        S::Interval => primitive::<IntervalMonthDayNanoType>(about, datetime::interval_of),
        S::Uuid => Box::new(Parsed::new(about, Uuids::default(), bytes::uuid)),
        S::Bytea => Box::new(Parsed::new(about, ByteStrings::default(), bytes::bytea)),
        S::Text | S::Varchar(_) | S::Bpchar(_) | S::Name | S::Char | S::Json | S::Jsonb | S::Record => {
            Box::new(string::Strings::new(about))
        }
        S::Array(_) => Box::new(list::Lists::new(about, field, epoch)),
        S::Unknown => Box::new(Nulls { about, len: 0 }),
    }
}

fn primitive<T: ArrowPrimitiveType>(
    about: About,
    parse: fn(Token, &Texts<'_>) -> Result<T::Native, Fault>,
) -> Box<dyn Column>
where
    T::Native: Default,
{
    let store = Natives::<T> { values: Vec::new(), data_type: T::DATA_TYPE };
    Box::new(Parsed::new(about, store, parse))
}

/// Where the values of a [`Parsed`] column go.
trait Store: Send {
    type Value: Default;
    fn push(&mut self, value: Self::Value);
    fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef;
}

/// A column whose values are each parsed by themselves.
struct Parsed<S, P> {
    about: About,
    store: S,
    validity: NullBufferBuilder,
    parse: P,
}

impl<S: Store, P> Parsed<S, P> {
    fn new(about: About, store: S, parse: P) -> Parsed<S, P> {
        Parsed { about, store, validity: NullBufferBuilder::new(0), parse }
    }
}

impl<S: Store, P: Fn(Token, &Texts<'_>) -> Result<S::Value, Fault> + Send> Column for Parsed<S, P> {
    fn append(&mut self, tokens: Tokens<'_>, texts: &Texts<'_>, failures: &mut Failures) {
        for (row, token) in tokens.iter().enumerate() {
            if token.is_null() {
                self.about.check_null(row, failures);
                self.store.push(S::Value::default());
                self.validity.append_null();
                continue;
            }
            match (self.parse)(token, texts) {
                Ok(value) => {
                    self.store.push(value);
                    self.validity.append_non_null();
                }
                Err(fault) => {
                    self.about.refuse(row, fault, texts.of(token), failures);
                    self.store.push(S::Value::default());
                    self.validity.append_null();
                }
            }
        }
    }

    fn finish(&mut self, _: &Buffer, _: &Buffer) -> ArrayRef {
        self.store.finish(self.validity.finish())
    }
}

struct Natives<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    data_type: DataType,
}

impl<T: ArrowPrimitiveType> Store for Natives<T>
where
    T::Native: Default,
{
    type Value = T::Native;

    #[inline]
    fn push(&mut self, value: T::Native) {
        self.values.push(value);
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        let values = std::mem::take(&mut self.values);
        Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(self.data_type.clone()))
    }
}

struct Bits(BooleanBufferBuilder);

impl Store for Bits {
    type Value = bool;

    fn push(&mut self, value: bool) {
        self.0.append(value);
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        Arc::new(BooleanArray::new(self.0.finish(), nulls))
    }
}

#[derive(Default)]
struct Uuids(Vec<u8>);

impl Store for Uuids {
    type Value = [u8; 16];

    fn push(&mut self, value: [u8; 16]) {
        self.0.extend_from_slice(&value);
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        Arc::new(FixedSizeBinaryArray::new(16, std::mem::take(&mut self.0).into(), nulls))
    }
}

#[derive(Default)]
struct ByteStrings {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

impl Store for ByteStrings {
    type Value = Vec<u8>;

    fn push(&mut self, value: Vec<u8>) {
        self.bytes.extend_from_slice(&value);
        self.lengths.push(value.len());
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        let offsets = OffsetBuffer::from_lengths(self.lengths.drain(..));
        Arc::new(BinaryArray::new(offsets, std::mem::take(&mut self.bytes).into(), nulls))
    }
}

/// A column of the type of a bare NULL.
struct Nulls {
    about: About,
    len: usize,
}

impl Column for Nulls {
    fn append(&mut self, tokens: Tokens<'_>, texts: &Texts<'_>, failures: &mut Failures) {
        for (row, token) in tokens.iter().enumerate() {
            if !matches!(token.kind(), Kind::Missing | Kind::Null) {
                self.about.refuse(row, Fault::Syntax, texts.of(token), failures);
            }
            self.len += 1;
        }
    }

    fn finish(&mut self, _: &Buffer, _: &Buffer) -> ArrayRef {
        new_null_array(&DataType::Null, std::mem::take(&mut self.len))
    }
}
