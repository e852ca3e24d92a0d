//! What the changes of a tick come to.

use super::run::Run;
use arrow::array::BooleanArray;
use millrace_types::{Delta, Result, Weights};

/// The same changes without rows that come and go again: first those that go, then those that come, each once. Operators
/// may take a way round, as a join does that finds earlier versions of a row together with what took them back.
pub fn net(deltas: Vec<Delta>) -> Result<Vec<Delta>> {
    let Some(first) = deltas.iter().find(|delta| !delta.is_empty()) else { return Ok(vec![]) };
    if deltas.iter().all(|delta| matches!(delta.weights(), Weights::Ones)) {
        return Ok(deltas);
    }
    let schema = first.schema();
    let columns: Vec<usize> = (0..schema.fields().len()).collect();
    let Some(run) = Run::of(&schema, &columns, &deltas)? else { return Ok(vec![]) };
    let (mut gone, mut come) = (vec![], vec![]);
    for chunk in run.chunks() {
        let delta = Delta::new(chunk.rows.clone(), Weights::Each(chunk.weights.clone()));
        let goes = BooleanArray::from_iter(chunk.weights.iter().map(|weight| Some(*weight < 0)));
        let comes = BooleanArray::from_iter(chunk.weights.iter().map(|weight| Some(*weight > 0)));
        gone.push(delta.filter(&goes)?);
        come.push(delta.filter(&comes)?);
    }
    Ok(gone.into_iter().chain(come).filter(|delta| !delta.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch};
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    fn delta(rows: &[(Option<i32>, i64)]) -> Delta {
        let values: ArrayRef = Arc::new(rows.iter().map(|(value, _)| *value).collect::<Int32Array>());
        let rows_of = RecordBatch::try_from_iter_with_nullable([("n", values, true)]).unwrap();
        Delta::new(rows_of, Weights::Each(rows.iter().map(|(_, weight)| *weight).collect()))
    }

    #[test]
    fn rows_that_come_and_go_are_not_told() {
        let changes = vec![
            delta(&[(Some(1), 1), (Some(2), -1), (None, 2)]),
            delta(&[]),
            delta(&[(Some(1), -1), (Some(3), 1), (Some(4), 2), (None, -1)]),
            delta(&[(Some(4), -2), (Some(3), 1)]),
        ];
        let mut found = vec![];
        for delta in net(changes).unwrap() {
            let values = delta.rows().column(0).as_primitive::<Int32Type>().clone();
            found.extend((0..delta.len()).map(|row| (values.iter().nth(row).unwrap(), delta.weight(row))));
        }
        assert_eq!(found[0], (Some(2), -1), "what goes comes first");
        found[1..].sort();
        assert_eq!(found[1..], [(None, 1), (Some(3), 2)]);
        assert!(net(vec![delta(&[(Some(1), 1)]), delta(&[(Some(1), -1)])]).unwrap().is_empty());
    }
}
