//! Joins.
//!
//! ```text
//! Project      the columns of the query, in its order
//! Join         left to right, or right to left where only the mirrored kind exists
//! Exchange     each side by its keys; without keys everything to one worker
//! Project      keys that are expressions
//! ```
//!
//! The condition is split into keys and a residual by [`Condition`]. Where only the existence of a partner counts and
//! the keys decide it, the other side is its different keys: a second partner then changes nothing.

mod condition;
mod look_up;

use super::expression::Lowering;
use super::node::{self, partitioned_exactly};
use super::project::projected;
use super::refuse::in_view;
use crate::error::sql_error;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use condition::Condition;
use datafusion::common::{DFSchema, JoinType, TableReference};
use datafusion::logical_expr::{Expr as LogicalExpr, ExprSchemable, Join as LogicalJoin, LogicalPlan};
use datafusion::physical_expr::expressions::Column;
use millrace_ir::{Expr, Join, JoinKey, JoinKind, Node, Plan};
use millrace_types::{Result, SqlError};
use std::sync::Arc;

/// One input of a join, with its keys among its columns.
struct Side {
    node: Node,
    /// The names of the node's columns: those of the logical input, then those of computed keys.
    names: DFSchema,
    keys: Vec<usize>,
    /// How many columns the logical input has.
    width: usize,
}

impl Lowering {
    pub fn join(&self, join: &LogicalJoin) -> Result<Node> {
        if join.null_aware {
            return Err(in_view("NOT IN (subquery)").with_hint("Use NOT EXISTS, which NULLs do not change."));
        }
        let condition = Condition::of(join)?;
        let left = self.side("left", &join.left, condition.keys.iter().map(|key| &key.left))?;
        let right = self.side("right", &join.right, condition.keys.iter().map(|key| &key.right))?;
        let (kind, mirrored) = kind(join.join_type);
        let (first, second) = if mirrored { (right, left) } else { (left, right) };
        let residual = condition.residual.map(|residual| {
            let names = first.names.join(&second.names).map_err(sql_error)?;
            self.expression(&residual, &names)
        });
        let residual = residual.transpose()?;
        if condition.as_of_now {
            let kept = kept(join.join_type, &first, &second);
            let nulls_match = condition.keys.iter().map(|key| key.nulls_match);
            let found = look_up::looked_up(kind, mirrored, joined(kind, first, second, nulls_match, residual)?)?;
            return Ok(keep(found, &kept, Arc::new(join.schema.as_arrow().clone())));
        }
        let (kind, second) = match (kind, &residual) {
            (JoinKind::Semi, None) => (JoinKind::Inner, different_keys(second)),
            (JoinKind::Anti | JoinKind::Mark, None) => (kind, different_keys(second)),
            _ => (kind, second),
        };
        let kept = kept(join.join_type, &first, &second);
        let nulls_match = condition.keys.iter().map(|key| key.nulls_match);
        let joined = joined(kind, first, second, nulls_match, residual)?;
        Ok(keep(joined, &kept, Arc::new(join.schema.as_arrow().clone())))
    }

    fn side<'a>(&self, which: &str, plan: &LogicalPlan, keys: impl Iterator<Item = &'a LogicalExpr>) -> Result<Side> {
        let node = self.plan(plan)?;
        let width = node.schema.fields().len();
        let mut exprs: Vec<Expr> = (0..width).map(|index| node::column(&node, index)).collect();
        let mut named: Vec<(Option<TableReference>, FieldRef)> =
            plan.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
        let mut places = vec![];
        for key in keys {
            let expr = self.expression(&key.clone().unalias(), plan.schema())?;
            let known = exprs.iter().position(|other| other.eq(&expr) || same_column(other, &expr));
            places.push(known.unwrap_or(exprs.len()));
            if known.is_none() {
                let (_, field) = key.to_field(plan.schema()).map_err(sql_error)?;
                // The names of both sides stand beside one another in the residual's schema.
                let name = format!("{which} key {}", exprs.len());
                named.push((None, Arc::new(field.as_ref().clone().with_name(name))));
                exprs.push(expr);
            }
        }
        let fields: Vec<FieldRef> = named.iter().map(|(_, field)| field.clone()).collect();
        let names = DFSchema::new_with_metadata(named, Default::default()).map_err(sql_error)?;
        let node = match exprs.len() == width {
            true => node,
            false => projected(node, exprs, Arc::new(Schema::new(fields))),
        };
        Ok(Side { node, names, keys: places, width })
    }
}

/// The kind of a join, and whether its sides change places.
fn kind(join_type: JoinType) -> (JoinKind, bool) {
    match join_type {
        JoinType::Inner => (JoinKind::Inner, false),
        JoinType::Left => (JoinKind::Left, false),
        JoinType::Right => (JoinKind::Left, true),
        JoinType::Full => (JoinKind::Full, false),
        JoinType::LeftSemi => (JoinKind::Semi, false),
        JoinType::RightSemi => (JoinKind::Semi, true),
        JoinType::LeftAnti => (JoinKind::Anti, false),
        JoinType::RightAnti => (JoinKind::Anti, true),
        JoinType::LeftMark => (JoinKind::Mark, false),
        JoinType::RightMark => (JoinKind::Mark, true),
    }
}

/// The columns of the joined node that the query has, in the query's order.
fn kept(join_type: JoinType, first: &Side, second: &Side) -> Vec<usize> {
    let start = first.node.schema.fields().len();
    let own = 0..first.width;
    let others = start..start + second.width;
    match join_type {
        JoinType::Inner | JoinType::Left | JoinType::Full => own.chain(others).collect(),
        JoinType::Right => others.chain(own).collect(),
        JoinType::LeftMark | JoinType::RightMark => own.chain([start]).collect(),
        JoinType::LeftSemi | JoinType::RightSemi | JoinType::LeftAnti | JoinType::RightAnti => own.collect(),
    }
}

/// Whether two expressions are the same column, by place.
fn same_column(a: &Expr, b: &Expr) -> bool {
    match (a.downcast_ref::<Column>(), b.downcast_ref::<Column>()) {
        (Some(a), Some(b)) => a.index() == b.index(),
        _ => false,
    }
}

/// The different keys of one side.
fn different_keys(side: Side) -> Side {
    let exprs: Vec<Expr> = side.keys.iter().map(|key| node::column(&side.node, *key)).collect();
    let fields: Vec<FieldRef> = side.keys.iter().map(|key| side.node.schema.fields()[*key].clone()).collect();
    let width = exprs.len();
    let node = node::distinct(projected(side.node, exprs, Arc::new(Schema::new(fields))));
    Side { node, names: DFSchema::empty(), keys: (0..width).collect(), width }
}

fn joined(
    kind: JoinKind,
    left: Side,
    right: Side,
    nulls_match: impl Iterator<Item = bool>,
    residual: Option<Expr>,
) -> Result<Node> {
    let keys = left.keys.iter().zip(&right.keys).zip(nulls_match);
    let mut keys: Vec<_> =
        keys.map(|((left, right), nulls_match)| JoinKey { left: *left, right: *right, nulls_match }).collect();
    in_order_of_an_input(&mut keys, &left.node, &right.node);
    let (left, right) = co_partitioned(left.node, right.node, &keys);
    let data_type = |node: &Node, column: usize| node.schema.field(column).data_type().clone();
    if let Some(key) = keys.iter().find(|key| data_type(&left, key.left) != data_type(&right, key.right)) {
        return Err(SqlError::internal(format!("a join of two types: {key}")));
    }
    Ok(Node {
        schema: Arc::new(Schema::new(fields(kind, &left, &right))),
        // A row without a partner is taken back, or its flag is, when its first partner comes.
        append_only: matches!(kind, JoinKind::Inner | JoinKind::Semi) && left.append_only && right.append_only,
        // Rows of a full join without a left one have NULL for its keys, on any worker.
        partitioned_by: left.partitioned_by.clone().filter(|by| kind != JoinKind::Full || by.is_empty()),
        unique_key: unique_key(kind, &left, &right, &keys),
        event_time: event_time(kind, &left, &right),
        plan: Plan::Join(Box::new(Join { kind, left, right, keys, residual, closing: [None, None] })),
    })
}

/// The columns of a join's output.
fn fields(kind: JoinKind, left: &Node, right: &Node) -> Vec<FieldRef> {
    let of = |node: &Node, nullable: bool| -> Vec<FieldRef> {
        let field = |field: &FieldRef| match nullable {
            true => Arc::new(field.as_ref().clone().with_nullable(true)),
            false => field.clone(),
        };
        node.schema.fields().iter().map(field).collect()
    };
    match kind {
        JoinKind::Inner => [of(left, false), of(right, false)].concat(),
        JoinKind::Left => [of(left, false), of(right, true)].concat(),
        JoinKind::Full => [of(left, true), of(right, true)].concat(),
        JoinKind::Semi | JoinKind::Anti => of(left, false),
        JoinKind::Mark => [of(left, false), vec![Arc::new(Field::new("mark", DataType::Boolean, false))]].concat(),
    }
}

/// Puts the keys in the order in which they are the key of an input, if they are: a relation that is kept by its key
/// need not be kept by the join again.
fn in_order_of_an_input(keys: &mut [JoinKey], left: &Node, right: &Node) {
    let order = |node: &Node, of: fn(&JoinKey) -> usize| -> Option<Vec<usize>> {
        let unique = node.unique_key.as_ref().filter(|unique| unique.len() == keys.len())?;
        keys.iter().map(|key| unique.iter().position(|column| *column == of(key))).collect()
    };
    let Some(order) = order(right, |key| key.right).or_else(|| order(left, |key| key.left)) else { return };
    let mut placed: Vec<_> = order.into_iter().zip(keys.to_vec()).collect();
    placed.sort_by_key(|(place, _)| *place);
    keys.iter_mut().zip(placed).for_each(|(key, (_, placed))| *key = placed);
}

/// Both sides with rows of equal keys on one worker. Sides that are partitioned by corresponding keys stay.
fn co_partitioned(left: Node, right: Node, keys: &[JoinKey]) -> (Node, Node) {
    let left_keys: &[_] = &keys.iter().map(|key| key.left).collect::<Vec<_>>();
    let right_keys: &[_] = &keys.iter().map(|key| key.right).collect::<Vec<_>>();
    let places = |by: &Option<Vec<usize>>, keys: &[usize]| -> Option<Vec<usize>> {
        by.as_ref()?.iter().map(|column| keys.iter().position(|key| key == column)).collect()
    };
    let left_places = places(&left.partitioned_by, left_keys);
    if left_places.is_some() && left_places == places(&right.partitioned_by, right_keys) {
        return (left, right);
    }
    (partitioned_exactly(left, left_keys), partitioned_exactly(right, right_keys))
}

/// What identifies a row of the output, if that follows from what identifies those of the inputs.
fn unique_key(kind: JoinKind, left: &Node, right: &Node, keys: &[JoinKey]) -> Option<Vec<usize>> {
    let left_key = left.unique_key.as_ref()?;
    if !kind.gives_pairs() {
        return Some(left_key.clone());
    }
    let right_key = right.unique_key.as_ref()?;
    let width = left.schema.fields().len();
    let shifted = || right_key.iter().map(|column| column + width);
    let both = || left_key.iter().copied().chain(shifted()).collect();
    if kind == JoinKind::Full {
        // A left row and a right one, both alone, differ unless all of both keys may be NULL.
        let never_null =
            |node: &Node, key: &[usize]| key.iter().any(|column| !node.schema.field(*column).is_nullable());
        return (never_null(left, left_key) || never_null(right, right_key)).then(both);
    }
    // Each row that meets at most one partner keeps what identifies it.
    if right_key.iter().all(|column| keys.iter().any(|key| key.right == *column)) {
        return Some(left_key.clone());
    }
    if kind == JoinKind::Inner && left_key.iter().all(|column| keys.iter().any(|key| key.left == *column)) {
        return Some(shifted().collect());
    }
    Some(both())
}

/// The event time of either input: watermarks are the minimum of both.
fn event_time(kind: JoinKind, left: &Node, right: &Node) -> Option<usize> {
    let of_right = || right.event_time.filter(|_| kind.gives_pairs()).map(|column| column + left.schema.fields().len());
    left.event_time.or_else(of_right)
}

/// Some columns of a join under the schema that the logical plan gave them.
fn keep(node: Node, columns: &[usize], schema: Arc<Schema>) -> Node {
    let exprs = columns.iter().map(|column| node::column(&node, *column)).collect();
    projected(node, exprs, schema)
}
