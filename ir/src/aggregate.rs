//! Aggregates, and how each takes rows back.

use arrow::datatypes::FieldRef;
use std::fmt;

/// What an aggregate computes. Every one answers NULL for no rows, but `Count`, which answers 0; NULL arguments do not
/// count.
///
/// | function | on a retraction | state per group |
/// |---|---|---|
/// | `Count`, `Sum`, `Avg` | subtracts | one counter, one total |
/// | `BoolAnd`, `BoolOr` | subtracts from the count of trues or falses | two counters |
/// | `Min`, `Max` | over append-only input: cannot happen, one value; else looks up the next value | an ordered multiset |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateFunction {
    /// Rows, or rows whose argument is not NULL. Gives Int64.
    Count,
    /// Int16, Int32 give Int64; Int64 gives Decimal128(38, 0); Decimal128(_, s) gives Decimal128(38, s); floats
    /// give themselves.
    Sum,
    /// Integers give Decimal128(38, 16); Decimal128(_, s) gives Decimal128(38, max(s, 16)); floats give Float64.
    /// Rounds half away from zero.
    Avg,
    /// The type of the argument, in the order of Postgres (NaN above every number).
    Min,
    /// As `Min`.
    Max,
    /// True unless an argument is false.
    BoolAnd,
    /// False unless an argument is true.
    BoolOr,
}

/// One aggregate of an [`Aggregate` node](crate::Plan::Aggregate).
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// What it computes.
    pub function: AggregateFunction,
    /// The column of the node's input that it reads; `None` for `count(*)`.
    pub argument: Option<usize>,
    /// A boolean column of the node's input: only rows where it is true count (`FILTER (WHERE ...)`).
    pub filter: Option<usize>,
    /// The column that it gives, with the type told at [`AggregateFunction`].
    pub output: FieldRef,
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{:?}", self.function).to_lowercase();
        match self.argument {
            Some(column) => write!(f, "{name}(#{column})")?,
            None => write!(f, "{name}(*)")?,
        }
        self.filter.map_or(Ok(()), |column| write!(f, " filter #{column}"))
    }
}
