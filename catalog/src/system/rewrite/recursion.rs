//! The first term of a recursive CTE gives its columns their types, so an integer in its select list, `0 AS depth`, is
//! given Postgres's type there and then: later the other term would disagree with what was planned.

use super::expressions::*;
use datafusion::sql::sqlparser::ast::*;
use std::ops::ControlFlow;

/// The rule.
pub fn type_integers(query: &mut Query) {
    struct Visitor;
    impl VisitorMut for Visitor {
        type Break = ();

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            for cte in query.with.iter_mut().filter(|with| with.recursive).flat_map(|with| &mut with.cte_tables) {
                if let SetExpr::SetOperation { left, .. } = cte.query.body.as_mut()
                    && let SetExpr::Select(select) = left.as_mut()
                {
                    select.projection.iter_mut().filter_map(item_expression).for_each(type_integer);
                }
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Visitor);
}

fn type_integer(expr: &mut Expr) {
    if let Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) = &*expr
        && number.parse::<i32>().is_ok()
    {
        let integer = take(expr);
        *expr = cast(integer, DataType::Integer(None));
    }
}
