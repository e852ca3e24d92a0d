//! UNION, INTERSECT and EXCEPT.
//!
//! **Types.** Both sides get, column by column, the type that Postgres gives them; constants of no type take that of the
//! other side. So each operation is taken apart down to the queries that it combines, and put together again.
//!
//! **Copies.** DataFusion plans INTERSECT and EXCEPT as joins that ask whether a row is on the other side. That does not
//! count copies, as ALL does. Both sides in one union, marked by where they come from and grouped by their columns, do:
//!
//! ```text
//!   Projection        x
//!     Filter          from both sides (INTERSECT), or only from the left one (EXCEPT)
//!       Aggregate     by x; with ALL by x and its number among its copies, so that the copies pair up
//!         Union
//!           Projection   x, true     of the left side
//!           Projection   x, false    of the right side
//! ```

use super::common_type::common_type;
use super::{literals, query};
use crate::error::sql_error;
use crate::functions::FunctionSource;
use crate::numbering::{number, numbered};
use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, DataFusionError, JoinType, NullEquality};
use datafusion::logical_expr::expr::{Cast, FieldMetadata};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, Join, LogicalPlan, Projection, Union, ident, lit, not,
};
use datafusion::scalar::ScalarValue;
use millrace_functions::CAST_TARGET;
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of, sql_type_of};
use std::sync::Arc;

/// Whether a row comes from the left side.
const SIDE: &str = "side\u{1}";

/// The plan with every set operation as Postgres computes it.
///
/// # Errors
/// `42804` for columns that have no type in common; those of analysing the sides.
pub fn set_operations(plan: LogicalPlan, functions: &FunctionSource) -> Result<LogicalPlan> {
    // The types of a recursive query's rows are fixed by its first term while it is planned.
    let is_recursive = plan.exists(|plan| Ok(matches!(plan, LogicalPlan::RecursiveQuery(_)))).map_err(sql_error)?;
    let analysed = !is_recursive;
    let operations = Operations { functions, analysed };
    let rewritten = plan.transform_down_with_subqueries(|plan| match is_operation(&plan) {
        true => match operations.combined(plan) {
            Ok((plan, _)) => Ok(Transformed::new(plan, true, TreeNodeRecursion::Jump)),
            Err(error) => Err(DataFusionError::External(Box::new(error))),
        },
        false => Ok(Transformed::no(plan)),
    });
    Ok(rewritten.map_err(sql_error)?.data)
}

fn is_operation(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Union(union) => union.inputs.len() == 2,
        LogicalPlan::Join(join) => is_counted(join),
        _ => false,
    }
}

/// Only set operations join so that NULLs are equal; other semi-joins are subqueries still.
fn is_counted(join: &Join) -> bool {
    join.null_equality == NullEquality::NullEqualsNull
        && matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
}

/// What is known of a column's type before the sides are combined.
#[derive(Clone)]
enum ColumnType {
    /// A constant in quotes, or NULL, without a type of its own.
    Unknown,
    Known(FieldRef),
}

struct Operations<'a> {
    functions: &'a FunctionSource,
    /// Whether the sides can be analysed by themselves.
    analysed: bool,
}

impl Operations<'_> {
    /// A plan whose set operations are done, with what is known of its columns.
    fn combined(&self, plan: LogicalPlan) -> Result<(LogicalPlan, Vec<ColumnType>)> {
        match plan {
            LogicalPlan::Union(Union { inputs, schema }) if inputs.len() == 2 => {
                let (sides, types) = self.sides("UNION", inputs[0].clone(), inputs[1].clone())?;
                let [left, right] = sides.map(|side| named(side).map(Arc::new));
                let inputs = vec![left.map_err(sql_error)?, right.map_err(sql_error)?];
                let union = Union::try_new_with_loose_types(inputs).map_err(sql_error)?;
                let plan = requalified(LogicalPlan::Union(union), &schema);
                Ok((plan.map_err(sql_error)?, types))
            }
            LogicalPlan::Distinct(Distinct::All(input)) if is_operation(&input) => {
                let (input, types) = self.combined(Arc::unwrap_or_clone(input))?;
                Ok((LogicalPlan::Distinct(Distinct::All(Arc::new(input))), types))
            }
            LogicalPlan::Join(join) if is_counted(&join) => {
                let name = if join.join_type == JoinType::LeftSemi { "INTERSECT" } else { "EXCEPT" };
                // Over different rows on the left, ALL makes no difference.
                let (left, all) = match join.left.as_ref() {
                    LogicalPlan::Distinct(Distinct::All(left)) => (left.clone(), false),
                    _ => (join.left.clone(), true),
                };
                let (sides, types) = self.sides(name, left, join.right.clone())?;
                let counted = self.counted(sides, all, &join).map_err(sql_error)?;
                let marked = cast_to(counted, &types).and_then(|plan| with_marks(plan, &types));
                Ok((marked.map_err(sql_error)?, types))
            }
            // The planner gives sides with columns of the same names another name.
            LogicalPlan::SubqueryAlias(alias) if is_operation(&alias.input) => {
                let (input, types) = self.combined(Arc::unwrap_or_clone(alias.input))?;
                let alias = datafusion::logical_expr::SubqueryAlias::try_new(Arc::new(input), alias.alias);
                Ok((LogicalPlan::SubqueryAlias(alias.map_err(sql_error)?), types))
            }
            side => self.side(side),
        }
    }

    /// A query that is combined with others.
    fn side(&self, plan: LogicalPlan) -> Result<(LogicalPlan, Vec<ColumnType>)> {
        let mut plan = set_operations(plan, self.functions)?;
        if self.analysed {
            plan = query::analyze(literals::type_literals(plan).map_err(sql_error)?, self.functions)?;
        }
        let types = plan.schema().fields().iter().enumerate().map(|(at, field)| match is_untyped(&plan, at) {
            true => ColumnType::Unknown,
            false => ColumnType::Known(field.clone()),
        });
        let types = types.collect();
        Ok((plan, types))
    }

    /// Both sides of an operation with columns of the same types.
    fn sides(
        &self,
        name: &str,
        left: Arc<LogicalPlan>,
        right: Arc<LogicalPlan>,
    ) -> Result<([LogicalPlan; 2], Vec<ColumnType>)> {
        let (left, left_types) = self.combined(Arc::unwrap_or_clone(left))?;
        let (right, right_types) = self.combined(Arc::unwrap_or_clone(right))?;
        if !self.analysed {
            return Ok(([left, right], left_types));
        }
        let mut types = Vec::with_capacity(left_types.len());
        for (left, right) in left_types.into_iter().zip(right_types) {
            types.push(common(name, left, right)?);
        }
        let kept = if name == "UNION" { types.clone() } else { without_marks(&types) };
        let left = cast_to(left, &kept).map_err(sql_error)?;
        let right = cast_to(right, &kept).map_err(sql_error)?;
        Ok(([left, right], types))
    }

    /// The rows of both sides, or of the left one alone, as often as they are to be there.
    fn counted(&self, sides: [LogicalPlan; 2], all: bool, join: &Join) -> datafusion::common::Result<LogicalPlan> {
        let width = join.schema.fields().len();
        let [left, right] = sides;
        let sides = [(left, true), (right, false)].map(|(plan, is_left)| self.marked(plan, is_left, all).map(Arc::new));
        let sides = sides.into_iter().collect::<datafusion::common::Result<Vec<_>>>()?;
        let union = Union::try_new_with_loose_types(sides)?;
        let keys = (0..width).map(column).chain(all.then(number)).collect();
        let aggregates = vec![self.aggregate("bool_or")?, self.aggregate("bool_and")?];
        let grouped = Aggregate::try_new(Arc::new(LogicalPlan::Union(union)), keys, aggregates)?;
        let predicate = match join.join_type {
            JoinType::LeftSemi => ident("bool_or").and(not(ident("bool_and"))),
            _ => ident("bool_and"),
        };
        let kept = Filter::try_new(predicate, Arc::new(LogicalPlan::Aggregate(grouped)))?;
        requalified(LogicalPlan::Filter(kept), &join.schema)
    }

    /// One side with its columns by place, marked, and with ALL numbered among its copies.
    fn marked(&self, plan: LogicalPlan, is_left: bool, all: bool) -> datafusion::common::Result<LogicalPlan> {
        let width = plan.schema().fields().len();
        let mut exprs = by_place(&plan);
        exprs.push(lit(is_left).alias(SIDE));
        let side = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
        match all {
            true => numbered(Arc::new(side), self.functions, "row_number", (0..width).map(column).collect(), vec![]),
            false => Ok(side),
        }
    }

    /// An aggregate of the side, under its own name.
    fn aggregate(&self, name: &str) -> datafusion::common::Result<Expr> {
        let function = self.functions.state().aggregate_functions().get(name).cloned();
        let function = function.ok_or_else(|| DataFusionError::Internal(format!("there is no {name}()")))?;
        Ok(function.call(vec![ident(SIDE)]).alias(name))
    }
}

fn name(at: usize) -> String {
    format!("column {at}\u{1}")
}

fn column(at: usize) -> Expr {
    ident(name(at))
}

/// The columns of a plan by place: sides may name several alike.
fn by_place(plan: &LogicalPlan) -> Vec<Expr> {
    let columns = plan.schema().columns().into_iter().enumerate();
    columns.map(|(at, column)| Expr::Column(column).alias(name(at))).collect()
}

fn named(plan: LogicalPlan) -> datafusion::common::Result<LogicalPlan> {
    Projection::try_new(by_place(&plan), Arc::new(plan)).map(LogicalPlan::Projection)
}

/// Columns by place under the names that what stands above knows them by.
fn requalified(plan: LogicalPlan, schema: &DFSchemaRef) -> datafusion::common::Result<LogicalPlan> {
    let names = schema.iter().enumerate();
    let exprs = names.map(|(at, (qualifier, field))| column(at).alias_qualified(qualifier.cloned(), field.name()));
    Projection::try_new(exprs.collect(), Arc::new(plan)).map(LogicalPlan::Projection)
}

/// Whether a column of an analysed plan is a constant without a type.
fn is_untyped(plan: &LogicalPlan, at: usize) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => match projection.expr[at].clone().unalias() {
            Expr::Literal(ScalarValue::Null, _) => true,
            Expr::Literal(ScalarValue::Utf8View(_) | ScalarValue::Utf8(_), metadata) => metadata.is_none(),
            Expr::Column(column) => {
                let place = projection.input.schema().maybe_index_of_column(&column);
                place.is_some_and(|place| is_untyped(&projection.input, place))
            }
            _ => false,
        },
        LogicalPlan::Distinct(Distinct::All(input)) => is_untyped(input, at),
        LogicalPlan::SubqueryAlias(alias) => is_untyped(&alias.input, at),
        LogicalPlan::Sort(sort) => is_untyped(&sort.input, at),
        LogicalPlan::Limit(limit) => is_untyped(&limit.input, at),
        other => other.schema().field(at).data_type().is_null(),
    }
}

/// The type of a column that two sides give.
fn common(name: &str, left: ColumnType, right: ColumnType) -> Result<ColumnType> {
    use ColumnType::{Known, Unknown};
    let (left, right) = match (left, right) {
        (Known(left), Known(right)) => (left, right),
        (Known(known), Unknown) | (Unknown, Known(known)) => return Ok(Known(known)),
        // Two unknowns are text.
        (Unknown, Unknown) => return Ok(Known(Arc::new(field_of("", &SqlType::Text, true)))),
    };
    let (left_type, right_type) = (sql_type_of(&left), sql_type_of(&right));
    match common_type(&left_type, &right_type) {
        // What is left of the left side's rows shows the digits that it has.
        Some(SqlType::Numeric(_)) if name != "UNION" && digits(&left_type) >= digits(&right_type) => match left_type {
            SqlType::Numeric(Some((_, scale))) => {
                Ok(Known(Arc::new(field_of("", &SqlType::Numeric(Some((38, scale))), true))))
            }
            _ => Ok(Known(left)),
        },
        Some(common) if common == left_type => Ok(Known(left)),
        Some(common) if common == right_type => Ok(Known(right)),
        Some(common) => Ok(Known(Arc::new(field_of("", &common, true)))),
        None => {
            let message = format!("{name} types {left_type} and {right_type} cannot be matched");
            Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message))
        }
    }
}

/// The digits behind the point of a number.
fn digits(sql_type: &SqlType) -> i8 {
    match sql_type {
        SqlType::Numeric(modifier) => modifier.map_or(SqlType::NUMERIC_SCALE, |(_, scale)| scale),
        _ => 0,
    }
}

/// The types with numerics of any scale as what holds them: grouping by a column loses what marks it.
fn without_marks(types: &[ColumnType]) -> Vec<ColumnType> {
    let unmarked = SqlType::Numeric(Some((38, SqlType::NUMERIC_SCALE)));
    let unmarked = |known: &ColumnType| match known {
        ColumnType::Known(field) if sql_type_of(field) == SqlType::Numeric(None) => {
            ColumnType::Known(Arc::new(field_of("", &unmarked, true)))
        }
        other => other.clone(),
    };
    types.iter().map(unmarked).collect()
}

/// The plan with its numerics of any scale marked as such again.
fn with_marks(plan: LogicalPlan, types: &[ColumnType]) -> datafusion::common::Result<LogicalPlan> {
    let any_scale =
        |known: &ColumnType| matches!(known, ColumnType::Known(field) if sql_type_of(field) == SqlType::Numeric(None));
    if !types.iter().any(any_scale) {
        return Ok(plan);
    }
    let mark = FieldMetadata::from(&field_of("", &SqlType::Numeric(None), true));
    let columns = plan.schema().iter().zip(types).map(|((qualifier, field), known)| {
        let column = Expr::Column(datafusion::common::Column::from((qualifier, field)));
        match any_scale(known) {
            true => column.alias_qualified_with_metadata(qualifier.cloned(), field.name(), Some(mark.clone())),
            false => column,
        }
    });
    let columns = columns.collect::<Vec<_>>();
    Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection)
}

/// The plan with its columns cast to types, where they have others.
fn cast_to(plan: LogicalPlan, types: &[ColumnType]) -> datafusion::common::Result<LogicalPlan> {
    let mut is_same = true;
    let columns = plan.schema().iter().zip(types).enumerate().map(|(at, ((qualifier, field), to))| {
        let column = Expr::Column(datafusion::common::Column::from((qualifier, field)));
        let ColumnType::Known(to) = to else { return column };
        if sql_type_of(to) == sql_type_of(field) && to.data_type() == field.data_type() && !is_untyped(&plan, at) {
            return column;
        }
        is_same = false;
        let to = Arc::new(field_of(CAST_TARGET, &sql_type_of(to), true));
        let cast = Expr::Cast(Cast::new_from_field(Box::new(column), to));
        cast.alias_qualified(qualifier.cloned(), field.name())
    });
    let columns = columns.collect::<Vec<_>>();
    match is_same {
        true => Ok(plan),
        false => Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection),
    }
}
