//! Intervals in the style `postgres`.

use super::datetime::{write_fraction, write_two};

/// An interval as Postgres holds it: three parts that do not carry into each other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Parts {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

/// Appends an interval: `1 year 2 mons -3 days +04:05:06.7`. A positive part after a negative one has a sign.
pub(super) fn write(parts: Parts, to: &mut Vec<u8>) {
    let mut state = State { empty: true, negative: false };
    state.unit(parts.months / 12, " year", to);
    state.unit(parts.months % 12, " mon", to);
    state.unit(parts.days, " day", to);
    if parts.micros == 0 && !state.empty {
        return;
    }
    if !state.empty {
        to.push(b' ');
    }
    if parts.micros < 0 {
        to.push(b'-');
    } else if state.negative {
        to.push(b'+');
    }
    let micros = parts.micros.unsigned_abs();
    let seconds = (micros / 1_000_000) as i64;
    write_two(seconds / 3_600, to);
    to.push(b':');
    write_two(seconds / 60 % 60, to);
    to.push(b':');
    write_two(seconds % 60, to);
    write_fraction((micros % 1_000_000) as i64, to);
}

struct State {
    empty: bool,
    /// Whether the part before was negative.
    negative: bool,
}

impl State {
    fn unit(&mut self, value: i32, name: &str, to: &mut Vec<u8>) {
        if value == 0 {
            return;
        }
        if !self.empty {
            to.push(b' ');
        }
        if self.negative && value > 0 {
            to.push(b'+');
        }
        to.extend_from_slice(value.to_string().as_bytes());
        to.extend_from_slice(name.as_bytes());
        if value != 1 {
            to.push(b's');
        }
        self.empty = false;
        self.negative = value < 0;
    }
}
