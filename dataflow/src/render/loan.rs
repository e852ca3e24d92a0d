//! Inputs of joins that are relations kept by the join's key, in their own read model or in that of an index: their
//! rows are borrowed.

use super::Rendering;
use crate::state::Borrowed;
use datafusion::physical_expr::expressions::Column;
use millrace_ir::{Expr, Node, Plan};
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
        let keys: [Vec<usize>; 2] =
            [join.keys.iter().map(|key| key.left).collect(), join.keys.iter().map(|key| key.right).collect()];
        let [left, right] = keys;
        [(&join.left, left), (&join.right, right)].map(|(input, key)| {
            let (relation, columns) = relation_by(input, &key)?;
            let borrowed = Borrowed::new(columns, input.schema.clone(), key);
            let keeper = (self.keeper)(relation, &borrowed.relation_key())?;
            self.graph.loans.push(Loan { keeper, borrowed: borrowed.clone() });
            Some(borrowed)
        })
    }
}

/// The relation that an input of a join is, and its columns in the order of the input; `None` when the input is
/// something else, or is not moved to where its key is.
fn relation_by(input: &Node, keys: &[usize]) -> Option<(RelationId, Vec<usize>)> {
    match &input.plan {
        Plan::Exchange { input, keys: by } if by == keys => relation(input),
        _ => None,
    }
}

fn relation(node: &Node) -> Option<(RelationId, Vec<usize>)> {
    match &node.plan {
        Plan::Input { relation, columns, .. } => Some((*relation, columns.clone())),
        Plan::Project { input, exprs } => {
            let (relation, columns) = relation(input)?;
            let column = |expr: &Expr| Some(columns[expr.downcast_ref::<Column>()?.index()]);
            Some((relation, exprs.iter().map(column).collect::<Option<_>>()?))
        }
        _ => None,
    }
}
