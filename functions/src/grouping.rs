//! Grouping sets as DataFusion's planner takes them: without lists among their keys, and without numbers of columns.

use datafusion::sql::sqlparser::ast::{Expr, SelectItem, Value};

/// Makes `ROLLUP ((a, b), c)` and `CUBE ((a, b), c)` the sets that they stand for, and numbers in a grouping set the
/// columns of the select list that they mean.
pub fn spell_out(key: &mut Expr, columns: &[SelectItem]) {
    let (Expr::Rollup(lists) | Expr::Cube(lists) | Expr::GroupingSets(lists)) = key else { return };
    for expr in lists.iter_mut().flatten() {
        if let Some(column) = numbered(expr, columns) {
            *expr = column;
        }
    }
    if lists.iter().all(|list| list.len() == 1) {
        return;
    }
    let sets = match key {
        Expr::Rollup(lists) => (0..=lists.len()).rev().map(|count| lists[..count].concat()).collect(),
        Expr::Cube(lists) if lists.len() < SETS_BITS => powerset(lists),
        _ => return,
    };
    *key = Expr::GroupingSets(sets);
}

/// More lists than this make more sets than anybody can want; they are left to be refused.
const SETS_BITS: usize = 13;

fn powerset(lists: &[Vec<Expr>]) -> Vec<Vec<Expr>> {
    let sets = (0..1usize << lists.len()).rev();
    sets.map(|set| {
        let held = lists.iter().enumerate().filter(|(at, _)| set >> (lists.len() - 1 - at) & 1 == 1);
        held.flat_map(|(_, list)| list.iter().cloned()).collect()
    })
    .collect()
}

/// The column of the select list that a number means.
fn numbered(expr: &Expr, columns: &[SelectItem]) -> Option<Expr> {
    let Expr::Value(value) = expr else { return None };
    let Value::Number(number, _) = &value.value else { return None };
    let place = number.to_string().parse::<usize>().ok()?.checked_sub(1)?;
    // What a wildcard stands for is not known here.
    let known = columns
        .iter()
        .take(place + 1)
        .all(|item| !matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    match columns.get(place)? {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } if known => Some(expr.clone()),
        _ => None,
    }
}
