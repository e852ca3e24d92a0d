//! Jobs that go on in another engine where they were in the first.

use super::*;
use crate::capture::{CapturedJob, Known, Stored, StoredJob};
use crate::operator::{Later, StateWriter};
use std::collections::HashMap;

#[derive(Default)]
struct Written(HashMap<String, Vec<RecordBatch>>);

impl StateWriter for Written {
    fn write(&mut self, name: &str, rows: RecordBatch) -> Result<()> {
        self.0.entry(name.to_owned()).or_default().push(rows);
        Ok(())
    }

    fn write_later(&mut self, later: Later) -> Result<()> {
        later(self)
    }
}

fn stored(job: CapturedJob, workers: usize) -> StoredJob {
    let pieces = job.pieces.into_iter().map(|captured| {
        let mut written = Written::default();
        captured.sections.unwrap().into_iter().try_for_each(|section| section.write(&mut written)).unwrap();
        Stored { worker: captured.worker, place: captured.place, sections: written.0 }
    });
    StoredJob { workers, told: job.told, pieces: pieces.collect() }
}

impl World {
    /// A world of so many workers with the same tables, whose jobs are to be restored.
    fn after(&self, workers: usize, seed: u64) -> World {
        let mut next = World::new(workers, seed);
        next.tables = self.tables.clone();
        let rows = |rows: &Rows| {
            let of = |(row, weight): (&Vec<Option<i128>>, &i64)| {
                ([row[0].map(|n| n as i64), row[1].map(|n| n as i64)], *weight)
            };
            delta(&rows.iter().map(of).collect::<Vec<_>>())
        };
        let inputs = TABLES.iter().zip(&self.tables).map(|(id, table)| changes(*id, vec![rows(table)])).collect();
        next.feed(inputs);
        next
    }

    fn capture(&self, jobs: &[RelationId], known: Known) -> Vec<CapturedJob> {
        self.engine.capture(jobs.iter().copied(), Arc::new(known)).unwrap()
    }

    fn resume(&mut self) {
        self.tick = self.tick.next();
        let result = self
            .engine
            .tick(TickInput { tick: self.tick, inputs: vec![], now: EventTime(0), watermarks: vec![] })
            .unwrap();
        assert!(result.failed.is_empty() && result.outputs.is_empty(), "{result:?}");
        self.publish(result);
    }
}

#[test]
fn restored_jobs_go_on_as_if_nothing_had_happened() {
    let mut moved = 0;
    for seed in 200..280 {
        let workers = 1 + seed as usize % 3;
        let mut world = World::new(workers, seed);
        let tables: Vec<_> = TABLES.map(|id| (id, table(id).schema)).into();
        let plan = random_plan(&mut world.random, &tables, 1 + seed as usize % 4);
        let upper = random_plan(&mut world.random, &[tables[0].clone(), (VIEW, plan.schema.clone())], 2);
        let jobs = [model_job(VIEW, plan.clone()), model_job(UPPER, upper.clone())];
        (0..seed % 2).for_each(|_| drop(world.churn(20)));
        jobs.iter().for_each(|job| drop(world.start(job.clone())));
        (0..seed % 5).for_each(|_| drop(world.churn(if seed % 4 == 0 { 300 } else { 12 })));
        let captured = world.capture(&[VIEW, UPPER], Known::new());
        assert_eq!(captured.len(), 2);
        let after = if seed % 4 < 2 { workers } else { 1 + (workers + seed as usize / 4) % 3 };
        let mut next = world.after(after, seed);
        let mut restored = true;
        for (job, captured) in jobs.iter().zip(captured) {
            next.engine.create(job.clone()).unwrap();
            assert_eq!(next.engine.fingerprint(job.id), Some(captured.fingerprint), "seed {seed}");
            match next.engine.restore(job.id, stored(captured, workers)) {
                Ok(model) => drop(next.models.insert(job.id, model.unwrap())),
                Err(error) => {
                    assert!(after != workers && error.state() == SqlState::FEATURE_NOT_SUPPORTED, "{seed}: {error}");
                    restored = false;
                    break;
                }
            }
        }
        if !restored {
            continue;
        }
        moved += usize::from(after != workers);
        next.resume();
        for tick in 0..6 {
            let place = format!("seed {seed} tick {tick} workers {workers} to {after}");
            assert_eq!(next.read(VIEW), next.wanted(&plan), "{place}\n{plan}");
            assert_eq!(next.read(UPPER), next.wanted(&upper), "{place}\n{upper}");
            assert!(next.churn(if tick == 3 { 400 } else { 12 }).failed.is_empty());
        }
    }
    assert!(moved > 5, "{moved}");
}

#[test]
fn what_is_known_is_not_captured_again() {
    let mut world = World::new(2, 3);
    world.start(model_job(VIEW, aggregate(table(TABLES[0]), vec![0], 1)));
    world.start(model_job(UPPER, aggregate(table(TABLES[1]), vec![0], 1)));
    world.churn(20);
    let mut known = Known::new();
    for job in world.capture(&[VIEW, UPPER], Known::new()) {
        known.extend(job.pieces.iter().map(|piece| ((job.serial, piece.worker, piece.place), piece.touched)));
    }
    let new = |world: &World| {
        let captured = world.capture(&[VIEW, UPPER], known.clone());
        let new = |job: &CapturedJob| job.pieces.iter().any(|piece| piece.sections.is_some());
        captured.iter().map(new).collect::<Vec<_>>()
    };
    assert_eq!(new(&world), [false, false]);
    world.feed(vec![changes(TABLES[0], vec![delta(&[([Some(1), Some(1)], 1)])])]);
    assert_eq!(new(&world), [true, false]);
    // Another job under the same name is not known.
    world.engine.drop_job(UPPER).unwrap();
    world.start(model_job(UPPER, aggregate(table(TABLES[1]), vec![0], 1)));
    assert_eq!(new(&world), [true, true]);
}

#[test]
fn constants_and_empty_aggregates_are_not_given_again() {
    for workers in [1, 2] {
        let mut world = World::new(workers, 3);
        let rows = batch(&[[Some(1), Some(2)], [Some(3), None]]);
        let values = node(Plan::Values { rows: rows.clone() }, rows.schema());
        let jobs = [
            model_job(VIEW, aggregate(union(vec![values, table(TABLES[0])]), vec![], 0)),
            model_job(UPPER, aggregate(table(TABLES[1]), vec![], 0)),
            // The rows are all where the one group is.
            Job {
                plan: Node { partitioned_by: Some(vec![]), ..aggregate(table(TABLES[0]), vec![], 1) },
                ..model_job(RelationId(12), table(TABLES[0]))
            },
        ];
        jobs.iter().for_each(|job| drop(world.start(job.clone())));
        let all = [VIEW, UPPER, RelationId(12)];
        let wanted = all.map(|id| world.read(id));
        let captured = world.capture(&all, Known::new());
        let mut next = world.after(if workers == 1 { 3 } else { 1 }, 3);
        for (job, captured) in jobs.iter().zip(captured) {
            next.engine.create(job.clone()).unwrap();
            next.engine.restore(job.id, stored(captured, workers)).unwrap();
        }
        next.resume();
        assert_eq!(all.map(|id| next.read(id)), wanted);
        next.feed(vec![changes(TABLES[0], vec![delta(&[([Some(5), None], 1)])])]);
        assert_eq!(next.read(VIEW), Rows::from([(vec![Some(3), Some(9), Some(5)], 1)]));
        assert_eq!(next.read(RelationId(12)), Rows::from([(vec![Some(1), None, None], 1)]));
    }
}

#[test]
fn rows_that_were_borrowed_are_not_taken_for_none() {
    let mut world = World::new(2, 7);
    let index = RelationId(12);
    world.start(keyed_job(index, table(TABLES[0]), vec![1]));
    let key = JoinKey { left: 1, right: 0, nulls_match: false };
    let job = model_job(VIEW, join(JoinKind::Left, table(TABLES[0]), table(TABLES[1]), vec![key]));
    world.start(job.clone());
    world.churn(30);
    let captured = world.capture(&[VIEW], Known::new()).remove(0);
    let mut next = world.after(2, 7);
    next.engine.create(job).unwrap();
    let refused = next.engine.restore(VIEW, stored(captured, 2)).unwrap_err();
    assert_eq!(refused.state(), SqlState::DATA_CORRUPTED);
    next.engine.drop_job(VIEW).unwrap();
    next.churn(3);
}
