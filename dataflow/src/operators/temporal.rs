//! Temporal: the rows whose value compares with a moment that goes on with the wall clock. Rows enter or leave as time
//! passes, without new input.
//!
//! ```text
//!   value >  now - 1 h     a row is there until the moment reaches its value:  it is kept, and taken back then
//!   value <= now           a row is there from then on:                        it is kept until then, and emitted
//! ```
//!
//! Linear: each row comes and goes for itself. It keeps the net rows that are still to change, in the order of their
//! values, and drops each when the moment has passed it: state is bounded by what is ahead of the clock. A retraction is
//! a row with a negative weight, which passes on as its row did.

use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::state::{Arrangement, order_keys, rows_in_range};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use millrace_ir::{Comparison, Expr};
use millrace_types::{Delta, EventTime, KeyGroupRange, Result, SqlError, Tick};
use std::slice::from_ref;
use std::sync::Arc;

const SECTION: &str = "rows";
/// The number of NULL, which compares with nothing.
const NULL: u64 = u64::MAX;

/// Passes the rows for which `value <comparison> moment` holds now.
pub struct Temporal {
    schema: SchemaRef,
    value: usize,
    comparison: Comparison,
    moment: Expr,
    /// The rows that the moment is still to pass.
    ahead: Arrangement,
    /// The moment has passed all rows whose values have a number up to this.
    passed: Option<u64>,
    now: EventTime,
    /// The batches of the open tick.
    held: Vec<Delta>,
    /// The number of the next value that the moment passes, and when it does.
    next: Option<(u64, EventTime)>,
}

impl Temporal {
    /// `value`: the column to be compared. `moment`: over a batch of one column, the wall clock; it must not go back as
    /// the clock goes on.
    pub fn new(schema: SchemaRef, value: usize, comparison: Comparison, moment: Expr) -> Temporal {
        Temporal {
            ahead: Arrangement::by_value(schema.clone(), value),
            schema,
            value,
            comparison,
            moment,
            passed: None,
            now: EventTime(i64::MIN),
            held: vec![],
            next: None,
        }
    }

    /// The number of the greatest value that the moment has passed at some time; `None`: none.
    fn passed_at(&self, now: EventTime) -> Result<Option<u64>> {
        let clock: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![now.0]).with_timezone("UTC"));
        let clock = RecordBatch::try_from_iter([("now", clock)])?;
        let moment = self.moment.evaluate(&clock).and_then(|moment| moment.into_array(1));
        let moment = moment.map_err(|error| SqlError::internal(format!("a moment cannot be computed: {error}")))?;
        let number = order_keys(&moment)?[0];
        // A row at the moment itself is passed where the comparison turns there.
        let turns_at = matches!(self.comparison, Comparison::Greater | Comparison::LessOrEqual);
        Ok(match (number, turns_at) {
            (NULL, _) => None,
            (number, true) => Some(number),
            (number, false) => number.checked_sub(1),
        })
    }

    /// Whether rows come when the moment passes them; else they go.
    fn enters(&self) -> bool {
        matches!(self.comparison, Comparison::Less | Comparison::LessOrEqual)
    }

    /// What the moment passes as it goes on.
    fn pass(&mut self, passed: Option<u64>, out: &mut Output) -> Result<()> {
        let from = self.passed.map_or(0, |passed| passed + 1);
        let Some(to) = passed.filter(|to| *to >= from) else { return Ok(()) };
        self.passed = Some(to);
        let runs: Vec<_> = self.ahead.runs().cloned().collect();
        for delta in rows_in_range(&runs, &self.schema, self.value, &(from..=to))? {
            let gone = delta.negated();
            self.ahead.append_all(from_ref(&gone))?;
            out.push(if self.enters() { delta } else { gone });
        }
        Ok(())
    }

    /// Takes rows in: those that are passed already have come or gone.
    fn take_in(&mut self, delta: Delta, out: &mut Output) -> Result<()> {
        let numbers = order_keys(delta.rows().column(self.value))?;
        let is_passed = |number: u64| self.passed.is_some_and(|passed| number <= passed);
        let of = |wanted: &dyn Fn(u64) -> bool| -> BooleanArray {
            numbers.iter().map(|number| Some(*number != NULL && wanted(*number))).collect()
        };
        let ahead = delta.filter(&of(&|number| !is_passed(number)))?;
        let there = match self.enters() {
            true => delta.filter(&of(&is_passed))?,
            false => ahead.clone(),
        };
        self.ahead.append(&ahead)?;
        out.push(there);
        Ok(())
    }

    /// Finds when the moment passes the next row.
    fn look_ahead(&mut self) -> Result<()> {
        let from = self.passed.map_or(0, |passed| passed.saturating_add(1));
        let first = self.ahead.runs().filter_map(|run| run.first_key_from(from)).min();
        let Some(first) = first else {
            self.next = None;
            return Ok(());
        };
        if self.next.is_some_and(|(number, _)| number == first) {
            return Ok(());
        }
        self.next = self.passing(first)?.map(|at| (first, at));
        Ok(())
    }

    /// The moment of the wall clock at which a number is passed; `None` when that is never.
    fn passing(&self, number: u64) -> Result<Option<EventTime>> {
        let is_passed = |at: i64| Ok::<_, SqlError>(self.passed_at(EventTime(at))?.is_some_and(|to| to >= number));
        let mut step = 1;
        let mut late = self.now.0;
        while !is_passed(late)? {
            match self.now.0.checked_add(step) {
                Some(next) if next < LAST => (late, step) = (next, step.saturating_mul(4)),
                _ => return Ok(None),
            }
        }
        let mut early = self.now.0;
        while early < late {
            let middle = early + (late - early) / 2;
            match is_passed(middle)? {
                true => late = middle,
                false => early = middle + 1,
            }
        }
        Ok(Some(EventTime(late)))
    }
}

/// The clock does not come so far: the year 9999.
const LAST: i64 = 253_402_300_800_000_000;

impl Operator for Temporal {
    fn on_batch(&mut self, _port: usize, delta: Delta, _out: &mut Output) -> Result<()> {
        self.held.push(delta);
        Ok(())
    }

    fn on_clock(&mut self, now: EventTime) -> Result<()> {
        self.now = now;
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        let passed = self.passed_at(self.now)?;
        self.pass(passed, out)?;
        for delta in std::mem::take(&mut self.held) {
            self.take_in(delta, out)?;
        }
        self.look_ahead()
    }

    fn next_alarm(&self) -> Option<EventTime> {
        self.next.map(|(_, at)| at)
    }

    fn snapshot(&mut self, _kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        self.ahead.snapshot(SECTION, to)
    }

    /// What the moment had passed at the snapshot is computed again: it has gone on since, and passes the rest then.
    fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
        self.ahead.restore(SECTION, from, &groups)
    }

    fn follows_clock(&self) -> bool {
        true
    }

    fn state_size(&self) -> StateSize {
        self.ahead.size()
    }
}
