//! What the operators do per CPU-second on one core: `cargo run --release --example operator_rates`.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, Scalar};
use arrow::compute::kernels::cmp::gt_eq;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millrace_dataflow::operator::{Operator, Output};
use millrace_dataflow::operators::{Aggregate, AggregateOptions, Join, JoinOptions};
use millrace_dataflow::state::Arrangement;
use millrace_ir::{AggregateFunction, JoinKey, JoinKind};
use millrace_types::hash::mix;
use millrace_types::{Delta, Tick};
use std::sync::Arc;
use std::time::Instant;

/// CPU nanoseconds of this thread, as the scheduler counts them.
fn cpu_ns() -> u64 {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedule.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn schema() -> SchemaRef {
    let field = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![field("k"), field("v")]))
}

fn batch(seed: u64, rows: usize, keys: u64) -> RecordBatch {
    let value = |row: usize, of: u64| mix(seed * 1_000_003 + row as u64 * 2 + of);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((0..rows).map(|row| (value(row, 0) % keys) as i64))),
        Arc::new(Int64Array::from_iter_values((0..rows).map(|row| (value(row, 1) % 1000) as i64))),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns fit the schema")
}

fn aggregate() -> Aggregate {
    let output = |data_type| Arc::new(Field::new("a", data_type, true));
    let aggregate = |function, argument, data_type| millrace_ir::Aggregate {
        function,
        argument,
        distinct: false,
        filter: None,
        output: output(data_type),
    };
    let aggregates = [
        aggregate(AggregateFunction::Count, None, DataType::Int64),
        aggregate(AggregateFunction::Sum, Some(1), DataType::Decimal128(38, 0)),
    ];
    let mut fields = vec![schema().fields()[0].clone()];
    fields.extend(aggregates.iter().map(|aggregate| aggregate.output.clone()));
    let options = AggregateOptions {
        append_only: true,
        partitioned_by: vec![0],
        owns_empty_key: true,
        sessions: None,
        closing: None,
        once: false,
    };
    Aggregate::new(&schema(), Arc::new(Schema::new(fields)), vec![0], &aggregates, options).expect("valid aggregates")
}

fn report(what: &str, rows: usize, ns: u64) {
    println!("{what:<60} {:>8.2} M rows/s {:>8.1} ns/row", rows as f64 * 1e3 / ns as f64, ns as f64 / rows as f64);
}

/// filter (90 % pass) -> count, sum by key.
fn group_by(keys: u64, rows_per_tick: usize, total: usize) {
    let mut operator = aggregate();
    let pool: Vec<_> = (0..64).map(|seed| batch(seed, rows_per_tick.min(65_536), keys)).collect();
    let limit = Scalar::new(Int64Array::from(vec![100]));
    let (mut out, mut emitted) = (Output::default(), 0);
    let mut run = |ticks: usize, from: usize| {
        for tick in from..from + ticks {
            let rows = &pool[tick % pool.len()];
            let delta = Delta::inserts(rows.clone());
            let keep = gt_eq(rows.column(1), &limit).expect("integers compare");
            operator.on_batch(0, delta.filter(&keep).expect("a mask fits"), &mut out).expect("aggregates");
            operator.on_tick(Tick(tick as u64), &mut out).expect("emits");
            emitted += out.take_deltas().iter().map(Delta::len).sum::<usize>();
        }
    };
    let ticks = total / rows_per_tick;
    run(ticks / 2, 0);
    let start = cpu_ns();
    run(ticks, ticks / 2);
    report(&format!("group by {keys} keys, ticks of {rows_per_tick} rows"), ticks * rows_per_tick, cpu_ns() - start);
}

fn append(rows_per_tick: usize, total: usize) {
    let mut arrangement = Arrangement::new(schema(), vec![0]);
    let deltas: Vec<_> =
        (0..total / rows_per_tick).map(|seed| Delta::inserts(batch(seed as u64, rows_per_tick, 1 << 40))).collect();
    let (start, mut longest) = (cpu_ns(), 0);
    for delta in &deltas {
        let start = Instant::now();
        arrangement.append(delta).expect("appends");
        longest = longest.max(start.elapsed().as_micros());
    }
    let what = format!("append {total} rows by {rows_per_tick}, longest {longest} us");
    report(&what, total, cpu_ns() - start);
}

fn join(stored: usize, probes: usize) {
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields.extend(schema().fields().iter().cloned());
    let mut join = Join::new(JoinOptions {
        kind: JoinKind::Inner,
        left: schema(),
        right: schema(),
        keys: vec![JoinKey { left: 0, right: 0, nulls_match: false }],
        residual: None,
        schema: Arc::new(Schema::new(fields)),
        borrowed: [None, None],
        append_only: [false, false],
        is_self_join: false,
        closing: [None, None],
    });
    let mut out = Output::default();
    for seed in 0..stored / 65_536 {
        join.on_batch(1, Delta::inserts(batch(seed as u64, 65_536, stored as u64)), &mut out).expect("stores");
    }
    let deltas: Vec<_> =
        (0..probes / 65_536).map(|seed| Delta::inserts(batch(1000 + seed as u64, 65_536, stored as u64))).collect();
    let start = cpu_ns();
    let mut pairs = 0;
    for delta in deltas {
        join.on_batch(0, delta, &mut out).expect("joins");
        pairs += out.take_deltas().iter().map(Delta::len).sum::<usize>();
    }
    report(&format!("join with {stored} rows, {pairs} pairs (stores both sides)"), probes, cpu_ns() - start);
}

fn main() {
    group_by(10_000, 65_536, 64 << 20);
    group_by(1_000_000, 65_536, 32 << 20);
    group_by(10_000, 1_000, 8 << 20);
    group_by(10_000, 1, 1 << 18);
    append(65_536, 8 << 20);
    append(1_000, 2 << 20);
    append(1, 1 << 18);
    join(1 << 20, 2 << 20);
    join(8 << 20, 2 << 20);
}
