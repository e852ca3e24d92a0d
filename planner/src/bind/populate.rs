//! `json_populate_record(NULL::t, json)` in FROM: the columns of a relation taken from json objects.
//!
//! It is planned as `json_to_record(json) AS t (a int, b text ...)`, with the columns of the relation.

use super::provider::Provider;
use crate::parse::{name_parts, syntax_of_type};
use millrace_functions::Walk;
use millrace_types::{Result, SqlError, sql_type_of};
use sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, TableAlias, TableAliasColumnDef,
    TableFactor, Value, ValueWithSpan, VisitorMut,
};
use std::ops::ControlFlow;

/// The functions, and those that they are planned as.
const FUNCTIONS: [(&str, &str); 4] = [
    ("json_populate_record", "json_to_record"),
    ("jsonb_populate_record", "jsonb_to_record"),
    ("json_populate_recordset", "json_to_recordset"),
    ("jsonb_populate_recordset", "jsonb_to_recordset"),
];

/// Rewrites every such call in a query.
///
/// # Errors
/// `42P01` where there is no such relation, `0A000` for a first argument that is not `NULL::relation`.
pub fn spell_out(query: &mut Query, provider: &Provider) -> Result<()> {
    struct Speller<'a>(&'a Provider<'a>);
    impl VisitorMut for Speller<'_> {
        type Break = SqlError;

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
            match rewrite(factor, self.0) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        }
    }
    query.walk_mut(&mut Speller(provider))
}

fn rewrite(factor: &mut TableFactor, provider: &Provider) -> Result<()> {
    let (name, args, alias) = match factor {
        TableFactor::Table { name, args: Some(args), alias, .. } => (name, &mut args.args, alias),
        TableFactor::Function { name, args, alias, .. } => (name, args, alias),
        _ => return Ok(()),
    };
    let called = name_parts(name).pop().unwrap_or_default();
    let Some((_, planned)) = FUNCTIONS.iter().find(|(known, _)| *known == called) else { return Ok(()) };
    let [base, _] = args.as_slice() else { return Ok(()) };
    let Some(relation) = relation_of(base) else {
        return Err(SqlError::unsupported(format!("{called}() of another base than NULL::relation")));
    };
    let relation = provider.relation(&relation)?;
    let given = alias.take();
    let names = given.iter().flat_map(|alias| &alias.columns).map(|column| column.name.clone());
    let mut names = names.collect::<Vec<_>>().into_iter();
    if names.len() > 0 {
        return Err(SqlError::unsupported(format!("other names for the columns of {called}()")));
    }
    let columns = relation.schema.fields().iter().map(|field| {
        let name = names.next().unwrap_or_else(|| Ident::with_quote('"', field.name()));
        Ok(TableAliasColumnDef { name, data_type: Some(syntax_of_type(&sql_type_of(field))?) })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let name_of = given.map_or_else(|| Ident::with_quote('"', called.clone()), |alias| alias.name);
    *alias = Some(TableAlias { explicit: true, name: name_of, columns, at: None });
    args.remove(0);
    *name = ObjectName::from(vec![Ident::new(*planned)]);
    Ok(())
}

/// The relation in `NULL::relation`.
fn relation_of(base: &FunctionArg) -> Option<Vec<String>> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(mut expr)) = base.clone() else { return None };
    while let Expr::Nested(inner) = expr {
        expr = *inner;
    }
    let Expr::Cast { expr, data_type: DataType::Custom(name, _), .. } = expr else { return None };
    matches!(*expr, Expr::Value(ValueWithSpan { value: Value::Null, .. })).then(|| name_parts(&name))
}
