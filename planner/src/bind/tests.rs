//! Names, types, parameters and errors, by golden files; and that bound plans run.

use super::*;
use crate::parse::{Statement, parse};
use crate::testing::{catalog, functions, golden, show};
use arrow::datatypes::Schema;
use millrace_types::{Result, SqlType, sql_type_of};

fn columns(schema: &Schema) -> String {
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| format!("{} {}", field.name(), sql_type_of(field));
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}

fn list(types: &[SqlType]) -> String {
    types.iter().enumerate().map(|(i, t)| format!("\n${}: {t}", i + 1)).collect()
}

fn describe(sql: &str) -> Result<String> {
    let catalog = catalog();
    let statement = parse(sql)?.expect("a statement");
    let returned = |returning: &Option<RowExpressions>| match returning {
        Some(expressions) => format!("\nreturning {}", columns(&expressions.schema)),
        None => String::new(),
    };
    Ok(match statement {
        Statement::Query(query) => {
            let bound = bind_query(&query, &catalog, functions(), &[])?;
            format!("{}{}", columns(&bound.schema), list(&bound.parameters))
        }
        Statement::Insert(insert) => {
            let insert = bind_insert(&insert, &catalog, functions(), &[])?;
            let schema = insert.plan.schema().as_arrow();
            let fields = insert.relation.schema.fields().iter().zip(schema.fields());
            fields.for_each(|(to, from)| assert_eq!(to.data_type(), from.data_type()));
            let conflict = insert.conflict.map_or(String::new(), |conflict| match conflict {
                Conflict::DoNothing { keys } => {
                    let keys: Vec<_> = keys.iter().map(|key| &key.columns).collect();
                    format!("\non conflict {keys:?} do nothing")
                }
                Conflict::DoUpdate { key, columns, values, filter } => {
                    values.physical(&vec![datafusion::scalar::ScalarValue::Null; 9]).expect("physical expressions");
                    let key = key.columns;
                    format!("\non conflict {key:?} set {columns:?}, filter {}", filter.is_some())
                }
            });
            format!(
                "{}{}{conflict}{}",
                insert.plan.display_indent(),
                list(&insert.parameters),
                returned(&insert.returning)
            )
        }
        Statement::Update(update) => {
            let update = bind_update(&update, &catalog, functions(), &[])?;
            format!("{}{}{}", update.plan.display_indent(), list(&update.parameters), returned(&update.returning))
        }
        Statement::Delete(delete) => {
            let delete = bind_delete(&delete, &catalog, functions(), &[])?;
            format!("{}{}{}", delete.plan.display_indent(), list(&delete.parameters), returned(&delete.returning))
        }
        other => panic!("not a case for binding: {other:?}"),
    })
}

#[test]
fn statements_have_postgres_s_names_types_and_errors() {
    for file in ["bind.txt", "dml.txt"] {
        golden(file, |sql| describe(sql).unwrap_or_else(|error| show(&error)));
    }
}

#[test]
fn checks_and_defaults_are_typed_for_their_columns() {
    let catalog = catalog();
    let users = crate::Catalog::relation(&catalog, &["users".to_owned()]).expect("no error").expect("users");
    let check = bind_check("age > 0", "users", &users.schema, &catalog, functions()).expect("a check");
    assert_eq!(check.physical(&[]).expect("an expression")[0].to_string(), "age@2 > 0");
    let wrong = bind_check("age + 1", "users", &users.schema, &catalog, functions()).expect_err("not boolean");
    assert_eq!(show(&wrong), "42804: argument of CHECK must be type boolean, not type integer");
    let default = bind_default("'7'", users.schema.field(2), &catalog, functions()).expect("a default");
    assert_eq!(columns(&default.schema), "age integer");
    let wrong = bind_default("nothing", users.schema.field(2), &catalog, functions()).expect_err("no columns");
    assert_eq!(show(&wrong), "42703: column \"nothing\" does not exist at 1");
}

#[test]
fn bound_plans_run() {
    let repeated =
        "SELECT u.id, u.id, count(*), count(*) FROM users u JOIN adults a ON a.id = u.id GROUP BY u.id, u.id";
    let catalog = catalog();
    for (sql, columns) in [
        (repeated, 4),
        ("SELECT 1 INTERSECT SELECT 1.0", 1),
        ("SELECT id FROM users EXCEPT ALL SELECT id::numeric(8,2) FROM users", 1),
        ("SELECT id::numeric(8,2) FROM users INTERSECT ALL SELECT id FROM users", 1),
        ("SELECT DISTINCT n FROM (SELECT 1 AS n UNION ALL SELECT 2.5) t", 1),
    ] {
        let query = crate::parse::parse_query(sql).expect("it parses");
        let bound = bind_query(&query, &catalog, functions(), &[]).expect("it binds");
        let plan = executable(bound.plan).expect("it is executable");
        let state = functions().state();
        let plan = futures_executor(async { state.create_physical_plan(&plan).await });
        assert_eq!(plan.unwrap_or_else(|error| panic!("{sql}: {error}")).schema().fields().len(), columns);
    }
}

#[test]
fn constants_and_parameters_keep_their_types_when_a_plan_is_analysed_again() {
    let catalog = catalog();
    let recursive = "WITH RECURSIVE r (a, b) AS (SELECT 1, 2::int8 UNION ALL SELECT a + 1, b + 1 FROM r WHERE b < $1) \
                     SELECT a, b, b + $1 FROM r";
    for sql in ["VALUES (1, 2::int8, $1)", "SELECT 1, 2::int8, $1", recursive] {
        let query = crate::parse::parse_query(sql).expect("it parses");
        let bound = bind_query(&query, &catalog, functions(), &[Some(SqlType::Int8)]).expect("it binds");
        let plan = with_parameters(bound.plan, vec![5i64.into()]).and_then(executable).expect("it is executable");
        let state = functions().state();
        let plan = futures_executor(async { state.create_physical_plan(&plan).await }).expect("a physical plan");
        let schema = plan.schema();
        let types: Vec<_> = schema.fields().iter().map(|field| sql_type_of(field)).collect();
        assert_eq!(types, [SqlType::Int4, SqlType::Int8, SqlType::Int8], "{sql}");
    }
}

/// Runs a future that never waits.
fn futures_executor<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
