//! Aggregates, and how each takes rows back.

use arrow::datatypes::FieldRef;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use std::fmt;
use std::sync::Arc;

/// What an aggregate computes. Every one answers NULL for no rows, but `Count`, which answers 0, and perhaps `Call`.
///
/// | function | on a retraction | state per group |
/// |---|---|---|
/// | `Count`, `Sum`, `Avg` | subtracts | one counter, one total |
/// | `BoolAnd`, `BoolOr` | subtracts from the count of trues or falses | two counters |
/// | `Min`, `Max` | over append-only input: cannot happen, one value; else looks up the next value | an ordered multiset |
/// | `Call` that takes values back | takes the values back | its accumulator |
/// | any other `Call` | computed anew from the group's rows | the group's rows |
#[derive(Clone, Debug)]
pub enum AggregateFunction {
    /// Rows, or rows whose argument is not NULL. Gives Int64.
    Count,
    /// Int16, Int32 give Int64; Int64 gives Decimal128(38, 0); Decimal128(_, s) gives Decimal128(38, s); floats
    /// give themselves.
    Sum,
    /// Int16 and Int32 give Decimal128(38, 20), Int64 gives Decimal128(38, 19); Decimal128(_, s) gives
    /// Decimal128(38, max(s, 20)); floats give Float64. Rounds half away from zero, to as many digits as Postgres.
    Avg,
    /// The type of the argument, in the order of Postgres (NaN above every number).
    Min,
    /// As `Min`.
    Max,
    /// True unless an argument is false.
    BoolAnd,
    /// False unless an argument is true.
    BoolOr,
    /// What a query run once would call, over the columns of the node's input: its accumulators compute it here too.
    Call(Arc<AggregateFunctionExpr>),
}

impl AggregateFunction {
    /// Whether it must see all rows of a group again whenever one changes.
    pub fn keeps_rows(&self) -> bool {
        match self {
            // One that cannot be made says so when it is rendered.
            AggregateFunction::Call(call) => call.create_accumulator().is_ok_and(|one| !one.supports_retract_batch()),
            _ => false,
        }
    }
}

/// One aggregate of an [`Aggregate` node](crate::Plan::Aggregate).
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// What it computes.
    pub function: AggregateFunction,
    /// The column of the node's input that it reads; `None` for `count(*)`, and for a `Call`, which knows its own.
    pub argument: Option<usize>,
    /// Whether of equal arguments in a group only one counts. A `Call` that keeps rows sees to that itself.
    pub distinct: bool,
    /// A boolean column of the node's input: only rows where it is true count (`FILTER (WHERE ...)`).
    pub filter: Option<usize>,
    /// The column that it gives, with the type told at [`AggregateFunction`].
    pub output: FieldRef,
}

impl PartialEq for AggregateFunction {
    fn eq(&self, other: &AggregateFunction) -> bool {
        match (self, other) {
            (AggregateFunction::Call(one), AggregateFunction::Call(other)) => {
                // What `AggregateFunctionExpr` itself compares leaves out the call's modifiers.
                one == other
                    && one.order_bys() == other.order_bys()
                    && (one.is_distinct(), one.ignore_nulls(), one.is_reversed())
                        == (other.is_distinct(), other.ignore_nulls(), other.is_reversed())
            }
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distinct = if self.distinct { "distinct " } else { "" };
        match (&self.function, self.argument) {
            (AggregateFunction::Call(call), _) => {
                let arguments: Vec<_> = call.expressions().iter().map(ToString::to_string).collect();
                write!(f, "{}({distinct}{}", call.fun().name(), arguments.join(", "))?;
                let order: Vec<_> = call.order_bys().iter().map(ToString::to_string).collect();
                match order.is_empty() {
                    true => f.write_str(")")?,
                    false => write!(f, " order by {})", order.join(", "))?,
                }
            }
            (function, Some(column)) => write!(f, "{}({distinct}#{column})", name_of(function))?,
            (function, None) => write!(f, "{}(*)", name_of(function))?,
        }
        self.filter.map_or(Ok(()), |column| write!(f, " filter #{column}"))
    }
}

fn name_of(function: &AggregateFunction) -> &'static str {
    match function {
        AggregateFunction::Count => "count",
        AggregateFunction::Sum => "sum",
        AggregateFunction::Avg => "avg",
        AggregateFunction::Min => "min",
        AggregateFunction::Max => "max",
        AggregateFunction::BoolAnd => "booland",
        AggregateFunction::BoolOr => "boolor",
        AggregateFunction::Call(_) => "call",
    }
}
