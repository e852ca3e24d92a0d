//! Postgres's grammar where `sqlparser`'s dialect of it stops short.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, SetExpr, TrimWhereField, UnaryOperator,
};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use std::any::TypeId;

/// `sqlparser`'s PostgreSQL with `BETWEEN SYMMETRIC`, `trim(both from x)`, `substring(x SIMILAR p ESCAPE e)`, and relations
/// as arguments: `f(TABLE t PARTITION BY a)`.
#[derive(Debug)]
pub struct PostgresDialect;

const BASE: PostgreSqlDialect = PostgreSqlDialect {};

macro_rules! as_postgres {
    ($($name:ident),* $(,)?) => {
        $(fn $name(&self) -> bool {
            BASE.$name()
        })*
    };
}

impl Dialect for PostgresDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        BASE.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        BASE.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        BASE.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        BASE.is_identifier_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        BASE.is_reserved_for_identifier(keyword)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        BASE.is_custom_operator_part(ch)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        if is_word(parser, 0, "partition") && is_word(parser, 1, "by") {
            return Some(Ok(PARTITION_PRECEDENCE));
        }
        BASE.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        BASE.prec_value(precedence)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        if opens_set_operation(parser) {
            return parser.maybe_parse(set_operation).transpose();
        }
        let Token::Word(word) = &parser.peek_token_ref().token else { return None };
        let attempt = match word.keyword {
            Keyword::TRIM => parser.maybe_parse(trim_from),
            Keyword::SUBSTRING => parser.maybe_parse(substring_similar),
            Keyword::TABLE => parser.maybe_parse(relation),
            _ => return None,
        };
        attempt.transpose()
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, _precedence: u8) -> Option<Result<Expr, ParserError>> {
        if is_word(parser, 0, "partition") {
            (0..2).for_each(|_| drop(parser.next_token()));
            return Some(partitioned(parser, expr));
        }
        let negated = usize::from(is_word(parser, 0, "not"));
        if !is_word(parser, negated, "between") {
            return None;
        }
        // ASYMMETRIC is what BETWEEN means without it.
        let symmetric = is_word(parser, negated + 1, "symmetric");
        if !symmetric && !is_word(parser, negated + 1, "asymmetric") {
            return None;
        }
        (0..negated + 2).for_each(|_| drop(parser.next_token()));
        Some(bounds(parser).map(|(low, high)| between(expr, negated == 1, symmetric, low, high)))
    }

    as_postgres!(
        supports_unicode_string_literal,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_listen_notify,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_colon_operator,
        supports_named_fn_args_with_expr_name,
        supports_empty_projections,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_array_typedef_with_brackets,
        supports_geometric_types,
        supports_set_names,
        supports_alter_column_type_using,
        supports_notnull_operator,
        supports_interval_options,
        supports_insert_table_alias,
        supports_create_table_like_parenthesized,
        supports_select_wildcard_with_alias,
        supports_comma_separated_trim,
        supports_xml_expressions,
        supports_comment_optimizer_hint,
    );
}

/// Whether a parenthesis is followed by others and a query.
fn opens_set_operation(parser: &Parser) -> bool {
    let parentheses = (0..).take_while(|at| parser.peek_nth_token_ref(*at).token == Token::LParen).count();
    parentheses > 1 && ["select", "values", "with"].into_iter().any(|word| is_word(parser, parentheses, word))
}

/// `((SELECT 1) UNION SELECT 2)` as a value.
fn set_operation(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let query = parser.parse_query()?;
    parser.expect_token(&Token::RParen)?;
    match query.body.as_ref() {
        SetExpr::SetOperation { .. } => Ok(Expr::Subquery(query)),
        _ => parser.expected("a set operation", parser.peek_token()),
    }
}

/// Below every operator.
const PARTITION_PRECEDENCE: u8 = 1;

/// The operator that `relation PARTITION BY key` in the arguments of a function is parsed as.
pub const PARTITION_BY: &str = "PARTITION BY";

fn partitioned(parser: &mut Parser, relation: &Expr) -> Result<Expr, ParserError> {
    let key = parser.parse_subexpr(PARTITION_PRECEDENCE)?;
    let op = BinaryOperator::Custom(PARTITION_BY.to_owned());
    Ok(Expr::BinaryOp { left: Box::new(relation.clone()), op, right: Box::new(key) })
}

/// `TABLE name` or `TABLE (query)` as an argument: a name or a subquery.
fn relation(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.expect_keyword(Keyword::TABLE)?;
    if parser.consume_token(&Token::LParen) {
        let query = parser.parse_query()?;
        parser.expect_token(&Token::RParen)?;
        return Ok(Expr::Subquery(query));
    }
    let name = parser.parse_object_name(false)?;
    let mut parts: Vec<Ident> = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
    match parts.len() {
        1 => Ok(Expr::Identifier(parts.swap_remove(0))),
        _ => Ok(Expr::CompoundIdentifier(parts)),
    }
}

fn is_word(parser: &Parser, at: usize, word: &str) -> bool {
    matches!(&parser.peek_nth_token_ref(at).token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

fn bounds(parser: &mut Parser) -> Result<(Expr, Expr), ParserError> {
    let precedence = BASE.prec_value(Precedence::Between);
    let low = parser.parse_subexpr(precedence)?;
    parser.expect_keyword(Keyword::AND)?;
    Ok((low, parser.parse_subexpr(precedence)?))
}

/// `x BETWEEN SYMMETRIC a AND b` is between the bounds in either order.
fn between(expr: &Expr, negated: bool, symmetric: bool, low: Expr, high: Expr) -> Expr {
    let ordered = |low: &Expr, high: &Expr| Expr::Between {
        expr: Box::new(expr.clone()),
        negated: false,
        low: Box::new(low.clone()),
        high: Box::new(high.clone()),
    };
    let within = match symmetric {
        true => Expr::BinaryOp {
            left: Box::new(ordered(&low, &high)),
            op: BinaryOperator::Or,
            right: Box::new(ordered(&high, &low)),
        },
        false => ordered(&low, &high),
    };
    let within = Expr::Nested(Box::new(within));
    match negated {
        true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(within) },
        false => within,
    }
}

/// `trim([side] FROM x [, characters])`
fn trim_from(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.expect_keyword(Keyword::TRIM)?;
    parser.expect_token(&Token::LParen)?;
    let side = match parser.parse_one_of_keywords(&[Keyword::BOTH, Keyword::LEADING, Keyword::TRAILING]) {
        Some(Keyword::BOTH) => Some(TrimWhereField::Both),
        Some(Keyword::LEADING) => Some(TrimWhereField::Leading),
        Some(_) => Some(TrimWhereField::Trailing),
        None => None,
    };
    parser.expect_keyword(Keyword::FROM)?;
    let expr = Box::new(parser.parse_expr()?);
    let trim_what = match parser.consume_token(&Token::Comma) {
        true => Some(Box::new(parser.parse_expr()?)),
        false => None,
    };
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Trim { trim_where: side, trim_what, expr, trim_characters: None })
}

/// `substring(x SIMILAR pattern ESCAPE escape)`, whose older form is `substring(x FROM pattern FOR escape)`.
fn substring_similar(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.expect_keyword(Keyword::SUBSTRING)?;
    parser.expect_token(&Token::LParen)?;
    let text = parser.parse_subexpr(BASE.prec_value(Precedence::Like))?;
    parser.expect_keyword(Keyword::SIMILAR)?;
    let pattern = parser.parse_subexpr(BASE.prec_value(Precedence::Like))?;
    parser.expect_keyword(Keyword::ESCAPE)?;
    let escape = parser.parse_expr()?;
    parser.expect_token(&Token::RParen)?;
    Ok(call("substring", [text, pattern, escape]))
}

/// A call of a function in syntax.
pub fn call(name: &str, args: impl IntoIterator<Item = Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
