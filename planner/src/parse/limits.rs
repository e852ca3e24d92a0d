//! Bounds on nesting, checked on tokens before anything recursive runs.
//!
//! A syntax tree is walked, printed, cloned and dropped by recursion, in our code and in that of libraries. Its depth is
//! at most the nesting of brackets plus the length of the chains of operators between them, which tokens tell.

use millrace_types::{Result, SqlError, SqlState};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// How deep brackets and CASE may nest.
const NESTING: usize = 60;
/// How many operators may follow one another in one list element at one level of nesting: `a OR b OR ...`.
const CHAIN: usize = 250;
/// How many set operations (`UNION` ...) a statement may hold at one level of nesting.
const SET_OPERATIONS: usize = 100;
/// How many operators may stand before one operand: `NOT NOT ...`.
const PREFIXES: usize = 60;

/// What was seen at one level of nesting.
#[derive(Default)]
struct Level {
    operators: usize,
    set_operations: usize,
    prefixes: usize,
}

/// Refuses a statement whose syntax tree would be too deep.
///
/// # Errors
/// `54001`, as Postgres says when its stack is exhausted.
pub fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut levels = vec![Level::default()];
    for TokenWithSpan { token, span } in tokens {
        if !step(&mut levels, token) {
            return Err(too_deep().at(span.start.column as usize));
        }
    }
    Ok(())
}

/// `54001`: the statement is nested too deep.
pub fn too_deep() -> SqlError {
    SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded").with_hint(
        "Simplify the statement: fewer nested brackets, operators or subqueries, or IN (...) instead of many ORs.",
    )
}

/// Takes one token into account; false when a bound is passed.
fn step(levels: &mut Vec<Level>, token: &Token) -> bool {
    match token {
        Token::Whitespace(_) => return true,
        Token::LParen | Token::LBracket => levels.push(Level::default()),
        Token::RParen | Token::RBracket => close(levels),
        Token::Word(word) if word.keyword == Keyword::CASE => levels.push(Level::default()),
        // The END of a transaction closes nothing: the lowest level always stays.
        Token::Word(word) if word.keyword == Keyword::END => close(levels),
        _ => {}
    }
    let depth = levels.len();
    let Some(level) = levels.last_mut() else { return true };
    match kind(token) {
        Kind::Comma => (level.operators, level.prefixes) = (0, 0),
        Kind::SetOperation => (level.set_operations, level.operators) = (level.set_operations + 1, 0),
        Kind::Operator => (level.operators, level.prefixes) = (level.operators + 1, level.prefixes + 1),
        Kind::Operand => level.prefixes = 0,
    }
    depth <= NESTING && level.operators <= CHAIN && level.set_operations <= SET_OPERATIONS && level.prefixes <= PREFIXES
}

fn close(levels: &mut Vec<Level>) {
    if levels.len() > 1 {
        levels.pop();
    }
}

enum Kind {
    Comma,
    SetOperation,
    Operator,
    Operand,
}

fn kind(token: &Token) -> Kind {
    match token {
        Token::Comma | Token::SemiColon => Kind::Comma,
        Token::Word(word) => match word.keyword {
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => Kind::SetOperation,
            Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::IS | Keyword::LIKE | Keyword::ILIKE => Kind::Operator,
            Keyword::IN | Keyword::BETWEEN | Keyword::JOIN | Keyword::COLLATE | Keyword::AT => Kind::Operator,
            _ => Kind::Operand,
        },
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Placeholder(_)
        | Token::LParen
        | Token::RParen
        | Token::Period
        | Token::EOF => Kind::Operand,
        _ => Kind::Operator,
    }
}
