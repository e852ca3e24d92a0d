//! Look-ups against doing it by hand, tick by tick.

use super::*;
use crate::operators::{LookUp, LookUpOptions};

fn look_up(kind: JoinKind, append_only: bool) -> Harness {
    let less = binary(
        Arc::new(Column::new("n", 1)),
        DataFusionOperator::Lt,
        Arc::new(Column::new("n", 5)),
        &joined_schema(JoinKind::Inner),
    );
    Harness::new(LookUp::new(LookUpOptions {
        kind,
        left: schema(),
        right: schema(),
        keys: vec![JoinKey { left: 0, right: 0, nulls_match: false }],
        residual: Some(less.unwrap()),
        schema: joined_schema(kind),
        append_only: [append_only, false],
    }))
}

/// A left row with the right one that it found.
type Pair = (Row, Option<Row>);

/// What a row finds.
fn found(kind: JoinKind, row: &Row, right: &[Row]) -> Vec<Pair> {
    let matches = |other: &&Row| row.0.is_some() && row.0 == other.0 && row.1.zip(other.1).is_some_and(|(a, b)| a < b);
    let pairs: Vec<_> = right.iter().filter(matches).map(|other| (row.clone(), Some(other.clone()))).collect();
    match pairs.is_empty() && kind == JoinKind::Left {
        true => vec![(row.clone(), None)],
        false => pairs,
    }
}

fn bag_of(kind: JoinKind, pairs: &[Pair]) -> Bag {
    let nothing: Row = (None, None, None, None);
    let left: Vec<Row> = pairs.iter().map(|(left, _)| left.clone()).collect();
    let right: Vec<Row> = pairs.iter().map(|(_, right)| right.clone().unwrap_or(nothing.clone())).collect();
    bag(&joined_schema(kind), [batch(&left).columns(), batch(&right).columns()].concat())
}

#[test]
fn rows_keep_what_they_found() {
    for (kind, append_only) in
        [(JoinKind::Inner, false), (JoinKind::Left, false), (JoinKind::Inner, true), (JoinKind::Left, true)]
    {
        let mut random = Random(u64::from(append_only));
        let mut workers = Workers::new(move |_, _| look_up(kind, append_only), vec![vec![0], vec![0]]);
        let (mut left, mut right) = (Relation::default(), Relation::default());
        // Each copy of a left row with what it found.
        let mut given: Vec<(Row, Vec<Pair>)> = vec![];
        for tick in 0..80 {
            let before = left.rows.clone();
            let mut deltas = vec![];
            for _ in 0..random.below(4) {
                let changed = if random.below(2) == 0 { 0 } else { 1 };
                let delta = match changed {
                    0 if append_only => {
                        let rows: Vec<Row> = (0..1 + random.below(5)).map(|_| random.row(4)).collect();
                        left.rows.extend(rows.clone());
                        Delta::inserts(batch(&rows))
                    }
                    0 => left.change(&mut random, 4),
                    _ => right.change(&mut random, 4),
                };
                deltas.push((changed, delta));
            }
            deltas.iter().for_each(|(port, delta)| workers.batch(*port, delta));
            workers.tick();
            // Which rows came and went: those that went with all of their copies, which are looked up anew.
            let text = |row: &Row| format!("{row:?}");
            let mut touched: Vec<Row> = before.iter().chain(&left.rows).cloned().collect();
            touched.sort_by_key(text);
            touched.dedup_by_key(|row| text(row));
            for row in touched {
                let is = |other: &&Row| text(other) == text(&row);
                let (was, now) = (before.iter().filter(is).count(), left.rows.iter().filter(is).count());
                if now < was {
                    given.retain(|(other, _)| text(other) != text(&row));
                }
                let missing = if now < was { now } else { now - was };
                let new = || (row.clone(), found(kind, &row, &right.rows));
                given.extend((0..missing).map(|_| new()));
            }
            let pairs: Vec<_> = given.iter().flat_map(|(_, pairs)| pairs.iter().cloned()).collect();
            assert_eq!(workers.total(), bag_of(kind, &pairs), "{kind:?} {append_only}, tick {tick}");
            if random.below(10) == 0 {
                workers.restart(1 + random.below(4) as usize);
            }
        }
    }
}
