//! Aggregates that are functions of sums over the rows of a group: a row goes in and out at the same price, and leaves
//! no trace.

use super::distinct::{self, Distinct};
use super::single::{Retract, Single};
use crate::error::carried;
use crate::function::no_such_function;
use crate::operators::arithmetic::numeric_like;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, new_empty_array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};
use millrace_types::SqlError;
use std::fmt::Debug;

/// Sums over the rows of one group.
pub trait Sums: Clone + Debug + Send + Sync + 'static {
    /// The arguments as it reads them.
    type Columns<'a>;

    /// The columns of a batch.
    fn columns(values: &[ArrayRef]) -> Self::Columns<'_>;

    /// Counts a row, none of whose arguments is NULL, in (`sign` 1) or out (-1).
    fn count(&mut self, columns: &Self::Columns<'_>, row: usize, sign: i64);

    /// Adds the sums of another part of the group.
    fn merge(&mut self, other: &Self);

    /// All sums as words.
    fn words(&self) -> Vec<u64>;

    /// Sums from their words.
    fn from_words(words: &[u64]) -> Self;
}

/// What sums come to, in the type of the result; the scale is that of the argument, if it is a numeric.
pub type Finish<S> = fn(&S, &DataType, i8) -> std::result::Result<ScalarValue, SqlError>;

/// The sums of all groups.
pub struct Groups<S> {
    /// The sums of no rows.
    none: S,
    sums: Vec<S>,
    finish: Finish<S>,
    result: DataType,
    scale: i8,
}

impl<S: Sums> Groups<S> {
    /// No groups.
    pub fn boxed(none: S, finish: Finish<S>, result: &DataType, scale: i8) -> Box<dyn Retract> {
        Box::new(Groups { none, sums: Vec::new(), finish, result: result.clone(), scale })
    }

    fn grow(&mut self, total: usize) {
        self.sums.resize(total.max(self.sums.len()), self.none.clone());
    }

    fn finished(&self, sums: &S) -> Result<ScalarValue> {
        (self.finish)(sums, &self.result, self.scale).map_err(carried)
    }

    fn bytes(sums: &S) -> Vec<u8> {
        sums.words().into_iter().flat_map(u64::to_le_bytes).collect()
    }
}

/// Calls `f` with each row that has no NULL.
fn each_valid(values: &[ArrayRef], mut f: impl FnMut(usize)) {
    let nulls: Vec<_> = values.iter().filter_map(|column| column.logical_nulls()).collect();
    (0..values[0].len()).filter(|&row| nulls.iter().all(|nulls| nulls.is_valid(row))).for_each(&mut f);
}

impl<S: Sums> GroupsAccumulator for Groups<S> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        let columns = S::columns(values);
        each_valid(values, |row| {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                self.sums[groups[row]].count(&columns, row, 1);
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        if sums.is_empty() {
            return Ok(new_empty_array(&self.result));
        }
        let values = sums.iter().map(|sums| self.finished(sums)).collect::<Result<Vec<_>>>()?;
        ScalarValue::iter_to_array(values)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit_to.take_needed(&mut self.sums);
        Ok(vec![std::sync::Arc::new(BinaryArray::from_iter_values(sums.iter().map(Self::bytes)))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        let states = states[0].as_binary::<i32>();
        for (row, &group) in groups.iter().enumerate().filter(|(row, _)| states.is_valid(*row)) {
            let (words, _) = states.value(row).as_chunks::<8>();
            let words: Vec<u64> = words.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
            self.sums[group].merge(&S::from_words(&words));
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = Groups { none: self.none.clone(), sums: Vec::new(), result: self.result.clone(), ..*self };
        let each: Vec<usize> = (0..values[0].len()).collect();
        rows.update_batch(values, &each, filter, each.len())?;
        rows.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<S>()
    }
}

impl<S: Sums> Retract for Groups<S> {
    fn leave(&mut self, values: &[ArrayRef]) -> Result<()> {
        let columns = S::columns(values);
        each_valid(values, |row| self.sums[0].count(&columns, row, -1));
        Ok(())
    }

    fn value(&self) -> Result<ScalarValue> {
        self.finished(&self.sums[0])
    }
}

/// What an aggregate makes of its arguments' types: what they become, and its result. `None` where there is no such
/// function.
pub type Resolve = fn(&[DataType]) -> Option<(Vec<DataType>, DataType)>;

/// One aggregate over sums.
#[derive(Debug)]
pub struct Summed {
    pub name: &'static str,
    pub aliases: Vec<String>,
    pub resolve: Resolve,
    /// Makes its accumulator for arguments of these types, which `resolve` gave, with the result.
    pub make: fn(&'static str, &[DataType], &DataType) -> Box<dyn Retract>,
    signature: Signature,
}

impl Summed {
    /// The aggregate of a name.
    pub fn new(
        name: &'static str,
        aliases: &[&str],
        resolve: Resolve,
        make: fn(&'static str, &[DataType], &DataType) -> Box<dyn Retract>,
    ) -> Summed {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        Summed { name, aliases, resolve, make, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn made(&self, args: &AccumulatorArgs) -> Box<dyn Retract> {
        (self.make)(self.name, &types_of(args.expr_fields), args.return_type())
    }
}

/// The types of fields.
pub fn types_of(fields: &[FieldRef]) -> Vec<DataType> {
    fields.iter().map(|field| field.data_type().clone()).collect()
}

impl PartialEq for Summed {
    fn eq(&self, other: &Summed) -> bool {
        self.name == other.name
    }
}

impl Eq for Summed {}

impl std::hash::Hash for Summed {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Summed {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        // Unfitting types stay as they are, so that the error of `return_type` is seen: one of here would come as text.
        Ok((self.resolve)(types).map_or_else(|| types.to_vec(), |(types, _)| types))
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        (self.resolve)(types).map(|(_, result)| result).ok_or_else(|| carried(no_such_function(self.name, types)))
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let result = Field::new(self.name, self.return_type(&types_of(fields))?, true);
        Ok(numeric_like(fields, result).into())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            return Ok(distinct::state_fields(args.name, &types_of(args.input_fields)));
        }
        Ok(vec![Field::new(format_state_name(args.name, "sums"), DataType::Binary, true).into()])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let types = types_of(args.expr_fields);
        let single = Single::new(self.made(&args), &types)?;
        Ok(if args.is_distinct { Box::new(Distinct::new(Box::new(single), types)) } else { Box::new(single) })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(self.made(&args))
    }
}
