//! Jobs that take the place of others: built and hydrated beside them, and put there in a tick of their own.

use super::{Engine, RelationInput, TickResult};
use crate::worker::{Command, Run};
use millrace_types::{Delta, EventTime, RelationId, Result, Tick};
use std::sync::Arc;

/// A job that takes the place, and the id, of another.
#[derive(Clone, Copy, Debug)]
pub struct Replacement {
    /// The job that goes.
    pub old: RelationId,
    /// The job that comes in its stead, known by an id of its own so far.
    pub new: RelationId,
    /// Whether the jobs that read the old one are told the difference. Those that are replaced in the same tick never
    /// are: they have read the new one.
    pub passes_on: bool,
}

impl Engine {
    /// Puts jobs in the place of others. The result has their read models, and what the difference did downstream.
    ///
    /// # Errors
    /// `XX000` when ticks are not in order or the engine has broken down.
    pub fn replace(&self, replacements: &[Replacement], tick: Tick, now: EventTime) -> Result<TickResult> {
        let mut state = self.state.lock();
        // What can fail comes first: a tick that has begun has to end.
        let mut differences = vec![];
        for replacement in replacements {
            let difference = match state.jobs.is_read(replacement.old) && replacement.passes_on {
                true => state.jobs.difference(replacement.old, replacement.new)?,
                false => vec![],
            };
            differences.push((replacement.old, difference));
        }
        let names: Arc<[_]> = replacements.iter().map(|replacement| (replacement.old, replacement.new)).collect();
        state.advance(tick)?;
        state.ask(Command::Replace(names.clone()))?;
        state.jobs.replace(&names);
        let inputs: Vec<_> =
            differences.iter().flat_map(|(old, deltas)| state.readers_told(*old, deltas, &names)).collect();
        let levels = state.jobs.reached(&inputs, now);
        let mut result = state.run(Run { tick, now, levels, inputs, hydrate: false })?;
        for (old, difference) in differences {
            let Some(known) = state.jobs.get_mut(old) else { continue };
            result.models.extend(known.model.clone().map(|model| (old, model)));
            result.outputs.push((old, difference));
        }
        result.outputs.retain(|(_, deltas)| !deltas.is_empty());
        Ok(result)
    }
}

impl super::State {
    /// A difference as input of each job that reads a relation and was not itself replaced.
    fn readers_told(
        &self,
        relation: RelationId,
        deltas: &[Delta],
        replaced: &[(RelationId, RelationId)],
    ) -> Vec<RelationInput> {
        let columns: Arc<[usize]> = deltas.first().map_or(0..0, |delta| 0..delta.rows().num_columns()).collect();
        let readers = self.jobs.readers_of(relation).filter(|reader| !replaced.iter().any(|(old, _)| old == reader));
        let input =
            |only| RelationInput { relation, columns: columns.clone(), deltas: deltas.to_vec(), only: Some(only) };
        match deltas.is_empty() {
            true => vec![],
            false => readers.map(input).collect(),
        }
    }
}
