//! Making and taking apart expressions of the syntax tree.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::*;

/// A bare name.
pub fn identifier(name: &str) -> Ident {
    Ident::new(name)
}

/// A dotted name.
pub fn object_name(parts: &[&str]) -> ObjectName {
    ObjectName(parts.iter().map(|part| ObjectNamePart::Identifier(Ident::new(*part))).collect())
}

/// The parts of a dotted name; none when a part is not a plain name.
pub fn parts(name: &ObjectName) -> Vec<&str> {
    let idents: Option<Vec<_>> = name.0.iter().map(|part| part.as_ident().map(|ident| ident.value.as_str())).collect();
    idents.unwrap_or_default()
}

/// A string literal.
pub fn string(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span())
}

/// NULL.
pub fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

/// The type `oid`.
pub fn oid() -> DataType {
    DataType::Custom(object_name(&["oid"]), Vec::new())
}

/// A cast.
pub fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// A function call.
pub fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    ordered_call(name, arguments, Vec::new())
}

/// A call of an aggregate with ORDER BY.
pub fn ordered_call(name: &str, arguments: Vec<Expr>, order: Vec<OrderByExpr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    let clauses = if order.is_empty() { Vec::new() } else { vec![FunctionArgumentClause::OrderBy(order)] };
    Expr::Function(Function {
        name: object_name(&[name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `CASE WHEN condition THEN result END`.
pub fn when(condition: Expr, result: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: None,
    }
}

/// An array of expressions.
pub fn array(elements: Vec<Expr>) -> Expr {
    Expr::Array(Array { elem: elements, named: true })
}

/// The name of a called function, without schema, in lower case.
pub fn called(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Function(function) => parts(&function.name).last().map(|name| name.to_lowercase()),
        _ => None,
    }
}

/// The plain arguments of a call; none when there is any other.
pub fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect()
}

/// The expression inside parentheses.
pub fn inside(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => inside(inner),
        other => other,
    }
}

/// Takes an expression out of its place, leaving NULL.
pub fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, null())
}

/// The text of a string literal.
pub fn literal(expr: &Expr) -> Option<&str> {
    match inside(expr) {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// The expression of a select item, if it is one.
pub fn item_expression(item: &mut SelectItem) -> Option<&mut Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}
