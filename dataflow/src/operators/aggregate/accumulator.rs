//! One aggregate over all groups: which words of a group's row are its, how rows go in, what comes out.

use super::extreme::{self, Bytes, Multisets};
use super::fixed;
use super::groups::Groups;
use super::total;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::*;
use millrace_ir::{Aggregate, AggregateFunction};
use millrace_types::{Delta, Result, SqlError, Weights};
use std::ops::Range;
use std::sync::Arc;

/// One aggregate.
pub struct Accumulator {
    kind: Kind,
    argument: Option<usize>,
    filter: Option<usize>,
    /// The type that it gives.
    output: DataType,
    /// Its words in a group's row.
    words: Range<usize>,
}

/// What is kept of the argument; `Average` and `Total` differ in what they come to.
enum Kind {
    Count,
    Integer {
        average: bool,
    },
    /// `more`: digits after the point that an average has and its argument has not.
    Decimal {
        average: bool,
        more: u32,
    },
    Float {
        average: bool,
    },
    /// Counts of true and of false. `all`: whether it is `bool_and`.
    Bool {
        all: bool,
    },
    Extreme {
        largest: bool,
        append_only: bool,
        values: Multisets<u128>,
    },
    ExtremeBytes {
        largest: bool,
        append_only: bool,
        values: Multisets<Bytes>,
        known: Vec<Option<Bytes>>,
        before: Vec<Option<Bytes>>,
    },
}

/// Which side of a change a row of the output is.
#[derive(Clone, Copy)]
pub enum Side {
    /// As the group was before the tick; by its place among the dirty groups.
    Before(usize),
    /// As the group of this number is.
    Now(u32),
}

impl Accumulator {
    /// The accumulator of `aggregate`, whose words start at `first`.
    pub fn new(aggregate: &Aggregate, input: &Schema, append_only: bool, first: usize) -> Result<Accumulator> {
        let argument = aggregate.argument.map(|column| input.field(column).data_type().clone());
        let output = aggregate.output.data_type().clone();
        let kind = Kind::new(aggregate.function, argument.as_ref(), &output, append_only)?;
        let words = first..first + kind.words();
        Ok(Accumulator { kind, argument: aggregate.argument, filter: aggregate.filter, output, words })
    }

    /// Its words in a group's row.
    pub fn words(&self) -> Range<usize> {
        self.words.clone()
    }

    /// Which rows of a batch count; `None` when all do.
    pub fn counted(&self, rows: &RecordBatch) -> Result<Option<BooleanBuffer>> {
        let valid = self.argument.and_then(|column| rows.column(column).logical_nulls());
        let valid = valid.filter(|valid| valid.null_count() > 0).map(|valid| valid.inner().clone());
        let Some(filter) = self.filter else { return Ok(valid) };
        let filter = rows.column(filter).as_boolean_opt();
        let filter = filter.ok_or_else(|| SqlError::internal("an aggregate's filter that is not boolean"))?;
        let passes = match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        };
        Ok(Some(valid.map_or(passes.clone(), |valid| &passes & &valid)))
    }

    /// Notes what newly dirty groups come to, where their rows do not say it.
    pub fn note_before(&mut self, dirty: &[u32]) {
        if let Kind::ExtremeBytes { known, before, .. } = &mut self.kind {
            let new = dirty[before.len()..].iter();
            before.extend(new.map(|&group| known.get(group as usize).cloned().flatten()));
        }
    }

    /// Counts the rows of a block, which starts at row `start`, into their groups `found`.
    pub fn update(
        &mut self,
        groups: &mut Groups,
        found: &[u32],
        start: usize,
        delta: &Delta,
        counted: Option<&BooleanBuffer>,
    ) {
        let (stride, first) = (groups.stride, self.words.start);
        let words = &mut groups.words[..];
        let column = self.argument.map(|column| delta.rows().column(column));
        let rows = Rows { found, start, weights: delta.weights(), counted };
        let place = |group: usize| group * stride + first;
        match (&mut self.kind, column) {
            (Kind::Count, _) => rows.each(|_, group, weight| {
                let count = &mut words[place(group)];
                *count = count.wrapping_add_signed(weight);
            }),
            (Kind::Integer { .. }, Some(column)) => {
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
            (Kind::Decimal { .. }, Some(column)) => rows.values::<Decimal128Type>(column, |v, group, weight| {
                total::add_decimal(&mut words[place(group)..][..total::DECIMAL_WORDS], v, weight)
            }),
            (Kind::Float { .. }, Some(column)) => match column.data_type() {
                DataType::Float32 => rows.values::<Float32Type>(column, |v, group, weight| {
                    total::add_float(&mut words[place(group)..][..total::FLOAT_WORDS], v.into(), weight)
                }),
                _ => rows.values::<Float64Type>(column, |v, group, weight| {
                    total::add_float(&mut words[place(group)..][..total::FLOAT_WORDS], v, weight)
                }),
            },
            (Kind::Bool { .. }, Some(column)) => {
                let values = column.as_boolean();
                rows.each(|row, group, weight| {
                    let count = &mut words[place(group) + usize::from(!values.value(row))];
                    *count = count.wrapping_add_signed(weight);
                })
            }
            (kind, Some(column)) => kind.update_extreme(words, place, column, rows),
            (_, None) => {}
        }
    }

    /// Brings what the rows say of these groups up to date at the end of a tick.
    pub fn settle(&mut self, groups: &mut Groups) {
        let (stride, first) = (groups.stride, self.words.start);
        match &mut self.kind {
            Kind::Float { .. } => {
                for &group in &groups.dirty {
                    total::settle_float(&mut groups.words[group as usize * stride + first..][..total::FLOAT_WORDS]);
                }
            }
            Kind::Extreme { largest, append_only: false, values } => {
                for &group in &groups.dirty {
                    let value = values.get(group as usize).and_then(|v| extreme::extreme(v, *largest));
                    extreme::set_known(&mut groups.words[group as usize * stride + first..], value.copied());
                }
            }
            Kind::ExtremeBytes { largest, append_only: false, values, known, .. } => {
                for &group in &groups.dirty {
                    let value = values.get(group as usize).and_then(|v| extreme::extreme(v, *largest));
                    set_at(known, group as usize, value.cloned());
                }
            }
            _ => {}
        }
    }

    /// Forgets a group that is gone.
    pub fn forget(&mut self, group: u32) {
        let group = group as usize;
        match &mut self.kind {
            Kind::Extreme { values, .. } => forget_at(values, group),
            Kind::ExtremeBytes { values, known, .. } => {
                forget_at(values, group);
                forget_at(known, group);
            }
            _ => {}
        }
    }

    /// Ends the tick.
    pub fn end_tick(&mut self) {
        if let Kind::ExtremeBytes { before, .. } = &mut self.kind {
            before.clear();
        }
    }

    /// Whether a changed group comes to the same as before (or is not known to).
    pub fn is_same(&self, before: &[u64], now: &[u64], slot: usize, group: u32) -> bool {
        match &self.kind {
            Kind::Bool { all } => bool_of(&before[self.words()], *all) == bool_of(&now[self.words()], *all),
            Kind::ExtremeBytes { .. } => self.bytes(Side::Before(slot)) == self.bytes(Side::Now(group)),
            _ => before[self.words()] == now[self.words()],
        }
    }

    fn bytes(&self, side: Side) -> Option<&[u8]> {
        let Kind::ExtremeBytes { known, before, .. } = &self.kind else { return None };
        match side {
            Side::Before(slot) => before.get(slot)?.as_deref(),
            Side::Now(group) => known.get(group as usize)?.as_deref(),
        }
    }

    /// Why the aggregate of a group cannot be given, if so.
    pub fn failure(&self, row: &[u64]) -> Option<SqlError> {
        let words = &row[self.words()];
        match &self.kind {
            Kind::Integer { average: false } if self.output == DataType::Int64 => total::sum_bigint(words).err(),
            Kind::Integer { average: false } => total::sum_of_bigints(words).err(),
            Kind::Integer { average: true } => total::average_integer(words, self.scale()).err(),
            Kind::Decimal { average: false, .. } => total::sum_decimal(words).err(),
            Kind::Decimal { average: true, more } => total::average_decimal(words, *more).err(),
            Kind::Float { average: false } if self.output == DataType::Float32 => total::sum_real(words).err(),
            Kind::Float { .. } => total::sum_float(words).err(),
            _ => None,
        }
    }

    fn scale(&self) -> u32 {
        if let DataType::Decimal128(_, scale) = self.output { scale.max(0) as u32 } else { 0 }
    }

    /// The column that groups with these rows (of `stride` words each), none of which fails, come to.
    pub fn finish(&self, rows: &[u64], stride: usize, sides: &[Side]) -> Result<ArrayRef> {
        let words = rows.chunks_exact(stride).map(|row| &row[self.words()]);
        match &self.kind {
            Kind::Count => collect::<Int64Type>(&self.output, words.map(|w| Ok(Some(w[0] as i64)))),
            Kind::Integer { average: false } if self.output == DataType::Int64 => {
                collect::<Int64Type>(&self.output, words.map(total::sum_bigint))
            }
            Kind::Integer { average: false } => {
                collect::<Decimal128Type>(&self.output, words.map(total::sum_of_bigints))
            }
            Kind::Integer { average: true } => {
                let scale = self.scale();
                collect::<Decimal128Type>(&self.output, words.map(|w| total::average_integer(w, scale)))
            }
            Kind::Decimal { average: false, .. } => {
                collect::<Decimal128Type>(&self.output, words.map(total::sum_decimal))
            }
            Kind::Decimal { average: true, more } => {
                collect::<Decimal128Type>(&self.output, words.map(|w| total::average_decimal(w, *more)))
            }
            Kind::Float { average: true } => collect::<Float64Type>(&self.output, words.map(total::average_float)),
            Kind::Float { average: false } if self.output == DataType::Float32 => {
                collect::<Float32Type>(&self.output, words.map(total::sum_real))
            }
            Kind::Float { average: false } => collect::<Float64Type>(&self.output, words.map(total::sum_float)),
            Kind::Bool { all } => Ok(Arc::new(words.map(|w| bool_of(w, *all)).collect::<BooleanArray>())),
            Kind::Extreme { .. } => Ok(fixed::decode(&self.output, words.map(extreme::known))),
            Kind::ExtremeBytes { .. } => extreme::column_of(&self.output, sides.iter().map(|&side| self.bytes(side))),
        }
    }

    /// The bytes of memory beside the groups' rows, nearly.
    pub fn bytes_beside(&self) -> usize {
        // A node of a tree of few entries takes about this much.
        const NODE: usize = 300;
        match &self.kind {
            Kind::Extreme { values, .. } => values.iter().map(|v| v.len().div_ceil(6) * NODE).sum(),
            Kind::ExtremeBytes { values, known, .. } => {
                let known: usize = known.iter().flatten().map(|bytes| bytes.len() + 16).sum();
                let values = values.iter().flat_map(|v| v.keys()).map(|bytes| bytes.len() + NODE / 6);
                known + values.sum::<usize>()
            }
            _ => 0,
        }
    }

    /// What a snapshot keeps of these groups beside their rows: (place in `groups`, value, how often).
    pub fn values_of(&self, groups: &[u32]) -> Vec<(u32, Bytes, i64)> {
        let mut all = Vec::new();
        for (at, &group) in groups.iter().enumerate() {
            let (at, group) = (at as u32, group as usize);
            match &self.kind {
                Kind::Extreme { append_only: false, values, .. } => {
                    let values = values.get(group).into_iter().flatten();
                    all.extend(values.map(|(value, count)| (at, Bytes::from(value.to_be_bytes()), *count)));
                }
                Kind::ExtremeBytes { append_only: false, values, .. } => {
                    let values = values.get(group).into_iter().flatten();
                    all.extend(values.map(|(value, count)| (at, value.clone(), *count)));
                }
                Kind::ExtremeBytes { known, .. } => {
                    all.extend(known.get(group).cloned().flatten().map(|value| (at, value, 1)));
                }
                _ => {}
            }
        }
        all
    }

    /// Takes a value of a group back from a snapshot.
    pub fn restore_value(&mut self, group: u32, value: &[u8], times: i64) {
        let group = group as usize;
        match &mut self.kind {
            Kind::Extreme { values, .. } => {
                if let Ok(bytes) = value.try_into() {
                    extreme::count(at_mut(values, group), u128::from_be_bytes(bytes), times);
                }
            }
            Kind::ExtremeBytes { append_only, largest, values, known, .. } => {
                let keeps = at_mut(known, group);
                if keeps.as_deref().is_none_or(|known| extreme::beats(value, known, *largest)) {
                    *keeps = Some(value.into());
                }
                if !*append_only {
                    extreme::count(at_mut(values, group), value.into(), times);
                }
            }
            _ => {}
        }
    }

    /// Whether a snapshot of it has values beside the groups' rows.
    pub fn has_values(&self) -> bool {
        matches!(self.kind, Kind::Extreme { append_only: false, .. } | Kind::ExtremeBytes { .. })
    }
}

impl Kind {
    fn new(
        function: AggregateFunction,
        argument: Option<&DataType>,
        output: &DataType,
        append_only: bool,
    ) -> Result<Kind> {
        use AggregateFunction::*;
        use DataType::{Boolean, Decimal128, Float32, Float64, Int16, Int32, Int64};
        let average = function == Avg;
        Ok(match (function, argument, output) {
            (Count, _, Int64) => Kind::Count,
            (Sum, Some(Int16 | Int32), Int64) => Kind::Integer { average },
            (Sum | Avg, Some(Int16 | Int32 | Int64), Decimal128(38, _)) => Kind::Integer { average },
            (Sum, Some(Decimal128(_, s)), Decimal128(38, to)) if s == to => Kind::Decimal { average, more: 0 },
            (Avg, Some(Decimal128(_, s)), Decimal128(38, to)) if (0..=38).contains(&(to - s)) => {
                Kind::Decimal { average, more: (to - s) as u32 }
            }
            (Sum, Some(Float32), Float32) | (Sum | Avg, Some(Float64), Float64) | (Avg, Some(Float32), Float64) => {
                Kind::Float { average }
            }
            (BoolAnd | BoolOr, Some(Boolean), Boolean) => Kind::Bool { all: function == BoolAnd },
            (Min | Max, Some(from), to) if from == to => match fixed::is_fixed(from) {
                true => Kind::Extreme { largest: function == Max, append_only, values: Vec::new() },
                false => {
                    extreme::check_bytes(from)?;
                    let (values, known, before) = (Vec::new(), Vec::new(), Vec::new());
                    Kind::ExtremeBytes { largest: function == Max, append_only, values, known, before }
                }
            },
            (function, argument, output) => {
                let function = format!("{function:?}").to_lowercase();
                let of = argument.map_or("nothing".to_owned(), DataType::to_string);
                return Err(SqlError::internal(format!("aggregate {function} of {of} as {output}")));
            }
        })
    }

    fn words(&self) -> usize {
        match self {
            Kind::Count => 1,
            Kind::Integer { .. } => total::INTEGER_WORDS,
            Kind::Decimal { .. } => total::DECIMAL_WORDS,
            Kind::Float { .. } => total::FLOAT_WORDS,
            Kind::Bool { .. } => 2,
            Kind::Extreme { .. } => extreme::EXTREME_WORDS,
            Kind::ExtremeBytes { .. } => 0,
        }
    }

    fn update_extreme(&mut self, words: &mut [u64], place: impl Fn(usize) -> usize, column: &ArrayRef, rows: Rows<'_>) {
        match self {
            Kind::Extreme { largest, append_only: true, .. } => rows.words(column, |value, group, _| {
                let words = &mut words[place(group)..][..extreme::EXTREME_WORDS];
                if extreme::known(words).is_none_or(|known| extreme::beats(&value, &known, *largest)) {
                    extreme::set_known(words, Some(value));
                }
            }),
            Kind::Extreme { values, .. } => rows.words(column, |value, group, weight| {
                extreme::count(at_mut(values, group), value, weight);
            }),
            Kind::ExtremeBytes { largest, append_only: true, known, .. } => rows.each(|row, group, _| {
                let (value, known) = (extreme::bytes_of(column, row), at_mut(known, group));
                if known.as_ref().is_none_or(|known| extreme::beats(&value, known, *largest)) {
                    *known = Some(value);
                }
            }),
            Kind::ExtremeBytes { values, .. } => rows.each(|row, group, weight| {
                extreme::count(at_mut(values, group), extreme::bytes_of(column, row), weight);
            }),
            _ => {}
        }
    }
}

/// The rows of a block that count, with their groups and weights.
struct Rows<'a> {
    found: &'a [u32],
    start: usize,
    weights: &'a Weights,
    counted: Option<&'a BooleanBuffer>,
}

impl Rows<'_> {
    /// Calls `f` with the row, its group and its weight.
    #[inline(always)]
    fn each(&self, mut f: impl FnMut(usize, usize, i64)) {
        let rows = self.found.iter().enumerate().map(|(at, &group)| (self.start + at, group as usize));
        match (self.weights, self.counted) {
            (Weights::Ones, None) => rows.for_each(|(row, group)| f(row, group, 1)),
            (Weights::Each(each), None) => rows.for_each(|(row, group)| f(row, group, each[row])),
            (weights, Some(counted)) => rows.filter(|&(row, _)| counted.value(row)).for_each(|(row, group)| {
                let weight = if let Weights::Each(each) = weights { each[row] } else { 1 };
                f(row, group, weight)
            }),
        }
    }

    /// As [`each`](Rows::each), with the value of the row.
    #[inline(always)]
    fn values<T: ArrowPrimitiveType>(&self, column: &ArrayRef, mut f: impl FnMut(T::Native, usize, i64)) {
        let values = column.as_primitive::<T>().values();
        self.each(|row, group, weight| f(values[row], group, weight));
    }

    /// As [`each`](Rows::each), with the value as a word.
    fn words(&self, column: &ArrayRef, mut f: impl FnMut(u128, usize, i64)) {
        let mut words = Vec::with_capacity(self.found.len());
        fixed::encode(column, self.start..self.start + self.found.len(), |_, word| words.push(word));
        self.each(|row, group, weight| f(words[row - self.start], group, weight));
    }
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
    let values: PrimitiveArray<T> = values.collect::<Result<_>>()?;
    Ok(Arc::new(values.with_data_type(output.clone())))
}

fn at_mut<V: Default>(values: &mut Vec<V>, at: usize) -> &mut V {
    if values.len() <= at {
        values.resize_with(at + 1, V::default);
    }
    &mut values[at]
}

fn set_at<V: Default>(values: &mut Vec<V>, at: usize, value: V) {
    *at_mut(values, at) = value;
}

fn forget_at<V: Default>(values: &mut [V], at: usize) {
    if let Some(value) = values.get_mut(at) {
        *value = V::default();
    }
}
