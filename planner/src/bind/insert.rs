//! INSERT.

use super::check::Checks;
use super::constant::ConstantRows;
use super::dml;
use super::expression::{self, RowExpressions};
use super::generated::GeneratedColumns;
use super::parameters::{self, Parameters};
use super::provider::Provider;
use super::query;
use crate::catalog::{Catalog, Relation, RelationKey};
use crate::error::sql_error;
use crate::functions::FunctionSource;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::planner::PlannerContext;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use sqlparser::ast::{self, ConflictTarget, Ident, OnConflictAction, OnInsert, SetExpr};
use std::sync::Arc;

/// An INSERT with its names and types resolved.
#[derive(Clone, Debug)]
pub struct Insert {
    /// A table, or a sink that takes rows.
    pub relation: Arc<Relation>,
    /// Gives all columns of the relation in order, with their types; defaults are filled in. NOT NULL, CHECK and keys
    /// are for whoever applies the rows.
    pub plan: LogicalPlan,
    /// The plan compiled, when it reads nothing.
    pub constant: Option<ConstantRows>,
    /// The CHECKs that new rows are to satisfy.
    pub checks: Checks,
    /// The generated columns of the relation.
    pub generated: GeneratedColumns,
    pub parameters: Vec<SqlType>,
    /// What ON CONFLICT says.
    pub conflict: Option<Conflict>,
    /// RETURNING, over the rows of the relation.
    pub returning: Option<RowExpressions>,
}

/// What to do with a row whose key is there already.
#[derive(Clone, Debug)]
pub enum Conflict {
    /// The row that is there stays.
    DoNothing {
        /// The keys that are looked at.
        keys: Vec<RelationKey>,
    },
    /// The row that is there changes.
    DoUpdate {
        key: RelationKey,
        /// The columns that change.
        columns: Vec<usize>,
        /// Their new values, over the row that is there followed by the row that was to be inserted.
        values: RowExpressions,
        /// WHERE: one boolean over the same columns; rows for which it is not true stay.
        filter: Option<RowExpressions>,
    },
}

/// Resolves an INSERT.
///
/// # Errors
/// `42P01`, `42703`, `42701`, `42601` for counts that differ, `42804` for values that do not fit, `42809` for what takes
/// no rows, `42P10` where ON CONFLICT names no key.
pub fn bind_insert(
    insert: &ast::Insert,
    catalog: &dyn Catalog,
    functions: &FunctionSource,
    parameter_types: &[Option<SqlType>],
) -> Result<Insert> {
    let provider = Provider::new(catalog, functions);
    let count = parameters::count(insert).max(parameter_types.len());
    let ast::TableObject::TableName(name) = &insert.table else {
        return Err(SqlError::unsupported("INSERT into anything but a table"));
    };
    let relation = dml::target(name, &provider, "insert into")?;
    let alias = insert.table_alias.as_ref().map(|alias| alias.alias.clone());
    let rows = dml::table(name, alias)?;

    let columns = columns(insert, &relation)?;
    let source = source(insert, &relation, &columns, &provider, parameter_types)?;
    let plan = complete(source, &relation, &columns, &provider)?;
    let returning = expression::returning(&insert.returning, rows.clone(), &provider, parameter_types)?;
    let conflict = conflict_plans(insert, &relation, rows, name, &provider, parameter_types)?;

    let mut known = Parameters::given(parameter_types);
    let others = conflict.iter().flat_map(ConflictPlan::plans);
    for plan in std::iter::once(&plan).chain(&returning).chain(others) {
        known.observe_plan(plan).map_err(sql_error)?;
    }
    let plan = query::typed(plan, &known, count, functions)?;
    Ok(Insert {
        constant: ConstantRows::of(&plan, functions),
        checks: Checks::of(&relation, catalog, functions)?,
        generated: GeneratedColumns::of(&relation, catalog, functions)?,
        plan,
        parameters: known.types(count),
        conflict: conflict.map(|conflict| conflict.finish(&relation, &known, functions)).transpose()?,
        returning: returning.map(|plan| RowExpressions::of(plan, &known, functions, "RETURNING")).transpose()?,
        relation,
    })
}

/// The columns that the statement gives, in its order.
fn columns(insert: &ast::Insert, relation: &Relation) -> Result<Vec<usize>> {
    if insert.columns.is_empty() {
        return Ok((0..relation.schema.fields().len()).collect());
    }
    let mut columns = vec![];
    for ident in insert.columns.iter().filter_map(|name| name.0.last()).filter_map(|part| part.as_ident()) {
        let column = dml::column(relation, ident)?;
        if columns.contains(&column) {
            let message = format!("column \"{}\" specified more than once", relation.schema.field(column).name());
            let position = ident.span.start.column as usize;
            return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message).at(position));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// The plan of the rows given: as many columns as the statement gives, or fewer when it names none.
fn source(
    insert: &ast::Insert,
    relation: &Relation,
    columns: &[usize],
    provider: &Provider,
    parameter_types: &[Option<SqlType>],
) -> Result<LogicalPlan> {
    let Some(source) = &insert.source else {
        // DEFAULT VALUES
        return LogicalPlanBuilder::empty(true).build().map_err(sql_error);
    };
    let mut source = source.clone();
    match source.body.as_mut() {
        SetExpr::Values(values) => {
            for row in &mut values.rows {
                let given = row.content.len();
                check_count(given, columns, insert)?;
                for (value, column) in row.content.iter().zip(columns) {
                    dml::refuse_generated(relation, *column, Some(value), dml::Verb::Insert)?;
                }
                type_row(row.content.iter_mut(), relation, columns)?;
            }
            check_widths(&values.rows)?;
        }
        SetExpr::Select(select) => {
            let items = select.projection.iter_mut().filter_map(|item| match item {
                ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } => Some(expr),
                _ => None,
            });
            let items: Vec<_> = items.collect();
            // A wildcard moves the items behind it to columns that only planning tells.
            if items.len() <= columns.len() && !has_wildcard(&source_items(insert)) {
                type_row(items.into_iter(), relation, columns)?;
            }
        }
        _ => {}
    }
    let plan = query::plan(&source, provider, PlannerContext::new(), parameter_types)?;
    let given = plan.schema().fields().len();
    check_count(given, columns, insert)?;
    if !matches!(*source.body, SetExpr::Values(_)) {
        let mut given = columns.iter().take(given);
        given.try_for_each(|column| dml::refuse_generated(relation, *column, None, dml::Verb::Insert))?;
    }
    Ok(plan)
}

fn source_items(insert: &ast::Insert) -> Vec<ast::SelectItem> {
    match insert.source.as_ref().map(|source| source.body.as_ref()) {
        Some(SetExpr::Select(select)) => select.projection.clone(),
        _ => vec![],
    }
}

fn has_wildcard(items: &[ast::SelectItem]) -> bool {
    items.iter().any(|item| matches!(item, ast::SelectItem::Wildcard(_) | ast::SelectItem::QualifiedWildcard(..)))
}

fn type_row<'a>(values: impl Iterator<Item = &'a mut ast::Expr>, relation: &Relation, columns: &[usize]) -> Result<()> {
    for (value, column) in values.zip(columns) {
        *value = dml::typed_value(value.clone(), relation, *column)?;
    }
    Ok(())
}

fn check_count(given: usize, columns: &[usize], insert: &ast::Insert) -> Result<()> {
    let message = match () {
        () if given > columns.len() => "INSERT has more expressions than target columns",
        () if given < columns.len() && !insert.columns.is_empty() => "INSERT has more target columns than expressions",
        () => return Ok(()),
    };
    Err(SqlError::new(SqlState::SYNTAX_ERROR, message))
}

fn check_widths(rows: &[ast::Parens<Vec<ast::Expr>>]) -> Result<()> {
    let width = rows.first().map_or(0, |row| row.content.len());
    match rows.iter().all(|row| row.content.len() == width) {
        true => Ok(()),
        false => Err(SqlError::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length")),
    }
}

/// All columns of the relation: those given, converted, and the defaults of the others.
fn complete(source: LogicalPlan, relation: &Relation, columns: &[usize], provider: &Provider) -> Result<LogicalPlan> {
    let given = source.schema().clone();
    let values = relation.schema.fields().iter().enumerate().map(|(index, field)| {
        let place = columns.iter().position(|column| *column == index).filter(|place| *place < given.fields().len());
        let value = match place {
            Some(place) => {
                let (qualifier, from) = given.qualified_field(place);
                dml::assign(Expr::Column(Column::from((qualifier, from))), from, field)?
            }
            None => dml::default_value(relation, index, provider)?,
        };
        Ok(value.alias(field.name()))
    });
    let values = values.collect::<Result<Vec<Expr>>>()?;
    LogicalPlanBuilder::from(source).project(values).and_then(LogicalPlanBuilder::build).map_err(sql_error)
}

/// ON CONFLICT before its parameters have types.
enum ConflictPlan {
    DoNothing { keys: Vec<RelationKey> },
    DoUpdate { key: RelationKey, columns: Vec<usize>, values: Box<LogicalPlan>, filter: Option<Box<LogicalPlan>> },
}

impl ConflictPlan {
    fn plans(&self) -> Vec<&LogicalPlan> {
        match self {
            ConflictPlan::DoNothing { .. } => vec![],
            ConflictPlan::DoUpdate { values, filter, .. } => {
                std::iter::once(&**values).chain(filter.as_deref()).collect()
            }
        }
    }

    fn finish(self, relation: &Relation, known: &Parameters, functions: &FunctionSource) -> Result<Conflict> {
        match self {
            ConflictPlan::DoNothing { keys } => Ok(Conflict::DoNothing { keys }),
            ConflictPlan::DoUpdate { key, columns, values, filter } => {
                let fields: Vec<_> = columns.iter().map(|column| relation.schema.field(*column)).collect();
                let values =
                    RowExpressions::of(*values, known, functions, "ON CONFLICT DO UPDATE")?.assigned_to(&fields)?;
                let filter = filter.map(|plan| RowExpressions::of(*plan, known, functions, "WHERE")).transpose()?;
                Ok(Conflict::DoUpdate { key, columns, values, filter })
            }
        }
    }
}

fn conflict_plans(
    insert: &ast::Insert,
    relation: &Relation,
    rows: ast::TableWithJoins,
    name: &ast::ObjectName,
    provider: &Provider,
    parameter_types: &[Option<SqlType>],
) -> Result<Option<ConflictPlan>> {
    let conflict = match &insert.on {
        None => return Ok(None),
        Some(OnInsert::OnConflict(conflict)) => conflict,
        Some(_) => return Err(SqlError::unsupported("ON DUPLICATE KEY UPDATE").with_hint("Use ON CONFLICT.")),
    };
    let key = conflict.conflict_target.as_ref().map(|target| conflict_key(target, relation)).transpose()?;
    let (update, key) = match (&conflict.action, key) {
        (OnConflictAction::DoNothing, key) => {
            let all = || relation.keys.iter().filter(|key| key.unique).cloned().collect();
            return Ok(Some(ConflictPlan::DoNothing { keys: key.map_or_else(all, |key| vec![key]) }));
        }
        (OnConflictAction::DoUpdate(update), Some(key)) => (update, key),
        (OnConflictAction::DoUpdate(_), None) => {
            let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
            let hint = "For example, ON CONFLICT (column_name).";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).with_hint(hint));
        }
    };
    let from = vec![rows, dml::table(name, Some(Ident::new("excluded")))?];
    let set = dml::assignments(relation, &update.assignments)?;
    let items = set.iter().map(|(column, value)| {
        let value = dml::typed_value(value.clone(), relation, *column)?;
        Ok(dml::named(value, format!("set {column}")))
    });
    let items = items.collect::<Result<Vec<_>>>()?;
    let values = expression::over_rows(items, from.clone(), provider, parameter_types)?;
    let filter = update.selection.clone().map(|filter| {
        expression::over_rows(vec![dml::named(filter, "where".to_owned())], from, provider, parameter_types)
    });
    let columns = set.into_iter().map(|(column, _)| column).collect();
    Ok(Some(ConflictPlan::DoUpdate {
        key,
        columns,
        values: Box::new(values),
        filter: filter.transpose()?.map(Box::new),
    }))
}

/// The key that ON CONFLICT names: it must be one of the relation.
fn conflict_key(target: &ConflictTarget, relation: &Relation) -> Result<RelationKey> {
    let mut keys = relation.keys.iter().filter(|key| key.unique);
    match target {
        ConflictTarget::Columns(idents) => {
            let named = idents.iter().map(|ident| dml::column(relation, ident)).collect::<Result<Vec<_>>>()?;
            let same = |key: &&RelationKey| {
                key.columns.iter().all(|column| named.contains(column))
                    && named.iter().all(|column| key.columns.contains(column))
            };
            keys.find(same).cloned().ok_or_else(|| {
                let message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
                SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message)
            })
        }
        ConflictTarget::OnConstraint(name) => {
            let name = crate::parse::name_parts(name).pop().unwrap_or_default();
            keys.find(|key| key.name == name).cloned().ok_or_else(|| {
                let message = format!("constraint \"{name}\" for table \"{}\" does not exist", relation.name);
                SqlError::new(SqlState::UNDEFINED_OBJECT, message)
            })
        }
    }
}
