//! Window functions, and the rows that come first.
//!
//! ```text
//! Project      without what only the functions needed
//! Window       the functions of one partition and order; the next ones above
//! Exchange     by the partition, unless its rows are together already
//! Project      the input with computed arguments, partitions and orders, if there are any
//! ```
//!
//! Numbers alone need no window: `row_number()`, `rank()` and `dense_rank()` are a top-k, whose range is that which a
//! filter right above leaves of them.

use super::expression::Lowering;
use super::node;
use super::project::{filtered, projected};
use crate::error::sql_error;
use arrow::compute::SortOptions;
use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::{Sort as SortExpr, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr as LogicalExpr, ExprSchemable, Filter, LogicalPlan, Operator, Projection, Window as LogicalWindow,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_planner::create_window_expr_with_name;
use millrace_functions::event_windows::Sessions;
use millrace_functions::windows::Framed;
use millrace_ir::{Expr, Node, Plan, Ranking, Reach, SortColumn, TopK, Window};
use millrace_types::{Result, SqlError};
use std::sync::Arc;

impl Lowering {
    pub fn window(&self, window: &LogicalWindow) -> Result<Node> {
        self.window_in(window, &NumberRange { first: 1, last: None })
    }

    /// A filter of numbers that leaves the first rows of each partition; `None` when it is another.
    pub fn first_rows(&self, filter: &Filter) -> Result<Option<Node>> {
        match filter.input.as_ref() {
            LogicalPlan::Window(window) => self.first_rows_of(window, &filter.predicate),
            // Columns that nobody reads further up are dropped in between.
            LogicalPlan::Projection(projection) => {
                let LogicalPlan::Window(window) = projection.input.as_ref() else { return Ok(None) };
                let predicate = before(projection, &filter.predicate).map_err(sql_error)?;
                let Some(node) = self.first_rows_of(window, &predicate)? else { return Ok(None) };
                let schema = Arc::new(projection.schema.as_arrow().clone());
                self.project(node, &window.schema, &projection.expr, schema).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn first_rows_of(&self, window: &LogicalWindow, predicate: &LogicalExpr) -> Result<Option<Node>> {
        let [call] = window.window_expr.as_slice() else { return Ok(None) };
        let Some(ranking) = ranking(call) else { return Ok(None) };
        let (qualifier, field) = window.schema.qualified_field(window.schema.fields().len() - 1);
        let number = Column::from((qualifier, field));
        let mut range = NumberRange { first: 1, last: None };
        // A lower bound is skipped by counting rows, which is what only row numbers do.
        let skips = ranking == Ranking::RowNumber;
        let rest = split_conjunction(predicate).into_iter().filter(|part| !range.narrow(part, &number, skips));
        let rest = conjunction(rest.cloned().collect::<Vec<_>>());
        if range.last.is_none() && range.first == 1 {
            return Ok(None);
        }
        let node = self.window_in(window, &range)?;
        match rest {
            Some(rest) => Ok(Some(filtered(node, self.expression(&rest, &window.schema)?))),
            None => Ok(Some(node)),
        }
    }

    /// The functions of a window; a numbering with the numbers of `range`.
    fn window_in(&self, window: &LogicalWindow, range: &NumberRange) -> Result<Node> {
        let input = self.plan(&window.input)?;
        let width = input.schema.fields().len();
        let mut columns = Columns::new(self, &input, window.input.schema());
        let calls = window.window_expr.iter().map(|expr| columns.call(expr)).collect::<Result<Vec<_>>>()?;
        let (exprs, fields, names) = (columns.exprs, columns.fields, columns.names);
        let names = DFSchema::from_unqualified_fields(names.into(), Default::default()).map_err(sql_error)?;
        let mut node = projected(input, exprs, Arc::new(Schema::new(fields)));
        let promised = &window.schema.as_arrow().fields()[width..];
        let mut places = vec![0; calls.len()];
        for (partition, order) in specifications(&calls) {
            let is_of = |call: &Call| call.partition == partition && call.order == order;
            let chosen: Vec<usize> = (0..calls.len()).filter(|&at| is_of(&calls[at])).collect();
            chosen.iter().enumerate().for_each(|(at, &call)| places[call] = node.schema.fields().len() + at);
            let outputs: Vec<FieldRef> = chosen.iter().map(|&call| promised[call].clone()).collect();
            let chosen: Vec<&Call> = chosen.into_iter().map(|call| &calls[call]).collect();
            node = windowed(node, &names, &chosen, &outputs, range)?;
        }
        let kept: Vec<Expr> = (0..width).chain(places).map(|column| node::column(&node, column)).collect();
        Ok(projected(node, kept, Arc::new(window.schema.as_arrow().clone())))
    }
}

/// A condition over the columns of a projection as one over those of its input.
fn before(projection: &Projection, predicate: &LogicalExpr) -> datafusion::common::Result<LogicalExpr> {
    let replaced = predicate.clone().transform_up(|expr| {
        let LogicalExpr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        let place = projection.schema.index_of_column(column)?;
        Ok(Transformed::yes(projection.expr[place].clone().unalias()))
    });
    replaced.map(|replaced| replaced.data)
}

/// How a function numbers rows, if that is what it does.
fn ranking(call: &LogicalExpr) -> Option<Ranking> {
    let LogicalExpr::WindowFunction(call) = call.clone().unalias() else { return None };
    match &call.fun {
        WindowFunctionDefinition::WindowUDF(function) => match function.name() {
            "row_number" => Some(Ranking::RowNumber),
            "rank" => Some(Ranking::Rank),
            "dense_rank" => Some(Ranking::DenseRank),
            _ => None,
        },
        WindowFunctionDefinition::AggregateUDF(_) => None,
    }
}

/// The rows of a session, if that is what a function is about.
fn session(function: &WindowFunctionDefinition, params: &WindowFunctionParams) -> Result<Option<Reach>> {
    let WindowFunctionDefinition::WindowUDF(function) = function else { return Ok(None) };
    let by_time_alone = params.order_by.len() == 1 && !params.partition_by.contains(&params.order_by[0].expr);
    match params.args.as_slice() {
        [time, LogicalExpr::Literal(gap, _)] if Sessions::side(function).is_some() => {
            let gap = Sessions::gap(gap)?;
            let ordered = by_time_alone && params.order_by[0].expr == *time && params.order_by[0].asc;
            Ok(ordered.then_some(Reach::Session(gap)))
        }
        _ => Ok(None),
    }
}

/// How many rows before and behind a row the result of a function depends on; `None`: on all of the partition.
fn rows_reached(function: &WindowFunctionDefinition, params: &WindowFunctionParams) -> Option<usize> {
    let by_frame = match function {
        WindowFunctionDefinition::WindowUDF(function) => match (function.name(), params.args.get(1)) {
            ("lag" | "lead", None) => return Some(1),
            ("lag" | "lead", Some(offset)) => return usize::try_from(integer(offset)?.unsigned_abs()).ok(),
            (name, _) => {
                Framed::frame_of(function).is_some() || matches!(name, "first_value" | "last_value" | "nth_value")
            }
        },
        WindowFunctionDefinition::AggregateUDF(_) => true,
    };
    let own = match function {
        WindowFunctionDefinition::WindowUDF(function) => Framed::frame_of(function),
        WindowFunctionDefinition::AggregateUDF(_) => None,
    };
    let frame = own.unwrap_or(&params.window_frame);
    if !by_frame || frame.units != WindowFrameUnits::Rows {
        return None;
    }
    let offset = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => Some(0),
        WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => match offset {
            ScalarValue::UInt64(Some(rows)) => usize::try_from(*rows).ok(),
            _ => None,
        },
    };
    Some(offset(&frame.start_bound)?.max(offset(&frame.end_bound)?))
}

/// The numbers that a filter leaves.
struct NumberRange {
    first: i64,
    last: Option<i64>,
}

impl NumberRange {
    /// Takes a part of the filter into account, if it bounds the number.
    fn narrow(&mut self, part: &LogicalExpr, number: &Column, skips: bool) -> bool {
        match part {
            LogicalExpr::Between(between) if !between.negated && is(&between.expr, number) && skips => {
                let (Some(low), Some(high)) = (integer(&between.low), integer(&between.high)) else { return false };
                self.from(low);
                self.to(high);
                true
            }
            LogicalExpr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (op, bound) = match (integer(left), integer(right)) {
                    (None, Some(bound)) if is(left, number) => (Some(*op), bound),
                    (Some(bound), None) if is(right, number) => (op.swap(), bound),
                    _ => return false,
                };
                match op {
                    Some(Operator::LtEq) => self.to(bound),
                    Some(Operator::Lt) => self.to(bound.saturating_sub(1)),
                    Some(Operator::GtEq) if skips => self.from(bound),
                    Some(Operator::Gt) if skips => self.from(bound.saturating_add(1)),
                    Some(Operator::Eq) if skips || bound <= 1 => {
                        self.from(bound);
                        self.to(bound);
                    }
                    _ => return false,
                }
                true
            }
            _ => false,
        }
    }

    fn from(&mut self, first: i64) {
        self.first = self.first.max(first);
    }

    fn to(&mut self, last: i64) {
        self.last = Some(self.last.map_or(last, |known| known.min(last)));
    }
}

fn is(expr: &LogicalExpr, number: &Column) -> bool {
    matches!(expr, LogicalExpr::Column(column) if column == number)
}

fn integer(expr: &LogicalExpr) -> Option<i64> {
    match expr {
        LogicalExpr::Literal(ScalarValue::Int64(value), _) => *value,
        LogicalExpr::Literal(ScalarValue::Int32(value), _) => value.map(i64::from),
        LogicalExpr::Literal(ScalarValue::Int16(value), _) => value.map(i64::from),
        _ => None,
    }
}

/// The different partitions and orders of calls, in the order in which they come.
fn specifications(calls: &[Call]) -> Vec<(Vec<usize>, Vec<SortColumn>)> {
    let mut different: Vec<(Vec<usize>, Vec<SortColumn>)> = Vec::new();
    for call in calls {
        if !different.iter().any(|(partition, order)| call.partition == *partition && call.order == *order) {
            different.push((call.partition.clone(), call.order.clone()));
        }
    }
    different
}

/// Calls of one partition and order over a node whose first columns `names` names.
fn windowed(input: Node, names: &DFSchema, calls: &[&Call], outputs: &[FieldRef], range: &NumberRange) -> Result<Node> {
    let (partition, order) = (calls[0].partition.clone(), calls[0].order.clone());
    let input = node::partitioned(input, &partition);
    let fields: Vec<FieldRef> = input.schema.fields().iter().chain(outputs).cloned().collect();
    let schema = Arc::new(Schema::new(fields));
    let partitioned_by = input.partitioned_by.clone();
    if let [call] = calls
        && let Some(ranking) = call.ranking
    {
        let skip = (range.first - 1).max(0) as u64;
        let last = range.last.map(|last| last.max(0) as u64);
        let top = TopK { input, partition, order, ranking, skip, last, numbered: true, closing: None };
        let unique_key = first_rows_key(&top);
        let event_time = top.input.event_time;
        let plan = Plan::TopK(Box::new(top));
        return Ok(Node { plan, schema, append_only: false, partitioned_by, unique_key, event_time });
    }
    let (properties, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    let functions = calls.iter().zip(outputs).map(|(call, output)| {
        create_window_expr_with_name(&call.function, output.name(), names, &properties, &context).map_err(sql_error)
    });
    let functions = functions.collect::<Result<Vec<_>>>()?;
    let unique_key = input.unique_key.clone();
    let reach = calls.iter().map(|call| call.reach).reduce(Reach::with).unwrap_or(Reach::Partition);
    let window = Window { input, partition, order, functions, reach, closing: None };
    let event_time = window.input.event_time;
    let plan = Plan::Window(Box::new(window));
    Ok(Node { plan, schema, append_only: false, partitioned_by, unique_key, event_time })
}

/// What identifies a row of a top-k: what does so in its input, or its place in its partition.
fn first_rows_key(top: &TopK) -> Option<Vec<usize>> {
    let number = top.input.schema.fields().len();
    let by_number = || match (top.ranking, top.last, top.numbered) {
        (Ranking::RowNumber, Some(last), _) if last <= top.skip.saturating_add(1) => Some(top.partition.clone()),
        (Ranking::RowNumber, _, true) => Some(top.partition.iter().copied().chain([number]).collect()),
        _ => None,
    };
    top.input.unique_key.clone().or_else(by_number)
}

/// A top-k gives its numbers only to those who ask for them: else every row behind a change would change.
pub fn without_unused_number(mut node: Node, exprs: &[Expr]) -> Node {
    let width = node.schema.fields().len();
    let Plan::TopK(top) = &mut node.plan else { return node };
    let is_used = || exprs.iter().any(|expr| collect_columns(expr).iter().any(|column| column.index() + 1 == width));
    if !top.numbered || is_used() {
        return node;
    }
    top.numbered = false;
    node.unique_key = first_rows_key(top);
    node.schema = top.input.schema.clone();
    node
}

/// A window function over columns.
struct Call {
    function: LogicalExpr,
    partition: Vec<usize>,
    order: Vec<SortColumn>,
    ranking: Option<Ranking>,
    reach: Reach,
}

/// The columns that the projection below computes: those of the input, and behind them what functions are called with.
struct Columns<'a> {
    lowering: &'a Lowering,
    schema: &'a DFSchema,
    exprs: Vec<Expr>,
    fields: Vec<Field>,
    /// The columns under names of which no two are the same.
    names: Vec<Field>,
}

impl<'a> Columns<'a> {
    fn new(lowering: &'a Lowering, input: &Node, schema: &'a DFSchema) -> Columns<'a> {
        let exprs = (0..input.schema.fields().len()).map(|column| node::column(input, column)).collect();
        let mut columns = Columns { lowering, schema, exprs, fields: vec![], names: vec![] };
        input.schema.fields().iter().for_each(|field| columns.name(field.as_ref().clone()));
        columns
    }

    fn name(&mut self, field: Field) {
        self.names.push(field.clone().with_name(format!("#{}", self.names.len())));
        self.fields.push(field);
    }

    /// The place of an expression, which is added unless it is there.
    fn column(&mut self, expr: &LogicalExpr) -> Result<usize> {
        let bare = expr.clone().unalias();
        let lowered = self.lowering.expression(&bare, self.schema)?;
        let place_of =
            |expr: &Expr| expr.downcast_ref::<datafusion::physical_expr::expressions::Column>().map(|c| c.index());
        let is_same =
            |known: &Expr| known.eq(&lowered) || (place_of(known).is_some() && place_of(known) == place_of(&lowered));
        if let Some(place) = self.exprs.iter().position(is_same) {
            return Ok(place);
        }
        let (_, field) = bare.to_field(self.schema).map_err(sql_error)?;
        self.exprs.push(lowered);
        self.name(field.as_ref().clone());
        Ok(self.exprs.len() - 1)
    }

    /// A column by its place, as an expression.
    fn reference(&self, place: usize) -> LogicalExpr {
        LogicalExpr::Column(Column::new_unqualified(self.names[place].name()))
    }

    /// An argument: constants stay, since functions read them when they are planned.
    fn argument(&mut self, expr: &LogicalExpr) -> Result<LogicalExpr> {
        match expr.clone().unalias() {
            constant @ LogicalExpr::Literal(..) => Ok(constant),
            other => self.column(&other).map(|place| self.reference(place)),
        }
    }

    fn sort(&mut self, sort: &SortExpr) -> Result<SortColumn> {
        let options = SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first };
        Ok(SortColumn { column: self.column(&sort.expr)?, options })
    }

    fn call(&mut self, expr: &LogicalExpr) -> Result<Call> {
        let LogicalExpr::WindowFunction(call) = expr.clone().unalias() else {
            return Err(SqlError::internal(format!("not a window function: {expr}")));
        };
        let WindowFunction { fun, mut params } = *call;
        let reach = session(&fun, &params)?.or_else(|| rows_reached(&fun, &params).map(Reach::Rows));
        let reach = reach.unwrap_or(Reach::Partition);
        params.args = params.args.iter().map(|argument| self.argument(argument)).collect::<Result<_>>()?;
        let partition = params.partition_by.iter().map(|expr| self.column(expr)).collect::<Result<Vec<_>>>()?;
        let order = params.order_by.iter().map(|sort| self.sort(sort)).collect::<Result<Vec<_>>>()?;
        let filter = params.filter.as_deref().map(|filter| self.column(filter)).transpose()?;
        params.partition_by = partition.iter().map(|place| self.reference(*place)).collect();
        for (sort, column) in params.order_by.iter_mut().zip(&order) {
            sort.expr = self.reference(column.column);
        }
        params.filter = filter.map(|place| Box::new(self.reference(place)));
        let function = LogicalExpr::WindowFunction(Box::new(WindowFunction { fun, params }));
        Ok(Call { ranking: ranking(&function), function, partition, order, reach })
    }
}
