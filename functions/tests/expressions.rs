//! Every line of `expressions.txt` gives what PostgreSQL 15 gives, through a session and as a physical expression.
//!
//! A line is `expression ==> answer`: the answer is the text of the value, `NULL`, or `ERROR state: message`. Answers
//! were written by PostgreSQL (`TimeZone = UTC`, `lc_collate = C`), none by hand. `EXPRESSIONS=file` reads another file.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::parser::Parser;
use millrace_functions::{
    PostgresDialect, format::text_of, postgres_syntax, session_config, session_state, session_zone, sql_error_of,
};
use std::sync::Arc;

fn shown(array: &ArrayRef, field: &Field) -> String {
    if array.is_null(0) || array.data_type() == &DataType::Null {
        return "NULL".to_owned();
    }
    if array.data_type() == &DataType::Boolean {
        return if array.as_boolean().value(0) { "t" } else { "f" }.to_owned();
    }
    let zone = session_zone(session_config().options()).unwrap();
    text_of(array, field, &zone).unwrap().value(0).to_owned()
}

fn failed(error: DataFusionError) -> String {
    let error = sql_error_of(error);
    format!("ERROR {}: {}", error.state(), error.message())
}

async fn planned(context: &SessionContext, expression: &str) -> datafusion::common::Result<LogicalPlan> {
    let state = context.state();
    let parsed = Parser::parse_sql(&PostgresDialect, &format!("SELECT {expression}"));
    let mut statement = parsed.map_err(|error| DataFusionError::SQL(Box::new(error), None))?.remove(0);
    postgres_syntax(&mut statement);
    state.statement_to_plan(Statement::Statement(Box::new(statement))).await
}

/// The answer of a session: planned, optimized and run.
async fn by_session(context: &SessionContext, expression: &str) -> String {
    let run = async {
        let plan = planned(context, expression).await?;
        let batches = context.execute_logical_plan(plan).await?.collect().await?;
        let batch = batches.into_iter().find(|batch| batch.num_rows() > 0);
        datafusion::common::Result::Ok(batch.map(|b| shown(b.column(0), b.schema().field(0))).unwrap_or_default())
    };
    run.await.unwrap_or_else(failed)
}

/// The answer of the expression alone, analyzed but not optimized; `None` where it needs a plan (subqueries, windows).
async fn by_expression(context: &SessionContext, expression: &str) -> Option<String> {
    let state = context.state();
    let plan = planned(context, expression).await;
    let analyzed = plan.and_then(|plan| state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {}));
    let plan = match analyzed {
        Ok(plan) => plan,
        Err(error) => return Some(failed(error)),
    };
    let LogicalPlan::Projection(projection) = plan else {
        return None;
    };
    let LogicalPlan::EmptyRelation(_) = projection.input.as_ref() else {
        return None;
    };
    let one: &Expr = &projection.expr[0];
    let physical = state.create_physical_expr(one.clone(), projection.input.schema()).ok()?;
    let schema = Arc::new(Schema::empty());
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let batch = RecordBatch::try_new_with_options(schema.clone(), vec![], &options).unwrap();
    let field = physical.return_field(&schema).unwrap();
    let value = physical.evaluate(&batch).and_then(|value| value.into_array(3));
    Some(value.map_or_else(failed, |array| shown(&array, &field)))
}

#[tokio::test]
async fn expressions_give_what_postgres_gives() {
    let context = SessionContext::new_with_state(session_state(session_config()).unwrap());
    let (mut checked, mut wrong) = (0, Vec::new());
    let lines = match std::env::var("EXPRESSIONS") {
        Ok(file) => std::fs::read_to_string(file).unwrap(),
        Err(_) => include_str!("expressions.txt").to_owned(),
    };
    for line in lines.lines().filter(|line| !line.is_empty() && !line.starts_with("--")) {
        let (expression, expected) = line.split_once(" ==> ").unwrap();
        let (session, asked) = (context.clone(), expression.to_owned());
        let answers = tokio::spawn(async move {
            let mut answers = vec![by_session(&session, &asked).await];
            if !asked.contains("SELECT") {
                answers.extend(by_expression(&session, &asked).await);
            }
            answers
        });
        let answers = answers.await.unwrap_or_else(|panic| vec![panic.to_string()]);
        checked += answers.len();
        let differs = answers.iter().find(|answer| *answer != expected);
        wrong.extend(differs.map(|answer| format!("{expression}\n  expected {expected}\n  got      {answer}")));
    }
    assert!(checked > 0, "nothing compared");
    assert!(wrong.is_empty(), "{} wrong of {checked}:\n{}", wrong.len(), wrong.join("\n"));
}
