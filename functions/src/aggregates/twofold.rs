//! Numbers of two floats: about 106 bits, so that sums come out the same in whatever order values come and go.

/// The sum of both; the second is what the first has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Twofold(pub f64, pub f64);

/// The sum and its rounding error.
fn sum(a: f64, b: f64) -> Twofold {
    let sum = a + b;
    let part = sum - a;
    Twofold(sum, (a - (sum - part)) + (b - part))
}

/// The product and its rounding error.
fn product(a: f64, b: f64) -> Twofold {
    let product = a * b;
    Twofold(product, a.mul_add(b, -product))
}

impl Twofold {
    /// The square of a float or the product of two, exactly.
    pub fn product(a: f64, b: f64) -> Twofold {
        product(a, b)
    }

    /// The nearest float.
    pub fn value(self) -> f64 {
        self.0 + self.1
    }

    /// The sum.
    pub fn plus(self, other: Twofold) -> Twofold {
        let high = sum(self.0, other.0);
        let low = high.1 + self.1 + other.1;
        let total = high.0 + low;
        Twofold(total, low - (total - high.0))
    }

    /// The negative.
    pub fn negated(self) -> Twofold {
        Twofold(-self.0, -self.1)
    }

    /// The product.
    pub fn times(self, other: Twofold) -> Twofold {
        let high = product(self.0, other.0);
        let low = high.1 + self.0 * other.1 + self.1 * other.0;
        let total = high.0 + low;
        Twofold(total, low - (total - high.0))
    }

    /// The quotient.
    pub fn over(self, divisor: f64) -> Twofold {
        let first = self.0 / divisor;
        let rest = self.plus(product(first, divisor).negated());
        let second = rest.value() / divisor;
        let total = first + second;
        Twofold(total, second - (total - first))
    }
}

impl From<f64> for Twofold {
    fn from(value: f64) -> Twofold {
        Twofold(value, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_the_order() {
        let values = [0.1, 1e17, 0.2, -1e17, 0.3, 7.7, 1e-9];
        let total = |values: &mut dyn Iterator<Item = &f64>| {
            values.fold(Twofold::default(), |total, &value| total.plus(value.into())).value()
        };
        assert_eq!(total(&mut values.iter()), total(&mut values.iter().rev()));
        assert_eq!(Twofold::from(1.0).over(3.0).times(3.0.into()).value(), 1.0);
    }
}
