//! Mathematical functions: of float8 with Postgres's errors, of numeric with its scales.

use crate::degrees;
use crate::function::{Call, Overload, immutable};
use crate::operators::decimal::{self, overflow, power_of_ten, rescale, scale_of};
use crate::operators::number::{division_by_zero, float_error, out_of_range};
use crate::precise::{self, Number};
use arrow::array::ArrayRef;
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ScalarUDF;
use millrace_types::numeric::{QUOTIENT_SCALE, least_places, places};
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};

const FLOAT: SqlType = SqlType::Float8;
const NUMERIC: SqlType = SqlType::Numeric(None);
const INT: SqlType = SqlType::Int4;
const BIGINT: SqlType = SqlType::Int8;

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    let mut all = vec![
        immutable(
            "abs",
            &["@"],
            vec![
                Overload::new(&[SqlType::Int2], SqlType::Int2, |call| {
                    call.values::<Int16Type>(|r| some(call.value::<Int16Type>(0, r).checked_abs(), "smallint"))
                }),
                Overload::new(&[INT], INT, |call| {
                    call.values::<Int32Type>(|r| some(call.value::<Int32Type>(0, r).checked_abs(), "integer"))
                }),
                Overload::new(&[BIGINT], BIGINT, |call| {
                    call.values::<Int64Type>(|r| some(call.value::<Int64Type>(0, r).checked_abs(), "bigint"))
                }),
                Overload::numeric(&[NUMERIC], same, |call| numeric(call, |value, _| Some(value.abs()))),
                Overload::new(&[SqlType::Float4], SqlType::Float4, |call| {
                    call.values::<Float32Type>(|row| Ok(Some(call.value::<Float32Type>(0, row).abs())))
                }),
                Overload::new(&[FLOAT], FLOAT, |call| float(call, f64::abs)),
            ],
        ),
        immutable("ceil", &["ceiling"], rounding(|value, scale| at_unit(value, scale, 1), f64::ceil)),
        immutable("floor", &[], rounding(|value, scale| at_unit(value, scale, -1), f64::floor)),
        immutable("sign", &["signum"], rounding(|value, _| Some(value.signum()), sign)),
        immutable("round", &[], to_places(round_to, f64::round_ties_even, |value, scale| rescale(value, scale, 0))),
        immutable("trunc", &[], to_places(trunc_to, f64::trunc, |value, scale| trunc_to(value, scale, 0))),
        immutable(
            "sqrt",
            &["dsqrt"],
            both(square_root, |x, scale| square_root(as_float(x)).and_then(|_| precise::square_root(x, scale))),
        ),
        immutable(
            "ln",
            &[],
            both(
                |x| logarithm(x).map(|_| x.ln()),
                |x, scale| logarithm(as_float(x)).and_then(|_| precise::natural_logarithm(x, scale)),
            ),
        ),
        immutable("log", &["log10"], logarithms()),
        immutable("exp", &["dexp"], both(|x| finite(x, x.exp()), precise::exponential)),
        immutable("power", &["pow"], power()),
        immutable("mod", &[], modulo()),
        immutable("div", &[], vec![Overload::numeric(&[NUMERIC, NUMERIC], |_, _| (38, 0), whole_quotient)]),
        immutable("width_bucket", &[], vec![Overload::new(&[FLOAT, FLOAT, FLOAT, INT], INT, width_bucket)]),
        immutable("sin", &[], vec![checked(|x| x.is_finite(), f64::sin)]),
        immutable("cos", &[], vec![checked(|x| x.is_finite(), f64::cos)]),
        immutable("tan", &[], vec![checked(|x| x.is_finite(), f64::tan)]),
        immutable("cot", &[], vec![checked(|x| x.is_finite(), |x| 1.0 / x.tan())]),
        immutable("atan", &[], vec![Overload::new(&[FLOAT], FLOAT, |call| float(call, f64::atan))]),
        immutable("sinh", &[], vec![Overload::new(&[FLOAT], FLOAT, |call| float(call, f64::sinh))]),
        immutable("cosh", &[], vec![Overload::new(&[FLOAT], FLOAT, |call| float(call, f64::cosh))]),
        immutable("tanh", &[], vec![Overload::new(&[FLOAT], FLOAT, |call| float(call, f64::tanh))]),
        immutable("asinh", &[], vec![Overload::new(&[FLOAT], FLOAT, |call| float(call, f64::asinh))]),
        immutable(
            "atan2",
            &[],
            vec![Overload::new(&[FLOAT, FLOAT], FLOAT, |call| {
                call.values::<Float64Type>(|row| {
                    Ok(Some(call.value::<Float64Type>(0, row).atan2(call.value::<Float64Type>(1, row))))
                })
            })],
        ),
        immutable("gcd", &[], whole_numbers(greatest_divisor)),
        immutable("lcm", &[], whole_numbers(least_multiple)),
        immutable("factorial", &[], vec![Overload::numeric(&[BIGINT], |_, _| (38, 0), factorial)]),
        immutable("asin", &[], vec![checked(|x| x.abs() <= 1.0, f64::asin)]),
        immutable("acos", &[], vec![checked(|x| x.abs() <= 1.0, f64::acos)]),
        immutable("acosh", &[], vec![checked(|x| x >= 1.0, f64::acosh)]),
        immutable("atanh", &[], vec![checked(|x| x.abs() <= 1.0, f64::atanh)]),
        immutable("sind", &[], vec![checked(|x| x.is_finite(), degrees::sine)]),
        immutable("cosd", &[], vec![checked(|x| x.is_finite(), degrees::cosine)]),
        immutable("tand", &[], vec![checked(|x| x.is_finite(), degrees::tangent)]),
        immutable("cotd", &[], vec![checked(|x| x.is_finite(), degrees::cotangent)]),
        immutable("asind", &[], vec![checked(|x| x.abs() <= 1.0, degrees::arc_sine)]),
        immutable("acosd", &[], vec![checked(|x| x.abs() <= 1.0, degrees::arc_cosine)]),
        immutable(
            "atand",
            &[],
            vec![Overload::new(&[FLOAT], FLOAT, |call| float(call, |x| degrees::of_radians(x.atan())))],
        ),
        immutable(
            "atan2d",
            &[],
            vec![Overload::new(&[FLOAT, FLOAT], FLOAT, |call| {
                call.values::<Float64Type>(|row| {
                    let (y, x) = (call.value::<Float64Type>(0, row), call.value::<Float64Type>(1, row));
                    Ok(Some(degrees::of_radians(y.atan2(x))))
                })
            })],
        ),
        immutable(
            "scale",
            &[],
            vec![Overload::new(&[NUMERIC], INT, |call| {
                let scale = scale_of(call.arrays[0].data_type());
                call.values::<Int32Type>(|row| {
                    let value = call.value::<Decimal128Type>(0, row);
                    let least = least_places(&sql_type_of(&call.fields[0]), value, scale);
                    Ok(Some(least.max(places(value, scale)).into()))
                })
            })],
        ),
        immutable(
            "min_scale",
            &[],
            vec![Overload::new(&[NUMERIC], INT, |call| {
                let scale = scale_of(call.arrays[0].data_type());
                call.values::<Int32Type>(|row| Ok(Some(places(call.value::<Decimal128Type>(0, row), scale).into())))
            })],
        ),
        immutable(
            "trim_scale",
            &[],
            vec![Overload::new(&[NUMERIC], NUMERIC, |call| {
                let scale = scale_of(call.arrays[0].data_type());
                call.values::<Decimal128Type>(|row| {
                    let value = rescale(call.value::<Decimal128Type>(0, row), scale, SqlType::NUMERIC_SCALE);
                    value.map(Some).ok_or_else(overflow)
                })
            })],
        ),
        immutable("cbrt", &[], vec![Overload::new(&[FLOAT], FLOAT, |call| float(call, f64::cbrt))]),
        immutable("degrees", &[], vec![Overload::new(&[FLOAT], FLOAT, |call| float(call, |x| x / degrees::DEGREE))]),
        immutable("radians", &[], vec![Overload::new(&[FLOAT], FLOAT, |call| float(call, |x| x * degrees::DEGREE))]),
    ];
    all.push(immutable("-", &[], negation()));
    all
}

fn some<T>(value: Option<T>, name: &str) -> Result<Option<T>> {
    value.map(Some).ok_or_else(|| out_of_range(name))
}

/// The unary minus.
fn negation() -> Vec<Overload> {
    vec![
        Overload::new(&[SqlType::Int2], SqlType::Int2, |call| {
            call.values::<Int16Type>(|r| some(call.value::<Int16Type>(0, r).checked_neg(), "smallint"))
        }),
        Overload::new(&[INT], INT, |call| {
            call.values::<Int32Type>(|r| some(call.value::<Int32Type>(0, r).checked_neg(), "integer"))
        }),
        Overload::new(&[BIGINT], BIGINT, |call| {
            call.values::<Int64Type>(|r| some(call.value::<Int64Type>(0, r).checked_neg(), "bigint"))
        }),
        Overload::new(&[SqlType::Interval], SqlType::Interval, |call| {
            call.values::<IntervalMonthDayNanoType>(|row| {
                crate::temporal::negated(call.value::<IntervalMonthDayNanoType>(0, row)).map(Some)
            })
        }),
    ]
}

fn same(types: &[DataType], _: &[Option<&ScalarValue>]) -> (u8, i8) {
    crate::operators::arithmetic::precision_of(&types[0]).unwrap_or((38, 0))
}

fn whole(types: &[DataType], _: &[Option<&ScalarValue>]) -> (u8, i8) {
    let (precision, scale) = same(types, &[]);
    ((i16::from(precision) - i16::from(scale) + 1).clamp(1, 38) as u8, 0)
}

fn quotient(types: &[DataType], _: &[Option<&ScalarValue>]) -> (u8, i8) {
    (38, types.iter().map(scale_of).max().unwrap_or(0).max(QUOTIENT_SCALE))
}

fn float(call: &Call, f: impl Fn(f64) -> f64) -> Result<ArrayRef> {
    call.values::<Float64Type>(|row| Ok(Some(f(call.value::<Float64Type>(0, row)))))
}

fn numeric(call: &Call, f: impl Fn(i128, i8) -> Option<i128>) -> Result<ArrayRef> {
    let scale = scale_of(call.arrays[0].data_type());
    call.values::<Decimal128Type>(|row| f(call.value::<Decimal128Type>(0, row), scale).map(Some).ok_or_else(overflow))
}

fn finite(argument: f64, result: f64) -> Result<f64> {
    match (argument.is_finite(), result.is_infinite(), result == 0.0) {
        (true, true, _) => Err(float_error("overflow")),
        (true, _, true) => Err(float_error("underflow")),
        _ => Ok(result),
    }
}

fn square_root(x: f64) -> Result<f64> {
    if x < 0.0 {
        let message = "cannot take square root of a negative number";
        return Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message));
    }
    Ok(x.sqrt())
}

fn logarithm(x: f64) -> Result<()> {
    let what = match x {
        0.0 => "zero",
        _ if x < 0.0 => "a negative number",
        _ => return Ok(()),
    };
    Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_LOGARITHM, format!("cannot take logarithm of {what}")))
}

fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

/// A function of a numeric, at a scale.
type Precise = fn(Number, i8) -> Result<i128>;

fn as_float(x: Number) -> f64 {
    crate::casts::decimal_to_float(x.value, x.scale)
}

/// A numeric argument.
fn number(call: &Call, at: usize, row: usize) -> Number {
    Number { value: call.value::<Decimal128Type>(at, row), scale: scale_of(call.arrays[at].data_type()) }
}

/// A function of a float, and the same of a numeric.
fn both(f: fn(f64) -> Result<f64>, precise: Precise) -> Vec<Overload> {
    vec![
        Overload::numeric(&[NUMERIC], quotient, move |call| {
            let scale = scale_of(call.result.data_type());
            call.values::<Decimal128Type>(|row| precise(number(call, 0, row), scale).map(Some))
        }),
        Overload::new(&[FLOAT], FLOAT, move |call| {
            call.values::<Float64Type>(|row| f(call.value::<Float64Type>(0, row)).map(Some))
        }),
    ]
}

fn logarithms() -> Vec<Overload> {
    const TEN: Number = Number { value: 10, scale: 0 };
    let mut overloads = both(
        |x| logarithm(x).map(|_| x.log10()),
        |x, scale| logarithm(as_float(x)).and_then(|_| precise::logarithm(TEN, x, scale)),
    );
    overloads.push(Overload::numeric(&[NUMERIC, NUMERIC], quotient, |call| {
        let scale = scale_of(call.result.data_type());
        call.values::<Decimal128Type>(|row| {
            let (base, x) = (number(call, 0, row), number(call, 1, row));
            logarithm(as_float(base)).and_then(|_| logarithm(as_float(x)))?;
            if as_float(base) == 1.0 { Err(division_by_zero()) } else { precise::logarithm(base, x, scale).map(Some) }
        })
    }));
    overloads
}

/// A numeric and a float function that give whole numbers.
fn rounding(decimal: fn(i128, i8) -> Option<i128>, f: fn(f64) -> f64) -> Vec<Overload> {
    vec![
        Overload::numeric(&[NUMERIC], whole, move |call| numeric(call, decimal)),
        Overload::new(&[FLOAT], FLOAT, move |call| float(call, f)),
    ]
}

/// The value moved to a whole number: up with `step` 1, down with -1.
fn at_unit(value: i128, scale: i8, step: i128) -> Option<i128> {
    let unit = power_of_ten(scale.max(0) as u32);
    let whole = value.div_euclid(unit);
    Some(if step > 0 && value.rem_euclid(unit) != 0 { whole + 1 } else { whole })
}

/// A value at a scale, moved to a number of places, in units of the places.
type Places = fn(i128, i8, i8) -> Option<i128>;

fn round_to(value: i128, scale: i8, places: i8) -> Option<i128> {
    rescale(value, scale, places)
}

fn trunc_to(value: i128, scale: i8, places: i8) -> Option<i128> {
    match scale - places {
        ..=0 => rescale(value, scale, places),
        39.. => Some(0),
        down => Some(value / power_of_ten(down as u32)),
    }
}

/// The scale of a constant number of places; that of the argument where places may differ row by row.
fn placed(types: &[DataType], constants: &[Option<&ScalarValue>]) -> (u8, i8) {
    let places = match constants.get(1).copied().flatten() {
        Some(ScalarValue::Int32(Some(places))) => i64::from(*places),
        Some(ScalarValue::Int64(Some(places))) => *places,
        _ => scale_of(&types[0]).into(),
    };
    (38, places.clamp(0, 38) as i8)
}

/// `f(x)` and `f(x, places)`.
fn to_places(places: Places, f: fn(f64) -> f64, units: fn(i128, i8) -> Option<i128>) -> Vec<Overload> {
    vec![
        Overload::numeric(&[NUMERIC], whole, move |call| numeric(call, units)),
        Overload::new(&[FLOAT], FLOAT, move |call| float(call, f)),
        Overload::numeric(&[NUMERIC, INT], placed, move |call| {
            let (scale, result) = (scale_of(call.arrays[0].data_type()), scale_of(call.result.data_type()));
            call.values::<Decimal128Type>(|row| {
                let wanted = call.value::<Int32Type>(1, row).clamp(-38, i32::from(scale)) as i8;
                let moved = places(call.value::<Decimal128Type>(0, row), scale, wanted);
                moved.and_then(|units| rescale(units, wanted, result)).map(Some).ok_or_else(overflow)
            })
        }),
    ]
}

fn whole_quotient(call: &Call) -> Result<ArrayRef> {
    let (s, t) = (scale_of(call.arrays[0].data_type()), scale_of(call.arrays[1].data_type()));
    let scale = s.max(t);
    call.values::<Decimal128Type>(|row| {
        let (a, b) = (call.value::<Decimal128Type>(0, row), call.value::<Decimal128Type>(1, row));
        match (rescale(a, s, scale), rescale(b, t, scale)) {
            _ if b == 0 => Err(division_by_zero()),
            (Some(a), Some(b)) => Ok(Some(a / b)),
            _ => Err(overflow()),
        }
    })
}

fn power() -> Vec<Overload> {
    vec![
        Overload::numeric(&[NUMERIC, NUMERIC], quotient, |call| {
            let scale = scale_of(call.result.data_type());
            call.values::<Decimal128Type>(|row| {
                let (base, exponent) = (number(call, 0, row), number(call, 1, row));
                powers_meet(as_float(base), as_float(exponent))?;
                match (base.value, exponent.value) {
                    (0, 1..) => Ok(Some(0)),
                    _ => precise::power(base, exponent, scale).map(Some),
                }
            })
        }),
        Overload::new(&[FLOAT, FLOAT], FLOAT, |call| {
            call.values::<Float64Type>(|row| {
                float_power(call.value::<Float64Type>(0, row), call.value::<Float64Type>(1, row)).map(Some)
            })
        }),
    ]
}

/// Refuses powers that are no real number.
fn powers_meet(base: f64, exponent: f64) -> Result<()> {
    let refused = |message| Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message));
    if base == 0.0 && exponent < 0.0 {
        return refused("zero raised to a negative power is undefined");
    }
    if base < 0.0 && exponent.is_finite() && exponent.fract() != 0.0 {
        return refused("a negative number raised to a non-integer power yields a complex result");
    }
    Ok(())
}

fn float_power(base: f64, exponent: f64) -> Result<f64> {
    powers_meet(base, exponent)?;
    let result = base.powf(exponent);
    match base.is_finite() && exponent.is_finite() {
        true if result.is_infinite() => Err(float_error("overflow")),
        true if result == 0.0 && base != 0.0 => Err(float_error("underflow")),
        _ => Ok(result),
    }
}

/// `mod(a, b)` is `a % b`.
fn modulo() -> Vec<Overload> {
    use crate::operators::{arithmetic::Operation::Modulo, number};
    vec![
        Overload::new(&[SqlType::Int2, SqlType::Int2], SqlType::Int2, |call| {
            number::evaluate::<Int16Type>(Modulo, &call.arrays[0], &call.arrays[1], call.rows)
        }),
        Overload::new(&[INT, INT], INT, |call| {
            number::evaluate::<Int32Type>(Modulo, &call.arrays[0], &call.arrays[1], call.rows)
        }),
        Overload::new(&[BIGINT, BIGINT], BIGINT, |call| {
            number::evaluate::<Int64Type>(Modulo, &call.arrays[0], &call.arrays[1], call.rows)
        }),
        Overload::numeric(
            &[NUMERIC, NUMERIC],
            |types, _| (38, types.iter().map(scale_of).max().unwrap_or(0)),
            |call| decimal::evaluate(Modulo, &call.arrays[0], &call.arrays[1], call.rows, call.result.data_type()),
        ),
    ]
}

/// A function of floats in a domain.
fn checked(within: fn(f64) -> bool, f: fn(f64) -> f64) -> Overload {
    Overload::new(&[FLOAT], FLOAT, move |call| {
        call.values::<Float64Type>(|row| {
            let x = call.value::<Float64Type>(0, row);
            if x.is_nan() || within(x) { Ok(Some(f(x))) } else { Err(out_of_range("input is")) }
        })
    })
}

/// A function of two whole numbers: of integers, and of numerics at their finer scale.
fn whole_numbers(f: fn(i128, i128) -> Option<i128>) -> Vec<Overload> {
    let narrow = |value: Option<i128>, name: &str| {
        value.and_then(|value| i64::try_from(value).ok()).ok_or_else(|| out_of_range(name))
    };
    vec![
        Overload::new(&[INT, INT], INT, move |call| {
            call.values::<Int32Type>(|row| {
                let (a, b) = (call.value::<Int32Type>(0, row), call.value::<Int32Type>(1, row));
                let value = narrow(f(a.into(), b.into()), "integer")?;
                i32::try_from(value).map(Some).map_err(|_| out_of_range("integer"))
            })
        }),
        Overload::new(&[BIGINT, BIGINT], BIGINT, move |call| {
            call.values::<Int64Type>(|row| {
                let (a, b) = (call.value::<Int64Type>(0, row), call.value::<Int64Type>(1, row));
                narrow(f(a.into(), b.into()), "bigint").map(Some)
            })
        }),
        Overload::numeric(
            &[NUMERIC, NUMERIC],
            |types, _| (38, types.iter().map(scale_of).max().unwrap_or(0)),
            move |call| {
                let (s, t) = (scale_of(call.arrays[0].data_type()), scale_of(call.arrays[1].data_type()));
                let scale = s.max(t);
                call.values::<Decimal128Type>(|row| {
                    let (a, b) = (call.value::<Decimal128Type>(0, row), call.value::<Decimal128Type>(1, row));
                    let value = rescale(a, s, scale).zip(rescale(b, t, scale)).and_then(|(a, b)| f(a, b));
                    value.map(Some).ok_or_else(overflow)
                })
            },
        ),
    ]
}

fn greatest_divisor(a: i128, b: i128) -> Option<i128> {
    let (mut a, mut b) = (a.checked_abs()?, b.checked_abs()?);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Some(a)
}

fn least_multiple(a: i128, b: i128) -> Option<i128> {
    match greatest_divisor(a, b)? {
        0 => Some(0),
        divisor => (a / divisor).checked_mul(b)?.checked_abs(),
    }
}

fn factorial(call: &Call) -> Result<ArrayRef> {
    call.values::<Decimal128Type>(|row| match call.value::<Int64Type>(0, row) {
        ..0 => Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "factorial of a negative number is undefined")),
        n => (1..=i128::from(n)).try_fold(1i128, |product, n| product.checked_mul(n)).map(Some).ok_or_else(overflow),
    })
}

fn width_bucket(call: &Call) -> Result<ArrayRef> {
    let invalid = |message| Err(SqlError::new(SqlState("2201G"), message));
    call.values::<Int32Type>(|row| {
        let at = |i| call.value::<Float64Type>(i, row);
        let (x, low, high, count) = (at(0), at(1), at(2), call.value::<Int32Type>(3, row));
        if count <= 0 {
            return invalid("count must be greater than zero");
        }
        if low == high || !low.is_finite() || !high.is_finite() || x.is_nan() {
            return invalid("lower bound cannot equal upper bound");
        }
        let share = (x - low) / (high - low);
        Ok(Some(match share {
            ..0.0 => 0,
            1.0.. => count.checked_add(1).ok_or_else(|| out_of_range("integer"))?,
            _ => (share * f64::from(count)).floor() as i32 + 1,
        }))
    })
}
