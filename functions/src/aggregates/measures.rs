//! Totals of floats and of intervals.

use super::moments::in_range;
use super::summed::Sums;
use super::twofold::Twofold;
use crate::temporal;
use arrow::array::{ArrayRef, AsArray, Float32Array, Float64Array, IntervalMonthDayNanoArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType};
use datafusion::common::ScalarValue;
use millrace_types::{Result, SqlError, SqlState};

/// Floats beyond this are summed apart and scaled down, so that their sum does not leave the range of floats before
/// it is asked for, and they leave no trace when they go.
const FAR: f64 = 1e280;
/// The scale of such sums, a power of two.
const SCALE: f64 = 1.0 / (1u128 << 120) as f64;

/// Of floats: what is not a number is counted apart.
#[derive(Clone, Debug, Default)]
pub struct FloatTotal {
    count: i64,
    nan: i64,
    positive: i64,
    negative: i64,
    /// How many are far from zero.
    far: i64,
    sum: Twofold,
    far_sum: Twofold,
}

/// A column of floats of either width.
pub enum Floats<'a> {
    Single(&'a Float32Array),
    Double(&'a Float64Array),
}

impl FloatTotal {
    /// What `sum` comes to.
    pub fn sum(&self, result: &DataType, _: i8) -> Result<ScalarValue> {
        let sum = self.value()?;
        if result != &DataType::Float32 {
            return Ok(ScalarValue::Float64(sum));
        }
        let real = sum.map(|sum| sum as f32);
        if real.is_some_and(f32::is_infinite) && sum.is_some_and(f64::is_finite) {
            return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
        }
        Ok(ScalarValue::Float32(real))
    }

    /// What `avg` comes to.
    pub fn mean(&self, _: &DataType, _: i8) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.value()?.map(|sum| sum / self.count as f64)))
    }

    fn value(&self) -> Result<Option<f64>> {
        Ok(Some(match () {
            _ if self.count == 0 => return Ok(None),
            _ if self.nan > 0 || (self.positive > 0 && self.negative > 0) => f64::NAN,
            _ if self.positive > 0 => f64::INFINITY,
            _ if self.negative > 0 => f64::NEG_INFINITY,
            _ if self.far > 0 => {
                let sum = Twofold(self.sum.0 * SCALE, self.sum.1 * SCALE);
                in_range(self.far_sum.plus(sum).value() / SCALE)?
            }
            _ => in_range(self.sum.value())?,
        }))
    }
}

impl Sums for FloatTotal {
    type Columns<'a> = Floats<'a>;

    fn columns(values: &[ArrayRef]) -> Floats<'_> {
        match values[0].as_primitive_opt::<Float32Type>() {
            Some(column) => Floats::Single(column),
            None => Floats::Double(values[0].as_primitive::<Float64Type>()),
        }
    }

    fn count(&mut self, columns: &Floats<'_>, row: usize, sign: i64) {
        let value = match columns {
            Floats::Single(column) => column.value(row).into(),
            Floats::Double(column) => column.value(row),
        };
        self.count += sign;
        match value {
            v if v.is_nan() => self.nan += sign,
            f64::INFINITY => self.positive += sign,
            f64::NEG_INFINITY => self.negative += sign,
            far if far.abs() > FAR => {
                self.far += sign;
                self.far_sum = self.far_sum.plus((far * SCALE * sign as f64).into());
            }
            _ => self.sum = self.sum.plus((value * sign as f64).into()),
        }
        if self.far == 0 {
            self.far_sum = Twofold::default();
        }
        if self.count == self.nan + self.positive + self.negative + self.far {
            self.sum = Twofold::default();
        }
    }

    fn merge(&mut self, other: &FloatTotal) {
        self.count += other.count;
        self.nan += other.nan;
        self.positive += other.positive;
        self.negative += other.negative;
        self.far += other.far;
        self.sum = self.sum.plus(other.sum);
        self.far_sum = self.far_sum.plus(other.far_sum);
    }

    fn words(&self) -> Vec<u64> {
        let counts = [self.count, self.nan, self.positive, self.negative, self.far].map(|count| count as u64);
        let floats = [self.sum.0, self.sum.1, self.far_sum.0, self.far_sum.1].map(f64::to_bits);
        [&counts[..], &floats].concat()
    }

    fn from_words(words: &[u64]) -> FloatTotal {
        let [count, nan, positive, negative, far] = [0, 1, 2, 3, 4].map(|at| words[at] as i64);
        let [high, low, far_high, far_low] = [5, 6, 7, 8].map(|at| f64::from_bits(words[at]));
        let (sum, far_sum) = (Twofold(high, low), Twofold(far_high, far_low));
        FloatTotal { count, nan, positive, negative, far, sum, far_sum }
    }
}

/// Of intervals: months, days and nanoseconds apart.
#[derive(Clone, Debug, Default)]
pub struct IntervalTotal {
    count: i64,
    months: i64,
    days: i64,
    nanoseconds: i128,
}

impl IntervalTotal {
    fn total(&self) -> Result<Option<IntervalMonthDayNano>> {
        if self.count == 0 {
            return Ok(None);
        }
        let out_of_range = || temporal::out_of_range("interval");
        let months = i32::try_from(self.months).map_err(|_| out_of_range())?;
        let days = i32::try_from(self.days).map_err(|_| out_of_range())?;
        let nanoseconds = i64::try_from(self.nanoseconds).map_err(|_| out_of_range())?;
        Ok(Some(IntervalMonthDayNano::new(months, days, nanoseconds)))
    }

    /// What `sum` comes to.
    pub fn sum(&self, _: &DataType, _: i8) -> Result<ScalarValue> {
        Ok(ScalarValue::IntervalMonthDayNano(self.total()?))
    }

    /// What `avg` comes to: fractions of months go to days of 1/30 month, fractions of days to time.
    pub fn mean(&self, _: &DataType, _: i8) -> Result<ScalarValue> {
        let total = self.total()?;
        let mean = total.map(|total| temporal::divided(total, self.count as f64)).transpose()?;
        Ok(ScalarValue::IntervalMonthDayNano(mean))
    }
}

impl Sums for IntervalTotal {
    type Columns<'a> = &'a IntervalMonthDayNanoArray;

    fn columns(values: &[ArrayRef]) -> &IntervalMonthDayNanoArray {
        values[0].as_primitive::<IntervalMonthDayNanoType>()
    }

    fn count(&mut self, column: &&IntervalMonthDayNanoArray, row: usize, sign: i64) {
        let value = column.value(row);
        self.count += sign;
        self.months += sign * i64::from(value.months);
        self.days += sign * i64::from(value.days);
        self.nanoseconds += i128::from(sign) * i128::from(value.nanoseconds);
    }

    fn merge(&mut self, other: &IntervalTotal) {
        self.count += other.count;
        self.months += other.months;
        self.days += other.days;
        self.nanoseconds += other.nanoseconds;
    }

    fn words(&self) -> Vec<u64> {
        let [count, months, days] = [self.count, self.months, self.days].map(|value| value as u64);
        vec![count, months, days, self.nanoseconds as u64, (self.nanoseconds as u128 >> 64) as u64]
    }

    fn from_words(words: &[u64]) -> IntervalTotal {
        let nanoseconds = (u128::from(words[4]) << 64 | u128::from(words[3])) as i128;
        IntervalTotal { count: words[0] as i64, months: words[1] as i64, days: words[2] as i64, nanoseconds }
    }
}
