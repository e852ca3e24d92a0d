//! Roots, powers, exponentials and logarithms of numerics, to the digits that Postgres gives each result: about 16
//! significant ones. Computed in whole numbers over 10^60.

use crate::operators::decimal::overflow;
use millrace_types::Result;
use millrace_types::numeric::weight;
use num_bigint::{BigInt, Sign};
use std::sync::LazyLock;

/// Digits after the point in computations.
const PLACES: u32 = 60;
/// Significant digits that a result has at least.
const SIGNIFICANT: i32 = 16;

static ONE: LazyLock<BigInt> = LazyLock::new(|| power_of_ten(PLACES));
static LN_2: LazyLock<BigInt> = LazyLock::new(|| twice_artanh(&(&*ONE / 3)));
static LN_10: LazyLock<BigInt> = LazyLock::new(|| ln(&(&*ONE * 10)));

/// A numeric: a whole number over `10^scale`.
#[derive(Clone, Copy)]
pub struct Number {
    pub value: i128,
    pub scale: i8,
}

impl Number {
    /// The number over 10^60.
    fn wide(self) -> BigInt {
        BigInt::from(self.value) * power_of_ten(PLACES - self.scale.clamp(0, 38) as u32)
    }

    fn float(self) -> f64 {
        crate::casts::decimal_to_float(self.value, self.scale)
    }

    /// Digits after the point without the zeros at the end, for numbers of columns that hold various scales.
    fn shown(self) -> i32 {
        if self.scale < millrace_types::SqlType::NUMERIC_SCALE { self.scale.into() } else { 0 }
    }
}

fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

/// The square root of a number that is not negative, over `10^scale`.
pub fn square_root(x: Number, scale: i8) -> Result<i128> {
    let places = SIGNIFICANT - ((weight(x.value, x.scale) + 1) * 2 - 1);
    let root = (x.wide() * &*ONE).sqrt();
    rounded(&root, places.max(x.shown()), scale)
}

/// The exponential of a number, over `10^scale`.
pub fn exponential(x: Number, scale: i8) -> Result<i128> {
    let digits = x.float() * std::f64::consts::LOG10_E;
    if digits > 38.0 {
        return Err(overflow());
    }
    let result = if digits < -50.0 { BigInt::ZERO } else { exp(&x.wide()) };
    rounded(&result, (SIGNIFICANT - digits as i32).max(x.shown()), scale)
}

/// The natural logarithm of a positive number, over `10^scale`.
pub fn natural_logarithm(x: Number, scale: i8) -> Result<i128> {
    let result = ln(&x.wide());
    rounded(&result, (SIGNIFICANT - weight_of_logarithm(x)).max(x.shown()), scale)
}

/// The logarithm of a positive number to a base, which is not 1, over `10^scale`.
pub fn logarithm(base: Number, x: Number, scale: i8) -> Result<i128> {
    let divisor = if base.float() == 10.0 { LN_10.clone() } else { ln(&base.wide()) };
    let result = ln(&x.wide()) * &*ONE / divisor;
    let places = SIGNIFICANT - (weight_of_logarithm(x) - weight_of_logarithm(base));
    rounded(&result, places.max(x.shown()).max(base.shown()), scale)
}

/// Decimal places before the point of a number's natural logarithm, as Postgres estimates them.
fn weight_of_logarithm(x: Number) -> i32 {
    let x = x.float();
    let logarithm = if (0.9..=1.1).contains(&x) { x - 1.0 } else { x.ln() };
    if logarithm == 0.0 { 0 } else { logarithm.abs().log10() as i32 }
}

/// A power, over `10^scale`. The base is positive, or the exponent is whole; the base is not zero.
pub fn power(base: Number, exponent: Number, scale: i8) -> Result<i128> {
    const EXACT: i128 = 1_000;
    let digits = exponent.float() * base.float().abs().log10();
    if digits > 38.5 {
        return Err(overflow());
    }
    let places = (SIGNIFICANT - digits as i32).max(base.shown()).max(exponent.shown());
    if digits < -50.0 {
        return Ok(0);
    }
    let unit = 10i128.pow(exponent.scale.clamp(0, 38) as u32);
    let whole = (exponent.value % unit == 0).then_some(exponent.value / unit);
    let result = match whole.filter(|whole| whole.abs() <= EXACT) {
        Some(whole) => whole_power(base, whole),
        None => {
            let magnitude = Number { value: base.value.abs(), scale: base.scale };
            let power = exp(&(ln(&magnitude.wide()) * exponent.wide() / &*ONE));
            let negative = base.value < 0 && whole.is_some_and(|whole| whole % 2 != 0);
            if negative { -power } else { power }
        }
    };
    rounded(&result, places, scale)
}

fn whole_power(base: Number, exponent: i128) -> BigInt {
    let times = exponent.unsigned_abs() as u32;
    let (value, unit) = (BigInt::from(base.value).pow(times), power_of_ten(base.scale.max(0) as u32 * times));
    match exponent < 0 {
        true => unit * &*ONE / value,
        false => value * &*ONE / unit,
    }
}

/// A result over 10^60, rounded to so many digits after the point, over `10^scale`.
fn rounded(result: &BigInt, places: i32, scale: i8) -> Result<i128> {
    let places = places.clamp(0, scale.into()) as u32;
    let unit = power_of_ten(PLACES - places);
    let half = &unit / 2;
    let kept = match result.sign() {
        Sign::Minus => (result - half) / unit,
        _ => (result + half) / unit,
    };
    let value = i128::try_from(kept * power_of_ten(scale as u32 - places)).ok();
    value.and_then(crate::operators::decimal::within).ok_or_else(overflow)
}

/// `2 artanh t` of a `t` well below 1, by its series.
fn twice_artanh(t: &BigInt) -> BigInt {
    let square = t * t / &*ONE;
    let (mut sum, mut power, mut divisor) = (t.clone(), t.clone(), 1);
    while power.sign() != Sign::NoSign {
        power = power * &square / &*ONE;
        divisor += 2;
        sum += &power / divisor;
    }
    sum * 2
}

fn ln(x: &BigInt) -> BigInt {
    // x = m * 2^k with m between 3/4 and 3/2.
    let (mut m, mut k) = (x.clone(), 0i64);
    let (low, high): (BigInt, BigInt) = (&*ONE * 3 / 4, &*ONE * 3 / 2);
    while m > high {
        m /= 2;
        k += 1;
    }
    while m < low {
        m *= 2;
        k -= 1;
    }
    let t = (&m - &*ONE) * &*ONE / (&m + &*ONE);
    // LN_2 itself is computed without this reduction.
    twice_artanh(&t) + &*LN_2 * k
}

fn exp(x: &BigInt) -> BigInt {
    const HALVINGS: u32 = 8;
    let k = x / &*LN_2;
    let rest: BigInt = (x - &k * &*LN_2) >> HALVINGS;
    let (mut sum, mut term, mut n) = (ONE.clone(), ONE.clone(), 1);
    while term.sign() != Sign::NoSign && n < 200 {
        term = term * &rest / &*ONE / n;
        sum += &term;
        n += 1;
    }
    for _ in 0..HALVINGS {
        sum = &sum * &sum / &*ONE;
    }
    let k = i64::try_from(k).unwrap_or(0);
    if k >= 0 { sum << k as u64 } else { sum >> k.unsigned_abs() }
}
