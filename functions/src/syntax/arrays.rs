//! Subscripts, `ANY` and `ALL` of arrays, and the dimensions of their constants, as calls, operators and types of ours.

use super::dialect::call;
use crate::arrays::{SLICE, SUBSCRIPT};
use crate::casts::MAX_DIMENSIONS;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Array, ArrayElemTypeDef, BinaryOperator, DataType, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, Subscript, Value, ValueWithSpan,
};

/// `(f(x)).a`, `a[1][2]`, `a[2:3]`: what is taken out of a value.
pub fn taken(root: &Expr, access_chain: &[AccessExpr]) -> Option<Expr> {
    let mut value = root.clone();
    let mut chain = access_chain;
    // `t.a[1]`: the names before a subscript are those of a column.
    if let Expr::Identifier(first) = root {
        let mut names = vec![first.clone()];
        while let Some((AccessExpr::Dot(Expr::Identifier(name)), rest)) = chain.split_first() {
            names.push(name.clone());
            chain = rest;
        }
        if names.len() > 1 {
            value = Expr::CompoundIdentifier(names);
        }
    }
    while let Some(first) = chain.first() {
        if let AccessExpr::Dot(field) = first {
            let Expr::Identifier(name) = field else { return None };
            let name = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
            value = call("get_field", vec![value, Expr::Value(Value::SingleQuotedString(name).with_empty_span())]);
            chain = &chain[1..];
            continue;
        }
        let subscripts = chain.iter().map_while(|access| match access {
            AccessExpr::Subscript(subscript) => Some(subscript),
            AccessExpr::Dot(_) => None,
        });
        let subscripts: Vec<&Subscript> = subscripts.collect();
        chain = &chain[subscripts.len()..];
        value = subscripted(value, &subscripts);
    }
    Some(value)
}

/// Subscripts of all dimensions; where one is a slice all are, from 1 where they say one bound.
fn subscripted(value: Expr, subscripts: &[&Subscript]) -> Expr {
    let number = |number: i32| Expr::Value(Value::Number(number.to_string(), false).with_empty_span());
    let is_slice = subscripts.iter().any(|subscript| matches!(subscript, Subscript::Slice { .. }));
    let mut arguments = vec![value];
    for subscript in subscripts {
        match subscript {
            Subscript::Index { index } if is_slice => arguments.extend([number(1), index.clone()]),
            Subscript::Index { index } => arguments.push(index.clone()),
            Subscript::Slice { lower_bound, upper_bound, .. } => {
                arguments.push(lower_bound.clone().unwrap_or_else(|| number(1)));
                arguments.push(upper_bound.clone().unwrap_or_else(|| number(i32::MAX)));
            }
        }
    }
    call(if is_slice { SLICE } else { SUBSCRIPT }, arguments)
}

/// `x = ANY(array)` as an operator of its own, also `x LIKE ANY (array)`; subqueries stay.
pub fn quantified(expr: &Expr) -> Option<Expr> {
    let sign = |negated: &bool, like: &str| if *negated { format!("!{like}") } else { like.to_owned() };
    let (left, op, right, quantifier) = match expr {
        Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op.to_string(), right.as_ref(), "any"),
        Expr::AllOp { left, compare_op, right } => (left, compare_op.to_string(), right.as_ref(), "all"),
        Expr::Like { negated, any: true, expr, pattern, .. } => (expr, sign(negated, "~~"), pattern.as_ref(), "any"),
        Expr::ILike { negated, any: true, expr, pattern, .. } => (expr, sign(negated, "~~*"), pattern.as_ref(), "any"),
        Expr::Like { negated, expr, pattern, .. } => (expr, sign(negated, "~~"), argument_of_all(pattern)?, "all"),
        Expr::ILike { negated, expr, pattern, .. } => (expr, sign(negated, "~~*"), argument_of_all(pattern)?, "all"),
        _ => return None,
    };
    if matches!(right, Expr::Subquery(_)) {
        return None;
    }
    let op = if op == "!=" { "<>" } else { &op };
    let op = BinaryOperator::Custom(format!("{op} {quantifier}"));
    let operation = Expr::BinaryOp { left: left.clone(), op, right: Box::new(right.clone()) };
    Some(Expr::Nested(Box::new(operation)))
}

/// The array of `LIKE ALL (array)`, which is parsed as a call of a function.
fn argument_of_all(pattern: &Expr) -> Option<&Expr> {
    let Expr::Function(function) = pattern else { return None };
    match (&function.args, function.name.to_string().eq_ignore_ascii_case("all")) {
        (FunctionArguments::List(list), true) => match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(array))] => Some(array),
            _ => None,
        },
        _ => None,
    }
}

/// `array_fill(v, ARRAY[a, b])` as `array_fill(array_fill(v, ARRAY[b]), ARRAY[a])`.
pub fn filled(value: &Expr, lengths: &[Expr]) -> Expr {
    let one = |length: &Expr| Expr::Array(Array { elem: vec![length.clone()], named: true });
    lengths.iter().rev().fold(value.clone(), |inner, length| call("array_fill", [inner, one(length)]))
}

/// `'{{1,2}}'::int[]` says by its braces how many dimensions the array has.
pub fn dimensioned(text: &Expr, data_type: &DataType) -> Option<DataType> {
    let (Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }), DataType::Array(_)) =
        (text, data_type)
    else {
        return None;
    };
    let braces = text.chars().filter(|c| !c.is_ascii_whitespace()).take_while(|c| *c == '{');
    // More are refused when the text is read.
    let wanted = braces.take(MAX_DIMENSIONS).count().max(1);
    let mut element = data_type;
    let mut there = 0;
    while let DataType::Array(ArrayElemTypeDef::SquareBracket(inner, _)) = element {
        (element, there) = (inner, there + 1);
    }
    let array = |inner, _| DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(inner), None));
    (there > 0 && there != wanted).then(|| (0..wanted).fold(element.clone(), array))
}
