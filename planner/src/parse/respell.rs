//! Spellings of Postgres that `sqlparser` does not know, as tokens that it does.
//!
//! | written | parsed as |
//! |---|---|
//! | `a->-1` | `a -> -1`: no operator ends with a sign, unless it holds one of the characters that others begin with |
//! | `TABLE t` for a query | `SELECT * FROM t` |
//! | `ORDER BY a USING >` | `ORDER BY a DESC` |
//! | `SELECT a top` | `SELECT a "top"`: words that are keywords of other databases |
//! | `(f(x)).*` | `(f(x))."*"`, by a name that no user can type |
//! | `EXCLUDE NO OTHERS` | nothing: it is what a frame does by itself |

use super::tokens::{texts, word};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// Respells the tokens of a statement.
pub fn respell(tokens: &mut Vec<TokenWithSpan>) {
    split_signs(tokens);
    name_other_keywords(tokens);
    direct_order(tokens);
    leave_out_no_others(tokens);
    select_tables(tokens);
    name_all_columns(tokens);
}

/// Takes the sign of a number off the operator before it.
fn split_signs(tokens: &mut Vec<TokenWithSpan>) {
    const MAY_END_WITH_A_SIGN: &[char] = &['~', '!', '@', '#', '%', '^', '&', '|', '`', '?'];
    for at in (0..tokens.len()).rev() {
        let Token::CustomBinaryOperator(operator) = &tokens[at].token else { continue };
        let head = operator.trim_end_matches(['+', '-']);
        if head.is_empty() || head.len() == operator.len() || operator.contains(MAY_END_WITH_A_SIGN) {
            continue;
        }
        let Ok(mut split) = Tokenizer::new(&PostgreSqlDialect {}, head).tokenize() else { continue };
        split.extend(operator[head.len()..].chars().map(|sign| if sign == '-' { Token::Minus } else { Token::Plus }));
        let span = tokens[at].span;
        tokens.splice(at..=at, split.into_iter().map(|token| TokenWithSpan { token, span }));
    }
}

/// Words that are names in Postgres, wherever they stand.
fn name_other_keywords(tokens: &mut [TokenWithSpan]) {
    use Keyword::{CONNECT, DISTRIBUTE, GLOBAL, MINUS, OUTPUT, PREWHERE, SAMPLE, SETTINGS, SORT, STRAIGHT_JOIN, TOP};
    const NAMES: &[Keyword] =
        &[CONNECT, DISTRIBUTE, GLOBAL, MINUS, OUTPUT, PREWHERE, SAMPLE, SETTINGS, SORT, STRAIGHT_JOIN, TOP];
    for token in tokens {
        if let Token::Word(word) = &mut token.token
            && NAMES.contains(&word.keyword)
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
}

fn name_all_columns(tokens: &mut [TokenWithSpan]) {
    let text = texts(tokens);
    for three in text.windows(3) {
        let is_row = tokens[three[0]].token == Token::RParen && tokens[three[1]].token == Token::Period;
        if is_row && tokens[three[2]].token == Token::Mul {
            tokens[three[2]].token = Token::make_word(millrace_functions::ALL_COLUMNS, Some('"'));
        }
    }
}

fn direct_order(tokens: &mut [TokenWithSpan]) {
    let text = texts(tokens);
    for two in text.windows(2) {
        if word(&tokens[two[0]].token) != "using" {
            continue;
        }
        let direction = match tokens[two[1]].token {
            Token::Lt => Token::make_keyword("ASC"),
            Token::Gt => Token::make_keyword("DESC"),
            _ => continue,
        };
        tokens[two[0]].token = direction;
        tokens[two[1]].token = Token::Whitespace(sqlparser::tokenizer::Whitespace::Space);
    }
}

fn leave_out_no_others(tokens: &mut [TokenWithSpan]) {
    let text = texts(tokens);
    for three in text.windows(3) {
        let words = [word(&tokens[three[0]].token), word(&tokens[three[1]].token), word(&tokens[three[2]].token)];
        if words == ["exclude", "no", "others"] {
            for at in three {
                tokens[*at].token = Token::Whitespace(sqlparser::tokenizer::Whitespace::Space);
            }
        }
    }
}

/// `TABLE t`, where a query may stand and the next thing is none that only other uses of TABLE have.
fn select_tables(tokens: &mut Vec<TokenWithSpan>) {
    const AFTER: &[&str] = &["order", "limit", "offset", "fetch", "union", "except", "intersect", "for", "with"];
    const BEFORE: &[&str] = &["union", "except", "intersect", "all", "distinct", "as"];
    let text = texts(tokens);
    for place in (0..text.len()).rev() {
        if word(&tokens[text[place]].token) != "table" {
            continue;
        }
        let begins = match place.checked_sub(1).map(|before| &tokens[text[before]].token) {
            None | Some(Token::LParen | Token::RParen | Token::SemiColon) => true,
            Some(before) => BEFORE.contains(&word(before).as_str()),
        };
        let mut end = place + 1;
        while matches!(text.get(end + 1).map(|at| &tokens[*at].token), Some(Token::Period)) {
            end += 2;
        }
        let is_name = matches!(text.get(end).map(|at| &tokens[*at].token), Some(Token::Word(_)));
        let ends = match text.get(end + 1).map(|at| &tokens[*at].token) {
            None | Some(Token::RParen | Token::SemiColon | Token::EOF) => true,
            Some(after) => AFTER.contains(&word(after).as_str()),
        };
        if begins && is_name && ends {
            let at = text[place];
            let span = tokens[at].span;
            let query = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
            tokens.splice(at..=at, query.map(|token| TokenWithSpan { token, span }));
        }
    }
}
