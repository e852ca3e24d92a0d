//! Functions lose the schema `pg_catalog`, system relations get it, and functions that stand for a relation become one.

use super::super::shape::shape;
use super::expressions::{call, object_name, parts};
use datafusion::sql::sqlparser::ast::*;
use millrace_functions::Walk;
use millrace_types::SqlError;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// The rule.
pub fn simplify(query: &mut Query) {
    let mut visitor = Names { local: local_names(query) };
    // It never breaks off.
    let _ = query.walk_mut(&mut visitor);
}

/// The names of all CTEs, which hide system relations of the same name.
fn local_names(query: &Query) -> HashSet<String> {
    struct Visitor(HashSet<String>);
    impl datafusion::sql::sqlparser::ast::Visitor for Visitor {
        type Break = SqlError;

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
            let tables = query.with.iter().flat_map(|with| &with.cte_tables);
            self.0.extend(tables.map(|table| table.alias.name.value.clone()));
            ControlFlow::Continue(())
        }
    }
    let mut visitor = Visitor(HashSet::new());
    // It never breaks off.
    let _ = query.walk(&mut visitor);
    visitor.0
}

struct Names {
    local: HashSet<String>,
}

impl VisitorMut for Names {
    type Break = SqlError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        match expr {
            Expr::Function(function) => strip_schema(&mut function.name),
            // The one of these that the parser takes for a column.
            Expr::Identifier(ident)
                if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("current_schema") =>
            {
                *expr = call("current_schema", vec![]);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        match factor {
            TableFactor::Table { name, args: None, .. } => self.qualify(name),
            TableFactor::Table { name, args: Some(arguments), alias, .. } => {
                strip_schema(name);
                if let Some(replaced) = of_function(name, &arguments.args, alias) {
                    *factor = replaced;
                }
            }
            TableFactor::Function { name, args, alias, .. } => {
                strip_schema(name);
                if let Some(replaced) = of_function(name, args, alias) {
                    *factor = replaced;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Names {
    fn qualify(&self, name: &mut ObjectName) {
        if let [bare] = parts(name).as_slice()
            && !self.local.contains(*bare)
            && shape(None, bare).is_some()
        {
            name.0.insert(0, ObjectNamePart::Identifier(Ident::new("pg_catalog")));
        }
    }
}

fn strip_schema(name: &mut ObjectName) {
    if let ["pg_catalog" | "information_schema", _] = parts(name).as_slice() {
        name.0.remove(0);
    }
}

/// What a function in FROM becomes, if it is one that DataFusion does not know there.
fn of_function(name: &ObjectName, arguments: &[FunctionArg], alias: &Option<TableAlias>) -> Option<TableFactor> {
    let plain: Vec<&Expr> = arguments
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect::<Option<_>>()?;
    match (*parts(name).last()?, plain.as_slice()) {
        ("pg_get_keywords", []) => Some(relation("pg_keywords", alias.as_ref().map(|alias| alias.name.clone()))),
        ("unnest", arrays) => {
            let array_exprs = arrays.iter().copied().cloned().collect();
            let alias = alias.clone();
            let (with_offset, with_offset_alias, with_ordinality) = (false, None, false);
            Some(TableFactor::UNNEST { alias, array_exprs, with_offset, with_offset_alias, with_ordinality })
        }
        _ => None,
    }
}

/// A system relation of `pg_catalog` in FROM.
fn relation(name: &str, alias: Option<Ident>) -> TableFactor {
    let alias = alias.map(|name| TableAlias { explicit: true, name, columns: Vec::new(), at: None });
    TableFactor::Table {
        name: object_name(&["pg_catalog", name]),
        alias,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}
