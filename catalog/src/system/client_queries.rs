//! The queries that real clients send, each planned and run over a sample catalog.

use super::sample;
use super::{Snapshot, rewrite, system_functions, system_tables};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as AnyStatement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, Statement, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;
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

async fn run(session: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, String> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(|error| format!("parse: {error}"))?;
    let Some(Statement::Query(mut query)) = statements.pop() else { return Err("no query".to_owned()) };
    name_columns(&mut query);
    rewrite(&mut query);
    let rewritten = query.to_string();
    let statement = AnyStatement::Statement(Box::new(Statement::Query(query)));
    let failed = |step: &str, error: String| format!("{step}: {error}\n  rewritten: {rewritten}");
    let plan = session.state().statement_to_plan(statement).await.map_err(|e| failed("plan", e.to_string()))?;
    let frame = session.execute_logical_plan(plan).await.map_err(|e| failed("execute", e.to_string()))?;
    frame.collect().await.map_err(|e| failed("run", e.to_string()))
}

/// Names the columns that would else be called after what the rewrite makes of them; all names are different.
fn name_columns(query: &mut Query) {
    struct Namer;
    impl VisitorMut for Namer {
        type Break = ();

        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
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
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Namer);
}

/// The queries of a file, with what the lines before each one say of it, OIDs put in.
fn queries(file: &str, snapshot: &Snapshot) -> Vec<String> {
    let mut text = file.to_owned();
    for relation in snapshot.relations() {
        text = text.replace(&format!("{{{}}}", relation.name), &relation.id.to_string());
        for key in relation.keys() {
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
        let command = query.lines().filter(|line| line.starts_with("--")).last().unwrap_or_default().to_owned();
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
