//! Trigonometry in degrees, exact where the exact result is: every angle is brought to a range in which the function is
//! scaled by what it gives for an angle whose exact result is known.

use std::f64::consts::FRAC_PI_4;

/// Radians of one degree.
pub const DEGREE: f64 = 0.017_453_292_519_943_295;

/// `sin` of 0 to 90 degrees.
fn sine_of_quadrant(x: f64) -> f64 {
    if x <= 30.0 { small_sine(x) } else { small_cosine(90.0 - x) }
}

/// `cos` of 0 to 90 degrees.
fn cosine_of_quadrant(x: f64) -> f64 {
    if x <= 60.0 { small_cosine(x) } else { small_sine(90.0 - x) }
}

/// `sin` of 0 to 30 degrees.
fn small_sine(x: f64) -> f64 {
    (x * DEGREE).sin() / (30.0 * DEGREE).sin() / 2.0
}

/// `cos` of 0 to 60 degrees.
fn small_cosine(x: f64) -> f64 {
    1.0 - (1.0 - (x * DEGREE).cos()) / (1.0 - (60.0 * DEGREE).cos()) / 2.0
}

/// The angle of the first quadrant that an angle is like, whether it is below the x axis, and whether it is left of the y
/// axis.
fn quadrant(x: f64) -> (f64, bool, bool) {
    let turned = (x % 360.0).abs();
    let is_below = turned > 180.0;
    let half = if is_below { 360.0 - turned } else { turned };
    let is_left = half > 90.0;
    (if is_left { 180.0 - half } else { half }, is_below, is_left)
}

fn signed(value: f64, is_negative: bool) -> f64 {
    if is_negative { -value } else { value }
}

pub fn sine(x: f64) -> f64 {
    let (angle, is_below, _) = quadrant(x);
    signed(sine_of_quadrant(angle), is_below != (x < 0.0))
}

pub fn cosine(x: f64) -> f64 {
    let (angle, _, is_left) = quadrant(x);
    signed(cosine_of_quadrant(angle), is_left)
}

pub fn tangent(x: f64) -> f64 {
    let (angle, is_below, is_left) = quadrant(x);
    let one = sine_of_quadrant(45.0) / cosine_of_quadrant(45.0);
    let value = sine_of_quadrant(angle) / cosine_of_quadrant(angle) / one;
    // There is no negative zero.
    signed(value, is_below ^ is_left ^ (x < 0.0)) + 0.0
}

pub fn cotangent(x: f64) -> f64 {
    let (angle, is_below, is_left) = quadrant(x);
    let one = cosine_of_quadrant(45.0) / sine_of_quadrant(45.0);
    let value = cosine_of_quadrant(angle) / sine_of_quadrant(angle) / one;
    signed(value, is_below ^ is_left ^ (x < 0.0)) + 0.0
}

/// The angle of 0 to 90 degrees with this sine.
fn arc_of_sine(x: f64) -> f64 {
    match x <= 0.5 {
        true => x.asin() / 0.5_f64.asin() * 30.0,
        false => 90.0 - x.acos() / 0.5_f64.acos() * 60.0,
    }
}

pub fn arc_sine(x: f64) -> f64 {
    signed(arc_of_sine(x.abs()), x < 0.0)
}

pub fn arc_cosine(x: f64) -> f64 {
    match x {
        ..0.0 => 90.0 + arc_of_sine(-x),
        ..=0.5 => 90.0 - x.asin() / 0.5_f64.asin() * 30.0,
        _ => x.acos() / 0.5_f64.acos() * 60.0,
    }
}

/// An angle in radians.
pub fn of_radians(x: f64) -> f64 {
    x / FRAC_PI_4 * 45.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_results_are_exact() {
        for (x, sin, cos) in
            [(0.0, 0.0, 1.0), (30.0, 0.5, f64::NAN), (90.0, 1.0, 0.0), (240.0, f64::NAN, -0.5), (270.0, -1.0, 0.0)]
        {
            assert!(sin.is_nan() || sine(x) == sin, "{x}");
            assert!(cos.is_nan() || cosine(x) == cos, "{x}");
        }
        assert_eq!([tangent(45.0), tangent(180.0), tangent(-45.0)], [1.0, 0.0, -1.0]);
        assert_eq!([cotangent(45.0), cotangent(90.0), tangent(90.0)], [1.0, 0.0, f64::INFINITY]);
        assert_eq!([arc_sine(-0.5), arc_cosine(-0.5), arc_cosine(0.5), arc_sine(1.0)], [-30.0, 120.0, 60.0, 90.0]);
        assert_eq!([of_radians(1_f64.atan()), of_radians(f64::INFINITY.atan())], [45.0, 90.0]);
    }
}
