//! LookUp: each row of the left input with the rows of the right input that it finds there when it comes.
//!
//! What becomes of these later changes nothing of what was given: that is the difference to a join. All changes of a tick
//! are at one time, so that a row finds what the right input is as of its tick.
//!
//! Stateful: the rows of the right input by the join's key. Where left rows may be taken back, also how often each of them
//! is there and what was given for it, so that exactly this is retracted. Of equal rows some of which go, the others are
//! looked up anew: nobody could tell which of them found what.

use super::expression::evaluate_where_possible;
use crate::operator::{Operator, Output, SnapshotKind, StateReader, StateSize, StateWriter};
use crate::state::{Arrangement, Counts, Probe, RowId, Run, batch_of, ids_of, weighted_rows, weighted_section};
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::SchemaRef;
use millrace_ir::{Expr, JoinKey, JoinKind};
use millrace_types::{Delta, KeyGroupRange, Result, SqlError, Tick, Weights};
use std::collections::HashSet;

/// What a look-up computes: the fields of the `ir::Join`, with schemas for its inputs. The kind is `Inner` or `Left`.
#[derive(Clone, Debug)]
pub struct LookUpOptions {
    pub kind: JoinKind,
    pub left: SchemaRef,
    pub right: SchemaRef,
    pub keys: Vec<JoinKey>,
    /// A further condition over the left columns followed by the right ones.
    pub residual: Option<Expr>,
    /// The left columns, then the right ones.
    pub schema: SchemaRef,
    /// For each port whether its rows are never taken back.
    pub append_only: [bool; 2],
}

/// Looks rows of port 0 up in those of port 1.
pub struct LookUp {
    options: LookUpOptions,
    left_key: Vec<usize>,
    right_key: Vec<usize>,
    nulls_match: Vec<bool>,
    right: Arrangement,
    /// The left changes of the open tick.
    open: Vec<Delta>,
    given: Option<Given>,
}

/// What was given for left rows that may be taken back.
struct Given {
    copies: Counts<1>,
    /// Rows of the output, by all left columns.
    rows: Arrangement,
}

const RIGHT: &str = "right";
const GIVEN: &str = "given";
const COPIES: &str = "copies";

/// The most pairs that are made together.
const PAIRS: usize = 32_768;

impl LookUp {
    /// Of two empty inputs.
    pub fn new(options: LookUpOptions) -> LookUp {
        let (left_key, right_key): (Vec<_>, Vec<_>) = options.keys.iter().map(|key| (key.left, key.right)).unzip();
        let width = options.left.fields().len();
        let given = (!options.append_only[0]).then(|| Given {
            copies: Counts::default(),
            rows: Arrangement::sharing(options.schema.clone(), (0..width).collect(), false),
        });
        LookUp {
            nulls_match: options.keys.iter().map(|key| key.nulls_match).collect(),
            right: Arrangement::sharing(options.right.clone(), right_key.clone(), options.append_only[1]),
            left_key,
            right_key,
            open: vec![],
            given,
            options,
        }
    }

    /// What left rows find, each different row of the output once.
    fn found(&self, delta: &Delta, out: &mut Output) -> Result<Vec<Delta>> {
        let keys: Vec<ArrayRef> = self.left_key.iter().map(|&key| delta.rows().column(key).clone()).collect();
        let width = self.options.right.fields().len();
        let mut pairs = vec![];
        let runs = self.right.freeze();
        let mut probe = Probe::new(runs.iter(), &self.right_key, keys, delta.len(), &self.nulls_match)?;
        while let Some(matches) = probe.next_matches(PAIRS)? {
            let probed = UInt32Array::from(matches.probe.clone());
            let mut columns = taken(delta.rows().columns(), &probed)?;
            for column in 0..width {
                columns.push(matches.column(column)?);
            }
            let weight = |pair: usize| matches.weight(pair) * delta.weight(matches.probe[pair] as usize);
            let weights: Vec<i64> = (0..matches.len()).map(weight).collect();
            let rows = batch_of(&self.options.schema, columns, matches.len())?;
            pairs.push(Delta::new(rows, Weights::Each(weights.into())));
        }
        if let Some(residual) = &self.options.residual {
            pairs = pairs.into_iter().map(|pairs| satisfying(residual, pairs, out)).collect::<Result<_>>()?;
        }
        // A right row that was replaced stands there twice, and comes to nothing.
        let mut found = netted(&self.options.schema, &pairs)?;
        if self.options.kind == JoinKind::Left {
            found.extend(self.alone(delta, &found)?);
        }
        Ok(found)
    }

    /// The left rows that have found nothing, with NULLs.
    fn alone(&self, delta: &Delta, found: &[Delta]) -> Result<Option<Delta>> {
        let mut known = HashSet::<RowId>::new();
        for pairs in found {
            known.extend(self.left_ids(pairs.rows())?);
        }
        let ids = ids_of(delta.rows(), &self.left_key)?;
        let places = (0u32..).zip(&ids).filter(|(_, id)| !known.contains(id)).map(|(place, _)| place);
        let places: UInt32Array = places.collect();
        if places.is_empty() {
            return Ok(None);
        }
        let alone = delta.take(&places)?;
        let mut columns = alone.rows().columns().to_vec();
        let missing = &self.options.schema.fields()[columns.len()..];
        columns.extend(missing.iter().map(|field| new_null_array(field.data_type(), alone.len())));
        let rows = batch_of(&self.options.schema, columns, alone.len())?;
        Ok(Some(Delta::new(rows, Weights::Each(alone.weights_buffer()))))
    }

    /// The identities of the left rows in rows of the output.
    fn left_ids(&self, rows: &RecordBatch) -> Result<Vec<RowId>> {
        let columns = rows.columns()[..self.options.left.fields().len()].to_vec();
        ids_of(&batch_of(&self.options.left, columns, rows.num_rows())?, &self.left_key)
    }

    /// The left rows that are to be looked up in this tick. Of those that went, what was given for them is taken back.
    fn changed(&mut self, changes: &[Delta], out: &mut Output) -> Result<Vec<Delta>> {
        let Some(given) = &mut self.given else { return Ok(changes.to_vec()) };
        let mut wanted = vec![];
        for delta in changes {
            let ids = ids_of(delta.rows(), &self.left_key)?;
            let (mut went, mut weights) = (vec![], vec![]);
            for (row, id) in ids.into_iter().enumerate() {
                let copies = &mut given.copies.change(id, (0, row))[0];
                *copies += delta.weight(row);
                let is_gone = delta.weight(row) < 0;
                went.extend(is_gone.then_some(row as u32));
                weights.push(if is_gone { (*copies).max(0) } else { delta.weight(row) });
            }
            given.take_back(delta, went, out)?;
            let places = (0u32..).zip(&weights).filter(|(_, weight)| **weight != 0).map(|(place, _)| place);
            let places: UInt32Array = places.collect();
            weights.retain(|weight| *weight != 0);
            let rows = take_record_batch(delta.rows(), &places)?;
            wanted.push(Delta::new(rows, Weights::Each(weights.into())));
        }
        given.copies.settle(|_, _, _, _| {});
        Ok(wanted)
    }
}

impl Given {
    /// Retracts what was given for some rows.
    fn take_back(&mut self, delta: &Delta, went: Vec<u32>, out: &mut Output) -> Result<()> {
        if went.is_empty() {
            return Ok(());
        }
        let went = delta.take(&UInt32Array::from(went))?;
        let (schema, key) = (self.rows.schema().clone(), self.rows.key().to_vec());
        let mut old = vec![];
        let runs = self.rows.freeze();
        let nulls_match = vec![true; key.len()];
        let mut probe = Probe::new(runs.iter(), &key, went.rows().columns().to_vec(), went.len(), &nulls_match)?;
        while let Some(matches) = probe.next_matches(PAIRS)? {
            let weights: Vec<i64> = (0..matches.len()).map(|pair| matches.weight(pair)).collect();
            old.push(Delta::new(matches.rows(&schema)?, Weights::Each(weights.into())));
        }
        for old in netted(&schema, &old)? {
            let gone = old.negated();
            self.rows.append(&gone)?;
            out.push(gone);
        }
        Ok(())
    }
}

/// The pairs for which the residual condition holds.
fn satisfying(residual: &Expr, pairs: Delta, out: &mut Output) -> Result<Delta> {
    let (pairs, values) = evaluate_where_possible(std::slice::from_ref(residual), pairs, out)?;
    let holds = values[0].as_boolean_opt().ok_or_else(|| SqlError::internal("a join condition that is not boolean"))?;
    Ok(pairs.filter(holds)?)
}

fn netted(schema: &SchemaRef, deltas: &[Delta]) -> Result<Vec<Delta>> {
    let net = Run::of(schema, &[], deltas)?;
    let chunks = net.iter().flat_map(|run| run.chunks());
    Ok(chunks.map(|chunk| Delta::new(chunk.rows.clone(), Weights::Each(chunk.weights.clone()))).collect())
}

fn taken(columns: &[ArrayRef], places: &UInt32Array) -> Result<Vec<ArrayRef>> {
    Ok(columns.iter().map(|column| take(column, places, None)).collect::<Result<Vec<_>, _>>()?)
}

impl Operator for LookUp {
    fn on_batch(&mut self, port: usize, delta: Delta, _out: &mut Output) -> Result<()> {
        match port {
            0 => self.open.push(delta),
            _ => self.right.append(&delta)?,
        }
        Ok(())
    }

    fn on_tick(&mut self, _tick: Tick, out: &mut Output) -> Result<()> {
        let changes = netted(&self.options.left, &std::mem::take(&mut self.open))?;
        for delta in self.changed(&changes, out)? {
            for found in self.found(&delta, out)? {
                if let Some(given) = &mut self.given {
                    given.rows.append(&found)?;
                }
                out.push(found);
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, _kind: SnapshotKind, to: &mut dyn StateWriter) -> Result<()> {
        self.right.snapshot(RIGHT, to)?;
        let Some(given) = &self.given else { return Ok(()) };
        given.copies.snapshot(COPIES, ["copies"], to)?;
        // They are kept by another key than the one that rows are distributed by.
        for chunk in given.rows.runs().flat_map(|run| run.chunks()) {
            to.write(GIVEN, weighted_section(chunk, &self.left_key)?)?;
        }
        Ok(())
    }

    fn restore(&mut self, from: &mut dyn StateReader, groups: KeyGroupRange) -> Result<()> {
        self.right.restore(RIGHT, from, &groups)?;
        let Some(given) = &mut self.given else { return Ok(()) };
        given.copies.restore(COPIES, from, &groups)?;
        for batch in from.read(GIVEN)? {
            given.rows.append(&weighted_rows(&batch, &self.options.schema, &groups)?)?;
        }
        Ok(())
    }

    fn state_size(&self) -> StateSize {
        let right = self.right.size();
        let given = self.given.as_ref().map(|given| (given.rows.size(), given.copies.size()));
        let (rows, copies) = given.unwrap_or_default();
        StateSize { rows: right.rows + rows.rows, bytes: right.bytes + rows.bytes + copies.bytes }
    }
}
