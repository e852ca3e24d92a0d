//! Aggregates with Postgres's result types: those of queries and of maintained views.
//!
//! | module | aggregates | how |
//! |---|---|---|
//! | `total` | `sum`, `avg` | totals and counts |
//! | `extreme` | `min`, `max` | the extreme value |
//! | `moments`, `regression`, `bits`, `truths` | `stddev`, `variance`, `corr`, `regr_*`, `bit_*`, `bool_*` ... | [sums over the rows](summed), which rows leave again |
//! | `collections`, `json`, `percentiles`, `hypothetical` | `string_agg`, `array_agg`, `json_agg`, `percentile_cont`, `mode` ... | [all rows in order](gathered) |

mod bits;
mod collections;
mod distinct;
mod extreme;
mod gathered;
mod hypothetical;
mod json;
mod measures;
mod moments;
mod percentiles;
mod regression;
mod single;
mod sorted;
mod summed;
mod total;
mod truths;
mod twofold;
mod window_order;

pub use hypothetical::INTERNAL as HYPOTHETICAL;
pub use window_order::WindowOrder;

use datafusion::functions_aggregate::min_max;
use datafusion::logical_expr::{AggregateUDF, AggregateUDFImpl};
use std::sync::Arc;

/// DataFusion's aggregates that Postgres has not and that would be taken for it.
const LEFT_OUT: [&str; 1] = ["nth_value"];

/// Our aggregates, and DataFusion's where they agree with Postgres. Ours come last: they replace those of their name.
pub fn functions() -> Vec<Arc<AggregateUDF>> {
    let mut all = datafusion::functions_aggregate::all_default_aggregate_functions();
    all.retain(|function| !LEFT_OUT.contains(&function.name()));
    all.extend([
        of(total::Total::sum()),
        of(total::Total::avg()),
        of(extreme::Extreme::new(min_max::min_udaf(), false)),
        of(extreme::Extreme::new(min_max::max_udaf(), true)),
    ]);
    all.extend(
        [moments::functions(), regression::functions(), bits::functions(), truths::functions()]
            .into_iter()
            .flatten()
            .map(of),
    );
    let definitions =
        [collections::DEFINITIONS, json::DEFINITIONS, percentiles::DEFINITIONS, hypothetical::DEFINITIONS];
    all.extend(definitions.into_iter().flatten().map(gathered::Gathered::new).map(of));
    all
}

fn of(function: impl AggregateUDFImpl + 'static) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(function))
}
