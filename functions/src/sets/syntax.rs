//! Functions in FROM as lateral subqueries.
//!
//! `FROM t, generate_series(1, t.n) WITH ORDINALITY AS g (v)` becomes
//! `FROM t, LATERAL (SELECT generate_series(1, t.n) AS v, ordinality() AS ordinality) AS g`.

use super::{ORDINALITY, columns_of};
use crate::walk::each_select;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, JoinOperator, ObjectName, Query, SelectItem, SetExpr, TableAlias, TableAliasColumnDef,
    TableFactor, TableWithJoins, Value,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// The name under which a parser shows `ROWS FROM` as a function in FROM. It cannot be typed.
pub const ROWS_FROM: &str = "\u{1}rows from";

/// Rewrites every FROM in a query.
pub fn functions_in_from(query: &mut Query) {
    each_select(query, |select| {
        for (at, table) in select.from.iter_mut().enumerate() {
            rewrite(table, at > 0);
        }
    });
}

/// `lateral`: whether something stands before the table.
fn rewrite(table: &mut TableWithJoins, lateral: bool) {
    rewrite_factor(&mut table.relation, lateral);
    for join in &mut table.joins {
        // The other side of these may have no row to refer to.
        let alone = matches!(
            join.join_operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        );
        rewrite_factor(&mut join.relation, !alone);
    }
}

fn rewrite_factor(factor: &mut TableFactor, lateral: bool) {
    if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
        return rewrite(table_with_joins, lateral);
    }
    let Some(called) = Called::of(factor) else { return };
    let (default, items) = called.items();
    let Some(select) = select_of(items) else { return };
    let alias = TableAlias { explicit: true, name: default, columns: vec![], at: None };
    *factor = TableFactor::Derived { lateral, subquery: Box::new(select), alias: Some(alias), sample: None };
}

/// A query of a select list alone.
fn select_of(items: Vec<SelectItem>) -> Option<Query> {
    let mut query = *Parser::new(&PostgreSqlDialect {}).try_with_sql("SELECT 1").ok()?.parse_query().ok()?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = items;
    }
    Some(query)
}

/// Functions in FROM, their rows side by side.
struct Called {
    functions: Vec<(ObjectName, Vec<FunctionArg>)>,
    alias: Option<TableAlias>,
    ordinality: bool,
}

impl Called {
    fn of(factor: &TableFactor) -> Option<Called> {
        let (functions, alias, ordinality) = match factor {
            TableFactor::Table { name, args: Some(arguments), alias, with_ordinality, .. } => {
                (functions(name, &arguments.args), alias, *with_ordinality)
            }
            TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                (functions(name, args), alias, *with_ordinality)
            }
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, with_offset: false, .. } => {
                let name = || ObjectName::from(vec![Ident::new("unnest")]);
                let each = |array: &Expr| (name(), vec![argument(array.clone())]);
                (array_exprs.iter().map(each).collect(), alias, *with_ordinality)
            }
            _ => return None,
        };
        Some(Called { functions, alias: alias.clone(), ordinality })
    }

    /// The alias of the relation, and its columns.
    fn items(self) -> (Ident, Vec<SelectItem>) {
        let alone = self.functions.len() == 1;
        let mut first_name = None;
        let mut columns: Vec<(String, Expr)> = vec![];
        for (name, args) in self.functions {
            let function = name.0.last().and_then(|part| part.as_ident()).map(fold).unwrap_or_default();
            first_name.get_or_insert_with(|| function.clone());
            match (record(&function), self.alias.as_ref()) {
                (Some(set), Some(alias)) if alias.columns.iter().any(|column| column.data_type.is_some()) => {
                    let json = if function.starts_with("jsonb") { DataType::JSONB } else { DataType::JSON };
                    columns.extend(record_columns(json, set, args, alias));
                    continue;
                }
                _ => {}
            }
            let call = call(name, args);
            match columns_of(&function) {
                Some([only]) => columns.push(((*only).to_owned(), call)),
                Some(fields) => columns.extend(fields.iter().map(|name| ((*name).to_owned(), field(&call, name)))),
                None => {
                    let alias = self.alias.as_ref().filter(|_| alone);
                    columns.push((alias.map_or(function, |alias| fold(&alias.name)), call));
                }
            }
        }
        if self.ordinality {
            columns.push(("ordinality".to_owned(), call(ObjectName::from(vec![quoted(ORDINALITY)]), vec![])));
        }
        let given = self.alias.iter().flat_map(|alias| &alias.columns).map(|column| fold(&column.name));
        let mut given = given.fuse();
        let items = columns.into_iter().map(|(name, expr)| {
            let name = given.next().unwrap_or(name);
            SelectItem::ExprWithAlias { expr, alias: quoted(&name) }
        });
        let items = items.collect();
        let alias = self.alias.map(|alias| alias.name);
        (alias.unwrap_or_else(|| quoted(&first_name.unwrap_or_default())), items)
    }
}

/// The functions behind a name: several for those that sqlparser takes for arguments of `ROWS FROM`.
fn functions(name: &ObjectName, args: &[FunctionArg]) -> Vec<(ObjectName, Vec<FunctionArg>)> {
    if !matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|name| name.value == ROWS_FROM)) {
        return vec![(name.clone(), args.to_vec())];
    }
    let each = args.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(function))) => match &function.args {
            FunctionArguments::List(list) => Some((function.name.clone(), list.args.clone())),
            _ => Some((function.name.clone(), vec![])),
        },
        _ => None,
    });
    each.collect()
}

/// For functions that give records of columns said in FROM: the function whose values they are taken from.
fn record(function: &str) -> Option<Option<&'static str>> {
    match function {
        "json_to_record" | "jsonb_to_record" => Some(None),
        "json_to_recordset" => Some(Some("json_array_elements")),
        "jsonb_to_recordset" => Some(Some("jsonb_array_elements")),
        _ => None,
    }
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// The columns `a int, b jsonb` of objects of the type `json`.
fn record_columns(
    json: DataType,
    set: Option<&str>,
    args: Vec<FunctionArg>,
    alias: &TableAlias,
) -> Vec<(String, Expr)> {
    let value = match (set, args.into_iter().next()) {
        (Some(set), Some(array)) => call(ObjectName::from(vec![Ident::new(set)]), vec![array]),
        (None, Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(value)))) => cast(value, json.clone()),
        _ => Expr::Value(Value::Null.with_empty_span()),
    };
    let column = |column: &TableAliasColumnDef| {
        let name = fold(&column.name);
        let data_type = column.data_type.clone().unwrap_or(DataType::Text);
        let json = matches!(data_type, DataType::JSON | DataType::JSONB);
        let get = if json { "json_get" } else { "json_get_text" };
        let key = Expr::Value(Value::SingleQuotedString(name.clone()).with_empty_span());
        let is_array = matches!(data_type, DataType::Array(_));
        let get = if is_array { "json_get" } else { get };
        let mut get = call(ObjectName::from(vec![Ident::new(get)]), vec![argument(value.clone()), argument(key)]);
        if is_array {
            get = call(ObjectName::from(vec![Ident::new(crate::json_functions::ARRAY_TEXT)]), vec![argument(get)]);
        }
        let cast = Expr::Cast { kind: CastKind::Cast, expr: Box::new(get), data_type, array: false, format: None };
        (name, cast)
    };
    alias.columns.iter().map(column).collect()
}

/// An identifier as Postgres folds it.
fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

fn argument(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

fn call(name: ObjectName, args: Vec<FunctionArg>) -> Expr {
    Expr::Function(Function {
        name,
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// `(call).name`
fn field(call: &Expr, name: &str) -> Expr {
    Expr::CompoundFieldAccess {
        root: Box::new(Expr::Nested(Box::new(call.clone()))),
        access_chain: vec![AccessExpr::Dot(Expr::Identifier(quoted(name)))],
    }
}
