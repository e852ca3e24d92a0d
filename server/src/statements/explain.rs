//! EXPLAIN: of a query how it runs ad hoc, of a view how it is kept up to date.

use super::answer::{rows, text_columns, text_rows};
use super::context::Context;
use super::create_view::maintainable;
use super::emission;
use super::lookup::Lookup;
use super::prepared::Prepared;
use super::running::Runnable;
use super::select;
use crate::coordinator::Published;
use crate::session::Session;
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::displayable;
use millrace_catalog::RelationKind;
use millrace_dataflow::growth::{self, Shown};
use millrace_planner::lower::{self, Emission};
use millrace_planner::parse::{Explain, ExplainTarget, Statement, name_parts, parse_query};
use millrace_types::{RelationId, Result, SqlError, SqlState};
use millrace_wire::{Response, Tag};
use sqlparser::ast::Query;

/// The one column of every EXPLAIN.
pub fn columns() -> SchemaRef {
    text_columns(&["QUERY PLAN"])
}

pub async fn execute(session: &mut Session, explain: &Explain, prepared: &Prepared) -> Result<Response> {
    check_options(explain)?;
    let text = match &explain.target {
        ExplainTarget::Statement(statement) => statement_plan(session, explain, statement, &prepared.text).await?,
        ExplainTarget::Relation(name) => {
            let context = Context::new(session, session.published(), "");
            let relation = context.resolve(&name_parts(name))?.clone();
            let query = relation.kind.query().filter(|_| !matches!(relation.kind, RelationKind::View { .. }));
            let query = query.ok_or_else(|| {
                let message =
                    format!("\"{}\" is a {}, which nothing keeps up to date", relation.name, relation.kind.noun());
                SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
            })?;
            let context = Context::of_definition(session, context.published.clone(), &relation);
            maintained(&context, explain, &*parse_query(query)?, emission::of(relation.kind.options())?)?
        }
    };
    let lines: Vec<_> = text.lines().map(|line| vec![Some(line.to_owned())]).collect();
    Ok(rows(text_rows(&columns(), &lines)?, Tag::plain("EXPLAIN")))
}

async fn statement_plan(session: &mut Session, explain: &Explain, statement: &Statement, text: &str) -> Result<String> {
    let snapshot = session.snapshot();
    let context = Context::new(session, snapshot.published.clone(), text);
    match statement {
        Statement::Query(query) if shown(explain) != Shown::default() => {
            maintained(&context, explain, query, Emission::Changes)
        }
        Statement::Query(query) => ad_hoc(session, &context, explain, query, snapshot).await,
        Statement::CreateMaterializedView(create) => {
            maintained(&context, explain, &create.ast, emission::of(&emission::options(create)?)?)
        }
        Statement::CreateSink(create) => match &create.from {
            millrace_planner::parse::SinkInput::Query { ast, .. } => {
                maintained(&context, explain, ast, Emission::Changes)
            }
            millrace_planner::parse::SinkInput::Relation(name) => {
                let query = parse_query(&format!("SELECT * FROM {name}"))?;
                maintained(&context, explain, &query, Emission::Changes)
            }
        },
        _ => Err(SqlError::unsupported("EXPLAIN of this statement")
            .with_hint("EXPLAIN takes a query, CREATE MATERIALIZED VIEW, CREATE SINK, or MATERIALIZED VIEW name.")),
    }
}

/// Options of EXPLAIN beside ANALYZE and VERBOSE: ours, and those of Postgres that change nothing here.
const OPTIONS: [&str; 10] =
    ["changelog", "state", "format", "costs", "buffers", "timing", "summary", "settings", "wal", "generic_plan"];

fn check_options(explain: &Explain) -> Result<()> {
    for (name, value) in &explain.options {
        if !OPTIONS.contains(&name.as_str()) {
            let message = format!("unrecognized EXPLAIN option \"{name}\"");
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        if name == "format" && !value.eq_ignore_ascii_case("text") {
            return Err(SqlError::unsupported(format!("EXPLAIN (FORMAT {})", value.to_uppercase())));
        }
    }
    Ok(())
}

/// What CHANGELOG and STATE ask for.
fn shown(explain: &Explain) -> Shown {
    let is_on = |option: &str| {
        let value = explain.options.iter().find(|(name, _)| name == option).map(|(_, value)| value.to_lowercase());
        value.is_some_and(|value| !["false", "off", "0"].contains(&value.as_str()))
    };
    Shown { changelog: is_on("changelog"), state: is_on("state") }
}

/// The logical plan, and the dataflow with its fragments; or what its operators emit and keep.
fn maintained(context: &Context, explain: &Explain, query: &Query, emission: Emission) -> Result<String> {
    let bound = maintainable(context, query)?;
    let node = lower::lower_to_emit(&bound, &context.functions, emission)?;
    let job = lower::job(RelationId(0), "explained", node);
    let shown = shown(explain);
    if shown != Shown::default() {
        let keeper = |relation, key: &[usize]| keeper(&context.published, relation, key);
        return Ok(growth::describe(&job.plan, shown, &keeper));
    }
    let plans = lower::explain(&bound, &context.functions, emission)?;
    Ok(format!("{plans}\n\nFragments\n{}", millrace_dataflow::render::describe(&job)))
}

/// The relation, or the index of it, that has a relation's rows by these columns.
fn keeper(published: &Published, relation: RelationId, key: &[usize]) -> Option<RelationId> {
    let indexes = published.catalog.get(relation).into_iter().flat_map(|relation| &relation.indexes);
    let keepers = std::iter::once(relation).chain(indexes.map(|index| index.key.index));
    let keeps = |id: &RelationId| published.models.get(id).is_some_and(|model| !key.is_empty() && model.key() == key);
    keepers.into_iter().find(keeps)
}

async fn ad_hoc(
    session: &mut Session,
    context: &Context,
    explain: &Explain,
    query: &Query,
    snapshot: std::sync::Arc<crate::reading::Snapshot>,
) -> Result<String> {
    let bound = select::bind(context, query, &[])?;
    let lookup =
        Lookup::of(&bound).map(|lookup| format!("Look-up\n{}\n\n", lookup.describe(&context.published.catalog)));
    let logical = lower::readable(bound.plan.clone())?;
    let runnable = Runnable::new(session, context, bound.plan, snapshot).await?;
    let plan = runnable.plan().clone();
    if !explain.analyze {
        let physical = displayable(plan.as_ref()).indent(explain.verbose).to_string();
        return Ok(format!("{}Logical plan\n{logical}\n\nPhysical plan\n{physical}", lookup.unwrap_or_default()));
    }
    let started = std::time::Instant::now();
    let batches = runnable.collect(session).await?;
    let rows: usize = batches.iter().map(|rows| rows.num_rows()).sum();
    let metrics = datafusion::physical_plan::display::DisplayableExecutionPlan::with_metrics(plan.as_ref());
    let elapsed = started.elapsed().as_secs_f64() * 1e3;
    Ok(format!("{}\nRows: {rows}\nExecution Time: {elapsed:.3} ms", metrics.indent(explain.verbose)))
}
