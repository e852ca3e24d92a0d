//! Windowed aggregates on slices.
//!
//! Hopping windows whose size is a multiple of their slide, and cumulating ones, are made of slices: what is in one
//! window of a slice is in all of them. So rows are aggregated by slice first, and only what a slice comes to is put into
//! each of its windows:
//!
//! ```text
//!   Aggregate by start, end, k: sum(v)         Aggregate by start, end, k: sum(#sum)
//!     Unnest start, end                          Union
//!       Project k, v, hop(ts)            ->        Unnest start, end
//!                                                    Project k, #sum, hop(slice)
//!                                                      Aggregate by slice, k: sum(v) as #sum
//!                                                        Project slice(ts), k, v      rows in time for their slice
//!                                                  Project start, end, k, v as #sum
//!                                                    Unnest start, end
//!                                                      Project k, v, hop(ts)          rows late for it
//! ```
//!
//! A row costs one update then, and each slice one for each of its windows. That pays where slices leave when they are
//! final, and not with every change: in views that emit on window close.
//!
//! A slice is final before most of its windows are. A row that comes too late for its slice, but not for all of its
//! windows, goes to each of these by itself. Which rows do follows from the watermark that a row came behind, as which
//! windows reject it does. Where no such row comes, since late rows are dropped before, there is the one way alone.

use super::aggregate::{as_typed, grouped};
use super::finality::closings;
use super::node;
use super::project::{filtered, projected, unioned};
use crate::error::sql_error;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, IsNotNullExpr, case, cast, lit};
use datafusion::physical_expr::utils::collect_columns;
use millrace_functions::event_windows::{Side, TimeExpression};
use millrace_ir::{Aggregate, AggregateFunction, Expr, Node, Plan};
use millrace_types::Result;
use std::sync::Arc;

/// A windowed aggregate on slices; `None` where windows or aggregates are not made of any. `input` is grouped by the
/// columns `keys`.
pub fn sliced(input: &Node, keys: &[usize], aggregates: &[Aggregate]) -> Result<Option<Node>> {
    let Some(windowed) = Windowed::of(input, keys, aggregates) else { return Ok(None) };
    let Some((in_time, late)) = windowed.ways()? else { return Ok(None) };
    let partial = grouped(windowed.slices(in_time)?, windowed.slice_keys(), windowed.partials()?);
    let mut windows = windowed.windows(partial)?;
    if let Some(late) = late {
        let late = node::with_schema(windowed.alone(late)?, windows.schema.clone());
        windows = unioned(vec![windows.clone(), late], windows.schema);
    }
    let merged = grouped(windows, (0..keys.len()).collect(), windowed.merges()?);
    let (keys, outputs) = (merged.schema.fields()[..keys.len()].iter(), aggregates.iter().map(|call| &call.output));
    let fields: Vec<FieldRef> = keys.chain(outputs).cloned().collect();
    as_typed(merged, &Schema::new(fields)).map(Some)
}

/// A projection over the windows of rows.
struct Windowed<'a> {
    /// What is grouped.
    input: &'a Node,
    /// What windows are computed from, and by what; `lists` are the places of the windows among `exprs`.
    rows: &'a Node,
    below: &'a [Expr],
    below_schema: &'a Schema,
    lists: &'a [usize],
    /// The columns that are grouped, over the windows.
    exprs: Vec<Expr>,
    keys: &'a [usize],
    aggregates: &'a [Aggregate],
    /// The start and the end of a row's slice.
    slice: [Expr; 2],
    /// The watermark that a row came behind, where windows reject rows: over the rows.
    before: Option<Expr>,
}

impl<'a> Windowed<'a> {
    fn of(input: &'a Node, keys: &'a [usize], aggregates: &'a [Aggregate]) -> Option<Windowed<'a>> {
        let mut exprs: Vec<Expr> = (0..input.schema.fields().len()).map(|column| node::column(input, column)).collect();
        let mut before = None;
        let mut unnest = input;
        // Projections over projections are one.
        loop {
            match &unnest.plan {
                Plan::Project { input: next, exprs: inner } => {
                    let compose = |expr: &Expr| over(expr, |column| inner[column.index()].clone()).ok();
                    exprs = exprs.iter().map(compose).collect::<Option<_>>()?;
                    before = match before {
                        Some(before) => Some(compose(&before)?),
                        None => None,
                    };
                    unnest = next;
                }
                Plan::Reject { input: next, before: column, .. } => {
                    before = Some(node::column(next, *column));
                    unnest = next;
                }
                _ => break,
            }
        }
        let Plan::Unnest { input: below, lists, outer: false } = &unnest.plan else { return None };
        let Plan::Project { input: rows, exprs: below_exprs } = &below.plan else { return None };
        let of = |side| {
            let slices = lists.iter().map(|list| TimeExpression::slice(&below_exprs[*list], &rows.schema, side));
            let slices = slices.collect::<Option<Vec<Expr>>>()?;
            let (slice, others) = slices.split_first()?;
            others.iter().all(|other| other.eq(slice)).then(|| slice.clone())
        };
        let slice = [of(Side::Start)?, of(Side::End)?];
        let before = match before {
            Some(before) => Some(below_exprs[before.downcast_ref::<Column>()?.index()].clone()),
            None => None,
        };
        let below_schema = below.schema.as_ref();
        let windowed =
            Windowed { input, rows, below: below_exprs, below_schema, lists, exprs, keys, aggregates, slice, before };
        let by_window = keys.iter().any(|key| windowed.is_window(*key));
        let of_windows = keys.iter().all(|key| windowed.is_window(*key) || !windowed.holds_window(*key));
        (by_window && of_windows && aggregates.iter().all(|call| windowed.is_mergeable(call))).then_some(windowed)
    }

    /// The rows that are in time for their slices, and those that are late for them; `None` where it cannot be told which
    /// are.
    fn ways(&self) -> Result<Option<(Node, Option<Node>)>> {
        let slices = self.slices(self.rows.clone())?;
        let known = closings(&slices).unwrap_or_default();
        let Some(slice) = known.iter().find(|known| known.closing.column == 0) else { return Ok(None) };
        // Nothing comes for a slice that is final.
        if slice.sealed.is_some_and(|sealed| sealed <= slice.closing.delay) {
            return Ok(Some((self.rows.clone(), None)));
        }
        // The rows are read twice: that is to cost no state.
        let Some(before) = self.before.as_ref().filter(|_| self.rows.append_only && is_stateless(self.rows)) else {
            return Ok(None);
        };
        let late: Expr = Arc::new(BinaryExpr::new(self.slice[1].clone(), Operator::LtEq, before.clone()));
        let in_time: Expr = Arc::new(BinaryExpr::new(late.clone(), Operator::IsDistinctFrom, lit(true)));
        Ok(Some((filtered(self.rows.clone(), in_time), Some(filtered(self.rows.clone(), late)))))
    }

    /// Whether a grouped column is a side of the window, or a time beside it.
    fn is_window(&self, column: usize) -> bool {
        let expr = &self.exprs[column];
        let beside = match TimeExpression::of(expr) {
            Some(TimeExpression::Before { column, .. }) => Some(column),
            _ => expr.downcast_ref::<Column>().map(Column::index),
        };
        beside.is_some_and(|column| self.lists.contains(&column))
    }

    fn holds_window(&self, column: usize) -> bool {
        collect_columns(&self.exprs[column]).iter().any(|column| self.lists.contains(&column.index()))
    }

    /// Whether an aggregate over rows is one over what it is of slices. Sums of floats depend on their order.
    fn is_mergeable(&self, call: &Aggregate) -> bool {
        use AggregateFunction::{BoolAnd, BoolOr, Count, Max, Min, Sum};
        let merges = matches!(call.function, Count | Sum | Min | Max | BoolAnd | BoolOr);
        let exact = !matches!(call.function, Sum) || !call.output.data_type().is_floating();
        let of_rows = call.argument.iter().chain(&call.filter).all(|column| !self.holds_window(*column));
        merges && exact && of_rows && !call.distinct
    }

    /// The keys that are no windows.
    fn others(&self) -> impl Iterator<Item = usize> {
        self.keys.iter().copied().filter(|key| !self.is_window(*key))
    }

    /// The columns of rows that aggregates read, each once.
    fn read(&self) -> Vec<usize> {
        let mut read: Vec<usize> = vec![];
        for column in self.aggregates.iter().flat_map(|call| call.argument.iter().chain(&call.filter)) {
            if !read.contains(column) {
                read.push(*column);
            }
        }
        read
    }

    /// Rows with the start of their slice, the keys that are no windows, and what aggregates read. Those without a time
    /// are in no window.
    fn slices(&self, rows: Node) -> Result<Node> {
        let [slice, _] = &self.slice;
        let moment = slice.data_type(&rows.schema).map_err(sql_error)?;
        let (mut exprs, mut fields) = (self.below.to_vec(), self.below_schema.fields().to_vec());
        for list in self.lists {
            exprs[*list] = slice.clone();
            fields[*list] = Arc::new(Field::new("slice", moment.clone(), true));
        }
        let below = projected(rows, exprs, Arc::new(Schema::new(fields)));
        let columns: Vec<usize> = self.others().chain(self.read()).collect();
        let slice = node::column(&below, self.lists[0]);
        let exprs = [slice].into_iter().chain(columns.iter().map(|column| self.exprs[*column].clone())).collect();
        let fields: Vec<FieldRef> = [Arc::new(Field::new("slice", moment, true))]
            .into_iter()
            .chain(columns.iter().map(|column| self.input.schema.fields()[*column].clone()))
            .collect();
        let rows = projected(below, exprs, Arc::new(Schema::new(fields)));
        let known: Expr = Arc::new(IsNotNullExpr::new(node::column(&rows, 0)));
        Ok(filtered(rows, known))
    }

    fn slice_keys(&self) -> Vec<usize> {
        (0..=self.others().count()).collect()
    }

    /// The aggregates over the rows of a slice.
    fn partials(&self) -> Result<Vec<Aggregate>> {
        let (read, before) = (self.read(), 1 + self.others().count());
        let place = |column: usize| read.iter().position(|known| *known == column).map(|place| before + place);
        let partial = |call: &Aggregate| Aggregate {
            argument: call.argument.and_then(place),
            filter: call.filter.and_then(place),
            ..call.clone()
        };
        Ok(self.aggregates.iter().map(partial).collect())
    }

    /// What slices come to, once for each of their windows: the keys in their order, then the aggregates.
    fn windows(&self, partial: Node) -> Result<Node> {
        let others = self.others().count();
        let mut exprs: Vec<Expr> =
            (1..1 + others + self.aggregates.len()).map(|at| node::column(&partial, at)).collect();
        let mut fields: Vec<FieldRef> = partial.schema.fields()[1..].to_vec();
        let first_list = exprs.len();
        let slice = node::column(&partial, 0);
        for list in self.lists {
            exprs.push(over(&self.below[*list], |_| slice.clone())?);
            fields.push(self.below_schema.fields()[*list].clone());
        }
        let lists: Vec<usize> = (first_list..exprs.len()).collect();
        let rows = projected(partial, exprs, Arc::new(Schema::new(fields)));
        let unnested = unnested(rows, lists);
        let mut next_other = 0..others;
        let list_of = |column: &Column| {
            let list = self.lists.iter().position(|list| *list == column.index()).unwrap_or_default();
            node::column(&unnested, first_list + list)
        };
        let mut exprs: Vec<Expr> = vec![];
        for key in self.keys {
            exprs.push(match self.is_window(*key) {
                true => over(&self.exprs[*key], list_of)?,
                false => node::column(&unnested, next_other.next().unwrap_or_default()),
            });
        }
        exprs.extend((others..first_list).map(|column| node::column(&unnested, column)));
        let keys = self.keys.iter().map(|key| self.input.schema.fields()[*key].clone());
        let fields: Vec<FieldRef> = keys.chain(unnested.schema.fields()[others..first_list].iter().cloned()).collect();
        Ok(projected(unnested, exprs, Arc::new(Schema::new(fields))))
    }

    /// Rows by themselves as what [`windows`](Windowed::windows) makes of slices: of each window the keys, then what
    /// aggregates come to over the one row.
    fn alone(&self, rows: Node) -> Result<Node> {
        let input = with_rows(self.input, rows);
        let keys = self.keys.iter().map(|key| node::column(&input, *key));
        let values = self.aggregates.iter().map(|call| value_alone(call, &input));
        let exprs = keys.map(Ok).chain(values).collect::<Result<Vec<_>>>()?;
        let keys = self.keys.iter().map(|key| input.schema.fields()[*key].clone());
        let fields: Vec<FieldRef> = keys.chain(self.aggregates.iter().map(|call| call.output.clone())).collect();
        Ok(projected(input, exprs, Arc::new(Schema::new(fields))))
    }

    /// The aggregates over what slices come to.
    fn merges(&self) -> Result<Vec<Aggregate>> {
        let merge = |(at, call): (usize, &Aggregate)| {
            let function = match &call.function {
                AggregateFunction::Count | AggregateFunction::Sum => AggregateFunction::Sum,
                other => other.clone(),
            };
            let data_type = match (&function, call.output.data_type()) {
                (AggregateFunction::Sum, DataType::Int64) => DataType::Decimal128(38, 0),
                (_, data_type) => data_type.clone(),
            };
            let output = Arc::new(call.output.as_ref().clone().with_data_type(data_type).with_nullable(true));
            Aggregate { function, argument: Some(self.keys.len() + at), distinct: false, filter: None, output }
        };
        Ok(self.aggregates.iter().enumerate().map(merge).collect())
    }
}

/// Whether nothing below keeps anything.
fn is_stateless(node: &Node) -> bool {
    match &node.plan {
        Plan::Input { .. } => true,
        Plan::Project { input, .. } | Plan::Filter { input, .. } => is_stateless(input),
        _ => false,
    }
}

/// Projections over windows of other rows.
fn with_rows(node: &Node, rows: Node) -> Node {
    let is_unnest = matches!(node.plan, Plan::Unnest { .. });
    let mut node = node.clone();
    match &mut node.plan {
        Plan::Unnest { input: below, .. } if is_unnest => {
            if let Plan::Project { input, .. } = &mut below.plan {
                **input = rows;
            }
        }
        Plan::Project { input, .. } | Plan::Reject { input, .. } => **input = with_rows(input, rows),
        _ => {}
    }
    node
}

/// What an aggregate comes to over one row alone.
fn value_alone(call: &Aggregate, input: &Node) -> Result<Expr> {
    let is_true = |column: usize| -> Expr {
        Arc::new(BinaryExpr::new(node::column(input, column), Operator::IsNotDistinctFrom, lit(true)))
    };
    let filter = call.filter.map(is_true);
    let to_output = |value: Expr| match value.data_type(&input.schema).map_err(sql_error)? == *call.output.data_type() {
        true => Ok(value),
        false => cast(value, &input.schema, call.output.data_type().clone()).map_err(sql_error),
    };
    let Some(argument) = call.argument.map(|column| node::column(input, column)) else {
        return filter.map_or(Ok(lit(1i64)), to_output);
    };
    if let AggregateFunction::Count = call.function {
        let known: Expr = Arc::new(IsNotNullExpr::new(argument));
        let and = |filter: Expr| -> Expr { Arc::new(BinaryExpr::new(filter, Operator::And, known.clone())) };
        return to_output(filter.map_or(known.clone(), and));
    }
    let value = to_output(argument)?;
    filter.map_or(Ok(value.clone()), |filter| case(None, vec![(filter, value)], None).map_err(sql_error))
}

/// An expression over other columns.
pub fn over(expr: &Expr, column: impl Fn(&Column) -> Expr) -> Result<Expr> {
    let replaced = expr.clone().transform_up(|expr| match expr.downcast_ref::<Column>() {
        Some(found) => Ok(Transformed::yes(column(found))),
        None => Ok(Transformed::no(expr)),
    });
    Ok(replaced.map_err(sql_error)?.data)
}

fn unnested(input: Node, lists: Vec<usize>) -> Node {
    let field = |(at, field): (usize, &FieldRef)| match field.data_type() {
        DataType::List(element) if lists.contains(&at) => {
            Arc::new(element.as_ref().clone().with_name(field.name()).with_nullable(true))
        }
        _ => field.clone(),
    };
    let fields: Vec<FieldRef> = input.schema.fields().iter().enumerate().map(field).collect();
    let kept = |column| (!lists.contains(&column)).then_some(column);
    Node {
        append_only: input.append_only,
        partitioned_by: node::moved(&input.partitioned_by, kept),
        unique_key: None,
        event_time: input.event_time.and_then(kept),
        schema: Arc::new(Schema::new(fields)),
        plan: Plan::Unnest { input: Box::new(input), lists, outer: false },
    }
}
