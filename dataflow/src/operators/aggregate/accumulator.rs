//! One aggregate over all groups: which words of a group's row are its, how rows go in, what comes out.

use super::Stored;
use super::changes::Changes;
use super::emission::Side;
use super::extreme::Extreme;
use super::folded::Folded;
use super::groups::Groups;
use super::outcomes::Outcomes;
use super::packed::Packed;
use super::rows::Rows;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Schema};
use datafusion::physical_expr::expressions::Column;
use millrace_ir::{Aggregate, AggregateFunction, Expr};
use millrace_types::{Delta, Result, SqlError};
use std::ops::Range;
use std::sync::Arc;

/// One aggregate.
pub struct Accumulator {
    pub kind: Kind,
    /// Whether it is given each different argument once, which others see to.
    is_distinct: bool,
    argument: Option<usize>,
    filter: Option<usize>,
    /// The type that it gives.
    output: DataType,
    /// Its words in a group's row.
    words: Range<usize>,
    can_fail: bool,
}

/// How it is computed.
pub enum Kind {
    Packed(Packed),
    Extreme(Extreme),
    /// At the end of a tick, by a call that takes values back.
    Folded {
        calls: Folded,
        outcomes: Option<Outcomes>,
    },
    /// At the end of a tick, from the rows of its groups, which the operator keeps for all such calls.
    Gathered {
        outcomes: Option<Outcomes>,
    },
}

impl Accumulator {
    /// The accumulator of `aggregate`, whose words start at `first`.
    ///
    /// # Errors
    /// `0A000` for a minimum or maximum of a type without an order here.
    pub fn new(aggregate: &Aggregate, input: &Schema, append_only: bool, first: usize) -> Result<Accumulator> {
        let argument = aggregate.argument.map(|column| input.field(column).data_type());
        let output = aggregate.output.data_type().clone();
        let kind = Kind::new(aggregate, argument, append_only)?;
        let sees_to_distinct = matches!(kind, Kind::Extreme(_) | Kind::Gathered { .. });
        let is_distinct = aggregate.distinct && !sees_to_distinct;
        let words = first..first + kind.words();
        let can_fail = match &kind {
            Kind::Packed(packed) => packed.can_fail(&output),
            Kind::Extreme(_) => false,
            Kind::Folded { .. } | Kind::Gathered { .. } => true,
        };
        let (argument, filter) = (aggregate.argument, aggregate.filter);
        Ok(Accumulator { kind, is_distinct, argument, filter, output, words, can_fail })
    }

    /// Its words in a group's row.
    pub fn words(&self) -> Range<usize> {
        self.words.clone()
    }

    /// Whether it is computed at the end of a tick.
    pub fn is_deferred(&self) -> bool {
        self.is_distinct || matches!(self.kind, Kind::Folded { .. } | Kind::Gathered { .. })
    }

    /// The argument that it is given once each, if it is.
    pub fn distinct_argument(&self, input: &Schema) -> Option<Vec<Expr>> {
        let column = |at: usize| Arc::new(Column::new(input.field(at).name(), at)) as Expr;
        match (&self.kind, self.is_distinct) {
            (_, false) => None,
            (Kind::Folded { calls, .. }, _) => Some(calls.arguments()),
            _ => Some(self.argument.map(column).into_iter().collect()),
        }
    }

    /// Which rows of a batch count; `None` when all do.
    pub fn counted(&self, rows: &RecordBatch) -> Result<Option<BooleanBuffer>> {
        let valid = self.argument.and_then(|column| rows.column(column).logical_nulls());
        let valid = valid.filter(|valid| valid.null_count() > 0).map(|valid| valid.inner().clone());
        let Some(filter) = self.filter else { return Ok(valid) };
        let filter = rows.column(filter).as_boolean_opt();
        let filter = filter.ok_or_else(|| SqlError::internal("an aggregate's filter that is not boolean"))?;
        let passes = match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        };
        Ok(Some(valid.map_or(passes.clone(), |valid| &passes & &valid)))
    }

    /// Notes what newly dirty groups come to, where their rows do not say it.
    pub fn note_before(&mut self, dirty: &[u32]) {
        if let Kind::Extreme(extreme) = &mut self.kind {
            extreme.note_before(dirty);
        }
    }

    /// Counts the rows of a block, which starts at row `start`, into their groups `found`.
    pub fn update(
        &mut self,
        groups: &mut Groups,
        found: &[u32],
        start: usize,
        delta: &Delta,
        counted: Option<&BooleanBuffer>,
    ) {
        if !self.is_distinct {
            self.count(groups, found, start, delta, counted);
        }
    }

    fn count(
        &mut self,
        groups: &mut Groups,
        found: &[u32],
        start: usize,
        delta: &Delta,
        counted: Option<&BooleanBuffer>,
    ) {
        let (stride, first) = (groups.stride, self.words.start);
        let words = &mut groups.words[..];
        let column = self.argument.map(|column| delta.rows().column(column));
        let rows = Rows { found, start, weights: delta.weights(), counted };
        let place = |group: usize| group * stride + first;
        match (&mut self.kind, column) {
            (Kind::Packed(packed), column) => packed.update(words, place, column, &rows),
            (Kind::Extreme(extreme), Some(column)) => extreme.update(words, place, column, &rows),
            (Kind::Extreme(_) | Kind::Folded { .. } | Kind::Gathered { .. }, _) => {}
        }
    }

    /// Takes in the changes of a tick, if it is computed at its end from them.
    pub fn update_deferred(&mut self, changes: &Changes) -> Result<()> {
        if self.is_distinct {
            return Ok(());
        }
        let counted = self.counted(changes.delta.rows())?;
        self.fold(changes, counted.as_ref())
    }

    /// Takes in which arguments came and went in a tick.
    pub fn update_distinct(&mut self, groups: &mut Groups, changes: &Changes) -> Result<()> {
        self.count(groups, &changes.groups, 0, &changes.delta, None);
        self.fold(changes, None)
    }

    fn fold(&mut self, changes: &Changes, counted: Option<&BooleanBuffer>) -> Result<()> {
        match &mut self.kind {
            Kind::Folded { calls, .. } => calls.update(&changes.delta, &changes.groups, counted),
            _ => Ok(()),
        }
    }

    /// Brings what is known of these groups up to date at the end of a tick.
    pub fn settle(&mut self, groups: &mut Groups) {
        let (stride, first) = (groups.stride, self.words.start);
        let place = |group: usize| group * stride + first;
        match &mut self.kind {
            Kind::Packed(packed) => packed.settle(&groups.dirty, &mut groups.words, place),
            Kind::Extreme(extreme) => extreme.settle(&groups.dirty, &mut groups.words, place),
            Kind::Folded { .. } | Kind::Gathered { .. } => {}
        }
    }

    /// Whether what two groups come to gives what both come to together, by their rows alone.
    pub fn is_mergeable(&self) -> bool {
        match &self.kind {
            Kind::Packed(_) => !self.is_distinct,
            Kind::Extreme(extreme) => extreme.is_mergeable(),
            Kind::Folded { .. } | Kind::Gathered { .. } => false,
        }
    }

    /// Takes what a group with the row `from` has come to into another one.
    pub fn merge(&self, from: &[u64], into: &mut [u64]) {
        let (from, into) = (&from[self.words()], &mut into[self.words()]);
        match &self.kind {
            Kind::Packed(packed) => packed.merge(from, into),
            Kind::Extreme(extreme) => extreme.merge(from, into),
            Kind::Folded { .. } | Kind::Gathered { .. } => {}
        }
    }

    /// Forgets a group that is gone.
    pub fn forget(&mut self, group: u32) {
        match &mut self.kind {
            Kind::Extreme(extreme) => extreme.forget(group as usize),
            Kind::Folded { calls, .. } => calls.forget(group as usize),
            Kind::Packed(_) | Kind::Gathered { .. } => {}
        }
    }

    /// Ends the tick.
    pub fn end_tick(&mut self) {
        match &mut self.kind {
            Kind::Extreme(extreme) => extreme.end_tick(),
            Kind::Folded { outcomes, .. } | Kind::Gathered { outcomes } => *outcomes = None,
            Kind::Packed(_) => {}
        }
    }

    /// Whether a changed group comes to the same as before (or is not known to).
    pub fn is_same(&self, before: &[u64], now: &[u64], side: Side) -> bool {
        let (before, now) = (&before[self.words()], &now[self.words()]);
        match &self.kind {
            Kind::Packed(packed) => packed.is_same(before, now),
            Kind::Extreme(extreme) => extreme.is_same(before, now, side),
            Kind::Folded { outcomes, .. } | Kind::Gathered { outcomes } => {
                outcomes.as_ref().is_some_and(|outcomes| outcomes.is_same(side.slot))
            }
        }
    }

    /// Whether there are groups of which it cannot be given.
    pub fn can_fail(&self) -> bool {
        self.can_fail
    }

    /// Why the aggregate of a group cannot be given, if so.
    pub fn failure(&self, row: &[u64], side: Side) -> Option<SqlError> {
        match &self.kind {
            Kind::Packed(packed) => packed.failure(&row[self.words()], &self.output),
            Kind::Extreme(_) => None,
            Kind::Folded { outcomes, .. } | Kind::Gathered { outcomes } => outcomes.as_ref()?.failure(side),
        }
    }

    /// The column that groups with these rows, none of which fails, come to.
    pub fn finish(&self, rows: &[&[u64]], sides: &[Side]) -> Result<ArrayRef> {
        let words = rows.iter().map(|row| &row[self.words()]);
        match &self.kind {
            Kind::Packed(packed) => packed.finish(words, &self.output),
            Kind::Extreme(extreme) => extreme.finish(words, sides, &self.output),
            Kind::Folded { outcomes, .. } | Kind::Gathered { outcomes } => match outcomes {
                Some(outcomes) => outcomes.finish(sides),
                None => Err(SqlError::internal("an aggregate is asked for what it has not computed")),
            },
        }
    }

    /// The bytes of memory beside the groups' rows, nearly.
    pub fn bytes_beside(&self) -> usize {
        match &self.kind {
            Kind::Extreme(extreme) => extreme.bytes_beside(),
            Kind::Folded { calls, .. } => calls.bytes(),
            Kind::Packed(_) | Kind::Gathered { .. } => 0,
        }
    }

    /// The type that it gives.
    pub fn output(&self) -> &DataType {
        &self.output
    }

    /// Whether it keeps something of groups beside their rows, itself.
    pub fn keeps_beside(&self) -> bool {
        match &self.kind {
            Kind::Extreme(extreme) => extreme.has_values(),
            Kind::Folded { .. } => true,
            Kind::Packed(_) | Kind::Gathered { .. } => false,
        }
    }

    /// What a snapshot keeps of these groups beside their rows, if anything is kept so.
    pub fn values_of(&self, groups: &[u32]) -> Option<Vec<Stored>> {
        match &self.kind {
            Kind::Extreme(extreme) if extreme.has_values() => Some(extreme.values_of(groups)),
            _ => None,
        }
    }

    /// Takes a value of a group back from a snapshot.
    pub fn restore_value(&mut self, group: u32, value: &[u8], times: i64) {
        if let Kind::Extreme(extreme) = &mut self.kind {
            extreme.restore_value(group as usize, value, times);
        }
    }
}

impl Kind {
    fn new(aggregate: &Aggregate, argument: Option<&DataType>, append_only: bool) -> Result<Kind> {
        use AggregateFunction::{Call, Max, Min};
        let (function, output) = (&aggregate.function, aggregate.output.data_type());
        if let Some(packed) = Packed::new(function, argument, output) {
            return Ok(Kind::Packed(packed));
        }
        match (function, argument) {
            (Min | Max, Some(from)) if from == output => {
                Extreme::new(matches!(function, Max), append_only, from).map(Kind::Extreme)
            }
            (Call(_), _) if function.keeps_rows() => Ok(Kind::Gathered { outcomes: None }),
            (Call(call), _) => Ok(Kind::Folded { calls: Folded::new(call.clone()), outcomes: None }),
            _ => {
                let of = argument.map_or("nothing".to_owned(), DataType::to_string);
                Err(SqlError::internal(format!("the aggregate {aggregate} of {of} as {output}")))
            }
        }
    }

    fn words(&self) -> usize {
        match self {
            Kind::Packed(packed) => packed.words(),
            Kind::Extreme(extreme) => extreme.words(),
            Kind::Folded { .. } | Kind::Gathered { .. } => 0,
        }
    }
}
