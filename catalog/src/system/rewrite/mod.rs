//! What clients write about catalogs, turned into what DataFusion plans, on the syntax tree.
//!
//! Each rule is small and keeps Postgres's meaning; [`rewrite()`] applies them in order. A rule goes by constructs that
//! nothing but Postgres's own spelling has (`OPERATOR(pg_catalog.~)`, `'t'::regclass`, `ARRAY(SELECT ...)`), or by the
//! system relations that a query reads, so that other queries pass unchanged.

mod absent;
mod arrays;
mod casts;
mod columns;
mod expressions;
mod names;
mod operators;
mod output;
mod recursion;
mod sets;
mod subqueries;

use datafusion::sql::sqlparser::ast::Query;

/// A rule: changes a query in place.
type Rule = fn(&mut Query);

/// The rules, in an order in which each finds what it needs.
const RULES: &[Rule] = &[
    // Plain spellings first, so that the others see bare names and simple operators.
    operators::simplify,
    names::simplify,
    columns::know_table_oids,
    casts::simplify,
    arrays::read_literals,
    recursion::type_integers,
    // Before the rules for subqueries, which what is left out here could not pass.
    absent::leave_out,
    sets::unnest,
    arrays::from_subqueries,
    subqueries::join,
    // Last, on the select list as it will be planned.
    output::name_objects,
];

/// Turns a query on system relations into one that DataFusion plans, with the same result. Columns that the query does
/// not name should be named before: the expressions that would give them their names may change.
pub fn rewrite(query: &mut Query) {
    for rule in RULES {
        rule(query);
    }
}
