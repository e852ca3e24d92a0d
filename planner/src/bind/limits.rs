//! LIMIT, OFFSET and FETCH as Postgres has them.
//!
//! In the statement `FETCH FIRST n ROWS` becomes `LIMIT n`. `WITH TIES` has no form in DataFusion's planner: it goes
//! through as a function around the limit, and becomes ranks in the plan. A limit that a subquery gives becomes a condition
//! on the rows' numbers.

use crate::functions::FunctionSource;
use crate::numbering::{keep_where, number, numbered};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::{
    ColumnarValue, Expr as LogicalExpr, Limit, LogicalPlan, Operator, Projection, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Sort, Volatility, binary_expr,
};
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{
    CastKind, DataType as AstType, Expr, Fetch, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, LimitClause, ObjectName, Query, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

/// The name of the function that `WITH TIES` goes through as: no identifier of a user.
const WITH_TIES: &str = "with_ties\u{1}";

/// The function of that name.
pub fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::exact(vec![DataType::Int64], Volatility::Immutable);
        Arc::new(ScalarUDF::from(WithTies { signature }))
    });
    (name == WITH_TIES).then(|| FUNCTION.clone())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WithTies {
    signature: Signature,
}

impl ScalarUDFImpl for WithTies {
    fn name(&self) -> &str {
        WITH_TIES
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        Err(DataFusionError::Internal("WITH TIES is no function".to_owned()))
    }
}

/// Rewrites the limits of a query and of its subqueries.
///
/// # Errors
/// `42601` for two limits and for `WITH TIES` without an order, `42P10` for a limit that reads columns.
pub fn prepare(query: &mut Query) -> Result<()> {
    struct Preparer;
    impl VisitorMut for Preparer {
        type Break = SqlError;

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
            match prepare_one(query) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    match VisitMut::visit(query, &mut Preparer) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn prepare_one(query: &mut Query) -> Result<()> {
    if let Some(fetch) = query.fetch.take() {
        let is_ordered = query.order_by.is_some();
        let limit = limit_of(fetch, is_ordered)?;
        match &mut query.limit_clause {
            None => {
                let clause = LimitClause::LimitOffset { limit: Some(limit), offset: None, limit_by: vec![] };
                query.limit_clause = Some(clause);
            }
            Some(LimitClause::LimitOffset { limit: none @ None, .. }) => *none = Some(limit),
            Some(_) => {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "multiple LIMIT clauses not allowed"));
            }
        }
    }
    if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
        limit.as_mut().map_or(Ok(()), |limit| number_of_rows(limit, "LIMIT"))?;
        offset.as_mut().map_or(Ok(()), |offset| number_of_rows(&mut offset.value, "OFFSET"))?;
    }
    Ok(())
}

fn limit_of(fetch: Fetch, is_ordered: bool) -> Result<Expr> {
    if fetch.percent {
        return Err(SqlError::unsupported("FETCH ... PERCENT"));
    }
    let one = || Expr::Value(Value::Number("1".into(), false).into());
    let quantity = fetch.quantity.unwrap_or_else(one);
    match (fetch.with_ties, is_ordered) {
        (false, _) => Ok(quantity),
        (true, true) => Ok(call(WITH_TIES, quantity)),
        (true, false) => {
            let message = "WITH TIES cannot be specified without ORDER BY clause";
            Err(SqlError::new(SqlState::SYNTAX_ERROR, message))
        }
    }
}

fn call(name: &str, argument: Expr) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_quote('"', name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))],
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// A number of rows is a bigint: text is read as one, fractions are rounded, columns are refused.
fn number_of_rows(expr: &mut Expr, clause: &str) -> Result<()> {
    let is_other = |value: &Value| match value {
        Value::SingleQuotedString(_) => true,
        Value::Number(text, _) => text.parse::<i64>().is_err(),
        _ => false,
    };
    if let Expr::Value(value) = expr
        && is_other(&value.value)
    {
        let (value, data_type) = (Box::new(expr.clone()), AstType::BigInt(None));
        *expr = Expr::Cast { kind: CastKind::Cast, expr: value, data_type, array: false, format: None };
    }
    struct Columns;
    impl Visitor for Columns {
        type Break = bool;

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<bool> {
            ControlFlow::Break(false)
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<bool> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(true),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match Visit::visit(&*expr, &mut Columns) {
        ControlFlow::Break(true) => {
            let message = format!("argument of {clause} must not contain variables");
            Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message))
        }
        _ => Ok(()),
    }
}

/// The plan with every `WITH TIES` as a condition on ranks, and every limit of a subquery as one on numbers.
///
/// # Errors
/// `2201W` for a negative number of rows, `0A000` beside DISTINCT ON.
pub fn with_ties(plan: LogicalPlan, functions: &FunctionSource) -> datafusion::common::Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Limit(limit) => match tied(limit.fetch.as_deref()) {
            Some(count) => tie(limit, count, functions).map(Transformed::yes),
            None if asks(&limit) => count(limit, functions).map(Transformed::yes),
            None => Ok(Transformed::no(LogicalPlan::Limit(limit))),
        },
        other => Ok(Transformed::no(other)),
    })
    .map(|transformed| transformed.data)
}

/// Whether a subquery says how many rows there are.
fn asks(limit: &Limit) -> bool {
    let is_subquery = |expr: &LogicalExpr| Ok(matches!(expr, LogicalExpr::ScalarSubquery(_)));
    limit.fetch.iter().chain(&limit.skip).any(|expr| expr.exists(is_subquery).unwrap_or_default())
}

fn count(limit: Limit, functions: &FunctionSource) -> datafusion::common::Result<LogicalPlan> {
    match Arc::unwrap_or_clone(limit.input) {
        LogicalPlan::Projection(projection) => {
            let below = count(Limit { input: projection.input, ..limit }, functions)?;
            let schema = projection.schema;
            let projection = Projection::try_new_with_schema(projection.expr, Arc::new(below), schema)?;
            Ok(LogicalPlan::Projection(projection))
        }
        LogicalPlan::Sort(sort) => {
            let counted = numbers_within(sort.input, &sort.expr, (limit.skip, limit.fetch), functions)?;
            Ok(LogicalPlan::Sort(Sort { input: counted, ..sort }))
        }
        other => {
            let counted = numbers_within(Arc::new(other), &[], (limit.skip, limit.fetch), functions)?;
            Ok(Arc::unwrap_or_clone(counted))
        }
    }
}

/// The rows after `skip`, and of these at most `fetch`; NULL is no limit.
fn numbers_within(
    mut rows: Arc<LogicalPlan>,
    order: &[SortExpr],
    (skip, fetch): (Option<Box<LogicalExpr>>, Option<Box<LogicalExpr>>),
    functions: &FunctionSource,
) -> datafusion::common::Result<Arc<LogicalPlan>> {
    let conditions = [
        skip.map(|skip| (number().gt(*skip.clone()), skip)),
        fetch.map(|fetch| (number().lt_eq(*fetch.clone()), fetch)),
    ];
    for (condition, limit) in conditions.into_iter().flatten() {
        let numbers = numbered(rows, functions, "row_number", vec![], order.to_vec())?;
        rows = Arc::new(keep_where(numbers, condition.or(limit.is_null()))?);
    }
    Ok(rows)
}

/// The number of rows of a limit with ties.
fn tied(fetch: Option<&LogicalExpr>) -> Option<LogicalExpr> {
    match fetch? {
        LogicalExpr::Cast(cast) => tied(Some(&cast.expr)),
        LogicalExpr::ScalarFunction(call) if call.func.name() == WITH_TIES => call.args.first().cloned(),
        _ => None,
    }
}

fn tie(limit: Limit, count: LogicalExpr, functions: &FunctionSource) -> datafusion::common::Result<LogicalPlan> {
    if let LogicalExpr::Literal(ScalarValue::Int64(Some(..0)), _) = count {
        let error = SqlError::new(SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE, "LIMIT must not be negative");
        return Err(DataFusionError::External(Box::new(error)));
    }
    match Arc::unwrap_or_clone(limit.input) {
        LogicalPlan::Projection(projection) => {
            let below = tie(Limit { input: projection.input, ..limit }, count, functions)?;
            let schema = projection.schema;
            let projection = Projection::try_new_with_schema(projection.expr, Arc::new(below), schema)?;
            Ok(LogicalPlan::Projection(projection))
        }
        LogicalPlan::Sort(sort) => ranked(sort, limit.skip, count, functions),
        _ => {
            let error = SqlError::unsupported("WITH TIES beside DISTINCT ON");
            Err(DataFusionError::External(Box::new(error)))
        }
    }
}

/// The rows of a rank up to the count, but for the first ones that are skipped.
fn ranked(
    sort: Sort,
    skip: Option<Box<LogicalExpr>>,
    count: LogicalExpr,
    functions: &FunctionSource,
) -> datafusion::common::Result<LogicalPlan> {
    let last = match &skip {
        Some(skip) => binary_expr(count, Operator::Plus, skip.as_ref().clone()),
        None => count,
    };
    let ranks = numbered(sort.input, functions, "rank", vec![], sort.expr.clone())?;
    let mut plan = keep_where(ranks, number().lt_eq(last))?;
    if let Some(skip) = skip {
        let rows = numbered(Arc::new(plan), functions, "row_number", vec![], sort.expr.clone())?;
        plan = keep_where(rows, number().gt(*skip))?;
    }
    Ok(LogicalPlan::Sort(Sort { input: Arc::new(plan), ..sort }))
}
