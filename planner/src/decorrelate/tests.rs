//! Plans without subqueries, by golden files.

use crate::bind::bind_query;
use crate::parse::parse_query;
use crate::testing::{catalog, functions, golden, show};

fn plan(sql: &str) -> String {
    let catalog = catalog();
    let bound = parse_query(sql).and_then(|query| bind_query(&query, &catalog, functions(), &[]));
    match bound {
        Ok(bound) => bound.plan.display_indent().to_string(),
        Err(error) => show(&error),
    }
}

#[test]
fn subqueries_become_joins() {
    golden("decorrelate.txt", plan);
}
