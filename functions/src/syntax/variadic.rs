//! Calls whose last arguments are the elements of an array: `concat(a, VARIADIC b)`.

use super::call;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
};

/// The name under which a parser shows the argument behind VARIADIC. It cannot be typed.
pub const VARIADIC: &str = "\u{1}variadic";

/// The call as one without VARIADIC; `None` where it has none, or where the function has no form over an array.
pub fn spread(function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let (last, first) = list.args.split_last()?;
    let array = variadic(last)?.clone();
    let first: Vec<Expr> = first.iter().map(unnamed).collect::<Option<_>>()?;
    let name = function.name.0.last()?.as_ident()?.value.to_lowercase();
    let (_, fixed) = FUNCTIONS.iter().find(|(known, _)| *known == name)?;
    if first.len() != *fixed {
        return None;
    }
    if let Expr::Array(elements) = &array
        && !elements.elem.is_empty()
    {
        let spread = call(&name, first.into_iter().chain(elements.elem.iter().cloned()));
        return Some(spread);
    }
    Some(match (name.as_str(), first.as_slice()) {
        ("concat", _) => call("array_to_string", [array, text("")]),
        ("concat_ws", [separator]) => call("array_to_string", [array, separator.clone()]),
        ("num_nonnulls", _) => call("cardinality", [without_nulls(&array)]),
        ("num_nulls", _) => {
            let (all, others) = (call("cardinality", [array.clone()]), call("cardinality", [without_nulls(&array)]));
            let op = BinaryOperator::Minus;
            Expr::Nested(Box::new(Expr::BinaryOp { left: Box::new(all), op, right: Box::new(others) }))
        }
        ("jsonb_build_array", _) => call("to_jsonb", [array]),
        ("json_build_array", _) => call("array_to_json", [array]),
        ("jsonb_build_object", _) => call("jsonb_object", [array]),
        ("json_build_object", _) => call("json_object", [array]),
        ("jsonb_extract_path" | "json_extract_path", [json]) => path(json, BinaryOperator::HashArrow, array),
        ("jsonb_extract_path_text" | "json_extract_path_text", [json]) => {
            path(json, BinaryOperator::HashLongArrow, array)
        }
        _ => return None,
    })
}

/// The functions that take any number of arguments, and how many stand before those.
const FUNCTIONS: &[(&str, usize)] = &[
    ("concat", 0),
    ("concat_ws", 1),
    ("format", 1),
    ("num_nulls", 0),
    ("num_nonnulls", 0),
    ("json_build_array", 0),
    ("jsonb_build_array", 0),
    ("json_build_object", 0),
    ("jsonb_build_object", 0),
    ("json_extract_path", 1),
    ("jsonb_extract_path", 1),
    ("json_extract_path_text", 1),
    ("jsonb_extract_path_text", 1),
];

fn variadic(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(array), .. }
        | FunctionArg::ExprNamed { name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(array), .. }
            if name.value == VARIADIC =>
        {
            Some(array)
        }
        _ => None,
    }
}

fn unnamed(argument: &FunctionArg) -> Option<Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

fn without_nulls(array: &Expr) -> Expr {
    call("array_remove", [array.clone(), Expr::Value(Value::Null.with_empty_span())])
}

fn path(json: &Expr, op: BinaryOperator, array: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp { left: Box::new(json.clone()), op, right: Box::new(array) }))
}

fn text(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span())
}
