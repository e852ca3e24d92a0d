//! Which columns a key of an object stands for.

use arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What the value of a key is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// The columns that take the value, each with its rank: 2 where the names are the same, 1 where they differ in case
    /// only. A value does not replace one of a higher rank.
    pub columns: Vec<(usize, u8)>,
    /// The node for the keys inside the value, if columns want something from there.
    pub inner: Option<usize>,
}

/// The keys that matter, as a tree of objects: the root is the line, and a column `a.b` also is `b` in the node of `a`.
pub(super) struct Keys {
    nodes: Vec<Node>,
    nothing: Arc<Target>,
}

#[derive(Default)]
struct Node {
    exact: HashMap<Vec<u8>, Arc<Target>>,
    /// By the key in lower case.
    any_case: HashMap<Vec<u8>, Arc<Target>>,
    columns: Vec<usize>,
}

impl Keys {
    /// The node of the line itself.
    pub const ROOT: usize = 0;

    pub fn new(schema: &SchemaRef) -> Keys {
        let mut keys = Keys { nodes: Vec::new(), nothing: Arc::default() };
        let names = schema.fields().iter().enumerate().map(|(slot, field)| (slot, field.name().as_str())).collect();
        keys.add_node(names);
        keys
    }

    /// Adds the node for columns that have these names within it; its index.
    fn add_node(&mut self, names: Vec<(usize, &str)>) -> usize {
        let index = self.nodes.len();
        self.nodes.push(Node { columns: names.iter().map(|(slot, _)| *slot).collect(), ..Node::default() });
        let mut inner: BTreeMap<String, Vec<(usize, &str)>> = BTreeMap::new();
        for (slot, name) in &names {
            if let Some((outer, rest)) = name.split_once('.') {
                inner.entry(outer.to_lowercase()).or_default().push((*slot, rest));
            }
        }
        let inner: HashMap<String, usize> =
            inner.into_iter().map(|(outer, names)| (outer, self.add_node(names))).collect();
        let spellings = names.iter().map(|(_, name)| (*name).to_owned());
        for spelling in spellings.chain(inner.keys().cloned()) {
            let folded = spelling.to_lowercase();
            let target = |rank_of_same: u8| Target {
                columns: names
                    .iter()
                    .filter(|(_, name)| name.to_lowercase() == folded)
                    .map(|(slot, name)| (*slot, if *name == spelling { rank_of_same } else { 1 }))
                    .collect(),
                inner: inner.get(&folded).copied(),
            };
            let (exact, any_case) = (Arc::new(target(2)), Arc::new(target(1)));
            self.nodes[index].exact.insert(spelling.into_bytes(), exact);
            self.nodes[index].any_case.insert(folded.into_bytes(), any_case);
        }
        index
    }

    /// What the value of a key is for.
    pub fn find(&self, node: usize, key: &[u8]) -> Arc<Target> {
        let node = &self.nodes[node];
        if let Some(target) = node.exact.get(key) {
            return target.clone();
        }
        let folded = String::from_utf8_lossy(key).to_lowercase();
        node.any_case.get(folded.as_bytes()).unwrap_or(&self.nothing).clone()
    }

    /// All columns that take values from within a node.
    pub fn columns_under(&self, node: usize) -> &[usize] {
        &self.nodes[node].columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};

    #[test]
    fn keys_match_by_name_then_by_case_and_through_dots() {
        let fields = ["a", "A", "Ä", "x.y.z", "x.y.w", "x.v"].map(|name| Field::new(name, DataType::Utf8View, true));
        let keys = Keys::new(&Arc::new(Schema::new(fields.to_vec())));
        let find = |node, key: &str| keys.find(node, key.as_bytes());
        assert_eq!(find(Keys::ROOT, "a").columns, [(0, 2), (1, 1)]);
        assert_eq!(find(Keys::ROOT, "A").columns, [(0, 1), (1, 2)]);
        assert_eq!(find(Keys::ROOT, "ä").columns, [(2, 1)]);
        assert_eq!(*find(Keys::ROOT, "b"), Target::default());
        assert_eq!(find(Keys::ROOT, "x.v").columns, [(5, 2)]);
        let x = find(Keys::ROOT, "X").inner.unwrap();
        assert_eq!(keys.columns_under(x), [3, 4, 5]);
        assert_eq!(find(x, "v").columns, [(5, 2)]);
        let y = find(x, "y").inner.unwrap();
        assert_eq!(find(y, "Z").columns, [(3, 1)]);
    }
}
