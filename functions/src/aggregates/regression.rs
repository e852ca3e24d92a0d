//! Correlations, covariances and linear regression, from sums over pairs of floats `(y, x)`.

use super::moments::{FAR, centered, in_range, overflow};
use super::summed::{Finish, Groups, Summed, Sums};
use super::twofold::Twofold;
use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::ScalarValue;
use millrace_types::Result;

/// `corr`, `covar_*` and `regr_*`.
pub fn functions() -> Vec<Summed> {
    macro_rules! function {
        ($name:literal, $($alias:literal)?, $finish:expr) => {
            Summed::new($name, &[$($alias)?], resolve, |_, _, result| {
                let finish: Finish<Pairs> = |pairs, _, _| $finish(pairs);
                Groups::boxed(Pairs::default(), finish, result, 0)
            })
        };
    }
    vec![
        function!("corr",, |p: &Pairs| p.float(1, |s| {
            (s.xx != 0.0 && s.yy != 0.0).then(|| s.xy / (s.xx * s.yy).sqrt())
        })),
        function!("covar_pop",, |p: &Pairs| p.float(1, |s| Some(s.xy / s.count))),
        function!("covar_samp", "covar", |p: &Pairs| p.float(2, |s| Some(s.xy / (s.count - 1.0)))),
        Summed::new("regr_count", &[], resolve_count, |_, _, result| {
            let finish: Finish<Pairs> = |pairs, _, _| Ok(ScalarValue::Int64(Some(pairs.count)));
            Groups::boxed(Pairs::default(), finish, result, 0)
        }),
        function!("regr_sxx",, |p: &Pairs| p.float(1, |s| Some(s.xx))),
        function!("regr_syy",, |p: &Pairs| p.float(1, |s| Some(s.yy))),
        function!("regr_sxy",, |p: &Pairs| p.float(1, |s| Some(s.xy))),
        function!("regr_avgx",, |p: &Pairs| p.float(1, |s| Some(s.x / s.count))),
        function!("regr_avgy",, |p: &Pairs| p.float(1, |s| Some(s.y / s.count))),
        function!("regr_r2",, |p: &Pairs| p.float(1, |s| match () {
            _ if s.xx == 0.0 => None,
            _ if s.yy == 0.0 => Some(1.0),
            _ => Some(s.xy * s.xy / (s.xx * s.yy)),
        })),
        function!("regr_slope",, |p: &Pairs| p.float(1, |s| (s.xx != 0.0).then(|| s.xy / s.xx))),
        function!("regr_intercept",, |p: &Pairs| p.float(1, |s| {
            (s.xx != 0.0).then(|| (s.y - s.x * s.xy / s.xx) / s.count)
        })),
    ]
}

fn resolve(types: &[DataType]) -> Option<(Vec<DataType>, DataType)> {
    let [y, x] = types else { return None };
    let fits = |t: &DataType| t.is_numeric() || matches!(t, DataType::Null | DataType::Utf8);
    (fits(y) && fits(x)).then(|| (vec![DataType::Float64; 2], DataType::Float64))
}

fn resolve_count(types: &[DataType]) -> Option<(Vec<DataType>, DataType)> {
    resolve(types).map(|(types, _)| (types, DataType::Int64))
}

/// Sums over pairs.
#[derive(Clone, Debug, Default)]
struct Pairs {
    count: i64,
    /// How many of them have a NaN or an infinity.
    special: i64,
    /// How many are [far](FAR) from zero: with them the sums cannot be given.
    far: i64,
    /// Of x, y, x², y² and xy.
    sums: [Twofold; 5],
}

/// What follows from the sums.
struct Spread {
    count: f64,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Pairs {
    fn float(&self, least: i64, finish: impl Fn(Spread) -> Option<f64>) -> Result<ScalarValue> {
        if self.count < least {
            return Ok(ScalarValue::Float64(None));
        }
        if self.special > 0 {
            return Ok(ScalarValue::Float64(Some(f64::NAN)));
        }
        if self.far > 0 {
            return Err(overflow());
        }
        let [x, y, xx, yy, xy] = self.sums;
        let spread = Spread {
            count: self.count as f64,
            x: in_range(x.value())?,
            y: in_range(y.value())?,
            xx: in_range(centered(xx, x, x, self.count))?.max(0.0),
            yy: in_range(centered(yy, y, y, self.count))?.max(0.0),
            xy: in_range(centered(xy, x, y, self.count))?,
        };
        Ok(ScalarValue::Float64(finish(spread)))
    }
}

impl Sums for Pairs {
    type Columns<'a> = [&'a Float64Array; 2];

    fn columns(values: &[ArrayRef]) -> [&Float64Array; 2] {
        [0, 1].map(|at| values[at].as_primitive::<Float64Type>())
    }

    fn count(&mut self, [y, x]: &[&Float64Array; 2], row: usize, sign: i64) {
        let (x, y) = (x.value(row), y.value(row));
        let (signed_x, signed_y) = (x * sign as f64, y * sign as f64);
        self.count += sign;
        if !(x.is_finite() && y.is_finite()) {
            self.special += sign;
        } else if x.abs().max(y.abs()) > FAR {
            self.far += sign;
        } else {
            let values = [
                signed_x.into(),
                signed_y.into(),
                Twofold::product(signed_x, x),
                Twofold::product(signed_y, y),
                Twofold::product(signed_x, y),
            ];
            self.sums.iter_mut().zip(values).for_each(|(sum, value)| *sum = sum.plus(value));
        }
        if self.count == self.special + self.far {
            self.sums = Default::default();
        }
    }

    fn merge(&mut self, other: &Pairs) {
        self.count += other.count;
        self.special += other.special;
        self.far += other.far;
        self.sums.iter_mut().zip(other.sums).for_each(|(sum, other)| *sum = sum.plus(other));
    }

    fn words(&self) -> Vec<u64> {
        let floats = self.sums.iter().flat_map(|sum| [sum.0.to_bits(), sum.1.to_bits()]);
        [self.count as u64, self.special as u64, self.far as u64].into_iter().chain(floats).collect()
    }

    fn from_words(words: &[u64]) -> Pairs {
        let sum = |at: usize| Twofold(f64::from_bits(words[at]), f64::from_bits(words[at + 1]));
        let [count, special, far] = [0, 1, 2].map(|at| words[at] as i64);
        Pairs { count, special, far, sums: [3, 5, 7, 9, 11].map(sum) }
    }
}
