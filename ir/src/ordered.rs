//! Operators that need the rows of a partition in an order.

use crate::plan::{columns, until};
use crate::{Closing, Node};
use arrow::compute::SortOptions;
use datafusion::physical_expr::window::WindowExpr;
use std::fmt;
use std::sync::Arc;

/// A column that rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortColumn {
    pub column: usize,
    pub options: SortOptions,
}

/// How the rows of a partition are numbered, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranking {
    /// Each row has a number of its own; rows that the order leaves equal are numbered in an order of all columns.
    RowNumber,
    /// Equal rows have the number of the first of them.
    Rank,
    /// Equal rows have one number, and the next ones the next number.
    DenseRank,
}

/// The rows of each partition whose number is in a range. The input must be partitioned by (a subset of) `partition`.
/// The schema is that of the input, followed by the number if the plan is `numbered`.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    pub input: Node,
    pub partition: Vec<usize>,
    pub order: Vec<SortColumn>,
    pub ranking: Ranking,
    /// So many rows, counted by themselves, are left out first.
    pub skip: u64,
    /// The largest number that stays; `None`: all.
    pub last: Option<u64>,
    pub numbered: bool,
    /// By a column of the partition: this is dropped when no row of it can come or go.
    pub closing: Option<Closing>,
}

/// Functions over the ordered rows of each partition, by which (or by a subset of which) the input must be partitioned.
/// The schema is that of the input, followed by a column for each function.
#[derive(Clone, Debug)]
pub struct Window {
    pub input: Node,
    pub partition: Vec<usize>,
    pub order: Vec<SortColumn>,
    /// They share partition and order, and their arguments are columns of the input.
    pub functions: Vec<Arc<dyn WindowExpr>>,
    pub reach: Reach,
    /// By a column of the partition: this is dropped when no row of it can come or go. By the time that rows are in the
    /// order of: those rows are dropped that no row that can still come or go reaches.
    pub closing: Option<Closing>,
}

/// What the results for a row depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of the partition.
    Partition,
    /// So many rows before and behind it.
    Rows(usize),
    /// The rows of its session: those ordered by time with no gap between them of more than so many microseconds.
    Session(i64),
}

impl Reach {
    /// What two functions depend on together.
    pub fn with(self, other: Reach) -> Reach {
        match (self, other) {
            (Reach::Rows(one), Reach::Rows(other)) => Reach::Rows(one.max(other)),
            (Reach::Session(one), Reach::Session(other)) if one == other => self,
            _ => Reach::Partition,
        }
    }
}

impl PartialEq for Window {
    fn eq(&self, other: &Window) -> bool {
        (&self.partition, &self.order, self.reach) == (&other.partition, &other.order, other.reach)
            && self.functions.len() == other.functions.len()
            && self.functions.iter().zip(&other.functions).all(|(one, other)| is_same(one, other))
            && self.input == other.input
    }
}

/// Whether two functions over the same partitions in the same order give the same. Their names are their texts.
fn is_same(one: &Arc<dyn WindowExpr>, other: &Arc<dyn WindowExpr>) -> bool {
    one.name() == other.name()
        && one.field().ok() == other.field().ok()
        && one.expressions() == other.expressions()
        && one.get_window_frame() == other.get_window_frame()
}

impl fmt::Display for SortColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SortOptions { descending, nulls_first } = self.options;
        write!(f, "#{}{}", self.column, if descending { " desc" } else { "" })?;
        // As in Postgres, NULLs are above every value unless it is said.
        match nulls_first == descending {
            true => Ok(()),
            false => write!(f, " nulls {}", if nulls_first { "first" } else { "last" }),
        }
    }
}

impl fmt::Display for TopK {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.last.map_or("all".to_owned(), |last| last.to_string());
        write!(f, "TopK {:?} {}..{last}", self.ranking, self.skip + 1)?;
        over(f, &self.partition, &self.order)?;
        if self.numbered {
            write!(f, " numbered")?;
        }
        until(f, self.closing)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.functions.iter().map(|function| function.name()).collect();
        write!(f, "Window {}", names.join(", "))?;
        over(f, &self.partition, &self.order)?;
        match self.reach {
            Reach::Partition => {}
            Reach::Rows(rows) => write!(f, " reach {rows}")?,
            Reach::Session(gap) => write!(f, " gap {gap} us")?,
        }
        until(f, self.closing)
    }
}

fn over(f: &mut fmt::Formatter<'_>, partition: &[usize], order: &[SortColumn]) -> fmt::Result {
    if !partition.is_empty() {
        write!(f, " partition {}", columns(partition))?;
    }
    if !order.is_empty() {
        let order: Vec<String> = order.iter().map(ToString::to_string).collect();
        write!(f, " order ({})", order.join(", "))?;
    }
    Ok(())
}
