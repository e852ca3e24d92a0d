//! Join: pairs of rows with equal keys, and rows by whether they have a partner.
//!
//! Stateful: both inputs, arranged by the join's keys; an input that is a relation with that very key is read where it
//! stands ([`Input`]), and a relation that is joined with itself by one key is kept once. Rows go when the watermarks of
//! both inputs say that neither they nor their partners can change any more. Each delta is joined with all that has arrived at the other
//! input so far, and then added to its own: every pair of changes meets exactly once, whatever the order in which the
//! batches of a tick arrive, and a retraction retracts its pairs. State goes row by row, with the rows.
//!
//! ```text
//!   δL ⋈ R, then L += δL          δR ⋈ L, then R += δR
//! ```
//!
//! Every kind but the inner join also counts the pairs of each different row ([`Partners`]), and says at the end of the
//! tick what changed for the rows that were touched: a left join of left rows without a partner, a full join of those of
//! both sides; semi, anti and mark joins give nothing else.

mod input;
mod partners;

use super::expression::evaluate_where_possible;
use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::state::{Borrowed, Matches, Probe, batch_of};
use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};
use input::{Input, Shared};
use millrace_ir::{Closing, Expr, JoinKey, JoinKind};
use millrace_types::{Delta, EventTime, KeyGroupRange, Result, SqlError, Tick, Weights};
use partners::Partners;
use std::sync::Arc;

/// What a join computes: the fields of `ir::Join`, with schemas for its inputs.
#[derive(Clone)]
pub struct JoinOptions {
    pub kind: JoinKind,
    pub left: SchemaRef,
    pub right: SchemaRef,
    pub keys: Vec<JoinKey>,
    /// A further condition over the left columns followed by the right ones.
    pub residual: Option<Expr>,
    /// The columns of the output, as told at `ir::Join`.
    pub schema: SchemaRef,
    /// Inputs whose rows are borrowed, by port.
    pub borrowed: [Option<Borrowed>; 2],
    /// For each port whether its rows are never taken back.
    pub append_only: [bool; 2],
    /// Whether the inputs are one relation by one key, so that their rows are kept once.
    pub is_self_join: bool,
    /// For each port when rows are dropped, by the lesser watermark.
    pub closing: [Option<Closing>; 2],
}

/// Joins port 0, the left input, with port 1, the right one.
pub struct Join {
    kind: JoinKind,
    residual: Option<Expr>,
    /// For each key whether NULLs match.
    nulls_match: Vec<bool>,
    /// The columns of a pair.
    pairs: SchemaRef,
    schema: SchemaRef,
    /// What has arrived at each port.
    inputs: [Input; 2],
    /// The rows of both, if these are the same.
    shared: Option<Shared>,
    /// For each port whether its rows have partners, where the output depends on that.
    partners: [Option<Partners>; 2],
    watermarks: [Option<EventTime>; 2],
    /// The lesser watermark, until the end of the tick in which it moved.
    passed: Option<i64>,
}

/// The sections of the inputs in a snapshot.
const SECTIONS: [&str; 2] = ["left", "right"];
/// The section of the rows of both.
const SHARED: &str = "both";

/// The most pairs of an emitted batch.
const PAIRS: usize = 32_768;

impl Join {
    /// A join of two empty inputs.
    pub fn new(options: JoinOptions) -> Join {
        let JoinOptions { kind, left, right, keys, residual, schema, borrowed, append_only, is_self_join, closing } =
            options;
        let (left_key, right_key): (Vec<_>, Vec<_>) = keys.iter().map(|key| (key.left, key.right)).unzip();
        let pairs = if kind.gives_pairs() { schema.clone() } else { pair_schema(&left, &right) };
        let (shared, borrowed) = match is_self_join {
            true => {
                // A row goes when it is needed on neither side.
                let latest = closing[0].zip(closing[1]).filter(|(left, right)| left.column == right.column);
                let latest = latest.map(|(left, right)| Closing { delay: left.delay.max(right.delay), ..left });
                let (shared, borrowed) = Shared::new(&left, &left_key, append_only[0], latest);
                (Some(shared), borrowed)
            }
            false => (None, borrowed),
        };
        let [left_borrowed, right_borrowed] = borrowed;
        let left_partners = Partners::of_left(kind, &left, &left_key, closing[0]);
        let right_partners = Partners::of_right(kind, &right, &right_key, left.fields().len(), closing[1]);
        Join {
            kind,
            residual,
            nulls_match: keys.iter().map(|key| key.nulls_match).collect(),
            pairs,
            schema,
            inputs: [
                Input::new(left, left_key, append_only[0], left_borrowed, closing[0]),
                Input::new(right, right_key, append_only[1], right_borrowed, closing[1]),
            ],
            shared,
            partners: [left_partners, right_partners],
            watermarks: [None; 2],
            passed: None,
        }
    }

    /// Emits and counts the pairs of a delta at one input with what the other one has.
    fn join(&mut self, delta: &Delta, port: usize, out: &mut Output) -> Result<()> {
        let (own, other) = (&self.inputs[port], &self.inputs[1 - port]);
        let keys: Vec<ArrayRef> = own.key().iter().map(|&key| delta.rows().column(key).clone()).collect();
        other.read(|source| {
            let mut probe = Probe::new(source.runs.iter(), source.key, keys.clone(), delta.len(), &self.nulls_match)?;
            while let Some(matches) = probe.next_matches(PAIRS)? {
                let pairs = pairs(&self.pairs, delta, &matches, source.columns, port == 0)?;
                let pairs = match &self.residual {
                    Some(residual) => satisfying(residual, pairs, out)?,
                    None => pairs,
                };
                self.partners.iter_mut().flatten().try_for_each(|partners| partners.count_pairs(&pairs))?;
                if self.kind.gives_pairs() {
                    out.push(pairs);
                }
            }
            Ok(())
        })
    }
}

/// The columns of both inputs; any of them may hold NULLs.
fn pair_schema(left: &SchemaRef, right: &SchemaRef) -> SchemaRef {
    let fields = left.fields().iter().chain(right.fields());
    Arc::new(Schema::new(fields.map(|field| Field::clone(field).with_nullable(true)).collect::<Vec<_>>()))
}

/// The pairs as rows, weighing the product of their weights. `other`: the columns of the stored rows.
fn pairs(schema: &SchemaRef, delta: &Delta, matches: &Matches<'_>, other: &[usize], left: bool) -> Result<Delta> {
    let probed = UInt32Array::from(matches.probe.clone());
    let own = delta.rows().columns().iter().map(|column| take(column, &probed, None)).collect::<Result<Vec<_>, _>>()?;
    let other = other.iter().map(|&column| matches.column(column)).collect::<Result<Vec<_>>>()?;
    let columns = if left { [own, other].concat() } else { [other, own].concat() };
    let weights: Vec<i64> =
        (0..matches.len()).map(|pair| matches.weight(pair) * delta.weight(matches.probe[pair] as usize)).collect();
    let rows = batch_of(schema, columns, matches.len())?;
    Ok(match weights.iter().all(|&weight| weight == 1) {
        true => Delta::inserts(rows),
        false => Delta::new(rows, Weights::Each(weights.into())),
    })
}

/// The pairs for which the residual condition holds. One on which it fails is reported with the pair's weight, so that
/// the error goes when either row does.
fn satisfying(residual: &Expr, pairs: Delta, out: &mut Output) -> Result<Delta> {
    let (pairs, values) = evaluate_where_possible(std::slice::from_ref(residual), pairs, out)?;
    let holds = values[0].as_boolean_opt().ok_or_else(|| SqlError::internal("a join condition that is not boolean"))?;
    Ok(pairs.filter(holds)?)
}

impl Operator for Join {
    fn on_batch(&mut self, port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        self.join(&delta, port, out)?;
        self.partners[port].as_mut().map_or(Ok(()), |partners| partners.count_rows(&delta))?;
        if let Some(shared) = self.shared.as_mut().filter(|_| port == 0) {
            shared.note(&delta);
        }
        self.inputs[port].append(&delta)
    }

    fn on_watermark(&mut self, port: usize, watermark: EventTime, _out: &mut Output) -> Result<()> {
        self.watermarks[port] = Some(watermark);
        self.passed = self.watermarks[0].zip(self.watermarks[1]).map(|(left, right)| left.min(right).0);
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        let passed = self.passed.take();
        self.shared.as_mut().map_or(Ok(()), Shared::end_tick)?;
        for partners in self.partners.iter_mut().flatten() {
            passed.into_iter().for_each(|watermark| partners.advance(watermark));
            partners.emit(&self.schema, out)?;
        }
        let Some(watermark) = passed else { return Ok(()) };
        self.shared.as_mut().map_or(Ok(()), |shared| shared.pass(watermark))?;
        self.inputs.iter_mut().try_for_each(|input| input.pass(watermark))
    }

    fn snapshot(&mut self, _kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        self.inputs.iter().zip(SECTIONS).try_for_each(|(input, section)| input.snapshot(section, to))?;
        self.shared.as_ref().map_or(Ok(()), |shared| shared.snapshot(SHARED, to))?;
        self.partners.iter().flatten().try_for_each(|partners| partners.snapshot(to))
    }

    fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
        self.inputs.iter_mut().zip(SECTIONS).try_for_each(|(input, section)| input.restore(section, from, &groups))?;
        self.shared.as_mut().map_or(Ok(()), |shared| shared.restore(SHARED, from, &groups))?;
        self.partners.iter_mut().flatten().try_for_each(|partners| partners.restore(from, &groups))
    }

    fn state_size(&self) -> StateSize {
        let inputs = self.inputs.iter().map(Input::size).chain(self.shared.as_ref().map(Shared::size));
        let (rows, bytes) = inputs.fold((0, 0), |(rows, bytes), size| (rows + size.rows, bytes + size.bytes));
        let counts: usize = self.partners.iter().flatten().map(|partners| partners.size().bytes).sum();
        StateSize { rows, bytes: bytes + counts }
    }
}
