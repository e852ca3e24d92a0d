//! Operators of a subquery that see several of its rows at once: those for different outer rows are kept apart.

use super::dependent::{Condition, Dependent, joined};
use super::push::{Push, Step, Stop};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::utils::{grouping_set_to_exprlist, powerset};
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, ExprSchemable, GroupingSet, JoinType, LogicalPlan, LogicalPlanBuilder,
    Union, cast, lit,
};
use std::sync::Arc;

impl Push<'_> {
    /// GROUP BY: what the conditions compare joins the keys.
    pub fn aggregate(&mut self, aggregate: &Aggregate) -> Step<Dependent> {
        if let [Expr::GroupingSet(set)] = aggregate.group_expr.as_slice() {
            return self.grouping_sets(aggregate, &lists(set)?);
        }
        let rows = self.plan(&aggregate.input)?;
        let rows = self.within_domain(rows)?;
        let keys = self.keys(&rows)?;
        let value = |expr: &Expr| -> Step<Expr> {
            self.bound(rows.value(expr.clone().unalias(), aggregate.input.schema())?, &rows)
        };
        let groups: Vec<Expr> = aggregate.group_expr.iter().map(value).collect::<Step<_>>()?;
        let calls: Vec<Expr> = aggregate.aggr_expr.iter().map(value).collect::<Step<_>>()?;
        let (all_groups, group_places) = different(keys.iter().chain(&groups));
        let (all_calls, call_places) = different(calls.iter());
        let first_call = all_groups.len();
        let plan = Aggregate::try_new(Arc::new(rows.plan), all_groups, all_calls)?;
        let plan = LogicalPlan::Aggregate(plan);
        let columns = plan.schema().columns();
        let column = |place: usize| Expr::Column(columns[place].clone());
        let conditions = rows.conditions.into_iter().enumerate().map(|(at, condition)| match condition {
            Condition::Same { outer, .. } => Condition::Same { inner: column(group_places[at]), outer },
            Condition::Equal { outer, .. } => Condition::Equal { inner: column(group_places[at]), outer },
            other => other,
        });
        let groups = group_places[keys.len()..].iter().map(|place| column(*place));
        let calls = call_places.iter().map(|place| column(first_call + place));
        let outputs = groups.chain(calls).collect();
        let is_global = aggregate.group_expr.is_empty();
        let rows =
            Dependent { outputs, conditions: conditions.collect(), empty: None, single: is_global, unique: None, plan };
        if is_global { self.of_no_rows(rows, aggregate) } else { Ok(rows) }
    }

    /// GROUPING SETS: what the conditions compare joins the keys of each set.
    fn grouping_sets(&mut self, aggregate: &Aggregate, sets: &[Vec<Expr>]) -> Step<Dependent> {
        let schema = aggregate.input.schema();
        let rows = self.plan(&aggregate.input)?;
        let rows = self.within_domain(rows)?;
        let keys = self.keys(&rows)?;
        let value = |expr: &Expr| -> Step<Expr> { self.bound(rows.value(expr.clone().unalias(), schema)?, &rows) };
        let groups = grouping_set_to_exprlist(&aggregate.group_expr)?;
        let groups: Vec<Expr> = groups.into_iter().map(value).collect::<Step<_>>()?;
        let (keys, key_places) = different(keys.iter());
        // Values that are keys in every set cannot be left out of some.
        if groups.iter().any(|group| keys.contains(group)) {
            return Err(Stop::unsupported("GROUPING SETS of what the outer query's rows are compared with"));
        }
        let mut all_sets = Vec::with_capacity(sets.len());
        for set in sets {
            let own = set.iter().map(value).collect::<Step<Vec<Expr>>>()?;
            all_sets.push(keys.iter().cloned().chain(own).collect::<Vec<Expr>>());
        }
        let calls: Vec<Expr> = aggregate.aggr_expr.iter().map(value).collect::<Step<_>>()?;
        let (all_calls, call_places) = different(calls.iter());
        let width = keys.len() + groups.len();
        let sets_of_all = vec![Expr::GroupingSet(GroupingSet::GroupingSets(all_sets))];
        let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(rows.plan), sets_of_all, all_calls)?);
        let columns = plan.schema().columns();
        let column = |place: usize| Expr::Column(columns[place].clone());
        let conditions = rows.conditions.into_iter().enumerate().map(|(at, condition)| match condition {
            Condition::Same { outer, .. } => Condition::Same { inner: column(key_places[at]), outer },
            Condition::Equal { outer, .. } => Condition::Equal { inner: column(key_places[at]), outer },
            other => other,
        });
        let conditions: Vec<Condition> = conditions.collect();
        // A bit for each key that a set is without: those of all sets are the highest, and never set.
        let id_type = aggregate.schema.field(groups.len()).data_type().clone();
        let id = cast(column(width), id_type.clone());
        let outputs = (keys.len()..width).map(column).chain([id]);
        let outputs = outputs.chain(call_places.iter().map(|place| column(width + 1 + place))).collect();
        let mut of_nothing = None;
        if sets.iter().any(Vec::is_empty) && !conditions.is_empty() {
            let mut values = vec![];
            for group in 0..groups.len() {
                values.push(ScalarValue::try_from(aggregate.schema.field(group).data_type())?);
            }
            values.push(ScalarValue::UInt64(Some((1 << groups.len()) - 1)).cast_to(&id_type)?);
            for call in &aggregate.aggr_expr {
                values.push(default(call, aggregate)?);
            }
            of_nothing = Some(values.into_iter().map(|value| Expr::Literal(value, None)).collect());
        }
        Ok(Dependent { outputs, conditions, empty: of_nothing, single: false, unique: None, plan })
    }

    /// A global aggregate has a row also where there is nothing to aggregate.
    fn of_no_rows(&mut self, rows: Dependent, aggregate: &Aggregate) -> Step<Dependent> {
        if rows.conditions.is_empty() {
            return Ok(rows);
        }
        let defaults: Vec<ScalarValue> =
            aggregate.aggr_expr.iter().map(|call| default(call, aggregate)).collect::<Step<_>>()?;
        let empty = defaults.into_iter().map(|value| Expr::Literal(value, None)).collect();
        Ok(Dependent { empty: Some(empty), ..rows })
    }

    /// The rows with one for each row of the domain for which only [`Dependent::empty`] tells of one.
    pub fn settled(&mut self, rows: Dependent) -> Step<Dependent> {
        let Some(empty) = rows.empty.clone() else { return Ok(rows) };
        let Some(domain) = self.domain else { return Err(Stop::NeedsDomain) };
        let (rows, there) = rows.named(self.names)?.marked(self.names)?;
        let instance = domain.instance(self.names)?;
        let (conditions, _) = self.of_domain(rows.conditions, &instance)?;
        let mut outputs = vec![];
        for (output, empty) in rows.outputs.into_iter().zip(empty) {
            let arm = (Box::new(there.clone().is_null()), Box::new(self.bound(empty, &instance)?));
            outputs.push(Expr::Case(Case::new(None, vec![arm], Some(Box::new(output)))));
        }
        let plan = joined(instance.plan, rows.plan, &conditions, vec![], JoinType::Left)?;
        Ok(Dependent { plan, outputs, conditions: instance.conditions, empty: None, single: true, unique: None })
    }

    /// DISTINCT: rows for different outer rows are different.
    pub fn distinct(&mut self, distinct: &Distinct) -> Step<Dependent> {
        match distinct {
            Distinct::All(input) => {
                let rows = self.plan(input)?;
                self.different(rows)
            }
            Distinct::On(distinct) => self.distinct_on(distinct),
        }
    }

    fn different(&mut self, rows: Dependent) -> Step<Dependent> {
        let rows = self.within_domain(rows)?;
        self.keys(&rows)?;
        let mut rows = self.bound_outputs(rows)?.computed(self.names)?;
        rows.plan = LogicalPlan::Distinct(Distinct::All(Arc::new(rows.plan)));
        Ok(rows)
    }

    /// The first row of each group: a rank, and a filter of it.
    fn distinct_on(&mut self, distinct: &DistinctOn) -> Step<Dependent> {
        let rows = self.plan(&distinct.input)?;
        let rows = self.within_domain(rows)?;
        let mut groups = self.keys(&rows)?;
        let schema = distinct.input.schema();
        for expr in &distinct.on_expr {
            groups.push(self.bound(rows.value(expr.clone(), schema)?, &rows)?);
        }
        let order = distinct.sort_expr.clone().unwrap_or_default();
        let order = self.order(order, schema, &rows)?;
        let (mut rows, rank) = self.ranked(rows, groups, order)?;
        let select = distinct.select_expr.iter().map(|expr| rows.value(expr.clone().unalias(), schema));
        rows.outputs = select.collect::<Result<_, _>>()?;
        rows = self.bound_outputs(rows)?;
        self.filtered(rows, rank.eq(lit(1i64)))
    }

    /// UNION ALL: each branch for the whole domain. Without one, branches have no conditions in common.
    pub fn union(&mut self, union: &Union) -> Step<Dependent> {
        if self.domain.is_none() {
            return Err(Stop::NeedsDomain);
        }
        let mut branches = vec![];
        let mut first = None;
        for input in &union.inputs {
            let rows = self.plan(input)?;
            let rows = self.within_domain(rows)?;
            let rows = self.bound_outputs(rows)?.computed(self.names)?;
            branches.push(Arc::new(rows.plan.clone()));
            first.get_or_insert(rows);
        }
        let Some(first) = first else { return Err(Stop::unsupported("a union of nothing")) };
        let plan = LogicalPlan::Union(Union::try_new_with_loose_types(branches)?);
        // Columns keep their places, and take names of their own again above.
        let columns: Vec<Column> = plan.schema().columns();
        let relation = self.names.relation();
        let named = columns.iter().enumerate();
        let named = named
            .map(|(at, column)| Expr::Column(column.clone()).alias_qualified(Some(relation.clone()), format!("c{at}")));
        let plan = LogicalPlanBuilder::from(plan).project(named.collect::<Vec<_>>())?.build()?;
        let column = |at: usize| Expr::Column(Column::new(Some(relation.clone()), format!("c{at}")));
        let width = first.outputs.len();
        let conditions = first.conditions.into_iter().enumerate().map(|(at, condition)| match condition {
            Condition::Same { outer, .. } => Condition::Same { inner: column(width + at), outer },
            other => other,
        });
        Ok(Dependent {
            outputs: (0..width).map(column).collect(),
            conditions: conditions.collect(),
            empty: None,
            single: false,
            unique: None,
            plan,
        })
    }
}

/// The sets of keys of a grouping, each different from the others.
fn lists(set: &GroupingSet) -> Step<Vec<Vec<Expr>>> {
    let lists: Vec<Vec<Expr>> = match set {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Cube(all) => powerset(all)?.into_iter().map(|set| set.into_iter().cloned().collect()).collect(),
        GroupingSet::Rollup(all) => (0..=all.len()).map(|count| all[..count].to_vec()).collect(),
    };
    let repeats = |(at, list): (usize, &Vec<Expr>)| lists[..at].contains(list);
    match lists.iter().enumerate().any(repeats) {
        true => Err(Stop::unsupported("GROUPING SETS that repeat a set")),
        false => Ok(lists),
    }
}

/// Whether an aggregate has outer columns and none of its own query, whose columns `own` has: then it is one of the outer
/// query. Subqueries in it name columns of either.
pub fn is_of_outer_query(call: &Expr, own: &DFSchema) -> bool {
    let (mut outer, mut inner) = (false, false);
    let looked = call.apply(|expr| {
        let subquery = match expr {
            Expr::ScalarSubquery(subquery) => Some(subquery),
            Expr::Exists(exists) => Some(&exists.subquery),
            Expr::InSubquery(within) => Some(&within.subquery),
            _ => None,
        };
        for reference in subquery.iter().flat_map(|subquery| &subquery.outer_ref_columns) {
            if let Expr::OuterReferenceColumn(_, column) = reference {
                let is_own = own.maybe_index_of_column(column).is_some();
                (outer, inner) = (outer || !is_own, inner || is_own);
            }
        }
        outer |= matches!(expr, Expr::OuterReferenceColumn(..));
        inner |= matches!(expr, Expr::Column(_));
        Ok(TreeNodeRecursion::Continue)
    });
    looked.is_ok() && outer && !inner
}

/// The different ones among expressions, and the place of each among them.
fn different<'a>(exprs: impl Iterator<Item = &'a Expr>) -> (Vec<Expr>, Vec<usize>) {
    let mut different: Vec<Expr> = vec![];
    let places = exprs.map(|expr| match different.iter().position(|known| known == expr) {
        Some(place) => place,
        None => {
            different.push(expr.clone());
            different.len() - 1
        }
    });
    let places = places.collect();
    (different, places)
}

/// What an aggregate gives for no rows.
fn default(call: &Expr, aggregate: &Aggregate) -> Step<ScalarValue> {
    let data_type = call.get_type(aggregate.input.schema())?;
    match call.clone().unalias() {
        Expr::AggregateFunction(call) => Ok(call.func.default_value(&data_type)?),
        _ => Ok(ScalarValue::try_from(&data_type)?),
    }
}
