//! Array literals, and arrays made of a subquery's rows.

use super::super::shape::SHAPES;
use super::columns::{factors, system_relation};
use super::expressions::*;
use datafusion::sql::sqlparser::ast::*;
use millrace_functions::{each_expression, each_select};
use millrace_types::SqlType;

/// `'{a,b}'::text[]` becomes `ARRAY['a', 'b']::text[]`, also where a comparison with an array column says the type.
pub fn read_literals(query: &mut Query) {
    each_expression(query, |expr| match expr {
        Expr::Cast { expr: inner, data_type: DataType::Array(_), .. } => {
            if let Some(elements) = literal(inner).and_then(elements) {
                **inner = elements;
            }
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } => {
            if let Some(element) = array_column(left)
                && let Some(elements) = literal(right).and_then(elements)
            {
                let element = if element == SqlType::Oid { oid() } else { DataType::Text };
                let data_type = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(element), None));
                **right = cast(elements, data_type);
            }
        }
        _ => {}
    });
    each_select(query, read_defaults);
}

/// `coalesce(a, '{}')` becomes `coalesce(a, ARRAY[])` beside system relations, which have no other text of that form.
fn read_defaults(select: &mut Select) {
    if !factors(&select.from).into_iter().any(|(factor, _)| system_relation(factor).is_some()) {
        return;
    }
    for expr in select.projection.iter_mut().filter_map(item_expression) {
        if called(expr).as_deref() == Some("coalesce")
            && let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = expr
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(default))) = list.args.last_mut()
            && literal(default) == Some("{}")
        {
            *default = array(Vec::new());
        }
    }
}

/// The element type of a column that by its name is an array of some system relation.
fn array_column(expr: &Expr) -> Option<SqlType> {
    let column = match inside(expr) {
        Expr::Identifier(column) => column,
        Expr::CompoundIdentifier(names) => names.last()?,
        _ => return None,
    };
    SHAPES.iter().flat_map(|shape| &shape.columns).find_map(|(name, sql_type)| match sql_type {
        SqlType::Array(element) if *name == column.value => Some(SqlType::clone(element)),
        _ => None,
    })
}

/// The elements of a one-dimensional array in Postgres's text form.
fn elements(text: &str) -> Option<Expr> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.trim().is_empty() {
        return Some(array(Vec::new()));
    }
    let mut found = Vec::new();
    let (mut element, mut was_quoted, mut quoted) = (String::new(), false, false);
    let mut characters = inner.chars();
    loop {
        match characters.next() {
            Some('\\') => element.push(characters.next()?),
            Some('"') => (quoted, was_quoted) = (!quoted, true),
            Some('{' | '}') if !quoted => return None,
            end @ (Some(',') | None) if !quoted => {
                let text = if was_quoted { element.as_str() } else { element.trim() };
                let is_null = !was_quoted && text.eq_ignore_ascii_case("null");
                found.push(if is_null { null() } else { string(text) });
                (element, was_quoted) = (String::new(), false);
                if end.is_none() {
                    return Some(array(found));
                }
            }
            Some(character) => element.push(character),
            None => return None,
        }
    }
}

/// `ARRAY(SELECT e FROM ...)` becomes an aggregate, or over the elements of another array a transformation of it.
pub fn from_subqueries(query: &mut Query) {
    each_expression(query, |expr| {
        if called(expr).as_deref() == Some("array")
            && let Expr::Function(Function { args: FunctionArguments::Subquery(subquery), .. }) = expr
            && let Some(replaced) = of_elements(subquery).or_else(|| of_rows(subquery))
        {
            *expr = replaced;
        }
    });
}

/// `ARRAY(SELECT e FROM unnest(a) x)` as `array_transform(a, x -> e)`; DataFusion cannot unnest an outer row's array.
fn of_elements(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let ([SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }], [from], None) =
        (select.projection.as_slice(), select.from.as_slice(), &select.selection)
    else {
        return None;
    };
    if query.order_by.is_some() || query.limit_clause.is_some() || !from.joins.is_empty() {
        return None;
    }
    let (source, alias) = match &from.relation {
        TableFactor::UNNEST { array_exprs, alias, .. } => match array_exprs.as_slice() {
            [source] => (source.clone(), alias.as_ref().map(|alias| alias.name.value.clone())),
            _ => return None,
        },
        TableFactor::Function { name, args, .. } => (options_source(name, args)?, None),
        TableFactor::Table { name, args: Some(arguments), .. } => (options_source(name, &arguments.args)?, None),
        _ => return None,
    };
    let mut body = item.clone();
    each_expression(&mut body, |expr| {
        if let Expr::Identifier(name) = &*expr {
            let element = || Expr::Identifier(identifier("element"));
            match name.value.as_str() {
                "option_name" => *expr = call("pg_option_name", vec![element()]),
                "option_value" => *expr = call("pg_option_value", vec![element()]),
                name if alias.as_deref() == Some(name) => *expr = element(),
                _ => {}
            }
        }
    });
    let lambda = Expr::Lambda(LambdaFunction {
        params: OneOrManyWithParens::One(LambdaFunctionParameter { name: identifier("element"), data_type: None }),
        body: Box::new(body),
        syntax: LambdaSyntax::Arrow,
    });
    Some(call("array_transform", vec![source, lambda]))
}

/// The array behind `pg_options_to_table(array)`.
fn options_source(name: &ObjectName, arguments: &[FunctionArg]) -> Option<Expr> {
    match (parts(name).as_slice(), arguments) {
        (["pg_options_to_table"], [FunctionArg::Unnamed(FunctionArgExpr::Expr(source))]) => Some(source.clone()),
        _ => None,
    }
}

/// `ARRAY(SELECT e FROM ... ORDER BY o)` as `(SELECT array_agg(e ORDER BY o) FROM ...)`, empty rather than NULL.
fn of_rows(query: &Query) -> Option<Expr> {
    let mut query = query.clone();
    let order = match query.order_by.take().map(|order| order.kind) {
        Some(OrderByKind::Expressions(order)) => order,
        Some(OrderByKind::All(_)) => return None,
        None => Vec::new(),
    };
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    // Without a relation, the rows may be those of a function.
    if query.limit_clause.is_some() || select.distinct.is_some() || select.from.is_empty() {
        return None;
    }
    // Rows of groups are aggregated already.
    if select.having.is_some() || !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty()) {
        return None;
    }
    let [item] = select.projection.as_mut_slice() else { return None };
    let item = item_expression(item)?;
    let by_position = |order: OrderByExpr| match &order.expr {
        Expr::Value(_) => OrderByExpr { expr: item.clone(), ..order },
        _ => order,
    };
    let order = order.into_iter().map(by_position).collect();
    let rows = item.clone();
    *item = ordered_call("array_agg", vec![rows], order);
    Some(call("coalesce", vec![Expr::Subquery(Box::new(query)), array(Vec::new())]))
}
