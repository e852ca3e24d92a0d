//! What holds for every operator, whatever it computes: its output does not depend on how a tick is cut into batches nor
//! on their order; snapshot and restore change nothing; and workers that restore the halves of the key groups go on as
//! one that restores all of them.
//!
//! The same changes go through workers that see them as they come, in single rows in another order, with a restore at
//! each tick, and with the key groups split and put together again. All must have given the same after every tick.

use super::ordered::{Case, top_k, window};
use super::*;
use crate::operators::{Expand, Filter, Project, Union, Unnest};
use crate::state::batch_of;
use arrow::datatypes::Int64Type;
use datafusion::physical_expr::expressions::lit;
use millrace_ir::{Expr, Ranking, Reach};

const TICKS: usize = 25;

type Make = Box<dyn Fn(usize, usize) -> Harness>;

/// An operator to be tried.
struct Subject {
    name: String,
    make: Make,
    /// The columns that distribute the rows of each input over the workers.
    by: Vec<Vec<usize>>,
    append_only: bool,
}

fn subject(name: &str, by: &[&[usize]], make: impl Fn(usize, usize) -> Harness + 'static) -> Subject {
    let by = by.iter().map(|by| by.to_vec()).collect();
    Subject { name: name.to_owned(), make: Box::new(make), by, append_only: false }
}

fn column(at: usize) -> Expr {
    Arc::new(Column::new(schema().field(at).name(), at))
}

/// Fails where `n` is 0.
fn hundred_by_n() -> Expr {
    binary(lit(100i64), DataFusionOperator::Divide, column(1), &schema()).unwrap()
}

fn two_columns() -> SchemaRef {
    let field = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![field("a"), field("b")]))
}

fn stateless() -> Vec<Subject> {
    let positive = || binary(column(1), DataFusionOperator::Gt, lit(0i64), &schema()).unwrap();
    vec![
        subject("filter", &[&[0]], move |_, _| Harness::new(Filter::new(positive()))),
        subject("project", &[&[0]], |_, _| Harness::new(Project::new(vec![column(0), hundred_by_n()], two_columns()))),
        subject("expand", &[&[0]], |_, _| {
            let sets = [vec![column(0), column(1)], vec![column(1), column(0)], vec![column(0), hundred_by_n()]];
            Harness::new(Expand::new(&sets, &two_columns()))
        }),
        subject("union", &[&[0], &[0]], |_, _| Harness::new(Union::new(schema()))),
        subject("unnest", &[&[0]], |_, _| Harness::new(Lists(unnest(false)))),
        subject("outer unnest", &[&[0]], |_, _| Harness::new(Lists(unnest(true)))),
    ]
}

/// Unnests an array of `n` and `k` that it makes of each row; the array is NULL where `n` is.
struct Lists(Unnest);

fn unnest(outer: bool) -> Unnest {
    let mut fields = schema().fields().to_vec();
    fields.push(Arc::new(Field::new("element", DataType::Int64, true)));
    Unnest::new(vec![4], outer, Arc::new(Schema::new(fields)))
}

impl Operator for Lists {
    fn on_batch(&mut self, port: usize, delta: Delta, out: &mut Output) -> Result<()> {
        let value = |column: usize, row: usize| {
            let column = delta.rows().column(column).as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        let list = |row| value(1, row).map(|n| [Some(n), value(0, row)]);
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>((0..delta.len()).map(list)));
        let mut fields = schema().fields().to_vec();
        fields.push(Arc::new(Field::new("list", lists.data_type().clone(), true)));
        let columns = delta.rows().columns().iter().cloned().chain([lists]).collect();
        let rows = batch_of(&Arc::new(Schema::new(fields)), columns, delta.len())?;
        self.0.on_batch(port, delta.with_rows(rows), out)
    }

    fn on_tick(&mut self, tick: Tick, out: &mut Output) -> Result<()> {
        self.0.on_tick(tick, out)
    }
}

fn joins() -> Vec<Subject> {
    use JoinKind::{Anti, Full, Inner, Left, Mark, Semi};
    let mut subjects = Vec::new();
    for kind in [Inner, Left, Full, Semi, Anti, Mark] {
        for keys in [&[(0, false)][..], &[(0, true), (2, false)], &[]] {
            for less in [false, true] {
                for append_only in [false, true] {
                    let case = JoinCase { kind, keys, less, append_only };
                    let by: Vec<usize> = keys.iter().map(|(key, _)| *key).collect();
                    let subject = subject(&format!("{case:?}"), &[&by, &by], join(case));
                    subjects.push(Subject { append_only, ..subject });
                }
            }
        }
    }
    subjects
}

fn self_joins() -> Vec<Subject> {
    [JoinKind::Inner, JoinKind::Left, JoinKind::Full, JoinKind::Semi]
        .map(|kind| {
            let case = JoinCase { kind, keys: &[(0, false)], less: true, append_only: false };
            subject(&format!("self-join {case:?}"), &[&[0]], self_join(case))
        })
        .into()
}

fn grouping() -> Vec<Subject> {
    let mut subjects = vec![subject("distinct", &[&[0]], |_, _| Harness::new(Distinct::new(schema(), vec![0], None)))];
    for (keys, by) in [(&[0][..], &[0][..]), (&[0, 2], &[0]), (&[2], &[2]), (&[], &[])] {
        subjects.push(subject(&format!("aggregates by {keys:?}"), &[by], aggregate(aggregates, keys, by)));
        // What keeps rows is partitioned by all keys.
        subjects.push(subject(&format!("calls by {keys:?}"), &[keys], aggregate(calls, keys, keys)));
        for (name, of, by) in [("aggregates", aggregates as Aggregates, by), ("calls", calls, keys)] {
            let subject = subject(&format!("append-only {name} by {keys:?}"), &[by], aggregate_of(of, keys, by, true));
            subjects.push(Subject { append_only: true, ..subject });
        }
    }
    subjects
}

fn ordered() -> Vec<Subject> {
    let mut subjects = vec![
        subject("window", &[&[0]], |_, _| window(Reach::Partition)),
        subject("window with a reach", &[&[0]], |_, _| window(Reach::Rows(1))),
    ];
    for ranking in [Ranking::RowNumber, Ranking::Rank, Ranking::DenseRank] {
        for (skip, last, numbered) in [(0, Some(1), false), (1, Some(3), true), (2, None, false)] {
            for append_only in [false, true] {
                let case = Case { ranking, skip, last, numbered, append_only };
                let name = format!("top-k {ranking:?} {skip} {last:?} numbered {numbered} append-only {append_only}");
                subjects.push(Subject { append_only, ..subject(&name, &[&[0]], move |_, _| top_k(case)) });
            }
        }
    }
    subjects
}

/// Single copies of the rows of all deltas, each with its port, in another order.
fn scattered(deltas: &[(usize, Delta)], random: &mut Random) -> Vec<(usize, Delta)> {
    let mut pieces = Vec::new();
    for (port, delta) in deltas {
        for row in 0..delta.len() {
            let (one, weight) = (delta.slice(row, 1), delta.weight(row));
            let copy = Delta::new(one.rows().clone(), Weights::Each(vec![weight.signum()].into()));
            pieces.extend((0..weight.abs()).map(|_| (*port, copy.clone())));
        }
    }
    for at in (1..pieces.len()).rev() {
        pieces.swap(at, random.below(at as u64 + 1) as usize);
    }
    pieces
}

fn changes(subject: &Subject, relations: &mut [Relation], random: &mut Random) -> Vec<(usize, Delta)> {
    let mut changes = Vec::new();
    for _ in 0..random.below(4) {
        let port = random.below(relations.len() as u64) as usize;
        let delta = match subject.append_only {
            true => Delta::inserts(batch(&(0..1 + random.below(8)).map(|_| random.row(4)).collect::<Vec<_>>())),
            false => relations[port].change(random, 4),
        };
        changes.push((port, delta));
    }
    changes
}

fn try_out(subject: &Subject) {
    let workers = || Workers::new(&*subject.make, subject.by.clone());
    let (mut plain, mut scattering, mut restored, mut split) = (workers(), workers(), workers(), workers());
    let mut random = Random(11);
    let mut gave_rows = false;
    let mut relations: Vec<Relation> = subject.by.iter().map(|_| Relation::default()).collect();
    for tick in 0..TICKS {
        let deltas = changes(subject, &mut relations, &mut random);
        for workers in [&mut plain, &mut restored, &mut split] {
            deltas.iter().for_each(|(port, delta)| workers.batch(*port, delta));
        }
        scattered(&deltas, &mut random).iter().for_each(|(port, delta)| scattering.batch(*port, delta));
        for workers in [&mut plain, &mut scattering, &mut restored, &mut split] {
            workers.tick();
        }
        let wanted = plain.total();
        assert_eq!(scattering.total(), wanted, "{} in single rows, tick {tick}", subject.name);
        assert_eq!(restored.total(), wanted, "{} restored, tick {tick}", subject.name);
        assert_eq!(split.total(), wanted, "{} restored in parts, tick {tick}", subject.name);
        gave_rows |= !wanted.is_empty();
        restored.restart(1);
        split.restart([2, 1, 3][tick % 3]);
    }
    // Without keys an anti join gives next to nothing.
    assert!(gave_rows || subject.by[0].is_empty(), "{} gave nothing", subject.name);
}

#[test]
fn stateless_operators_keep_their_properties() {
    stateless().iter().for_each(try_out);
}

#[test]
fn joins_keep_their_properties() {
    joins().iter().chain(&self_joins()).for_each(try_out);
}

#[test]
fn aggregates_and_distinct_keep_their_properties() {
    grouping().iter().for_each(try_out);
}

#[test]
fn ordered_operators_keep_their_properties() {
    ordered().iter().for_each(try_out);
}
