//! Aggregates with Postgres's result types; the same definitions as those of maintained views.

mod distinct;
mod extreme;
mod total;

use datafusion::functions_aggregate::{bool_and_or, min_max};
use datafusion::logical_expr::{AggregateUDF, AggregateUDFImpl};
use std::sync::Arc;

/// Our aggregates, and DataFusion's where they agree with Postgres. Ours come last: they replace those of their name.
pub fn functions() -> Vec<Arc<AggregateUDF>> {
    let mut all = datafusion::functions_aggregate::all_default_aggregate_functions();
    let every = bool_and_or::bool_and_udaf().as_ref().clone().with_aliases(["every"]);
    all.extend([
        of(total::Total::sum()),
        of(total::Total::avg()),
        of(extreme::Extreme::new(min_max::min_udaf(), false)),
        of(extreme::Extreme::new(min_max::max_udaf(), true)),
        Arc::new(every),
    ]);
    all
}

fn of(function: impl AggregateUDFImpl + 'static) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(function))
}
