//! The select list of the whole query: objects are shown by name.

use super::casts::writer;
use super::expressions::*;
use datafusion::sql::sqlparser::ast::*;

/// `SELECT x::regclass` shows the name, as Postgres's text form of the type does; inside a query it stays a number.
pub fn name_objects(query: &mut Query) {
    name_objects_of(&mut query.body);
}

fn name_objects_of(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                let unnamed = matches!(item, SelectItem::UnnamedExpr(_));
                let Some(expr) = item_expression(item) else { continue };
                let Some(function) = called(expr) else { continue };
                if let Some(writer) = writer(&function) {
                    let named = call(&writer, vec![take(expr)]);
                    // Without a name of its own the column is called after the type.
                    let column = if function.starts_with("to_") { &*function } else { function.trim_end_matches("in") };
                    *item = match unnamed {
                        true => SelectItem::ExprWithAlias { expr: named, alias: identifier(column) },
                        false => {
                            *expr = named;
                            continue;
                        }
                    };
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            name_objects_of(left);
            name_objects_of(right);
        }
        SetExpr::Query(query) => name_objects(query),
        _ => {}
    }
}
