//! Measures the engine alone: how long a tick of one row takes with and without idle jobs beside it, and how many rows
//! per second of CPU go through a filter, an exchange and an aggregate.
//!
//! ```sh
//! cargo run --release -p millrace-dataflow --example engine_rates
//! ```

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, lit};
use millrace_dataflow::engine::{Engine, EngineOptions, RelationInput, TickInput, TickResult};
use millrace_ir::{Aggregate, AggregateFunction, Job, Node, Output, Plan};
use millrace_types::{Delta, EventTime, RelationId, Result, Tick};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SOURCE: RelationId = RelationId(1);
const QUIET_SOURCE: RelationId = RelationId(2);
const VIEW: RelationId = RelationId(10);

fn main() -> Result<()> {
    for workers in [1, 2] {
        for idle in [0, 100] {
            latency(workers, idle)?;
        }
    }
    for workers in [1, 2] {
        for keys in [10_000, 1_000_000] {
            throughput(workers, keys)?;
        }
    }
    Ok(())
}

fn schema_of(names: &[&str], types: &[DataType]) -> SchemaRef {
    let fields = names.iter().zip(types).map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn node(plan: Plan, schema: SchemaRef, append_only: bool) -> Node {
    Node { plan, schema, append_only, partitioned_by: None, unique_key: None, event_time: None }
}

/// `SELECT k, count(*), sum(v) FROM source WHERE v >= 100 GROUP BY k`, into a read model or to nobody.
fn job(id: RelationId, source: RelationId, output: Output) -> Job {
    let rows = schema_of(&["k", "v"], &[DataType::Int64, DataType::Int64]);
    let input = Plan::Input {
        relation: source,
        name: "source".to_owned(),
        columns: vec![0, 1],
        watermarked: false,
        drops_late: false,
    };
    let input = node(input, rows.clone(), true);
    let predicate = Arc::new(BinaryExpr::new(Arc::new(Column::new("v", 1)), Operator::GtEq, lit(100_i64)));
    let filter = node(Plan::Filter { input: Box::new(input), predicate }, rows.clone(), true);
    let exchange = Plan::Exchange { input: Box::new(filter), keys: vec![0] };
    let exchange = Node { partitioned_by: Some(vec![0]), ..node(exchange, rows, true) };
    let groups = schema_of(&["k", "count", "sum"], &[DataType::Int64, DataType::Int64, DataType::Decimal128(38, 0)]);
    let aggregates = [(AggregateFunction::Count, None), (AggregateFunction::Sum, Some(1))];
    let aggregates = aggregates.into_iter().zip(&groups.fields()[1..]);
    let aggregates = aggregates
        .map(|((function, argument), output)| Aggregate {
            function,
            argument,
            distinct: false,
            filter: None,
            output: output.clone(),
        })
        .collect();
    let aggregate = Plan::Aggregate {
        input: Box::new(exchange),
        keys: vec![0],
        aggregates,
        sessions: None,
        closing: None,
        once: false,
    };
    let plan = Node { partitioned_by: Some(vec![0]), unique_key: Some(vec![0]), ..node(aggregate, groups, false) };
    Job { id, name: format!("job{id}"), plan, output }
}

/// Pseudo-random rows: keys below `keys`, values below 1000.
fn rows(seed: u64, count: usize, keys: u64) -> Delta {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below) as i64
    };
    let pairs: Vec<_> = (0..count).map(|_| (next(keys), next(1000))).collect();
    let column = |of: fn(&(i64, i64)) -> i64| Arc::new(Int64Array::from_iter_values(pairs.iter().map(of))) as _;
    let schema = schema_of(&["k", "v"], &[DataType::Int64, DataType::Int64]);
    Delta::inserts(
        RecordBatch::try_new(schema, vec![column(|pair| pair.0), column(|pair| pair.1)]).expect("two columns"),
    )
}

fn tick(engine: &Engine, tick: &mut u64, deltas: Vec<Delta>) -> Result<TickResult> {
    *tick += 1;
    let input = RelationInput { relation: SOURCE, columns: Arc::new([0, 1]), deltas, only: None };
    let result =
        engine.tick(TickInput { tick: Tick(*tick), inputs: vec![input], now: EventTime(0), watermarks: vec![] })?;
    result.failed.first().map_or(Ok(()), |(_, error)| Err(error.clone()))?;
    Ok(result)
}

fn start(engine: &Engine, now: &mut u64, job: Job) -> Result<()> {
    let id = job.id;
    engine.create(job)?;
    *now += 1;
    engine.hydrate(id, Tick(*now), EventTime(0), true).map(drop)
}

fn latency(workers: usize, idle: u32) -> Result<()> {
    let (engine, mut now) = (Engine::start(EngineOptions { workers })?, 0);
    let model = || Output::ReadModel { key: vec![0] };
    start(&engine, &mut now, job(VIEW, SOURCE, model()))?;
    for n in 0..idle {
        start(&engine, &mut now, job(RelationId(100 + n), QUIET_SOURCE, model()))?;
    }
    let one: Vec<_> = (0..512).map(|seed| rows(seed + 1, 1, 10_000)).collect();
    let mut times = vec![];
    for n in 0..20_000 {
        let begun = Instant::now();
        tick(&engine, &mut now, vec![one[n % one.len()].clone()])?;
        times.push(begun.elapsed());
    }
    times.drain(..2_000);
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3;
    println!("one-row tick, {workers} workers, {idle} idle jobs: p50 {:.1} us, p99 {:.1} us", at(0.5), at(0.99));
    Ok(())
}

fn throughput(workers: usize, keys: u64) -> Result<()> {
    const ROWS: usize = 64 * 1024;
    const TICKS: usize = 64;
    let (engine, mut now) = (Engine::start(EngineOptions { workers })?, 0);
    start(&engine, &mut now, job(VIEW, SOURCE, Output::Stream))?;
    let pool: Vec<_> = (0..TICKS as u64).map(|seed| rows(seed + 1, ROWS, keys)).collect();
    let mut rates = vec![];
    for _ in 0..5 {
        let (begun, cpu) = (Instant::now(), cpu_time());
        for delta in &pool {
            tick(&engine, &mut now, vec![delta.clone()])?;
        }
        let rows = (ROWS * TICKS) as f64 / 1e6;
        rates.push((rows / (cpu_time() - cpu).as_secs_f64(), rows / begun.elapsed().as_secs_f64()));
    }
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (per_cpu, per_wall) = rates[rates.len() / 2];
    println!(
        "filter, exchange, aggregate over {keys} keys, {workers} workers: {per_cpu:.1} M rows per CPU-second, \
         {per_wall:.1} M rows per second"
    );
    Ok(())
}

/// What the process has used of all processors, from `/proc`, where there is one: clock ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
