//! The queries that real clients send, each planned and run over a sample catalog.

use super::sample;
use super::{Snapshot, rewrite, system_functions, system_tables};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as AnyStatement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::sync::Arc;

fn session(snapshot: Arc<Snapshot>) -> SessionContext {
    let config = millrace_functions::session_config().with_default_catalog_and_schema("millrace", "public");
    let state = millrace_functions::session_state(config.with_target_partitions(1)).unwrap();
    let session = SessionContext::new_with_state(state);
    let catalog = MemoryCatalogProvider::new();
    for (name, schema) in system_tables(snapshot.clone()) {
        catalog.register_schema(name, schema as Arc<dyn SchemaProvider>).unwrap();
    }
    session.register_catalog("millrace", Arc::new(catalog));
    for function in system_functions(snapshot) {
        session.register_udf(function);
    }
    session
}

async fn plan(session: &SessionContext, sql: &str) -> Result<LogicalPlan, String> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(|error| format!("parse: {error}"))?;
    let Some(Statement::Query(mut query)) = statements.pop() else { return Err("no query".to_owned()) };
    name_columns(&mut query);
    rewrite(&mut query);
    millrace_functions::sets::functions_in_from(&mut query);
    let rewritten = query.to_string();
    let statement = AnyStatement::Statement(Box::new(Statement::Query(query)));
    let planned = session.state().statement_to_plan(statement).await;
    let planned = planned.and_then(millrace_functions::sets::into_rows);
    planned.map_err(|error| format!("plan: {error}\n  rewritten: {rewritten}"))
}

async fn run(session: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, String> {
    let plan = plan(session, sql).await?;
    let frame = session.execute_logical_plan(plan).await.map_err(|error| format!("execute: {error}"))?;
    frame.collect().await.map_err(|error| format!("run: {error}"))
}

/// Names the columns that would else be called after what the rewrite makes of them; all names are different.
fn name_columns(query: &mut Query) {
    millrace_functions::each_select(query, |select| {
        for (position, item) in select.projection.iter_mut().enumerate() {
            match item {
                SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => {}
                SelectItem::UnnamedExpr(expr) => {
                    let alias = Ident::new(format!("column_{}", position + 1));
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
                _ => {}
            }
        }
    });
}

/// The queries of a file, with what the lines before each one say of it, OIDs put in.
fn queries(file: &str, snapshot: &Snapshot) -> Vec<String> {
    let mut text = file.to_owned();
    for relation in snapshot.relations() {
        text = text.replace(&format!("{{{}}}", relation.name), &relation.id.to_string());
        for key in relation.index_keys() {
            text = text.replace(&format!("{{{}}}", key.name), &key.index.to_string());
        }
    }
    text.split(";\n").map(str::trim).filter(|query| !query.is_empty()).map(str::to_owned).collect()
}

async fn check(file: &str) {
    let snapshot = Arc::new(sample::snapshot());
    let session = session(snapshot.clone());
    let mut failures = Vec::new();
    let queries = queries(file, &snapshot);
    assert!(!queries.is_empty());
    for query in &queries {
        if let Err(error) = run(&session, query).await {
            failures.push(format!("{query}\n  {error}"));
        }
    }
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), queries.len(), failures.join("\n\n"));
}

macro_rules! client {
    ($($test:ident = $file:literal),* $(,)?) => {
        $(#[tokio::test]
        async fn $test() {
            check(include_str!(concat!("../../tests/queries/", $file))).await;
        })*
    };
}

client! {
    psql = "psql.sql",
    psycopg = "psycopg.sql",
    asyncpg = "asyncpg.sql",
    sqlalchemy = "sqlalchemy.sql",
    pgjdbc = "pgjdbc.sql",
    postgres_js = "postgres-js.sql",
}

/// What psql's commands show of the sample catalog, reviewed once by eye; `UPDATE=1` writes it anew.
#[tokio::test]
async fn psql_shows_what_it_showed() {
    let snapshot = Arc::new(sample::snapshot());
    let session = session(snapshot.clone());
    let mut shown = String::new();
    for query in queries(include_str!("../../tests/queries/psql.sql"), &snapshot) {
        let command = query.lines().rfind(|line| line.starts_with("--")).unwrap_or_default().to_owned();
        let batches = run(&session, &query).await.unwrap();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let table = match rows {
            0 => "(no rows)".to_owned(),
            1..40 => pretty_format_batches(&batches).unwrap().to_string(),
            _ => format!("({rows} rows)"),
        };
        shown.push_str(&format!("{command}\n{table}\n\n"));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/queries/psql.expected");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(path).unwrap());
}

async fn shown(sql: &str) -> String {
    let snapshot = Arc::new(sample::snapshot());
    let query = queries(sql, &snapshot).remove(0);
    let batches = run(&session(snapshot), &query).await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

#[tokio::test]
async fn relations_are_listed_as_what_they_are() {
    let shown =
        shown("SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1").await;
    let expected = "\
+--------------------+---------+
| relname            | relkind |
+--------------------+---------+
| bids               | f       |
| open_orders        | v       |
| orders             | r       |
| orders_pkey        | i       |
| orders_version_key | i       |
| out                | f       |
| totals             | m       |
+--------------------+---------+";
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_driver_finds_the_primary_key() {
    let shown = shown(
        "SELECT result.column_name, result.key_seq, result.pk_name FROM (SELECT a.attname AS column_name, \
         (information_schema._pg_expandarray(i.indkey)).n AS key_seq, ci.relname AS pk_name, \
         information_schema._pg_expandarray(i.indkey) AS keys, a.attnum AS a_attnum FROM pg_catalog.pg_class ct \
         JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid) JOIN pg_catalog.pg_index i ON (a.attrelid = i.indrelid) \
         JOIN pg_catalog.pg_class ci ON (ci.oid = i.indexrelid) WHERE ct.relname = 'orders' AND i.indisprimary) result \
         WHERE result.a_attnum = (result.keys).x ORDER BY result.key_seq",
    )
    .await;
    let expected = "\
+-------------+---------+-------------+
| column_name | key_seq | pk_name     |
+-------------+---------+-------------+
| id          | 1       | orders_pkey |
+-------------+---------+-------------+";
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn names_and_numbers_of_objects_stand_for_each_other() {
    let shown = shown(
        "SELECT 'orders'::regclass, 'orders'::regclass::oid = {orders} AS number, 16384::regclass::text AS name, \
         'public.orders'::regclass = to_regclass('ORDERS') AS folded, to_regclass('nosuch') IS NULL AS missing, \
         'integer'::regtype AS type, '_text'::regtype::oid AS array_oid, 'pg_class'::regclass::oid AS system",
    )
    .await;
    let expected = "\
+----------+--------+--------+--------+---------+---------+-----------+--------+
| column_1 | number | name   | folded | missing | type    | array_oid | system |
+----------+--------+--------+--------+---------+---------+-----------+--------+
| orders   | true   | orders | true   | true    | integer | 1009      | 1259   |
+----------+--------+--------+--------+---------+---------+-----------+--------+";
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_subquery_that_finds_nothing_is_null() {
    let shown = shown(
        "SELECT a.attname, (SELECT 'default: ' || d.adbin FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND \
         d.adnum = a.attnum) AS default FROM pg_attribute a WHERE a.attrelid = {orders} AND a.attnum < 3 ORDER BY 1",
    )
    .await;
    let expected = "\
+---------+----------------+
| attname | default        |
+---------+----------------+
| id      |                |
| state   | default: 'new' |
+---------+----------------+";
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn what_does_not_exist_is_told_as_postgres_tells_it() {
    let session = session(Arc::new(sample::snapshot()));
    for (sql, message) in [
        ("SELECT 'nosuch'::regclass", "relation \"nosuch\" does not exist"),
        ("SELECT 'nosuch'::regtype", "type \"nosuch\" does not exist"),
        ("SELECT current_setting('nosuch')", "unrecognized configuration parameter \"nosuch\""),
        ("SELECT pg_table_is_visible()", "function pg_table_is_visible() does not exist"),
        ("SELECT has_table_privilege('nosuch', 'select')", "relation \"nosuch\" does not exist"),
    ] {
        let error = run(&session, sql).await.unwrap_err();
        assert!(error.contains(message), "{sql}: {error}");
    }
}

/// Drivers send what they look for as parameters whose types they leave to the server.
#[tokio::test]
async fn parameters_may_stand_where_names_and_numbers_do() {
    use datafusion::common::ScalarValue;
    let session = session(Arc::new(sample::snapshot()));
    for (sql, parameter) in [
        ("SELECT oid::regtype::text FROM pg_type t WHERE t.oid = to_regtype($1)", ScalarValue::from("int4")),
        ("SELECT relname FROM pg_class WHERE oid = $1", ScalarValue::UInt32(Some(16_384))),
        ("SELECT relname FROM pg_class WHERE relname = $1", ScalarValue::from("orders")),
        ("SELECT relname FROM pg_class WHERE oid = $1::regclass", ScalarValue::from("orders")),
    ] {
        let plan = plan(&session, sql).await.unwrap().with_param_values(vec![parameter]).unwrap();
        let batches = session.execute_logical_plan(plan).await.unwrap().collect().await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1, "{sql}");
    }
}
