//! Join: pairs of rows with equal keys, and for a left join the rows of the left input without a partner.
//!
//! Stateful: both inputs, arranged by the join's keys. Each delta is joined with all that has arrived at the other
//! input so far, and then added to its own: every pair of changes meets exactly once, whatever the order in which the
//! batches of a tick arrive, and a retraction retracts its pairs. State goes row by row, with the rows.
//!
//! ```text
//!   δL ⋈ R, then L += δL          δR ⋈ L, then R += δR
//! ```
//!
//! A left join counts, for each different left row, its weight `w` and the net weight `p` of the pairs that it is in.
//! Both are sums of what passes by; since `p` is `w` times the weight of the row's partners, the row has no partner
//! exactly when `p` is zero. So at the end of the tick each left row that was touched stands `w` times with NULLs if `p`
//! is zero, else not at all, and the difference to what stood there before is emitted.

use super::expression::evaluate_where_possible;
use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::state::{Arrangement, Counts, Matches, Probe, RowId, batch_of, ids_of, interleave_rows};
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use millrace_ir::{Expr, JoinKind};
use millrace_types::{Delta, KeyGroupRange, Result, SqlError, Tick, Weights};

/// What a join computes: the fields of `ir::Join`, with schemas for its inputs.
#[derive(Clone)]
pub struct JoinOptions {
    pub kind: JoinKind,
    pub left: SchemaRef,
    pub right: SchemaRef,
    pub left_keys: Vec<usize>,
    pub right_keys: Vec<usize>,
    /// Whether NULL keys match one another.
    pub nulls_match: bool,
    /// A further condition over the left columns followed by the right ones.
    pub residual: Option<Expr>,
    /// The columns of the output: the left ones, then the right ones.
    pub schema: SchemaRef,
}

/// Joins port 0, the left input, with port 1, the right one.
pub struct Join {
    nulls_match: bool,
    residual: Option<Expr>,
    schema: SchemaRef,
    left: Arrangement,
    right: Arrangement,
    unmatched: Option<Unmatched>,
}

/// The most pairs of an emitted batch.
const PAIRS: usize = 32_768;

impl Join {
    /// A join of two empty inputs.
    pub fn new(options: JoinOptions) -> Join {
        let unmatched = (options.kind == JoinKind::Left).then(|| Unmatched {
            schema: options.left.clone(),
            key: options.left_keys.clone(),
            counts: Counts::default(),
            open: Vec::new(),
        });
        Join {
            nulls_match: options.nulls_match,
            residual: options.residual,
            schema: options.schema,
            left: Arrangement::new(options.left, options.left_keys),
            right: Arrangement::new(options.right, options.right_keys),
            unmatched,
        }
    }

    /// Emits the pairs of a delta at one input with what the other one has.
    fn join(&mut self, delta: &Delta, from_left: bool, out: &mut Output) -> Result<()> {
        let (own, other) = if from_left { (&self.left, &self.right) } else { (&self.right, &self.left) };
        let keys: Vec<ArrayRef> = own.key().iter().map(|&key| delta.rows().column(key).clone()).collect();
        let mut probe = Probe::new(other.runs(), other.key(), keys, delta.len(), self.nulls_match)?;
        while let Some(matches) = probe.next_matches(PAIRS)? {
            let pairs = pairs(&self.schema, delta, &matches, other.schema(), from_left)?;
            let pairs = match &self.residual {
                Some(residual) => satisfying(residual, pairs, out)?,
                None => pairs,
            };
            if let Some(unmatched) = &mut self.unmatched {
                unmatched.count_pairs(&pairs)?;
            }
            out.push(pairs);
        }
        Ok(())
    }
}

/// The pairs as rows of the output, weighing the product of their weights.
fn pairs(schema: &SchemaRef, delta: &Delta, matches: &Matches<'_>, other: &SchemaRef, left: bool) -> Result<Delta> {
    let probed = UInt32Array::from(matches.probe.clone());
    let own = delta.rows().columns().iter().map(|column| take(column, &probed, None)).collect::<Result<Vec<_>, _>>()?;
    let other = matches.rows(other)?.columns().to_vec();
    let columns = if left { [own, other].concat() } else { [other, own].concat() };
    let weights: Vec<i64> =
        (0..matches.len()).map(|pair| matches.weight(pair) * delta.weight(matches.probe[pair] as usize)).collect();
    let rows = batch_of(schema, columns, matches.len())?;
    Ok(match weights.iter().all(|&weight| weight == 1) {
        true => Delta::inserts(rows),
        false => Delta::new(rows, Weights::Each(weights.into())),
    })
}

/// The pairs for which the residual condition holds.
fn satisfying(residual: &Expr, pairs: Delta, out: &mut Output) -> Result<Delta> {
    let (pairs, values) = evaluate_where_possible(std::slice::from_ref(residual), pairs, out)?;
    let holds = values[0].as_boolean_opt().ok_or_else(|| SqlError::internal("a join condition that is not boolean"))?;
    Ok(pairs.filter(holds)?)
}

impl Operator for Join {
    fn on_batch(&mut self, port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        let from_left = port == 0;
        self.join(&delta, from_left, out)?;
        match (from_left, &mut self.unmatched) {
            (true, Some(unmatched)) => {
                unmatched.count_rows(&delta)?;
                self.left.append(&delta)
            }
            (true, None) => self.left.append(&delta),
            (false, _) => self.right.append(&delta),
        }
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        if let Some(unmatched) = &mut self.unmatched {
            unmatched.emit(&self.schema, out)?;
        }
        Ok(())
    }

    fn snapshot(&mut self, _kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        self.left.snapshot("left", to)?;
        self.right.snapshot("right", to)?;
        self.unmatched.as_ref().map_or(Ok(()), |unmatched| unmatched.counts.snapshot("unmatched", COUNTS, to))
    }

    fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
        self.left.restore("left", from, &groups)?;
        self.right.restore("right", from, &groups)?;
        let unmatched = self.unmatched.as_mut();
        unmatched.map_or(Ok(()), |unmatched| unmatched.counts.restore("unmatched", from, &groups))
    }

    fn state_size(&self) -> StateSize {
        let counts = self.unmatched.as_ref().map(|unmatched| unmatched.counts.size()).unwrap_or_default();
        let [left, right] = [self.left.size(), self.right.size()];
        StateSize { rows: left.rows + right.rows, bytes: left.bytes + right.bytes + counts.bytes }
    }
}

/// The left rows of a left join, with what tells whether they have a partner.
struct Unmatched {
    schema: SchemaRef,
    key: Vec<usize>,
    /// The weight of the row, and of its pairs.
    counts: Counts<2>,
    /// Batches of the open tick that start with the left columns: where touched rows are to be found.
    open: Vec<RecordBatch>,
}

const COUNTS: [&str; 2] = ["weight", "pairs"];

impl Unmatched {
    fn count_rows(&mut self, delta: &Delta) -> Result<()> {
        self.count(delta.rows().clone(), |row, [weight, _]| *weight += delta.weight(row))
    }

    fn count_pairs(&mut self, pairs: &Delta) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let left: Vec<usize> = (0..self.schema.fields().len()).collect();
        self.count(pairs.rows().project(&left)?, |row, [_, count]| *count += pairs.weight(row))
    }

    fn count(&mut self, rows: RecordBatch, mut change: impl FnMut(usize, &mut [i64; 2])) -> Result<()> {
        let ids: Vec<RowId> = ids_of(&rows, &self.key)?;
        ids.into_iter().enumerate().for_each(|(row, id)| change(row, self.counts.change(id, (self.open.len(), row))));
        self.open.push(rows);
        Ok(())
    }

    fn emit(&mut self, schema: &SchemaRef, out: &mut Output) -> Result<()> {
        let alone = |[weight, pairs]: [i64; 2]| if pairs == 0 { weight } else { 0 };
        let (mut places, mut weights) = (Vec::new(), Vec::new());
        self.counts.settle(|before, now, place| {
            if alone(now) != alone(before) {
                places.push(place);
                weights.push(alone(now) - alone(before));
            }
        });
        let open = std::mem::take(&mut self.open);
        let batches: Vec<_> = open.iter().collect();
        let left = self.schema.fields().len();
        for (places, weights) in places.chunks(PAIRS).zip(weights.chunks(PAIRS)) {
            let rows = interleave_rows(&self.schema, &batches, places, 0..left)?;
            let mut columns = rows.columns().to_vec();
            let nulls = schema.fields()[left..].iter().map(|field| new_null_array(field.data_type(), places.len()));
            columns.extend(nulls);
            let rows = batch_of(schema, columns, places.len())?;
            out.push(Delta::new(rows, Weights::Each(weights.to_vec().into())));
        }
        Ok(())
    }
}
