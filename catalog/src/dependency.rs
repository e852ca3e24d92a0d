//! What a DROP takes with it: the objects that depend on its targets, found before anything is dropped.

use crate::catalog::Catalog;
use crate::change::refuse_system_schema;
use crate::definition::Relation;
use millrace_types::{RelationId, Result, SqlError, SqlState};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a DROP does about objects that need what it drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropBehavior {
    /// It fails.
    Restrict,
    /// It drops them too.
    Cascade,
}

/// One dependent object, beside the object that it needs: a line of the DETAIL.
struct Dependent {
    id: RelationId,
    line: String,
}

impl Catalog {
    /// The relations that dropping `targets` drops, in an order in which each one can go: dependents before what they
    /// need. With RESTRICT it fails with 2BP01 when others than the targets would have to go.
    pub fn plan_drop(&self, targets: &[RelationId], behavior: DropBehavior) -> Result<Vec<RelationId>> {
        let dependents = self.dependents(targets);
        let referring = self.referring_lines(targets);
        if behavior == DropBehavior::Restrict && !(dependents.is_empty() && referring.is_empty()) {
            let what = match targets {
                [one] => self.get(*one).map_or_else(|| format!("relation {one}"), |r| description(r)),
                _ => "desired object(s)".to_owned(),
            };
            return Err(refusal(
                &what,
                targets.len(),
                dependents.into_iter().map(|dependent| dependent.line).chain(referring),
            ));
        }
        let mut all: BTreeSet<_> =
            targets.iter().copied().chain(dependents.iter().map(|dependent| dependent.id)).collect();
        all.extend(self.owned_by(&all.iter().copied().collect::<Vec<_>>()));
        Ok(self.in_drop_order(all))
    }

    /// Postgres's words for a relation in a message about dependencies; none for what goes with something else.
    pub fn describe(&self, id: RelationId) -> Option<String> {
        self.get(id).filter(|relation| relation.owner_table().is_none()).map(|relation| description(relation))
    }

    /// The sequences that go with tables.
    fn owned_by(&self, tables: &[RelationId]) -> Vec<RelationId> {
        let is_owned = |relation: &&Arc<Relation>| relation.owner_table().is_some_and(|table| tables.contains(&table));
        self.relations().filter(is_owned).map(|relation| relation.id).collect()
    }

    /// The relations that DROP SCHEMA drops before the schema itself, in order. With RESTRICT the schema must be empty.
    pub fn plan_drop_schema(&self, name: &str, behavior: DropBehavior) -> Result<Vec<RelationId>> {
        self.check_schema(name)?;
        refuse_system_schema(name)?;
        let members: Vec<_> = self.relations().filter(|relation| relation.schema == name).collect();
        if behavior == DropBehavior::Restrict && !members.is_empty() {
            let line = |relation: &Relation| format!("{} depends on schema {name}", description(relation));
            return Err(refusal(&format!("schema {name}"), 1, members.into_iter().map(|relation| line(relation))));
        }
        let targets: Vec<_> = members.iter().map(|relation| relation.id).collect();
        self.plan_drop(&targets, DropBehavior::Cascade)
    }

    /// "constraint c on table t depends on table u" for each foreign key of other tables that refers to `targets`.
    fn referring_lines(&self, targets: &[RelationId]) -> Vec<String> {
        let others = self.relations().filter(|relation| !targets.contains(&relation.id));
        let keys = others.flat_map(|relation| relation.foreign_keys().iter().map(move |key| (relation, key)));
        let lines = keys.filter(|(_, key)| targets.contains(&key.table)).filter_map(|(relation, key)| {
            let table = self.describe(key.table)?;
            Some(format!("constraint {} on table {} depends on {table}", key.name, relation.name))
        });
        lines.collect()
    }

    /// "view v depends on table t" for each object that dropping `targets` would take with it: what the NOTICE of a
    /// cascade and the DETAIL of a refusal say.
    pub fn dependent_lines(&self, targets: &[RelationId]) -> Vec<String> {
        self.dependents(targets).into_iter().map(|dependent| dependent.line).collect()
    }

    fn dependents(&self, targets: &[RelationId]) -> Vec<Dependent> {
        let mut seen: BTreeSet<_> = targets.iter().copied().collect();
        let mut reached: Vec<_> = targets.to_vec();
        let mut dependents = Vec::new();
        let mut next = 0;
        while let Some(&needed) = reached.get(next) {
            next += 1;
            let Some(needed) = self.get(needed) else { continue };
            for relation in self.relations().filter(|relation| relation.depends_on.contains(&needed.id)) {
                if seen.insert(relation.id) {
                    let line = match relation.kind {
                        // A table needs a sequence for the default of a column.
                        crate::RelationKind::Table(_) => format!(
                            "default value of a column of {} depends on {}",
                            description(relation),
                            description(needed)
                        ),
                        _ => format!("{} depends on {}", description(relation), description(needed)),
                    };
                    dependents.push(Dependent { id: relation.id, line });
                    reached.push(relation.id);
                }
            }
        }
        dependents
    }

    /// Every relation, each after those that it needs.
    pub fn in_order_of_need(&self) -> Vec<Arc<Relation>> {
        let order = self.in_drop_order(self.relations.keys().copied().collect());
        order.iter().rev().filter_map(|id| self.get(*id).cloned()).collect()
    }

    /// The relations that need `id`, directly or not, each after those that it needs.
    pub fn dependents_in_order(&self, id: RelationId) -> Vec<Arc<Relation>> {
        let dependents = self.dependents(&[id]).into_iter().map(|dependent| dependent.id).collect();
        self.in_drop_order(dependents).iter().rev().filter_map(|id| self.get(*id).cloned()).collect()
    }

    /// A relation is made after what it needs, except where CREATE OR REPLACE made it need something younger; so ids
    /// alone are no order, and the dependencies are walked.
    fn in_drop_order(&self, all: BTreeSet<RelationId>) -> Vec<RelationId> {
        let mut order = Vec::with_capacity(all.len());
        let mut left = all;
        while !left.is_empty() {
            let needed: BTreeSet<_> =
                left.iter().filter_map(|id| self.get(*id)).flat_map(|relation| relation.depends_on.clone()).collect();
            let (kept, free): (BTreeSet<_>, BTreeSet<_>) = left.iter().partition(|id| needed.contains(id));
            if free.is_empty() {
                order.extend(kept);
                break;
            }
            order.extend(free.into_iter().rev());
            left = kept;
        }
        order
    }
}

/// Postgres's words for an object in a message about dependencies.
fn description(relation: &Relation) -> String {
    let name = match relation.schema.as_str() {
        crate::DEFAULT_SCHEMA => relation.name.clone(),
        schema => format!("{schema}.{}", relation.name),
    };
    format!("{} {name}", relation.kind.noun())
}

fn refusal(what: &str, targets: usize, lines: impl Iterator<Item = String>) -> SqlError {
    let they = if targets == 1 { "it" } else { "them" };
    let message = format!("cannot drop {what} because other objects depend on {they}");
    SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .with_detail(lines.collect::<Vec<_>>().join("\n"))
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Change;
    use crate::system::sample;

    #[test]
    fn a_drop_that_others_need_is_refused_as_postgres_words_it() {
        let catalog = sample::catalog();
        let orders = catalog.find("public", "orders").unwrap().id;
        let error = catalog.plan_drop(&[orders], DropBehavior::Restrict).unwrap_err();
        assert_eq!(error.state(), SqlState::DEPENDENT_OBJECTS_STILL_EXIST);
        assert_eq!(error.message(), "cannot drop table orders because other objects depend on it");
        let detail = "view open_orders depends on table orders\n\
                      materialized view totals depends on view open_orders\n\
                      sink out depends on materialized view totals";
        assert_eq!(error.detail(), Some(detail));
        assert_eq!(error.hint(), Some("Use DROP ... CASCADE to drop the dependent objects too."));
        assert!(catalog.apply(&Change::Drop(orders)).is_err());
    }

    #[test]
    fn a_cascade_drops_dependents_first() {
        let mut catalog = sample::catalog();
        let orders = catalog.find("public", "orders").unwrap().id;
        let order = catalog.plan_drop(&[orders], DropBehavior::Cascade).unwrap();
        let names: Vec<_> = order.iter().map(|id| catalog.get(*id).unwrap().name.clone()).collect();
        assert_eq!(names, ["out", "totals", "open_orders", "orders"]);
        for id in order {
            catalog = catalog.apply(&Change::Drop(id)).unwrap();
        }
        assert_eq!(catalog.relations().map(|relation| relation.name.as_str()).collect::<Vec<_>>(), ["bids"]);
    }

    #[test]
    fn targets_that_need_each_other_drop_together() {
        let catalog = sample::catalog();
        let ids = ["totals", "out"].map(|name| catalog.find("public", name).unwrap().id);
        let order = catalog.plan_drop(&ids, DropBehavior::Restrict).unwrap();
        assert_eq!(order, [ids[1], ids[0]]);
    }
}
