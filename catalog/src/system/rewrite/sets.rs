//! Functions that return sets where a value stands: in the select list they are arrays that are unnested, and a field
//! of a composite value, `(f(x)).n`, is a call of `get_field`.

use super::expressions::*;
use datafusion::sql::sqlparser::ast::*;
use millrace_functions::{each_expression, each_select};

/// The functions of catalogs that return a set in Postgres and an array here.
const SETS: &[&str] = &["_pg_expandarray"];

/// The rule.
pub fn unnest(query: &mut Query) {
    each_expression(query, |expr| {
        if let Expr::CompoundFieldAccess { root, access_chain } = expr
            && let [AccessExpr::Dot(Expr::Identifier(field))] = access_chain.as_slice()
        {
            *expr = match (inside(root), field.value.as_str()) {
                // Two sets side by side would be unnested twice, so the positions are made on their own.
                (Expr::Function(function), "n") if called(inside(root)).as_deref() == Some("_pg_expandarray") => {
                    let array = arguments(function).and_then(|arguments| arguments.first().copied().cloned());
                    let one = Expr::Value(Value::Number("1".to_owned(), false).with_empty_span());
                    call("generate_subscripts", vec![array.unwrap_or_else(null), one])
                }
                (root, field) => call("get_field", vec![root.clone(), string(&field.to_lowercase())]),
            };
        }
    });
    each_select(query, |select| {
        for item in &mut select.projection {
            let Some(expr) = item_expression(item) else { continue };
            if called(expr).is_some_and(|name| SETS.contains(&name.as_str())) {
                let set = take(expr);
                *expr = call("unnest", vec![set]);
            }
        }
    });
}
