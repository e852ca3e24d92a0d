//! GROUP BY count and sum, at few keys and at many: what the workers do per CPU-second, into a sink that throws the
//! changes away and into a view that keeps them for readers.

use crate::bench::Bench;
use crate::pipeline::{Pipeline, run};
use crate::report::{Figure, Target};
use anyhow::Result;

/// Keys, and the millions of rows per worker CPU-second that there must be.
const KEYS: &[(u64, f64)] = &[(10_000, 20.0), (1_000_000, 6.0)];

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let rows = bench.size(30_000_000, 6_000_000);
    let mut figures = vec![];
    for (keys, least) in KEYS {
        let sink = run(bench, &into_sink(*keys, rows)).await?;
        let name = format!("count and sum by {keys} keys, into a sink");
        let target = Target::AtLeast(*least);
        figures.extend([
            Figure::new(&name, "M rows per worker CPU-second", sink.per_worker_second()).target(target),
            Figure::new(&name, "M rows per CPU-second without making them", sink.per_engine_second()),
            Figure::new(&name, "M rows per second", sink.per_second()),
            Figure::new(&name, "% of the CPU time spent in making rows", sink.reading_percent()),
        ]);
        let view = run(bench, &into_view(*keys, rows)).await?;
        let name = format!("count and sum by {keys} keys, into a view");
        figures.extend([
            Figure::new(&name, "M rows per worker CPU-second", view.per_worker_second()),
            Figure::new(&name, "M rows per CPU-second without making them", view.per_engine_second()),
            Figure::new(&name, "M rows per second", view.per_second()),
            Figure::new(&name, "MiB at most", view.memory.peak as f64 / 1048576.0),
        ]);
    }
    Ok(figures)
}

const QUERY: &str = "SELECT k, count(*) AS n, sum(v) AS total FROM numbers GROUP BY k";

/// Random keys and values.
fn source(keys: u64, rows: u64) -> String {
    format!(
        "CREATE SOURCE numbers (k bigint, v bigint) WITH (connector = 'datagen', rows = '{rows}', \
         fields.k.min = '0', fields.k.max = '{}', fields.v.min = '0', fields.v.max = '999')",
        keys - 1
    )
}

fn into_sink(keys: u64, rows: u64) -> Pipeline {
    Pipeline {
        sources: vec![source(keys, rows)],
        job: format!("CREATE SINK q AS {QUERY} WITH (connector = 'blackhole')"),
        // What the groups say is checked where they can be read.
        check: ("SELECT sum(records) FROM millrace.splits".to_owned(), "SELECT count(*) FROM numbers".to_owned()),
    }
}

fn into_view(keys: u64, rows: u64) -> Pipeline {
    Pipeline {
        sources: vec![source(keys, rows)],
        job: format!("CREATE MATERIALIZED VIEW q AS {QUERY}"),
        check: ("SELECT sum(n) + sum(total) FROM q".to_owned(), "SELECT count(*) + sum(v) FROM numbers".to_owned()),
    }
}
