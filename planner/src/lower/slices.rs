//! Windowed aggregates on slices.
//!
//! Hopping windows whose size is a multiple of their slide, and cumulating ones, are made of slices: what is in one
//! window of a slice is in all of them. So rows are aggregated by slice first, and only what a slice comes to is put into
//! each of its windows:
//!
//! ```text
//!   Aggregate by start, end, k: sum(v)         Aggregate by start, end, k: sum(#sum)
//!     Unnest start, end                          Unnest start, end
//!       Project k, v, hop(ts)            ->        Project k, #sum, hop(slice)
//!                                                    Aggregate by slice, k: sum(v) as #sum
//!                                                      Project slice(ts), k, v
//! ```
//!
//! A row costs one update then, and each slice one for each of its windows. That pays where slices leave when they are
//! final, and not with every change: in views that emit on window close.

use super::aggregate::{as_typed, grouped};
use super::node;
use super::project::{filtered, projected};
use crate::error::sql_error;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::expressions::{Column, IsNotNullExpr};
use datafusion::physical_expr::utils::collect_columns;
use millrace_functions::event_windows::TimeExpression;
use millrace_ir::{Aggregate, AggregateFunction, Expr, Node, Plan};
use millrace_types::Result;
use std::sync::Arc;

/// A windowed aggregate on slices; `None` where windows or aggregates are not made of any. `input` is grouped by the
/// columns `keys`.
pub fn sliced(input: &Node, keys: &[usize], aggregates: &[Aggregate]) -> Result<Option<Node>> {
    let Some(windowed) = Windowed::of(input, keys, aggregates) else { return Ok(None) };
    let slices = windowed.slices()?;
    let partial = grouped(slices, windowed.slice_keys(), windowed.partials()?);
    let windows = windowed.windows(partial)?;
    let merged = grouped(windows, (0..keys.len()).collect(), windowed.merges()?);
    let (keys, outputs) = (merged.schema.fields()[..keys.len()].iter(), aggregates.iter().map(|call| &call.output));
    let fields: Vec<FieldRef> = keys.chain(outputs).cloned().collect();
    as_typed(merged, &Schema::new(fields)).map(Some)
}

/// A projection over the windows of rows.
struct Windowed<'a> {
    /// What windows are computed from, and by what; `lists` are the places of the windows among `exprs`.
    rows: &'a Node,
    below: &'a [Expr],
    below_schema: &'a Schema,
    lists: &'a [usize],
    /// The columns that are grouped, over the windows.
    exprs: Vec<Expr>,
    schema: &'a Schema,
    keys: &'a [usize],
    aggregates: &'a [Aggregate],
    /// The start of a row's slice.
    slice: Expr,
}

impl<'a> Windowed<'a> {
    fn of(input: &'a Node, keys: &'a [usize], aggregates: &'a [Aggregate]) -> Option<Windowed<'a>> {
        let mut exprs: Vec<Expr> = (0..input.schema.fields().len()).map(|column| node::column(input, column)).collect();
        // Projections over projections are one.
        let mut unnest = input;
        while let Plan::Project { input: next, exprs: inner } = &unnest.plan {
            let composed = exprs.iter().map(|expr| over(expr, |column| inner[column.index()].clone()));
            exprs = composed.collect::<Result<_>>().ok()?;
            unnest = next;
        }
        let Plan::Unnest { input: below, lists, outer: false } = &unnest.plan else { return None };
        let Plan::Project { input: rows, exprs: below_exprs } = &below.plan else { return None };
        let slices = lists.iter().map(|list| TimeExpression::slice(&below_exprs[*list], &rows.schema));
        let slices = slices.collect::<Option<Vec<Expr>>>()?;
        let (slice, others) = slices.split_first()?;
        let windowed = Windowed {
            rows,
            below: below_exprs,
            below_schema: &below.schema,
            lists,
            exprs,
            schema: &input.schema,
            keys,
            aggregates,
            slice: slice.clone(),
        };
        let same = others.iter().all(|other| other.eq(slice));
        let by_window = keys.iter().any(|key| windowed.is_window(*key));
        let of_windows = keys.iter().all(|key| windowed.is_window(*key) || !windowed.holds_window(*key));
        (same && by_window && of_windows && aggregates.iter().all(|call| windowed.is_mergeable(call)))
            .then_some(windowed)
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

    /// The rows with the start of their slice, the keys that are no windows, and what aggregates read. Rows without a
    /// time are in no window.
    fn slices(&self) -> Result<Node> {
        let moment = self.slice.data_type(&self.rows.schema).map_err(sql_error)?;
        let (mut exprs, mut fields) = (self.below.to_vec(), self.below_schema.fields().to_vec());
        for list in self.lists {
            exprs[*list] = self.slice.clone();
            fields[*list] = Arc::new(Field::new("slice", moment.clone(), true));
        }
        let below = projected(self.rows.clone(), exprs, Arc::new(Schema::new(fields)));
        let columns: Vec<usize> = self.others().chain(self.read()).collect();
        let slice = node::column(&below, self.lists[0]);
        let exprs = [slice].into_iter().chain(columns.iter().map(|column| self.exprs[*column].clone())).collect();
        let fields: Vec<FieldRef> = [Arc::new(Field::new("slice", moment, true))]
            .into_iter()
            .chain(columns.iter().map(|column| self.schema.fields()[*column].clone()))
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
        let keys = self.keys.iter().map(|key| self.schema.fields()[*key].clone());
        let fields: Vec<FieldRef> = keys.chain(unnested.schema.fields()[others..first_list].iter().cloned()).collect();
        Ok(projected(unnested, exprs, Arc::new(Schema::new(fields))))
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

/// An expression over other columns.
fn over(expr: &Expr, column: impl Fn(&Column) -> Expr) -> Result<Expr> {
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
