//! Inputs of joins that are relations kept by the join's key, in their own read model or in that of an index: their
//! rows are borrowed.

use super::Rendering;
use crate::state::Borrowed;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::expressions::Column;
use millrace_ir::{Expr, Join, Node, Plan};
use millrace_types::RelationId;

/// A relation whose rows are lent to an operator.
pub struct Loan {
    /// The job that keeps them.
    pub keeper: RelationId,
    pub borrowed: Borrowed,
}

/// The job whose read model has the rows of a relation by a key, if there is one.
pub type Keeper<'a> = &'a dyn Fn(RelationId, &[usize]) -> Option<RelationId>;

impl Rendering<'_> {
    /// The inputs of a join that are relations kept by the join's key.
    pub(super) fn loans(&mut self, node: &Node) -> [Option<Borrowed>; 2] {
        let Plan::Join(join) = &node.plan else { return [None, None] };
        borrowable(join, self.keeper).map(|borrowable| {
            let Borrowable { keeper, columns, schema, key, .. } = borrowable?;
            let borrowed = Borrowed::new(columns, schema, key);
            self.graph.loans.push(Loan { keeper, borrowed: borrowed.clone() });
            Some(borrowed)
        })
    }
}

/// An input of a join whose rows another job keeps by the join's key.
pub(crate) struct Borrowable<'a> {
    keeper: RelationId,
    /// The relation's name.
    pub name: &'a str,
    columns: Vec<usize>,
    schema: SchemaRef,
    key: Vec<usize>,
}

/// Which inputs of a join are borrowed.
pub(crate) fn borrowable<'a>(join: &'a Join, keeper: Keeper) -> [Option<Borrowable<'a>>; 2] {
    let keys: [Vec<usize>; 2] =
        [join.keys.iter().map(|key| key.left).collect(), join.keys.iter().map(|key| key.right).collect()];
    let [left, right] = keys;
    [(&join.left, left), (&join.right, right)].map(|(input, key)| {
        let (relation, name, columns) = relation_by(input, &key)?;
        let of_relation: Vec<usize> = key.iter().map(|&key| columns[key]).collect();
        let keeper = keeper(relation, &of_relation)?;
        Some(Borrowable { keeper, name, columns, schema: input.schema.clone(), key })
    })
}

/// Whether both inputs of a join are the same columns of one relation by the same key.
pub(crate) fn is_self_join(join: &Join) -> bool {
    let (left, right): (Vec<_>, Vec<_>) = join.keys.iter().map(|key| (key.left, key.right)).unzip();
    let of_left = relation_by(&join.left, &left);
    left == right && of_left.is_some() && of_left == relation_by(&join.right, &right)
}

/// The relation that an input of a join is, its name, and its columns in the order of the input; `None` when the input is
/// something else, or is not moved to where its key is.
fn relation_by<'a>(input: &'a Node, keys: &[usize]) -> Option<(RelationId, &'a str, Vec<usize>)> {
    match &input.plan {
        Plan::Exchange { input, keys: by } if by == keys => relation(input),
        _ => None,
    }
}

fn relation(node: &Node) -> Option<(RelationId, &str, Vec<usize>)> {
    match &node.plan {
        Plan::Input { relation, name, columns, .. } => Some((*relation, name, columns.clone())),
        Plan::Project { input, exprs } => {
            let (relation, name, columns) = relation(input)?;
            let column = |expr: &Expr| Some(columns[expr.downcast_ref::<Column>()?.index()]);
            Some((relation, name, exprs.iter().map(column).collect::<Option<_>>()?))
        }
        _ => None,
    }
}
