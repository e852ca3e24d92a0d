//! Aggregates that see all rows of a group at once, in order.
//!
//! The order is that of the ORDER BY inside of the call and then that of the arguments themselves, NULLs last: relations
//! have no order of their own, and so the result is the same however the rows come, run once or kept up to date.

use super::single::{Retract, Single};
use super::sorted::{Sorted, Tie, sorted};
use super::summed::types_of;
use crate::error::carried;
use crate::function::no_such_function;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, UInt32Array, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, concat, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};
use millrace_types::SqlError;
use std::sync::Arc;

/// What the arguments become, and the field of the result.
pub type Resolved = (Vec<DataType>, Field);

/// What an aggregate of this kind is.
#[derive(Debug)]
pub struct Definition {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    /// What the arguments become and the field of the result, from the arguments' fields; `None` where there is no such
    /// function.
    pub resolve: fn(&[FieldRef]) -> Option<Resolved>,
    /// Whether rows with a NULL as the first argument do not count.
    pub skips_nulls: bool,
    /// Whether it is called with WITHIN GROUP, whose expression is the first argument.
    pub within_group: bool,
    /// The column of the groups.
    pub finish: fn(&Sorted<'_>) -> Result<ArrayRef, SqlError>,
}

/// The function of a definition.
#[derive(Debug)]
pub struct Gathered {
    definition: &'static Definition,
    /// Whether rows keep the order in which they come, and not that of their values: in windows, which have an order.
    arriving: bool,
    aliases: Vec<String>,
    signature: Signature,
}

impl Gathered {
    /// Of a definition.
    pub fn new(definition: &'static Definition) -> Gathered {
        let aliases = definition.aliases.iter().map(|alias| (*alias).to_owned()).collect();
        Gathered { definition, arriving: false, aliases, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// The same over the rows of a window.
    pub fn in_window(&self) -> Gathered {
        Gathered { arriving: true, ..Gathered::new(self.definition) }
    }

    fn undefined(&self, types: &[DataType]) -> SqlError {
        no_such_function(self.definition.name, types)
    }
}

/// The rows of all groups, for a definition. `arriving`: rows that are not ordered by the call keep their order.
pub fn groups(definition: &'static Definition, args: &AccumulatorArgs, arriving: bool) -> Result<Box<dyn Retract>> {
    let options = args.order_bys.iter().map(|sort| sort.options).collect();
    Ok(Box::new(Rows {
        definition,
        types: values_of(args)?,
        fields: args.expr_fields.to_vec(),
        result: args.return_field.clone(),
        options,
        distinct: args.is_distinct,
        batches: Vec::new(),
        groups: Vec::new(),
        total: 0,
        slides: false,
        arriving,
    }))
}

/// The accumulator of one group, for a definition.
pub fn accumulator(
    definition: &'static Definition,
    args: &AccumulatorArgs,
    arriving: bool,
) -> Result<Box<dyn Accumulator>> {
    Ok(Box::new(Single::new(groups(definition, args, arriving)?, &values_of(args)?)?))
}

/// The accumulator of a window's frame, for a definition.
pub fn sliding(
    definition: &'static Definition,
    args: &AccumulatorArgs,
    arriving: bool,
) -> Result<Box<dyn Accumulator>> {
    let mut rows = groups(definition, args, arriving)?;
    rows.slide();
    Ok(Box::new(Single::new(rows, &values_of(args)?)?))
}

/// The types of what an accumulator is given: arguments, then what orders them.
fn values_of(args: &AccumulatorArgs) -> Result<Vec<DataType>> {
    let mut types = types_of(args.expr_fields);
    for sort in args.order_bys {
        types.push(sort.expr.data_type(args.schema)?);
    }
    Ok(types)
}

/// The fields of the state: a list for each column of the rows.
pub fn state_fields(args: &StateFieldsArgs) -> Vec<FieldRef> {
    let columns = args.input_fields.iter().chain(args.ordering_fields).enumerate();
    let field = |(at, field): (usize, &FieldRef)| {
        let name = format_state_name(args.name, &format!("rows {at}"));
        Field::new_list(name, Field::new_list_field(field.data_type().clone(), true), true).into()
    };
    columns.map(field).collect()
}

impl PartialEq for Gathered {
    fn eq(&self, other: &Gathered) -> bool {
        self.definition.name == other.definition.name && self.arriving == other.arriving
    }
}

impl Eq for Gathered {}

impl std::hash::Hash for Gathered {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
    }
}

fn unnamed(types: &[DataType]) -> Vec<FieldRef> {
    types.iter().map(|data_type| Field::new("", data_type.clone(), true).into()).collect()
}

impl AggregateUDFImpl for Gathered {
    fn name(&self) -> &str {
        self.definition.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok((self.definition.resolve)(&unnamed(types)).map_or_else(|| types.to_vec(), |(types, _)| types))
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let resolved = (self.definition.resolve)(&unnamed(types));
        resolved.map(|(_, field)| field.data_type().clone()).ok_or_else(|| carried(self.undefined(types)))
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let resolved = (self.definition.resolve)(fields);
        let (_, field) = resolved.ok_or_else(|| carried(self.undefined(&types_of(fields))))?;
        Ok(field.with_name(self.name()).with_nullable(true).into())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(state_fields(&args))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        accumulator(self.definition, &args, self.arriving)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        sliding(self.definition, &args, self.arriving)
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(groups(self.definition, &args, self.arriving)?)
    }

    fn supports_within_group_clause(&self) -> bool {
        self.definition.within_group
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        // It is given what it is to be ordered by, and sorts by itself.
        AggregateOrderSensitivity::Beneficial
    }

    fn with_beneficial_ordering(self: Arc<Self>, _: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }
}

/// The rows of all groups: arguments, then what orders them.
struct Rows {
    definition: &'static Definition,
    /// Of the arguments and of what orders them.
    types: Vec<DataType>,
    fields: Vec<FieldRef>,
    result: FieldRef,
    options: Vec<SortOptions>,
    distinct: bool,
    batches: Vec<Vec<ArrayRef>>,
    groups: Vec<u32>,
    total: usize,
    /// Whether rows leave in the order in which they came, as from the frame of a window.
    slides: bool,
    /// Whether rows that nothing orders keep the order in which they came.
    arriving: bool,
}

impl Rows {
    /// All rows in the order of their groups.
    fn sorted(&self) -> Result<Sorted<'_>> {
        let columns = match self.batches.as_slice() {
            [] => self.types.iter().map(new_empty_array).collect(),
            [columns] => columns.clone(),
            [first, ..] => {
                let column = |at: usize| -> Vec<&dyn Array> { self.batches.iter().map(|b| b[at].as_ref()).collect() };
                (0..first.len()).map(|at| concat(&column(at))).collect::<Result<Vec<_>, _>>()?
            }
        };
        let tie = if self.arriving { Tie::Arrival } else { Tie::Values };
        sorted(columns, &self.groups, self.total, &self.fields, &self.result, &self.options, self.distinct, tie)
    }

    /// Drops the groups that were given out.
    fn drop_emitted(&mut self, emit_to: EmitTo) -> Result<()> {
        let EmitTo::First(gone) = emit_to else {
            (self.batches, self.groups, self.total) = (Vec::new(), Vec::new(), 0);
            return Ok(());
        };
        let mut start = 0;
        for batch in &mut self.batches {
            let rows = batch.first().map_or(0, |column| column.len());
            let stays = (0..rows).filter(|row| self.groups[start + row] >= gone as u32);
            let stays = UInt32Array::from_iter_values(stays.map(|row| row as u32));
            *batch = batch.iter().map(|column| take(column, &stays, None)).collect::<Result<_, _>>()?;
            start += rows;
        }
        self.groups.retain(|group| *group >= gone as u32);
        self.groups.iter_mut().for_each(|group| *group -= gone as u32);
        self.total -= gone;
        Ok(())
    }

    /// How many groups are given out.
    fn emitted(&self, emit_to: EmitTo) -> usize {
        if let EmitTo::First(count) = emit_to { count } else { self.total }
    }

    fn push(&mut self, columns: Vec<ArrayRef>, groups: impl Iterator<Item = u32>) {
        self.groups.extend(groups);
        self.batches.push(columns);
    }
}

impl GroupsAccumulator for Rows {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.total = self.total.max(total);
        let wanted = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let nulls = values[0].logical_nulls().filter(|nulls| self.definition.skips_nulls && nulls.null_count() > 0);
        if filter.is_none() && nulls.is_none() {
            if !groups.is_empty() {
                self.push(values.to_vec(), groups.iter().map(|group| *group as u32));
            }
            return Ok(());
        }
        let counts = |row: &usize| wanted(*row) && nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
        let rows: Vec<u32> = (0..groups.len()).filter(counts).map(|row| row as u32).collect();
        let places = UInt32Array::from(rows.clone());
        let columns = values.iter().map(|column| take(column, &places, None)).collect::<Result<Vec<_>, _>>()?;
        if !rows.is_empty() {
            self.push(columns, rows.into_iter().map(|row| groups[row as usize] as u32));
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let column = (self.definition.finish)(&self.sorted()?).map_err(carried)?;
        let count = self.emitted(emit_to);
        self.drop_emitted(emit_to)?;
        Ok(column.slice(0, count))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sorted = self.sorted()?;
        let count = self.emitted(emit_to);
        let lists = sorted.all.iter().map(|column| {
            let field = Arc::new(Field::new_list_field(column.data_type().clone(), true));
            let offsets = OffsetBuffer::from_lengths(sorted.groups().map(|rows| rows.len()));
            let lists: ArrayRef = Arc::new(ListArray::new(field, offsets, column.clone(), None));
            lists.slice(0, count)
        });
        let lists = lists.collect();
        self.drop_emitted(emit_to)?;
        Ok(lists)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.total = self.total.max(total);
        let lengths = states[0].as_list::<i32>();
        let mut places = Vec::new();
        for (row, &group) in groups.iter().enumerate() {
            places.extend(std::iter::repeat_n(group as u32, lengths.value_length(row) as usize));
        }
        if places.is_empty() {
            return Ok(());
        }
        let columns = states.iter().map(|state| {
            let list = state.as_list::<i32>();
            let (first, last) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
            list.values().slice(first as usize, (last - first) as usize)
        });
        let columns = columns.collect();
        self.push(columns, places.into_iter());
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = Rows {
            types: self.types.clone(),
            fields: self.fields.clone(),
            result: self.result.clone(),
            options: self.options.clone(),
            batches: Vec::new(),
            groups: Vec::new(),
            total: 0,
            ..*self
        };
        let each: Vec<usize> = (0..values[0].len()).collect();
        rows.update_batch(values, &each, filter, each.len())?;
        rows.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        let columns = self.batches.iter().flatten();
        self.groups.capacity() * size_of::<u32>() + columns.map(|column| column.get_array_memory_size()).sum::<usize>()
    }
}

impl Retract for Rows {
    fn leave(&mut self, values: &[ArrayRef]) -> Result<()> {
        let nulls = values[0].logical_nulls().filter(|_| self.definition.skips_nulls);
        let mut gone = values[0].len() - nulls.map_or(0, |nulls| nulls.null_count());
        self.groups.drain(..gone.min(self.groups.len()));
        while gone > 0 && !self.batches.is_empty() {
            let rows = self.batches[0][0].len();
            if rows <= gone {
                self.batches.remove(0);
            } else {
                self.batches[0].iter_mut().for_each(|column| *column = column.slice(gone, rows - gone));
            }
            gone -= rows.min(gone);
        }
        Ok(())
    }

    fn value(&self) -> Result<ScalarValue> {
        let column = (self.definition.finish)(&self.sorted()?).map_err(carried)?;
        crate::function::scalar_of(&column)
    }

    fn forgets(&self) -> bool {
        self.slides
    }

    fn slide(&mut self) {
        self.slides = true;
    }
}
