//! The plan node that makes rows of arrays, and how DataFusion runs it.

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{Column, DFSchema, DFSchemaRef, NullHandling, Result, UnnestOptions, plan_err};
use datafusion::execution::context::QueryPlanner as Planning;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::unnest::{ListUnnest, UnnestExec};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

/// Each row as often as its longest array has elements, with the elements in place of the arrays, NULL where an array
/// is shorter.
///
/// ```text
///   id | a      b             id | a    b
///   1  | {x,y}  {7}     ->    1  | x    7
///   2  | {}     NULL          1  | y    NULL
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unnest {
    input: LogicalPlan,
    /// The columns of arrays.
    lists: Vec<Column>,
    /// The columns of their elements. Other names than those of the arrays: to an optimizer, columns of one name are
    /// the same below and above a node.
    elements: Vec<Column>,
    /// Whether a row all of whose arrays are empty or NULL stays, with NULLs.
    outer: bool,
    schema: DFSchemaRef,
}

impl Unnest {
    /// Unnests the columns `lists` of `input` into columns `elements`.
    ///
    /// # Errors
    /// When a column is not there or holds no arrays.
    pub fn try_new(input: LogicalPlan, lists: Vec<Column>, elements: Vec<Column>, outer: bool) -> Result<Unnest> {
        let mut fields = Vec::with_capacity(input.schema().fields().len());
        for (qualifier, field) in input.schema().iter() {
            let column = Column::from((qualifier, field));
            let element = lists.iter().position(|list| *list == column).and_then(|at| elements.get(at));
            fields.push(match (element, field.data_type()) {
                (None, _) => (qualifier.cloned(), field.clone()),
                (Some(column), DataType::List(element)) => {
                    let element = element.as_ref().clone().with_name(&column.name).with_nullable(true);
                    (column.relation.clone(), Arc::new(element))
                }
                (Some(_), other) => return plan_err!("cannot unnest a column of {other}"),
            });
        }
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(Unnest { input, lists, elements, outer, schema: Arc::new(schema) })
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node that a plan is, if it is one.
    pub fn of(plan: &LogicalPlan) -> Option<&Unnest> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// What the arrays are columns of.
    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// The columns of arrays.
    pub fn lists(&self) -> &[Column] {
        &self.lists
    }

    /// The columns of their elements.
    pub fn elements(&self) -> &[Column] {
        &self.elements
    }

    /// Whether a row all of whose arrays are empty or NULL stays, with NULLs.
    pub fn is_outer(&self) -> bool {
        self.outer
    }

    /// The places of the arrays among the columns.
    ///
    /// # Errors
    /// When a column is not there.
    pub fn places(&self) -> Result<Vec<usize>> {
        self.lists.iter().map(|column| self.input.schema().index_of_column(column)).collect()
    }
}

impl PartialOrd for Unnest {
    fn partial_cmp(&self, other: &Unnest) -> Option<Ordering> {
        self.lists.partial_cmp(&other.lists)
    }
}

impl UserDefinedLogicalNodeCore for Unnest {
    fn name(&self) -> &str {
        "Unnest"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.lists.iter().cloned().map(Expr::Column).collect()
    }

    /// A condition on other columns holds before as after.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.elements.iter().map(|column| column.name.clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let lists: Vec<_> = self.lists.iter().map(|column| column.flat_name()).collect();
        write!(f, "{}: {}", if self.outer { "OuterUnnest" } else { "Unnest" }, lists.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Unnest> {
        let columns = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => plan_err!("cannot unnest {other}"),
        });
        let columns = columns.collect::<Result<_>>()?;
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Unnest::try_new(input, columns, self.elements.clone(), self.outer),
            _ => plan_err!("Unnest has one input"),
        }
    }

    /// The columns asked for; those of arrays are needed for how many rows there are, too.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed: Vec<usize> = output_columns.iter().copied().chain(self.places().ok()?).collect();
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// DataFusion's planner of physical plans, with [`Unnest`].
#[derive(Debug)]
pub struct QueryPlanner;

#[async_trait]
impl Planning for QueryPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, state: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Unnesting)]);
        planner.create_physical_plan(plan, state).await
    }
}

struct Unnesting;

#[async_trait]
impl ExtensionPlanner for Unnesting {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(unnest), [input]) = (node.as_any().downcast_ref::<Unnest>(), physical_inputs) else {
            return Ok(None);
        };
        let list = |index| ListUnnest { index_in_input_schema: index, depth: 1 };
        let lists = unnest.places()?.into_iter().map(list).collect();
        let nulls = if unnest.outer { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
        let schema = unnest.schema.inner().clone();
        let options = UnnestOptions::new().with_null_handling(nulls);
        Ok(Some(Arc::new(UnnestExec::new(input.clone(), lists, vec![], schema, options)?)))
    }
}
