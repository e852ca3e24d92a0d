//! Questions about single rows and keys, asked of frozen runs.

use super::probe::Probe;
use super::run::{Run, ids_of};
use super::scan::Scan;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use millrace_types::{Delta, Result, Weights};
use std::sync::Arc;

/// How many pairs a look-up gathers at a time.
const PIECE: usize = 65_536;

/// The net rows that have one of the given keys, with their weights; `keys` holds one column per column of `key`.
pub fn lookup(runs: &[Arc<Run>], schema: &SchemaRef, key: &[usize], keys: &[ArrayRef]) -> Result<Vec<Delta>> {
    let count = keys.first().map_or(0, |column| column.len());
    let mut probe = Probe::new(runs.iter(), key, keys.to_vec(), count, &vec![true; keys.len()])?;
    let mut found = Vec::new();
    while let Some(matches) = probe.next_matches(PIECE)? {
        if count == 1 && matches.len() == 1 {
            found.push(matches.row(0));
            continue;
        }
        let weights: Vec<i64> = (0..matches.len()).map(|pair| matches.weight(pair)).collect();
        found.push(Delta::new(matches.rows(schema)?, Weights::Each(weights.into())));
    }
    // A row alone is net already; else one that was retracted later stands in two runs.
    if found.iter().map(Delta::len).sum::<usize>() <= 1 {
        return Ok(found);
    }
    match Run::of(schema, key, &found)? {
        Some(run) => Scan::new(&[Arc::new(run)], schema, None).collect(),
        None => Ok(Vec::new()),
    }
}

/// For each key whether a row has it; NULL equals NULL.
pub fn contains_keys(runs: &[Arc<Run>], key: &[usize], keys: &[ArrayRef]) -> Result<Vec<bool>> {
    let count = keys.first().map_or(0, |column| column.len());
    let mut probe = Probe::new(runs.iter(), key, keys.to_vec(), count, &vec![true; keys.len()])?;
    // No net row has a negative weight, so a key has rows exactly if the weights of all its rows sum to more than 0.
    let mut rows = vec![0; count];
    while let Some(matches) = probe.next_matches(PIECE)? {
        (0..matches.len()).for_each(|pair| rows[matches.probe[pair] as usize] += matches.weight(pair));
    }
    Ok(rows.into_iter().map(|rows: i64| rows > 0).collect())
}

/// How often each of `rows` is there. `key`: the columns whose hash orders the runs.
pub fn net_weights(runs: &[Arc<Run>], key: &[usize], rows: &RecordBatch) -> Result<Vec<i64>> {
    let ids = ids_of(rows, key)?;
    Ok(ids.into_iter().map(|id| runs.iter().map(|run| run.weight(id)).sum()).collect())
}
