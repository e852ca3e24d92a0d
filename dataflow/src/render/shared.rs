//! Subtrees that stand more than once in a plan, such as a CTE that is read twice: they run once.

use super::describe::state_of;
use millrace_ir::Node;
use std::collections::HashMap;

/// Which subtrees of a plan several nodes read. Those without state are left out: to run them again costs less than to
/// hand their rows round, and a join sees what it can borrow.
pub(crate) struct Shared {
    /// For each node of the plan, by its address, the number that it shares with all that are equal to it.
    number_of: HashMap<*const Node, usize>,
    /// By number, whether the subtree is shared.
    is_shared: Vec<bool>,
}

/// A subtree and its number.
type Numbered<'a> = (&'a Node, usize);

/// Equal subtrees are found from the leaves up: only those with equal heads over equal inputs are compared.
#[derive(Default)]
struct Numbering<'a> {
    number_of: HashMap<*const Node, usize>,
    /// The different subtrees by their heads and the numbers of their inputs.
    known: HashMap<(String, Vec<usize>), Vec<Numbered<'a>>>,
    /// By number, from how many places of different subtrees it is read.
    readers: Vec<usize>,
    keeps_state: Vec<bool>,
}

impl Shared {
    /// Finds the shared subtrees of the plan below `root`.
    pub fn of(root: &Node) -> Shared {
        let mut numbering = Numbering::default();
        numbering.number(root);
        let Numbering { number_of, readers, keeps_state, .. } = numbering;
        let is_shared = readers.iter().zip(&keeps_state).map(|(readers, state)| *readers > 1 && *state).collect();
        Shared { number_of, is_shared }
    }

    /// The number of the subtree below `node`, if it is shared.
    pub fn number(&self, node: &Node) -> Option<usize> {
        self.number_of.get(&std::ptr::from_ref(node)).copied().filter(|number| self.is_shared[*number])
    }
}

impl<'a> Numbering<'a> {
    fn number(&mut self, node: &'a Node) -> usize {
        let inputs: Vec<usize> = node.inputs().into_iter().map(|input| self.number(input)).collect();
        let next = self.readers.len();
        let alike = self.known.entry((node.head().to_string(), inputs.clone())).or_default();
        let number = match alike.iter().find(|(known, _)| *known == node) {
            Some((_, number)) => *number,
            None => {
                alike.push((node, next));
                let keeps_state = state_of(node).is_some() || inputs.iter().any(|input| self.keeps_state[*input]);
                inputs.into_iter().for_each(|input| self.readers[input] += 1);
                self.readers.push(0);
                self.keeps_state.push(keeps_state);
                next
            }
        };
        self.number_of.insert(node, number);
        number
    }
}
