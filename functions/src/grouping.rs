//! Grouping sets as DataFusion's planner takes them: without lists among their keys, and without numbers of columns.

use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, SelectItem, Value};

/// The first key of `GROUP BY DISTINCT`: a call by a name that no user can type.
pub const DIFFERENT_SETS: &str = "\u{1}distinct";

/// The keys after [`DIFFERENT_SETS`] as one key: each set that they make, once.
pub fn different_sets(keys: &mut Vec<Expr>) {
    let is_mark = |key: &Expr| match key {
        Expr::Function(function) => {
            function.name.0.iter().any(|part| part.as_ident().is_some_and(|name| name.value == DIFFERENT_SETS))
        }
        _ => false,
    };
    if !keys.first().is_some_and(is_mark) {
        return;
    }
    let mut sets: Vec<Vec<Expr>> = vec![vec![]];
    for key in keys.drain(..).skip(1) {
        let choices = match key {
            Expr::GroupingSets(sets) => sets,
            Expr::Rollup(lists) => prefixes(&lists),
            Expr::Cube(lists) if lists.len() < SETS_BITS => powerset(&lists),
            Expr::Tuple(keys) => vec![keys],
            key => vec![vec![key]],
        };
        let joined = |set: &Vec<Expr>| choices.iter().map(|choice| [set.clone(), choice.clone()].concat()).collect();
        sets = sets.iter().flat_map::<Vec<_>, _>(joined).collect();
    }
    let mut different: Vec<Vec<Expr>> = vec![];
    for set in sets {
        let mut once: Vec<Expr> = vec![];
        set.into_iter().for_each(|key| {
            if !once.contains(&key) {
                once.push(key)
            }
        });
        let is_known = |known: &Vec<Expr>| known.len() == once.len() && once.iter().all(|key| known.contains(key));
        if !different.iter().any(is_known) {
            different.push(once);
        }
    }
    *keys = match different.as_slice() {
        [set] => set.clone(),
        _ => vec![Expr::GroupingSets(different)],
    };
}

/// Makes `ROLLUP ((a, b), c)` and `CUBE ((a, b), c)` the sets that they stand for, also inside of `GROUPING SETS`, and
/// numbers in a grouping set the columns of the select list that they mean.
pub fn spell_out(key: &mut Expr, columns: &[SelectItem]) {
    let (Expr::Rollup(lists) | Expr::Cube(lists) | Expr::GroupingSets(lists)) = key else { return };
    for expr in lists.iter_mut().flatten() {
        if let Some(column) = numbered(expr, columns) {
            *expr = column;
        }
    }
    let sets = match key {
        Expr::GroupingSets(lists) => lists.iter().flat_map(|list| nested(list)).collect(),
        Expr::Rollup(lists) | Expr::Cube(lists) if lists.iter().all(|list| list.len() == 1) => return,
        Expr::Rollup(lists) => prefixes(lists),
        Expr::Cube(lists) if lists.len() < SETS_BITS => powerset(lists),
        _ => return,
    };
    *key = Expr::GroupingSets(sets);
}

/// The sets that an element of GROUPING SETS stands for: itself, or those of the ROLLUP or CUBE that it is.
fn nested(list: &[Expr]) -> Vec<Vec<Expr>> {
    let itself = || vec![list.to_vec()];
    let [Expr::Function(function)] = list else { return itself() };
    let FunctionArguments::List(arguments) = &function.args else { return itself() };
    let lists = arguments.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Tuple(keys))) => Some(keys.clone()),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Nested(key))) => Some(vec![key.as_ref().clone()]),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(key)) => Some(vec![key.clone()]),
        _ => None,
    });
    let Some(lists) = lists.collect::<Option<Vec<_>>>() else { return itself() };
    match function.name.to_string().to_lowercase().as_str() {
        "rollup" => prefixes(&lists),
        "cube" if lists.len() < SETS_BITS => powerset(&lists),
        _ => itself(),
    }
}

fn prefixes(lists: &[Vec<Expr>]) -> Vec<Vec<Expr>> {
    (0..=lists.len()).rev().map(|count| lists[..count].concat()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::{ast::GroupByExpr, dialect::PostgreSqlDialect, parser::Parser};

    #[test]
    fn equal_sets_are_one_after_distinct() {
        for (keys, expected) in
            [("ROLLUP (a, b), ROLLUP (a, c)", "GROUPING SETS ((a, b, c), (a, b), (a, c), (a), ())"), ("a, b", "a, b")]
        {
            let sql = format!("SELECT x FROM t GROUP BY \"{DIFFERENT_SETS}\"(), {keys}");
            let mut parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(&sql).unwrap();
            let mut select = parser.parse_select().unwrap();
            if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
                different_sets(keys);
                assert_eq!(select.group_by.to_string(), format!("GROUP BY {expected}"));
            }
        }
    }

    #[test]
    fn lists_and_nested_sets_are_spelled_out() {
        for (key, expected) in [
            ("ROLLUP (a, b)", "ROLLUP (a, b)"),
            ("ROLLUP ((a, b), c)", "GROUPING SETS ((a, b, c), (a, b), ())"),
            ("CUBE ((a, b), c)", "GROUPING SETS ((a, b, c), (a, b), (c), ())"),
            ("GROUPING SETS (ROLLUP (a, b), c)", "GROUPING SETS ((a, b), (a), (), (c))"),
            ("GROUPING SETS (CUBE (a, b), ())", "GROUPING SETS ((a, b), (a), (b), (), ())"),
            ("ROLLUP (1)", "ROLLUP (x)"),
        ] {
            let sql = format!("SELECT x FROM t GROUP BY {key}");
            let mut parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(&sql).unwrap();
            let mut select = parser.parse_select().unwrap();
            if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
                spell_out(&mut keys[0], &select.projection);
                assert_eq!(keys[0].to_string(), expected);
            }
        }
    }
}
