//! Minima and maxima over all groups.

use super::Stored;
use super::emission::Side;
use super::fixed;
use super::rows::Rows;
use super::value::{self, Bytes, Multisets};
use arrow::array::{ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use millrace_types::Result;
use std::borrow::Cow;

/// A minimum or maximum.
pub struct Extreme {
    largest: bool,
    append_only: bool,
    values: Values,
}

/// Where the values are. `Words`: the extreme stands in the group's row. `Bytes`: `known` has it, by group, and `before`
/// what it was before the tick, by place among the dirty groups.
enum Values {
    Words(Multisets<u128>),
    Bytes { values: Multisets<Bytes>, known: Vec<Option<Bytes>>, before: Vec<Option<Bytes>> },
}

impl Extreme {
    /// Over values of a type.
    ///
    /// # Errors
    /// `0A000` for types without an order here.
    pub fn new(largest: bool, append_only: bool, data_type: &DataType) -> Result<Extreme> {
        let values = match fixed::is_fixed(data_type) {
            true => Values::Words(Vec::new()),
            false => {
                value::check_bytes(data_type)?;
                Values::Bytes { values: Vec::new(), known: Vec::new(), before: Vec::new() }
            }
        };
        Ok(Extreme { largest, append_only, values })
    }

    /// How many words of a group's row it takes.
    pub fn words(&self) -> usize {
        if matches!(self.values, Values::Words(_)) { value::EXTREME_WORDS } else { 0 }
    }

    /// Notes what newly dirty groups come to, where their rows do not say it.
    pub fn note_before(&mut self, dirty: &[u32]) {
        if let Values::Bytes { known, before, .. } = &mut self.values {
            let new = dirty[before.len()..].iter();
            before.extend(new.map(|&group| known.get(group as usize).cloned().flatten()));
        }
    }

    /// Counts rows into their groups. `place`: where the words of a group start.
    pub fn update(&mut self, words: &mut [u64], place: impl Fn(usize) -> usize, column: &ArrayRef, rows: &Rows<'_>) {
        let largest = self.largest;
        match &mut self.values {
            Values::Words(_) if self.append_only => rows.words(column, |value, group, _| {
                let words = &mut words[place(group)..][..value::EXTREME_WORDS];
                if value::known(words).is_none_or(|known| value::beats(&value, &known, largest)) {
                    value::set_known(words, Some(value));
                }
            }),
            Values::Words(values) => rows.words(column, |value, group, weight| {
                value::count(at_mut(values, group), value, weight);
            }),
            Values::Bytes { known, .. } if self.append_only => {
                let texts = column.as_string_view_opt();
                rows.each(|row, group, _| {
                    let value = texts.map_or_else(
                        || Cow::Owned(value::bytes_of(column, row).into()),
                        |texts| Cow::Borrowed(texts.value(row).as_bytes()),
                    );
                    let known = at_mut(known, group);
                    if known.as_deref().is_none_or(|known| value::beats(&*value, known, largest)) {
                        *known = Some(value.as_ref().into());
                    }
                });
            }
            Values::Bytes { values, .. } => rows.each(|row, group, weight| {
                value::count(at_mut(values, group), value::bytes_of(column, row), weight);
            }),
        }
    }

    /// Whether a group's row has all that there is to know.
    pub fn is_mergeable(&self) -> bool {
        self.append_only && matches!(self.values, Values::Words(_))
    }

    /// Takes in the extreme of another group.
    pub fn merge(&self, from: &[u64], into: &mut [u64]) {
        if let Some(value) = value::known(from)
            && value::known(into).is_none_or(|known| value::beats(&value, &known, self.largest))
        {
            value::set_known(into, Some(value));
        }
    }

    /// Looks up the extremes of the groups that changed.
    pub fn settle(&mut self, dirty: &[u32], words: &mut [u64], place: impl Fn(usize) -> usize) {
        if self.append_only {
            return;
        }
        let largest = self.largest;
        match &mut self.values {
            Values::Words(values) => {
                for group in dirty.iter().map(|&group| group as usize) {
                    let value = values.get(group).and_then(|v| value::extreme(v, largest));
                    value::set_known(&mut words[place(group)..], value.copied());
                }
            }
            Values::Bytes { values, known, .. } => {
                for group in dirty.iter().map(|&group| group as usize) {
                    let value = values.get(group).and_then(|v| value::extreme(v, largest));
                    *at_mut(known, group) = value.cloned();
                }
            }
        }
    }

    /// Forgets a group that is gone.
    pub fn forget(&mut self, group: usize) {
        match &mut self.values {
            Values::Words(values) => forget_at(values, group),
            Values::Bytes { values, known, .. } => {
                forget_at(values, group);
                forget_at(known, group);
            }
        }
    }

    /// Ends the tick.
    pub fn end_tick(&mut self) {
        if let Values::Bytes { before, .. } = &mut self.values {
            before.clear();
        }
    }

    /// Whether a group comes to the same as before; its words are given.
    pub fn is_same(&self, before: &[u64], now: &[u64], side: Side) -> bool {
        match self.values {
            Values::Words(_) => before == now,
            Values::Bytes { .. } => self.bytes(side.before()) == self.bytes(side),
        }
    }

    fn bytes(&self, side: Side) -> Option<&[u8]> {
        let Values::Bytes { known, before, .. } = &self.values else { return None };
        if side.is_now {
            known.get(side.group as usize)?.as_deref()
        } else {
            before.get(side.slot as usize)?.as_deref()
        }
    }

    /// The column of these groups.
    pub fn finish<'a>(
        &self,
        words: impl Iterator<Item = &'a [u64]> + Clone,
        sides: &[Side],
        output: &DataType,
    ) -> Result<ArrayRef> {
        match self.values {
            Values::Words(_) => {
                let known = words.map(value::known);
                let nulls: NullBuffer = known.clone().map(|value| value.is_some()).collect();
                Ok(fixed::decode(output, known.map(Option::unwrap_or_default), Some(nulls)))
            }
            Values::Bytes { .. } => value::column_of(output, sides.iter().map(|&side| self.bytes(side))),
        }
    }

    /// The bytes of memory beside the groups' rows, nearly.
    pub fn bytes_beside(&self) -> usize {
        // A node of a tree of few entries takes about this much.
        const NODE: usize = 300;
        match &self.values {
            Values::Words(values) => values.iter().map(|v| v.len().div_ceil(6) * NODE).sum(),
            Values::Bytes { values, known, .. } => {
                let known: usize = known.iter().flatten().map(|bytes| bytes.len() + 16).sum();
                let values = values.iter().flat_map(|v| v.keys()).map(|bytes| bytes.len() + NODE / 6);
                known + values.sum::<usize>()
            }
        }
    }

    /// Whether a snapshot of it has values beside the groups' rows.
    pub fn has_values(&self) -> bool {
        !(self.append_only && matches!(self.values, Values::Words(_)))
    }

    /// What a snapshot keeps of these groups beside their rows.
    pub fn values_of(&self, groups: &[u32]) -> Vec<Stored> {
        let mut all = Vec::new();
        for (at, &group) in groups.iter().enumerate() {
            let (at, group) = (at as u32, group as usize);
            match &self.values {
                Values::Words(values) if !self.append_only => {
                    let values = values.get(group).into_iter().flatten();
                    all.extend(values.map(|(value, count)| (at, Bytes::from(value.to_be_bytes()), *count)));
                }
                Values::Words(_) => {}
                Values::Bytes { known, .. } if self.append_only => {
                    all.extend(known.get(group).cloned().flatten().map(|value| (at, value, 1)));
                }
                Values::Bytes { values, .. } => {
                    let values = values.get(group).into_iter().flatten();
                    all.extend(values.map(|(value, count)| (at, value.clone(), *count)));
                }
            }
        }
        all
    }

    /// Takes a value of a group back from a snapshot.
    pub fn restore_value(&mut self, group: usize, value: &[u8], times: i64) {
        match &mut self.values {
            Values::Words(values) => {
                if let Ok(bytes) = value.try_into() {
                    value::count(at_mut(values, group), u128::from_be_bytes(bytes), times);
                }
            }
            Values::Bytes { values, known, .. } => {
                let keeps = at_mut(known, group);
                if keeps.as_deref().is_none_or(|known| value::beats(value, known, self.largest)) {
                    *keeps = Some(value.into());
                }
                if !self.append_only {
                    value::count(at_mut(values, group), value.into(), times);
                }
            }
        }
    }
}

/// The entry of a group, made if it is not there.
pub fn at_mut<V: Default>(values: &mut Vec<V>, at: usize) -> &mut V {
    if values.len() <= at {
        values.resize_with(at + 1, V::default);
    }
    &mut values[at]
}

/// Empties the entry of a group.
pub fn forget_at<V: Default>(values: &mut [V], at: usize) {
    if let Some(value) = values.get_mut(at) {
        *value = V::default();
    }
}
