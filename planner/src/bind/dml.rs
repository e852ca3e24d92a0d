//! What INSERT, UPDATE and DELETE share: their target, and values as columns take them.

use super::names::plain_name;
use super::provider::Provider;
use super::query;
use crate::catalog::{Generated, Relation, RelationKind};
use crate::error::sql_error;
use crate::parse::{self, fold, name_parts};
use arrow::datatypes::Field;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ScalarUDF};
use datafusion::scalar::ScalarValue;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use millrace_functions::casts::{CastTo, Purpose};
use millrace_functions::postgres_syntax;
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of, sql_type_of};
use sqlparser::ast::{self, AssignmentTarget, Ident, ObjectName, SetExpr};
use std::sync::Arc;

/// The relation that a statement changes.
///
/// # Errors
/// `42P01` when there is none, `42809` when it is none that `verb` applies to.
pub fn target(name: &ObjectName, provider: &Provider, verb: &str) -> Result<Arc<Relation>> {
    let relation = provider.relation(&name_parts(name)).map_err(|error| match name.0.first() {
        Some(part) => part.as_ident().map_or(error.clone(), |ident| error.at(ident.span.start.column as usize)),
        None => error,
    })?;
    match relation.kind {
        RelationKind::Table => Ok(relation),
        RelationKind::Sink if verb == "insert into" => Ok(relation),
        RelationKind::MaterializedView => {
            let message = format!("cannot change materialized view \"{}\"", relation.name);
            Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message))
        }
        kind => {
            let message = format!("cannot {verb} {} \"{}\"", kind.name(), relation.name);
            let error = SqlError::new(SqlState::WRONG_OBJECT_TYPE, message);
            Err(match kind {
                RelationKind::Source => {
                    error.with_hint("A source is read, not written. CREATE TABLE makes what can be changed.")
                }
                _ => error,
            })
        }
    }
}

/// The column of a relation with a name.
///
/// # Errors
/// `42703`
pub fn column(relation: &Relation, ident: &Ident) -> Result<usize> {
    let name = fold(ident);
    relation.schema.fields().iter().position(|field| *field.name() == name).ok_or_else(|| {
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", relation.name);
        SqlError::new(SqlState::UNDEFINED_COLUMN, message).at(ident.span.start.column as usize)
    })
}

/// The columns of a relation that assignments set, with their values.
///
/// # Errors
/// `42703` for columns that are not there, `42601` for a column set twice, `0A000` for rows from subqueries.
pub fn assignments(relation: &Relation, assignments: &[ast::Assignment]) -> Result<Vec<(usize, ast::Expr)>> {
    let mut set: Vec<(usize, ast::Expr)> = vec![];
    for assignment in assignments {
        for (name, value) in pairs(assignment)? {
            let Some(ident) = name.0.last().and_then(|part| part.as_ident()) else { continue };
            let column = column(relation, ident)?;
            if set.iter().any(|(known, _)| *known == column) {
                let message = format!("multiple assignments to same column \"{}\"", fold(ident));
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(ident.span.start.column as usize));
            }
            refuse_generated(relation, column, Some(&value), Verb::Update)?;
            set.push((column, value));
        }
    }
    Ok(set)
}

fn pairs(assignment: &ast::Assignment) -> Result<Vec<(ObjectName, ast::Expr)>> {
    match (&assignment.target, &assignment.value) {
        (AssignmentTarget::ColumnName(name), value) => Ok(vec![(name.clone(), value.clone())]),
        (AssignmentTarget::Tuple(names), ast::Expr::Tuple(values)) if names.len() == values.len() => {
            Ok(names.iter().cloned().zip(values.iter().cloned()).collect())
        }
        (AssignmentTarget::Tuple(names), ast::Expr::Nested(value)) if names.len() == 1 => {
            Ok(vec![(names[0].clone(), value.as_ref().clone())])
        }
        (AssignmentTarget::Tuple(_), ast::Expr::Tuple(_)) => {
            Err(SqlError::new(SqlState::SYNTAX_ERROR, "number of columns does not match number of values"))
        }
        (AssignmentTarget::Tuple(names), ast::Expr::Subquery(query)) => {
            let columns = names.iter().enumerate().map(|(at, name)| {
                let value = super::row_values::nth(query, names.len(), at);
                value.map(|value| (name.clone(), value)).ok_or_else(|| SqlError::internal("a query of one column"))
            });
            columns.collect()
        }
        (AssignmentTarget::Tuple(_), _) => Err(SqlError::unsupported("SET (columns) = (subquery)")),
    }
}

/// Refuses a value for a column that takes none.
///
/// # Errors
/// `428C9`
pub fn refuse_generated(relation: &Relation, column: usize, value: Option<&ast::Expr>, verb: Verb) -> Result<()> {
    let Some(Some(generated)) = relation.generated.get(column) else { return Ok(()) };
    if value.is_some_and(is_default) {
        return Ok(());
    }
    let name = relation.schema.field(column).name();
    let message = match verb {
        Verb::Insert => format!("cannot insert a non-DEFAULT value into column \"{name}\""),
        Verb::Update => format!("column \"{name}\" can only be updated to DEFAULT"),
    };
    let error = SqlError::new(SqlState::GENERATED_ALWAYS, message);
    Err(match (generated, verb) {
        (Generated::Stored(_), _) => error.with_detail(format!("Column \"{name}\" is a generated column.")),
        (Generated::Arrival, _) => {
            error.with_detail(format!("Column \"{name}\" tells when a row came in: it is defined AS PROCTIME()."))
        }
        (Generated::Identity, _) => {
            error.with_detail(format!("Column \"{name}\" is an identity column defined as GENERATED ALWAYS."))
        }
    })
}

/// What a statement does with values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Insert,
    Update,
}

fn is_default(value: &ast::Expr) -> bool {
    matches!(value, ast::Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// A value for a column, before planning: DEFAULT is replaced by what it stands for, and what has no type of its own,
/// a string, a parameter or NULL, takes the column's; so does an array, whose elements may have none.
///
/// # Errors
/// Those of parsing the default's text.
pub fn typed_value(value: ast::Expr, relation: &Relation, column: usize) -> Result<ast::Expr> {
    let field = relation.schema.field(column);
    match &value {
        value if is_default(value) => match relation.defaults.get(column) {
            Some(Some(text)) => typed_value(parse::parse_expression(text)?, relation, column),
            _ => Ok(null()),
        },
        ast::Expr::Value(constant) => match &constant.value {
            ast::Value::Placeholder(_)
            | ast::Value::SingleQuotedString(_)
            | ast::Value::EscapedStringLiteral(_)
            | ast::Value::DollarQuotedString(_) => cast_to(value, &sql_type_of(field)),
            // The rows of VALUES are to agree on their types, and on the marks of these.
            ast::Value::Null if !field.metadata().is_empty() => cast_to(value, &sql_type_of(field)),
            ast::Value::Number(..) if takes_numbers(&sql_type_of(field)) => cast_to(value, &sql_type_of(field)),
            _ => Ok(value),
        },
        ast::Expr::UnaryOp { expr, .. } if is_number(expr) && takes_numbers(&sql_type_of(field)) => {
            cast_to(value, &sql_type_of(field))
        }
        ast::Expr::Array(_) if matches!(sql_type_of(field), SqlType::Array(_)) => cast_to(value, &sql_type_of(field)),
        _ => Ok(value),
    }
}

/// Whether a number is to have the type itself, lest the widest of a column's constants decides: `1e100` beside `0.001`.
fn takes_numbers(sql_type: &SqlType) -> bool {
    matches!(sql_type, SqlType::Float4 | SqlType::Float8 | SqlType::Numeric(None))
}

fn is_number(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Value(constant) if matches!(constant.value, ast::Value::Number(..)))
}

fn null() -> ast::Expr {
    ast::Expr::Value(ast::Value::Null.into())
}

/// A cast in syntax. Limits on length are left to the assignment, which refuses what an explicit cast would cut.
fn cast_to(expr: ast::Expr, sql_type: &SqlType) -> Result<ast::Expr> {
    let unlimited = match sql_type {
        SqlType::Varchar(_) | SqlType::Bpchar(_) => SqlType::Text,
        // A cast to `numeric` keeps the scale of each value, but the rows of VALUES are to agree.
        SqlType::Numeric(None) => SqlType::Numeric(Some((38, SqlType::NUMERIC_SCALE))),
        other => other.clone(),
    };
    let data_type = parse::syntax_of_type(&unlimited)?;
    let kind = ast::CastKind::DoubleColon;
    Ok(ast::Expr::Cast { kind, expr: Box::new(expr), data_type, array: false, format: None })
}

/// The value that a column takes, converted as an assignment converts.
///
/// # Errors
/// `42804` where only an explicit cast would convert.
pub fn assign(value: Expr, from: &Field, to: &Field) -> Result<Expr> {
    let (source, target) = (sql_type_of(from), sql_type_of(to));
    if source == target && from.data_type().equals_datatype(to.data_type()) {
        return Ok(value);
    }
    if !assignable(&source, &target) {
        let message =
            format!("column \"{}\" is of type {target} but expression is of type {source}", plain_name(to.name()));
        return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message)
            .with_hint("You will need to rewrite or cast the expression."));
    }
    let target = Arc::new(field_of("", &target, true));
    Ok(ScalarUDF::from(CastTo::new(target, Purpose::Assignment)).call(vec![value]))
}

/// Whether Postgres converts by itself when it assigns.
fn assignable(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::*;
    let number = |t: &SqlType| matches!(t, Int2 | Int4 | Int8 | Float4 | Float8 | Numeric(_));
    let text = |t: &SqlType| matches!(t, Text | Varchar(_) | Bpchar(_) | Name | Char);
    let oid = |t: &SqlType| matches!(t, Oid | Regclass | Regtype | Regproc | Regnamespace | Int4 | Int8);
    match (from, to) {
        (Unknown, _) => true,
        (a, b) if a.name() == b.name() => true,
        (a, b) if number(a) && number(b) => true,
        (_, b) if text(b) => true,
        (Json, Jsonb) | (Jsonb, Json) => true,
        (Date, Timestamp | Timestamptz) | (Timestamp, Date | Time | Timestamptz) => true,
        (Timestamptz, Date | Time | Timestamp) | (Interval, Time) | (Time, Interval) => true,
        (a, b) if oid(a) && oid(b) => true,
        (Array(a), Array(b)) => assignable(a, b),
        _ => false,
    }
}

/// The value of a column that a statement does not mention.
///
/// # Errors
/// Those of planning the default's text.
pub fn default_value(relation: &Relation, column: usize, provider: &Provider) -> Result<Expr> {
    let field = relation.schema.field(column);
    match relation.defaults.get(column) {
        Some(Some(text)) => default_expression(text, field, provider),
        _ => Ok(Expr::Cast(Cast::new_from_field(
            Box::new(Expr::Literal(ScalarValue::Null, None)),
            Arc::new(field_of("", &sql_type_of(field), true)),
        ))),
    }
}

/// The text of a DEFAULT as a value for its column.
///
/// # Errors
/// `42703` where it names a column, `42804` where its type does not fit.
pub fn default_expression(text: &str, field: &Field, provider: &Provider) -> Result<Expr> {
    let mut syntax = parse::parse_expression(text)?;
    if let ast::Expr::Value(constant) = &syntax
        && matches!(constant.value, ast::Value::SingleQuotedString(_))
    {
        syntax = cast_to(syntax, &sql_type_of(field))?;
    }
    let empty = DFSchema::empty();
    let value = scalar(syntax, &empty, provider, &[])?;
    let from = field_type(&value, &empty)?;
    assign(value, &from, field)
}

/// A scalar expression over a schema.
///
/// # Errors
/// Those of resolving names and functions.
pub fn scalar(
    mut syntax: ast::Expr,
    schema: &DFSchema,
    provider: &Provider,
    parameter_types: &[Option<SqlType>],
) -> Result<Expr> {
    postgres_syntax(&mut syntax);
    let fields = super::parameters::fields(parameter_types);
    let mut context = PlannerContext::new().with_prepare_param_data_types(fields);
    let expr = SqlToRel::new(provider).sql_to_expr(syntax, schema, &mut context).map_err(sql_error)?;
    query::analyze_expression(expr, schema, provider.functions)
}

/// The type of an expression, as a field.
pub fn field_type(value: &Expr, schema: &DFSchema) -> Result<Field> {
    use datafusion::logical_expr::ExprSchemable;
    value.to_field(schema).map(|(_, field)| field.as_ref().clone()).map_err(sql_error)
}

/// `SELECT projection FROM from WHERE selection`
///
/// # Errors
/// None in fact: the text that it starts from parses.
pub fn select(
    projection: Vec<ast::SelectItem>,
    from: Vec<ast::TableWithJoins>,
    selection: Option<ast::Expr>,
) -> Result<Box<ast::Query>> {
    let mut query = parse::parse_query("SELECT 1")?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        (select.projection, select.from, select.selection) = (projection, from, selection);
    }
    Ok(query)
}

/// A relation in FROM, under an alias if one is given.
///
/// # Errors
/// None in fact, as [`select`].
pub fn table(name: &ObjectName, alias: Option<Ident>) -> Result<ast::TableWithJoins> {
    let query = parse::parse_query("SELECT 1 FROM t AS t")?;
    let SetExpr::Select(select) = *query.body else { return Err(SqlError::internal("not a SELECT")) };
    let Some(mut table) = select.from.into_iter().next() else { return Err(SqlError::internal("no FROM")) };
    if let ast::TableFactor::Table { name: place, alias: named, .. } = &mut table.relation {
        *place = name.clone();
        match (alias, named.as_mut()) {
            (Some(alias), Some(named)) => named.name = alias,
            _ => *named = None,
        }
    }
    Ok(table)
}

/// An expression of a select list under a name.
pub fn named(expr: ast::Expr, name: String) -> ast::SelectItem {
    ast::SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) }
}

/// A column of a table in FROM.
pub fn qualified(table: &Ident, column: &str) -> ast::Expr {
    ast::Expr::CompoundIdentifier(vec![table.clone(), Ident::with_quote('"', column)])
}

/// The name under which FROM knows a table: its alias, else its own last part.
///
/// # Errors
/// `0A000` when it is no plain table.
pub fn table_name(factor: &ast::TableFactor) -> Result<(ObjectName, Ident)> {
    let ast::TableFactor::Table { name, alias, .. } = factor else {
        return Err(SqlError::unsupported("changing anything but a table"));
    };
    let own = name.0.last().and_then(|part| part.as_ident()).cloned();
    match (alias, own) {
        (Some(alias), _) => Ok((name.clone(), alias.name.clone())),
        (None, Some(own)) => Ok((name.clone(), own)),
        (None, None) => Err(SqlError::unsupported("changing anything but a table")),
    }
}
