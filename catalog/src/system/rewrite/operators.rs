//! `OPERATOR(pg_catalog.~)` becomes `~`, and COLLATE with a collation that changes nothing goes;
//! a pattern with an escape of its own is turned into one with the backslash.

use super::expressions::{call, parts, take};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Query};
use millrace_functions::each_expression;

/// The rule.
pub fn simplify(query: &mut Query) {
    each_expression(query, |expr| match expr {
        Expr::BinaryOp { op, .. } => {
            if let BinaryOperator::PGCustomBinaryOperator(name) = op
                && let Some(plain) = name.last().and_then(|symbol| operator(symbol))
            {
                *op = plain;
            }
        }
        // Text compares by its bytes, which is what these collations say.
        Expr::Collate { expr: inner, collation }
            if matches!(parts(collation).last().copied(), Some("default" | "C" | "POSIX")) =>
        {
            *expr = take(inner);
        }
        // DataFusion knows no escape but the backslash.
        Expr::Like { pattern, escape_char: escape @ Some(_), .. }
        | Expr::ILike { pattern, escape_char: escape @ Some(_), .. } => {
            if let Some(escape) = escape.take() {
                let written = take(pattern);
                **pattern = call("like_escape", vec![written, Expr::Value(escape)]);
            }
        }
        _ => {}
    });
}

fn operator(symbol: &str) -> Option<BinaryOperator> {
    Some(match symbol {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "||" => BinaryOperator::StringConcat,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        _ => return None,
    })
}
