//! UPDATE.

use super::check::Checks;
use super::dml;
use super::expression::{self, RowExpressions};
use super::generated::GeneratedColumns;
use super::parameters::{self, Parameters};
use super::provider::Provider;
use super::query;
use crate::catalog::{Catalog, Relation};
use crate::error::sql_error;
use crate::functions::FunctionSource;
use datafusion::common::{Column, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::planner::PlannerContext;
use millrace_types::{Result, SqlError, SqlType};
use sqlparser::ast;
use std::sync::Arc;

/// An UPDATE with its names and types resolved.
#[derive(Clone, Debug)]
pub struct Update {
    pub relation: Arc<Relation>,
    /// Gives, for each row that changes, its columns as they are and then its columns as they will be. A row that
    /// several rows of FROM match stands several times; any one of them counts, as in Postgres.
    pub plan: LogicalPlan,
    /// The CHECKs that new rows are to satisfy.
    pub checks: Checks,
    /// The generated columns of the relation.
    pub generated: GeneratedColumns,
    pub parameters: Vec<SqlType>,
    /// RETURNING, over the new rows.
    pub returning: Option<RowExpressions>,
}

/// Resolves an UPDATE.
///
/// # Errors
/// `42P01`, `42703`, `42804`, `42809` for what cannot be changed.
pub fn bind_update(
    statement: &crate::parse::Update,
    catalog: &dyn Catalog,
    functions: &FunctionSource,
    parameter_types: &[Option<SqlType>],
) -> Result<Update> {
    let provider = Provider::new(catalog, functions);
    let update = &statement.syntax;
    let in_with = statement.with.as_ref().map_or(0, parameters::count);
    let count = parameters::count(update).max(in_with).max(parameter_types.len());
    if !update.table.joins.is_empty() {
        return Err(SqlError::unsupported("UPDATE of a join").with_hint("Use UPDATE ... FROM."));
    }
    let (name, known_as) = dml::table_name(&update.table.relation)?;
    let relation = dml::target(&name, &provider, "update")?;
    let set = dml::assignments(&relation, &update.assignments)?;
    let source = source(statement, &relation, &known_as, &set, &provider, parameter_types)?;
    let plan = old_and_new(source, &relation)?;
    let returning = expression::returning(&update.returning, update.table.clone(), &provider, parameter_types)?;
    let mut known = Parameters::given(parameter_types);
    for plan in std::iter::once(&plan).chain(&returning) {
        known.observe_plan(plan).map_err(sql_error)?;
    }
    Ok(Update {
        plan: query::typed(plan, &known, count, functions)?,
        checks: Checks::of(&relation, catalog, functions)?,
        generated: GeneratedColumns::of(&relation, catalog, functions)?,
        parameters: known.types(count),
        returning: returning.map(|plan| RowExpressions::of(plan, &known, functions, "RETURNING")).transpose()?,
        relation,
    })
}

/// The columns of the rows that match, then the values that the statement gives them.
fn source(
    statement: &crate::parse::Update,
    relation: &Relation,
    known_as: &ast::Ident,
    set: &[(usize, ast::Expr)],
    provider: &Provider,
    parameter_types: &[Option<SqlType>],
) -> Result<LogicalPlan> {
    let update = &statement.syntax;
    let mut items = vec![];
    let fields = relation.schema.fields();
    for (index, field) in fields.iter().enumerate() {
        items.push(dml::named(dml::qualified(known_as, field.name()), format!("old {index}")));
    }
    for (index, field) in fields.iter().enumerate() {
        let value = match set.iter().find(|(column, _)| *column == index) {
            Some((_, value)) => dml::typed_value(value.clone(), relation, index)?,
            None => dml::qualified(known_as, field.name()),
        };
        items.push(dml::named(value, format!("new {index}")));
    }
    let mut from = vec![update.table.clone()];
    match &update.from {
        Some(ast::UpdateTableFromKind::BeforeSet(others) | ast::UpdateTableFromKind::AfterSet(others)) => {
            from.extend(others.iter().cloned());
        }
        None => {}
    }
    let mut select = dml::select(items, from, update.selection.clone())?;
    select.with = statement.with.clone();
    query::plan(&select, provider, PlannerContext::new(), parameter_types)
}

fn old_and_new(source: LogicalPlan, relation: &Relation) -> Result<LogicalPlan> {
    let width = relation.schema.fields().len();
    let columns = source.schema().iter().enumerate().map(|(place, (qualifier, from))| {
        let to = relation.schema.field(place % width);
        let value = Expr::Column(Column::from((qualifier, from)));
        let (side, value) = match place < width {
            true => ("old", value),
            false => ("new", dml::assign(value, from, to)?),
        };
        Ok(value.alias_qualified(Some(TableReference::bare(side)), to.name()))
    });
    let columns = columns.collect::<Result<Vec<Expr>>>()?;
    LogicalPlanBuilder::from(source).project(columns).and_then(LogicalPlanBuilder::build).map_err(sql_error)
}
