//! The values of one column. Every type is laid over a range of whole numbers (days, microseconds, hundredths ...), and
//! a value is a place in that range: the next one, or a random one.

use crate::mix::mix;
use crate::options::Options;
use crate::value::{Epoch, Kind, Texts, Token, datetime, number};
use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeBinaryBuilder, PrimitiveArray, StringViewArray,
};
use arrow::datatypes::*;
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};
use std::ops::Range;
use std::sync::Arc;

const DAY: i64 = 86_400_000_000;
/// 2020-01-01 and 2030-01-01: where random times lie unless options say otherwise.
const FIRST_DAY: i64 = 18_262;
const LAST_DAY: i64 = 21_915;

/// Makes the values of a column.
#[derive(Clone, Debug)]
pub(super) struct ColumnGenerator {
    sql_type: SqlType,
    data_type: DataType,
    sequence: bool,
    /// The least and the greatest place.
    low: i64,
    high: i64,
    /// From one place of a sequence to the next.
    step: i64,
    length: usize,
    seed: u64,
    null_rate: f64,
}

impl ColumnGenerator {
    /// The generator of the `index`-th column after the options for it.
    pub fn new(options: &Options, index: usize, field: &Field) -> Result<ColumnGenerator> {
        let sql_type = sql_type_of(field);
        let (least, default, greatest) = ranges(field, &sql_type)?;
        let given = |option: &str| options.of_column(&format!("fields.<column>.{option}"), field.name());
        let sequence = given("kind").as_deref() == Some("sequence");
        let (kind, foreign) = match sequence {
            true => ("random", ["min", "max", "length"].as_slice()),
            false => ("sequence", ["start", "end"].as_slice()),
        };
        if let Some(option) = foreign.iter().find(|option| given(option).is_some()) {
            let name = format!("fields.{}.{option}", field.name());
            return Err(options.invalid(&name, format!("The option is for columns of kind \"{kind}\".")));
        }
        let bound = |option: &str, default: i64| {
            let Some(text) = given(option) else { return Ok(default) };
            let place = place(&sql_type, field, &text).filter(|place| (least..=greatest).contains(place));
            let name = format!("fields.{}.{option}", field.name());
            place.ok_or_else(|| options.invalid(&name, format!("\"{text}\" is not a value of type {sql_type}.")))
        };
        let unlimited = if sequence { (default.0, greatest) } else { default };
        let low = bound(if sequence { "start" } else { "min" }, unlimited.0)?;
        let high = bound(if sequence { "end" } else { "max" }, unlimited.1.max(low))?;
        if low > high {
            let name = format!("fields.{}.{}", field.name(), if sequence { "end" } else { "max" });
            return Err(options.invalid(&name, "The range has no values."));
        }
        let null_rate = given("null_rate").and_then(|text| text.parse().ok()).unwrap_or(0.0);
        if null_rate > 0.0 && !field.is_nullable() {
            let name = format!("fields.{}.null_rate", field.name());
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("option \"{name}\" asks for NULL in a NOT NULL column"),
            ));
        }
        let seed: i64 = given("seed").and_then(|text| text.parse().ok()).unwrap_or(0);
        let limit =
            if let SqlType::Varchar(Some(limit)) | SqlType::Bpchar(Some(limit)) = &sql_type { *limit } else { 1 << 20 };
        let length: usize = given("length").and_then(|text| text.parse().ok()).unwrap_or(16);
        Ok(ColumnGenerator {
            step: step(&sql_type, field),
            data_type: field.data_type().clone(),
            sql_type,
            sequence,
            low,
            high,
            length: length.min(limit as usize),
            seed: mix(seed as u64 ^ mix(index as u64)),
            null_rate,
        })
    }

    /// The values of these rows.
    pub fn values(&self, rows: Range<u64>) -> ArrayRef {
        use SqlType::*;
        match &self.sql_type {
            Bool => {
                Arc::new(rows.map(|row| self.valid(row).then(|| self.place(row) & 1 == 1)).collect::<BooleanArray>())
            }
            Int2 => self.primitives::<Int16Type>(rows, |place| place as i16),
            Int4 => self.primitives::<Int32Type>(rows, |place| place as i32),
            Int8 => self.primitives::<Int64Type>(rows, |place| place),
            Float4 => self.primitives::<Float32Type>(rows, |place| (place as f64 / FLOAT_UNIT) as f32),
            Float8 => self.primitives::<Float64Type>(rows, |place| place as f64 / FLOAT_UNIT),
            Numeric(_) => self.primitives::<Decimal128Type>(rows, i128::from),
            Date => self.primitives::<Date32Type>(rows, |place| place as i32),
            Time => self.primitives::<Time64MicrosecondType>(rows, |place| place),
            Timestamp | Timestamptz => self.primitives::<TimestampMicrosecondType>(rows, |place| place),
            Uuid => self.uuids(rows),
            Bytea => {
                let values: Vec<_> = rows.map(|row| self.valid(row).then(|| self.bytes(row))).collect();
                Arc::new(values.iter().map(|value| value.as_deref()).collect::<BinaryArray>())
            }
            _ => {
                let texts: Vec<_> = rows.map(|row| self.valid(row).then(|| self.text(row))).collect();
                Arc::new(texts.iter().map(|text| text.as_deref()).collect::<StringViewArray>())
            }
        }
    }

    fn primitives<T: ArrowPrimitiveType>(&self, rows: Range<u64>, value: impl Fn(i64) -> T::Native) -> ArrayRef {
        let values = rows.map(|row| self.valid(row).then(|| value(self.place(row))));
        Arc::new(values.collect::<PrimitiveArray<T>>().with_data_type(self.data_type.clone()))
    }

    fn uuids(&self, rows: Range<u64>) -> ArrayRef {
        let mut builder = FixedSizeBinaryBuilder::with_capacity((rows.end - rows.start) as usize, 16);
        for row in rows {
            let high = if self.sequence { 0 } else { mix(self.seed.wrapping_add(mix(row))) };
            let low = if self.sequence { self.place(row) as u64 } else { mix(high) };
            let uuid = uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes());
            // The builder is 16 bytes wide, and so is a UUID.
            match self.valid(row).then(|| builder.append_value(uuid.into_uuid().as_bytes())) {
                Some(Ok(())) => {}
                _ => builder.append_null(),
            }
        }
        Arc::new(builder.finish())
    }

    fn valid(&self, row: u64) -> bool {
        self.null_rate == 0.0 || (mix(self.seed ^ mix(!row)) >> 11) as f64 / (1u64 << 53) as f64 >= self.null_rate
    }

    /// The row's place in the range.
    fn place(&self, row: u64) -> i64 {
        let span = self.high.wrapping_sub(self.low) as u64;
        let within = if self.sequence {
            let places = (span / self.step as u64).saturating_add(1);
            row % places * self.step as u64
        } else {
            let random = mix(self.seed.wrapping_add(mix(row)));
            ((u128::from(random) * (u128::from(span) + 1)) >> 64) as u64
        };
        self.low.wrapping_add(within as i64)
    }

    fn text(&self, row: u64) -> String {
        match (&self.sql_type, self.sequence) {
            (SqlType::Json | SqlType::Jsonb, false) => format!("{{\"value\": {}}}", self.place(row)),
            (_, true) => self.place(row).to_string(),
            _ => self.bytes(row).iter().map(|byte| (b'a' + byte % 26) as char).collect(),
        }
    }

    fn bytes(&self, row: u64) -> Vec<u8> {
        if self.sequence {
            return self.place(row).to_be_bytes().to_vec();
        }
        let start = self.seed.wrapping_add(mix(row));
        (0..self.length).map(|at| (mix(start.wrapping_add(mix(at as u64))) >> 56) as u8).collect()
    }
}

/// Places per unit of a float.
const FLOAT_UNIT: f64 = 1e6;

type Bounds = (i64, (i64, i64), i64);

/// The least place that a type has, those that random values have by default, and the greatest.
fn ranges(field: &Field, sql_type: &SqlType) -> Result<Bounds> {
    use SqlType::*;
    Ok(match sql_type {
        Bool => (0, (0, 1), 1),
        Int2 => (i16::MIN.into(), (0, i16::MAX.into()), i16::MAX.into()),
        Int4 => (i32::MIN.into(), (0, 1_000_000), i32::MAX.into()),
        Int8 | Text | Varchar(_) | Bpchar(_) | Json | Jsonb | Bytea | Uuid => (i64::MIN, (0, 1_000_000), i64::MAX),
        Float4 | Float8 => (i64::MIN, (0, FLOAT_UNIT as i64), i64::MAX),
        Numeric(_) => {
            let unit = step(sql_type, field);
            let digits = if let DataType::Decimal128(precision, _) = field.data_type() { *precision } else { 18 };
            let greatest = 10i64.checked_pow(digits.into()).map_or(i64::MAX, |limit| limit - 1);
            (-greatest, (0, unit.saturating_mul(1000).min(greatest)), greatest)
        }
        Date => (-719_162, (FIRST_DAY, LAST_DAY), 2_932_896),
        Time => (0, (0, DAY - 1), DAY - 1),
        Timestamp | Timestamptz => (-719_162 * DAY, (FIRST_DAY * DAY, LAST_DAY * DAY), 2_932_896 * DAY),
        other => return Err(SqlError::unsupported(format!("type {other} in connector \"datagen\""))),
    })
}

/// From one value of a sequence to the next: 1, a day, a second.
fn step(sql_type: &SqlType, field: &Field) -> i64 {
    match (sql_type, field.data_type()) {
        (SqlType::Float4 | SqlType::Float8, _) => FLOAT_UNIT as i64,
        (SqlType::Numeric(_), DataType::Decimal128(_, scale)) => {
            10i64.checked_pow(u32::from(scale.unsigned_abs()).min(18)).unwrap_or(1)
        }
        (SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz, _) => 1_000_000,
        _ => 1,
    }
}

/// The place of a value given as text.
fn place(sql_type: &SqlType, field: &Field, text: &str) -> Option<i64> {
    let texts = Texts { block: text.as_bytes(), extra: b"" };
    let token = Token::new(Kind::Text, 0, text.len());
    match (sql_type, field.data_type()) {
        (SqlType::Float4 | SqlType::Float8, _) => {
            let place = number::float8(token, &texts).ok()? * FLOAT_UNIT;
            (place.abs() < 9e18).then_some(place as i64)
        }
        (SqlType::Numeric(_), DataType::Decimal128(precision, scale)) => {
            number::decimal(token, &texts, *precision, *scale).ok()?.try_into().ok()
        }
        (SqlType::Date, _) => datetime::date_of(token, &texts).ok().map(i64::from),
        (SqlType::Time, _) => datetime::time_of(token, &texts).ok(),
        (SqlType::Timestamp | SqlType::Timestamptz, _) => {
            datetime::timestamp_of(token, &texts, *sql_type == SqlType::Timestamptz, Epoch::default()).ok()
        }
        _ => number::integer::<i64>(token, &texts).ok(),
    }
}
