//! LIKE among the columns of a new table.

use super::context::Context;
use millrace_catalog::{Generated, Relation};
use millrace_planner::parse::{
    CheckDefinition, ColumnDefinition, CreateTable, GeneratedColumn, KeyDefinition, name_parts,
};
use millrace_types::Result;
use sqlparser::ast::Ident;

/// The statement with the columns of the tables that it is like.
///
/// # Errors
/// `42P01`
pub fn expanded(context: &Context, create: &CreateTable) -> Result<CreateTable> {
    let mut expanded = CreateTable { like: vec![], ..create.clone() };
    for like in create.like.iter().rev() {
        let relation = context.resolve(&name_parts(&like.table))?;
        let columns = relation.columns.iter().map(|column| ColumnDefinition {
            name: quoted(&column.name),
            sql_type: column.sql_type.clone(),
            not_null: column.not_null,
            default: column.default.clone().filter(|_| like.defaults),
            primary_key: false,
            unique: false,
            generated: match &column.generated {
                Some(Generated::Stored(expression)) if like.defaults => {
                    Some(GeneratedColumn::Stored(expression.clone()))
                }
                _ => None,
            },
        });
        let columns: Vec<_> = columns.collect();
        expanded.columns.splice(like.position..like.position, columns);
        if like.constraints {
            let check = |check: &millrace_catalog::Check| CheckDefinition {
                name: Some(quoted(&check.name)),
                column: None,
                expression: check.sql.clone(),
            };
            expanded.checks.extend(relation.checks().iter().map(check));
        }
        if like.indexes {
            add_keys(relation, &mut expanded);
        }
    }
    Ok(expanded)
}

fn add_keys(relation: &Relation, create: &mut CreateTable) {
    let primary = match &relation.kind {
        millrace_catalog::RelationKind::Table(table) => table.primary_key.as_ref(),
        _ => None,
    };
    for key in relation.unique_keys() {
        let columns = key.columns.iter().map(|column| quoted(&relation.columns[*column].name)).collect();
        let definition = KeyDefinition { name: None, columns };
        match primary == Some(key) {
            true => create.primary_key = Some(definition),
            false => create.unique.push(definition),
        }
    }
}

/// A name that is not folded any more.
fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}
