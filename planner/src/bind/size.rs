//! Bounds on what a query stands for. A few lines can mean a plan of millions of nodes: each common table expression,
//! and each plain view, is planned as often as it is named.

use millrace_functions::Walk;
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{Cte, ObjectName, Query, Visitor};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// How many relations a query may read, those of its common table expressions counted wherever these are named; a
/// subquery without a relation counts as one.
const RELATIONS: usize = 1_000;
/// How many plain views may be put into a query.
pub const VIEWS: usize = 1_000;

/// Refuses a query that stands for too much.
///
/// # Errors
/// `54001`.
pub fn check(query: &Query) -> Result<()> {
    query.walk(&mut Sizes::default())
}

/// `54001`: the query means more than can be planned.
pub fn too_large() -> SqlError {
    SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "the query reads too many relations").with_hint(
        "A WITH query or a view is planned as often as it is named: keep it as a MATERIALIZED VIEW, or name it less often.",
    )
}

/// The queries around the place where the walk is, outermost first.
#[derive(Default)]
struct Sizes {
    around: Vec<Around>,
}

/// A query that is being walked over.
#[derive(Default)]
struct Around {
    /// The queries of its WITH that are still to come, last first, by their addresses, with their names.
    to_come: Vec<(*const Query, String)>,
    /// How many relations those that have been seen read.
    known: HashMap<String, usize>,
    /// How many the query itself reads, so far.
    relations: usize,
}

impl Visitor for Sizes {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables).rev();
        let named = |cte: &Cte| (std::ptr::from_ref(&*cte.query), crate::parse::fold(&cte.alias.name));
        self.around.push(Around { to_come: ctes.map(named).collect(), ..Around::default() });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
        let ended = self.around.pop().map_or(1, |ended| ended.relations.max(1));
        if let Some(outer) = self.around.last_mut() {
            match outer.to_come.pop_if(|(next, _)| std::ptr::eq(*next, query)) {
                Some((_, name)) => drop(outer.known.insert(name, ended)),
                None => outer.relations = outer.relations.saturating_add(ended),
            }
        }
        if ended > RELATIONS { ControlFlow::Break(too_large()) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<SqlError> {
        let name = match relation.0.as_slice() {
            [part] => part.as_ident().map(crate::parse::fold),
            _ => None,
        };
        let known = name.and_then(|name| self.around.iter().rev().find_map(|around| around.known.get(&name)));
        let count = known.copied().unwrap_or(1);
        if let Some(query) = self.around.last_mut() {
            query.relations = query.relations.saturating_add(count);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fan(levels: usize) -> Result<()> {
        let level = |n: usize| format!("c{} AS (SELECT a.a FROM c{n} a, c{n} b)", n + 1);
        let levels: Vec<String> = (0..levels).map(level).collect();
        let text = format!("WITH c0 AS (SELECT 1 a), {} SELECT a FROM c3", levels.join(", "));
        check(&*crate::parse::parse_query(&text)?)
    }

    #[test]
    fn what_is_named_twice_at_each_level_doubles() {
        assert!(fan(9).is_ok());
        assert_eq!(fan(40).unwrap_err().state(), SqlState::STATEMENT_TOO_COMPLEX);
    }

    #[test]
    fn names_mean_what_is_nearest() {
        let text = "WITH c AS (SELECT 1 a) SELECT * FROM c, (WITH c AS (SELECT * FROM c, c d) SELECT * FROM c) x";
        assert!(check(&crate::parse::parse_query(text).unwrap()).is_ok());
    }
}
