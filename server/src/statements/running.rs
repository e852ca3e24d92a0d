//! Plans that DataFusion runs: on the query threads, under their memory limit, streamed to whoever asked.

use super::context::Context;
use crate::reading::Snapshot;
use crate::session::Session;
use arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::scalar::ScalarValue;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use millrace_functions::clock;
use millrace_planner::{bind::executable, sql_error};
use millrace_types::{EventTime, Result, SqlError};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Batches that a query computes ahead of its reader.
const READ_AHEAD: usize = 2;

/// Rows as they are computed.
pub type Rows = BoxStream<'static, Result<RecordBatch>>;

/// A plan ready to run on one snapshot.
pub struct Runnable {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
}

impl Runnable {
    /// Plans the physical side of a bound plan for a snapshot. The functions are those that the plan was bound with.
    pub async fn new(
        session: &Session,
        context: &Context,
        plan: LogicalPlan,
        snapshot: Arc<Snapshot>,
    ) -> Result<Runnable> {
        let state = session_state(session, context.functions.physical(), snapshot);
        let now = session.database.coordinator.now();
        let plan = executable(at_time(plan, session.transaction.began.unwrap_or(now), now)?)?;
        let plan = match state.create_physical_plan(&plan).await {
            Err(error) if loses_order(&error) => sorted_at_once(&state, &plan).await.map_err(|_| error),
            planned => planned,
        };
        Ok(Runnable { plan: plan.map_err(sql_error)?, context: state.task_ctx() })
    }

    /// The physical plan.
    pub fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.plan
    }

    /// Runs it; rows come as the reader takes them. Dropping the stream ends the query.
    pub fn stream(self, session: &Session) -> Rows {
        let (sender, rows) = mpsc::channel(READ_AHEAD);
        session.database.queries.spawn(async move {
            let mut stream = match execute_stream(self.plan, self.context) {
                Ok(stream) => stream,
                Err(error) => return drop(sender.send(Err(sql_error(error))).await),
            };
            loop {
                let next = tokio::select! {
                    next = stream.next() => next,
                    () = sender.closed() => return,
                };
                let Some(rows) = next else { return };
                if sender.send(rows.map_err(sql_error)).await.is_err() {
                    return;
                }
            }
        });
        receiver_stream(rows)
    }

    /// Runs it to its end, or until the session's statement is cancelled.
    pub async fn collect(self, session: &Session) -> Result<Vec<RecordBatch>> {
        let cancel = session.cancel.clone();
        let rows = self.stream(session).try_collect();
        tokio::select! {
            rows = rows => rows,
            reason = cancel.cancelled() => Err(reason),
        }
    }
}

/// Whether planning failed on DataFusion's own check: it sorts the branches of a UNION each by what is enough there, and
/// then finds that they do not merge.
fn loses_order(error: &DataFusionError) -> bool {
    error.to_string().contains("order requirements")
}

/// The plan with each sort over all rows, after its branches are together.
async fn sorted_at_once(
    state: &SessionState,
    plan: &LogicalPlan,
) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
    let mut state = state.clone();
    state.config_mut().options_mut().optimizer.repartition_sorts = false;
    state.create_physical_plan(plan).await
}

/// A plan in which `now()` and its relatives read the moment at which the transaction began, or the statement: not the
/// machine's clock, which constant folding would read.
fn at_time(plan: LogicalPlan, transaction: EventTime, statement: EventTime) -> Result<LogicalPlan> {
    let literal =
        |at: EventTime| Expr::Literal(ScalarValue::TimestampMicrosecond(Some(at.0), Some("UTC".into())), None);
    let (transaction, statement) = (literal(transaction), literal(statement));
    let moment_of = |expr: &Expr| if clock::is_of_statement(expr) { &statement } else { &transaction };
    let plan = plan.transform_up_with_subqueries(|plan| {
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let read = expr.transform_up(|expr| match clock::at(&expr, moment_of(&expr)) {
                Some(reading) => Ok(Transformed::yes(reading)),
                None => Ok(Transformed::no(expr)),
            })?;
            Ok(if read.transformed { read.update_data(|expr| name.restore(expr)) } else { read })
        })
    });
    plan.map(|plan| plan.data).map_err(sql_error)
}

/// Whether a plan asks what time it is.
pub fn reads_clock(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // Looking at expressions cannot fail.
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found = found || expr.exists(|expr| Ok(clock::is_clock(expr)))?;
            Ok(TreeNodeRecursion::Continue)
        })
    });
    found
}

/// DataFusion's state for one statement: the shared one with the statement's snapshot and the session's time zone.
fn session_state(session: &Session, base: &SessionState, snapshot: Arc<Snapshot>) -> SessionState {
    let mut config = base.config().clone().with_extension(snapshot);
    config.options_mut().execution.time_zone = session.settings.get("TimeZone").ok().map(str::to_owned);
    let mut state = base.clone();
    *state.config_mut() = config;
    state.execution_props_mut().query_execution_start_time = Some(chrono::Utc::now());
    state
}

/// A channel's receiving end as a stream.
pub fn receiver_stream(receiver: mpsc::Receiver<Result<RecordBatch>>) -> Rows {
    futures::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|rows| (rows, receiver)) })
        .boxed()
}

/// A single batch as a stream.
pub fn once(rows: RecordBatch) -> Rows {
    futures::stream::once(async move { Ok::<_, SqlError>(rows) }).boxed()
}
