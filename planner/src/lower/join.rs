//! Joins.
//!
//! The dataflow joins on columns, so keys that are expressions are computed below the join and dropped above it. Joins
//! that ask only whether a partner exists are joins with the different keys of the other side.

use super::expression::Lowering;
use super::node::{self, partitioned_exactly};
use super::project::{filtered, projected};
use super::refuse::in_view;
use crate::error::sql_error;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{DFSchema, JoinType, NullEquality, TableReference};
use datafusion::logical_expr::{Expr as LogicalExpr, ExprSchemable, Join as LogicalJoin};
use datafusion::physical_expr::expressions::{Column, is_null, lit};
use millrace_ir::{Expr, Join, JoinKind, Node, Plan};
use millrace_types::Result;
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
        if join.on.is_empty() {
            return Err(in_view("a join without an equality between columns of both sides"));
        }
        let (left_keys, right_keys): (Vec<_>, Vec<_>) = join.on.iter().cloned().unzip();
        let left = self.side(&join.left, &left_keys)?;
        let right = self.side(&join.right, &right_keys)?;
        match join.join_type {
            JoinType::Inner => self.pairs(join, left, right, JoinKind::Inner),
            JoinType::Left => self.pairs(join, left, right, JoinKind::Left),
            JoinType::Right => self.mirrored(join, left, right),
            JoinType::LeftSemi => self.exists(join, left, right),
            JoinType::RightSemi => self.exists(join, right, left),
            JoinType::LeftAnti => self.not_exists(join, left, right),
            JoinType::RightAnti => self.not_exists(join, right, left),
            JoinType::Full => Err(in_view("FULL JOIN")),
            JoinType::LeftMark | JoinType::RightMark => Err(in_view("EXISTS or IN (subquery) beside OR")),
        }
    }

    fn side(&self, plan: &datafusion::logical_expr::LogicalPlan, keys: &[LogicalExpr]) -> Result<Side> {
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
                named.push((None, Arc::new(field.as_ref().clone().with_name(format!("key {}", exprs.len())))));
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

    /// Pairs of rows with the columns of both logical inputs.
    fn pairs(&self, join: &LogicalJoin, left: Side, right: Side, kind: JoinKind) -> Result<Node> {
        let residual = self.residual(join, &left.names, &right.names)?;
        let right_start = left.node.schema.fields().len();
        let kept: Vec<usize> = (0..left.width).chain((0..right.width).map(|column| right_start + column)).collect();
        let joined = joined(left, right, kind, join.null_equality, residual);
        Ok(keep(joined, &kept, Arc::new(join.schema.as_arrow().clone())))
    }

    /// A right join: a left join of the sides exchanged, with the columns put back.
    fn mirrored(&self, join: &LogicalJoin, left: Side, right: Side) -> Result<Node> {
        let residual = self.residual(join, &right.names, &left.names)?;
        let left_start = right.node.schema.fields().len();
        let kept: Vec<usize> = (0..left.width).map(|column| left_start + column).chain(0..right.width).collect();
        let joined = joined(right, left, JoinKind::Left, join.null_equality, residual);
        Ok(keep(joined, &kept, Arc::new(join.schema.as_arrow().clone())))
    }

    fn residual(&self, join: &LogicalJoin, first: &DFSchema, second: &DFSchema) -> Result<Option<Expr>> {
        let Some(filter) = &join.filter else { return Ok(None) };
        let names = first.join(second).map_err(sql_error)?;
        self.expression(filter, &names).map(Some)
    }

    /// Rows that have a partner: each joins the one row of its key among the other side's different keys.
    fn exists(&self, join: &LogicalJoin, rows: Side, other: Side) -> Result<Node> {
        let other = different_keys(join, other, None)?;
        let kept: Vec<usize> = (0..rows.width).collect();
        let schema = Arc::new(join.schema.as_arrow().clone());
        let joined = joined(rows, other, JoinKind::Inner, join.null_equality, None);
        Ok(keep(joined, &kept, schema))
    }

    /// Rows that have no partner: those for which a left join with the other side's different keys finds none.
    fn not_exists(&self, join: &LogicalJoin, rows: Side, other: Side) -> Result<Node> {
        if join.null_aware {
            return Err(in_view("NOT IN (subquery)").with_hint("Use NOT EXISTS, which NULLs do not change."));
        }
        let other = different_keys(join, other, Some("is there"))?;
        let marker = rows.node.schema.fields().len() + other.node.schema.fields().len() - 1;
        let kept: Vec<usize> = (0..rows.width).collect();
        let schema = Arc::new(join.schema.as_arrow().clone());
        let joined = joined(rows, other, JoinKind::Left, join.null_equality, None);
        let alone = is_null(Arc::new(Column::new("is there", marker))).map_err(sql_error)?;
        Ok(keep(filtered(joined, alone), &kept, schema))
    }
}

/// Whether two expressions are the same column, by place.
fn same_column(a: &Expr, b: &Expr) -> bool {
    match (a.downcast_ref::<Column>(), b.downcast_ref::<Column>()) {
        (Some(a), Some(b)) => a.index() == b.index(),
        _ => false,
    }
}

/// The different keys of one side, with a column that is true in every row if it has a name.
fn different_keys(join: &LogicalJoin, side: Side, marker: Option<&str>) -> Result<Side> {
    if join.filter.is_some() {
        return Err(in_view("EXISTS or IN (subquery) with a condition other than equalities"));
    }
    let exprs: Vec<Expr> = side.keys.iter().map(|key| node::column(&side.node, *key)).collect();
    let mut fields: Vec<FieldRef> = side.keys.iter().map(|key| side.node.schema.fields()[*key].clone()).collect();
    let keys: Vec<usize> = (0..exprs.len()).collect();
    let mut different = node::distinct(projected(side.node, exprs, Arc::new(Schema::new(fields.clone()))));
    if let Some(name) = marker {
        let columns = keys.iter().map(|key| node::column(&different, *key));
        let exprs = columns.chain([lit(true)]).collect();
        fields.push(Arc::new(Field::new(name, DataType::Boolean, false)));
        different = projected(different, exprs, Arc::new(Schema::new(fields)));
    }
    Ok(Side { width: different.schema.fields().len(), node: different, names: DFSchema::empty(), keys })
}

fn joined(left: Side, right: Side, kind: JoinKind, nulls: NullEquality, residual: Option<Expr>) -> Node {
    let (left_keys, right_keys) = (left.keys, right.keys);
    let (left, right) = co_partitioned(left.node, right.node, &left_keys, &right_keys);
    let width = left.schema.fields().len();
    let right_fields = right.schema.fields().iter().map(|field| match kind {
        JoinKind::Inner => field.clone(),
        JoinKind::Left => Arc::new(field.as_ref().clone().with_nullable(true)),
    });
    let fields: Vec<FieldRef> = left.schema.fields().iter().cloned().chain(right_fields).collect();
    Node {
        schema: Arc::new(Schema::new(fields)),
        // A row of a left join that stands alone is taken back when its first partner comes.
        append_only: kind == JoinKind::Inner && left.append_only && right.append_only,
        partitioned_by: left.partitioned_by.clone(),
        unique_key: unique_key(&left, &right, &left_keys, &right_keys, kind, width),
        plan: Plan::Join(Box::new(Join {
            kind,
            left,
            right,
            left_keys,
            right_keys,
            nulls_match: nulls == NullEquality::NullEqualsNull,
            residual,
        })),
    }
}

/// Both sides with rows of equal keys on one worker. Sides that are partitioned by corresponding keys stay.
fn co_partitioned(left: Node, right: Node, left_keys: &[usize], right_keys: &[usize]) -> (Node, Node) {
    let places = |by: &Option<Vec<usize>>, keys: &[usize]| -> Option<Vec<usize>> {
        by.as_ref()?.iter().map(|column| keys.iter().position(|key| key == column)).collect()
    };
    let left_places = places(&left.partitioned_by, left_keys);
    if left_places.is_some() && left_places == places(&right.partitioned_by, right_keys) {
        return (left, right);
    }
    (partitioned_exactly(left, left_keys), partitioned_exactly(right, right_keys))
}

/// Each row of a side that meets at most one partner keeps what identifies it.
fn unique_key(
    left: &Node,
    right: &Node,
    left_keys: &[usize],
    right_keys: &[usize],
    kind: JoinKind,
    width: usize,
) -> Option<Vec<usize>> {
    let within = |key: &Vec<usize>, columns: &[usize]| key.iter().all(|column| columns.contains(column));
    let shifted = |key: &[usize]| key.iter().map(|column| column + width).collect::<Vec<_>>();
    let (left_key, right_key) = (left.unique_key.as_ref()?, right.unique_key.as_ref()?);
    if within(right_key, right_keys) {
        return Some(left_key.clone());
    }
    if kind == JoinKind::Inner && within(left_key, left_keys) {
        return Some(shifted(right_key));
    }
    Some(left_key.iter().copied().chain(shifted(right_key)).collect())
}

/// Some columns of a join under the schema that the logical plan gave them.
fn keep(node: Node, columns: &[usize], schema: Arc<Schema>) -> Node {
    let exprs = columns.iter().map(|column| node::column(&node, *column)).collect();
    projected(node, exprs, schema)
}
