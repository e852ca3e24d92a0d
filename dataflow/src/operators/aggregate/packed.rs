//! Aggregates that subtract what is taken back, and are nothing but words of a group's row: counts, totals, and counts
//! of trues and falses.

use super::rows::Rows;
use super::total;
use arrow::array::{
    ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array, NullBufferBuilder, PrimitiveArray,
};
use arrow::datatypes::*;
use millrace_ir::AggregateFunction;
use millrace_types::{Result, SqlError};
use std::sync::Arc;

/// What is kept of the argument.
pub enum Packed {
    Count,
    Integer {
        average: bool,
    },
    /// `scale`: that of the argument.
    Decimal {
        average: bool,
        scale: i8,
    },
    Float {
        average: bool,
    },
    /// Counts of true and of false. `all`: whether it is `bool_and`.
    Bool {
        all: bool,
    },
}

impl Packed {
    /// What a function keeps of an argument of this type; `None` for others than these.
    pub fn new(function: &AggregateFunction, argument: Option<&DataType>, output: &DataType) -> Option<Packed> {
        use AggregateFunction::*;
        use DataType::{Boolean, Decimal128, Float32, Float64, Int16, Int32, Int64};
        let average = matches!(function, Avg);
        Some(match (function, argument, output) {
            (Count, _, Int64) => Packed::Count,
            (Sum, Some(Int16 | Int32), Int64) => Packed::Integer { average },
            (Sum | Avg, Some(Int16 | Int32 | Int64), Decimal128(38, _)) => Packed::Integer { average },
            (Sum, Some(Decimal128(_, s)), Decimal128(38, to)) if s == to => Packed::Decimal { average, scale: *s },
            (Avg, Some(Decimal128(_, s)), Decimal128(38, to)) if (0..=38).contains(&(to - s)) => {
                Packed::Decimal { average, scale: *s }
            }
            (Sum, Some(Float32), Float32) | (Sum | Avg, Some(Float64), Float64) | (Avg, Some(Float32), Float64) => {
                Packed::Float { average }
            }
            (BoolAnd | BoolOr, Some(Boolean), Boolean) => Packed::Bool { all: matches!(function, BoolAnd) },
            _ => return None,
        })
    }

    /// How many words it takes.
    pub fn words(&self) -> usize {
        match self {
            Packed::Count => 1,
            Packed::Integer { .. } => total::INTEGER_WORDS,
            Packed::Decimal { .. } => total::DECIMAL_WORDS,
            Packed::Float { .. } => total::FLOAT_WORDS,
            Packed::Bool { .. } => 2,
        }
    }

    /// Counts rows into their groups. `place`: where the words of a group start.
    pub fn update(
        &self,
        words: &mut [u64],
        place: impl Fn(usize) -> usize,
        column: Option<&ArrayRef>,
        rows: &Rows<'_>,
    ) {
        match (self, column) {
            (Packed::Count, _) => rows.each(|_, group, weight| {
                let count = &mut words[place(group)];
                *count = count.wrapping_add_signed(weight);
            }),
            (Packed::Integer { .. }, Some(column)) => {
                let words_of = |group| place(group)..place(group) + total::INTEGER_WORDS;
                match column.data_type() {
                    DataType::Int16 => rows.values::<Int16Type>(column, |v, group, weight| {
                        total::add_integer(&mut words[words_of(group)], v.into(), weight)
                    }),
                    DataType::Int32 => rows.values::<Int32Type>(column, |v, group, weight| {
                        total::add_integer(&mut words[words_of(group)], v.into(), weight)
                    }),
                    _ => rows.values::<Int64Type>(column, |v, group, weight| {
                        total::add_integer(&mut words[words_of(group)], v, weight)
                    }),
                }
            }
            (Packed::Decimal { .. }, Some(column)) => rows.values::<Decimal128Type>(column, |v, group, weight| {
                total::add_decimal(&mut words[place(group)..][..total::DECIMAL_WORDS], v, weight)
            }),
            (Packed::Float { .. }, Some(column)) => match column.data_type() {
                DataType::Float32 => rows.values::<Float32Type>(column, |v, group, weight| {
                    total::add_float(&mut words[place(group)..][..total::FLOAT_WORDS], v.into(), weight)
                }),
                _ => rows.values::<Float64Type>(column, |v, group, weight| {
                    total::add_float(&mut words[place(group)..][..total::FLOAT_WORDS], v, weight)
                }),
            },
            (Packed::Bool { .. }, Some(column)) => {
                let values = column.as_boolean();
                rows.each(|row, group, weight| {
                    let count = &mut words[place(group) + usize::from(!values.value(row))];
                    *count = count.wrapping_add_signed(weight);
                })
            }
            (_, None) => {}
        }
    }

    /// Adds what another group comes to.
    pub fn merge(&self, from: &[u64], into: &mut [u64]) {
        match self {
            Packed::Count | Packed::Bool { .. } => {
                into.iter_mut().zip(from).for_each(|(into, from)| *into = into.wrapping_add(*from));
            }
            Packed::Integer { .. } => total::merge_integers(from, into),
            Packed::Decimal { .. } => total::merge_decimals(from, into),
            Packed::Float { .. } => total::merge_floats(from, into),
        }
    }

    /// Brings the words of a group up to date at the end of a tick.
    pub fn settle(&self, dirty: &[u32], words: &mut [u64], place: impl Fn(usize) -> usize) {
        if let Packed::Float { .. } = self {
            for &group in dirty {
                total::settle_float(&mut words[place(group as usize)..][..total::FLOAT_WORDS]);
            }
        }
    }

    /// Whether two states come to the same (or are not known to).
    pub fn is_same(&self, before: &[u64], now: &[u64]) -> bool {
        match self {
            Packed::Bool { all } => bool_of(before, *all) == bool_of(now, *all),
            // A loop beats the call of a comparison of memory for so few words.
            _ => before.iter().zip(now).all(|(before, now)| before == now),
        }
    }

    /// Whether words may say what cannot be given.
    pub fn can_fail(&self, output: &DataType) -> bool {
        match self {
            // Less than 2^63 integers of at most 64 bits have less than 38 digits.
            Packed::Integer { average: false } => output == &DataType::Int64,
            Packed::Count | Packed::Bool { .. } => false,
            Packed::Integer { average: true } | Packed::Decimal { .. } | Packed::Float { .. } => true,
        }
    }

    /// Why what the words say cannot be given, if so.
    pub fn failure(&self, words: &[u64], output: &DataType) -> Option<SqlError> {
        match self {
            Packed::Integer { average: false } if output == &DataType::Int64 => total::sum_bigint(words).err(),
            Packed::Integer { average: false } => total::sum_of_bigints(words).err(),
            Packed::Integer { average: true } => total::average_integer(words, scale_of(output)).err(),
            Packed::Decimal { average: false, .. } => total::sum_decimal(words).err(),
            Packed::Decimal { average: true, scale } => total::average_decimal(words, *scale, scale_of(output)).err(),
            Packed::Float { average: false } if output == &DataType::Float32 => total::sum_real(words).err(),
            Packed::Float { .. } => total::sum_float(words).err(),
            Packed::Count | Packed::Bool { .. } => None,
        }
    }

    /// The column that groups with these words, none of which fails, come to.
    pub fn finish<'a>(&self, words: impl Iterator<Item = &'a [u64]>, output: &DataType) -> Result<ArrayRef> {
        match self {
            Packed::Count => Ok(Arc::new(Int64Array::from_iter_values(words.map(|w| w[0] as i64)))),
            Packed::Integer { average: false } if output == &DataType::Int64 => {
                collect::<Int64Type>(output, words.map(total::sum_bigint))
            }
            Packed::Integer { average: false } => collect::<Decimal128Type>(output, words.map(total::sum_of_bigints)),
            Packed::Integer { average: true } => {
                let scale = scale_of(output);
                collect::<Decimal128Type>(output, words.map(|w| total::average_integer(w, scale)))
            }
            Packed::Decimal { average: false, .. } => collect::<Decimal128Type>(output, words.map(total::sum_decimal)),
            Packed::Decimal { average: true, scale } => {
                let to = scale_of(output);
                collect::<Decimal128Type>(output, words.map(|w| total::average_decimal(w, *scale, to)))
            }
            Packed::Float { average: true } => collect::<Float64Type>(output, words.map(total::average_float)),
            Packed::Float { average: false } if output == &DataType::Float32 => {
                collect::<Float32Type>(output, words.map(total::sum_real))
            }
            Packed::Float { average: false } => collect::<Float64Type>(output, words.map(total::sum_float)),
            Packed::Bool { all } => Ok(Arc::new(words.map(|w| bool_of(w, *all)).collect::<BooleanArray>())),
        }
    }
}

fn scale_of(output: &DataType) -> i8 {
    if let DataType::Decimal128(_, scale) = output { *scale } else { 0 }
}

/// `bool_and` or `bool_or` of so many trues and falses.
fn bool_of(words: &[u64], all: bool) -> Option<bool> {
    let (trues, falses) = (words[0] as i64, words[1] as i64);
    match all {
        _ if trues == 0 && falses == 0 => None,
        true => Some(falses == 0),
        false => Some(trues > 0),
    }
}

fn collect<T: ArrowPrimitiveType>(
    output: &DataType,
    values: impl Iterator<Item = Result<Option<T::Native>>>,
) -> Result<ArrayRef> {
    let mut there = Vec::with_capacity(values.size_hint().0);
    let mut valid = NullBufferBuilder::new(there.capacity());
    for value in values {
        match value? {
            Some(value) => {
                valid.append_non_null();
                there.push(value);
            }
            None => {
                valid.append_null();
                there.push(T::default_value());
            }
        }
    }
    Ok(Arc::new(PrimitiveArray::<T>::new(there.into(), valid.finish()).with_data_type(output.clone())))
}
