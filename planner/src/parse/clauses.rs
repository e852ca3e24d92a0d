//! Clauses of Postgres that `sqlparser` does not know, as tokens that it does.
//!
//! | written | parsed as |
//! |---|---|
//! | `'a'` on one line and `'b'` on the next | `'ab'` |
//! | `f(a := 1)` | `f(a => 1)` |
//! | `f(a, VARIADIC b)` | `f(a, "variadic" => b)`, by a name that no user can type |
//! | `JOIN t USING (a) AS x` | `JOIN t USING ("as x", a)`, likewise |
//! | `FROM ONLY t`, `UPDATE ONLY t` | `FROM t`, `UPDATE t` |
//! | `GROUP BY DISTINCT a, b` | `GROUP BY "distinct"(), a, b`, likewise |
//! | `GROUP BY ALL a, b` | `GROUP BY a, b` |
//! | `current_role` | `current_role()` |
//! | `interval(0) '1.6'` | `interval '1.6' SECOND(0)` |

use super::tokens::{texts, word};
use millrace_functions::{DIFFERENT_SETS, VARIADIC};
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

const SPACE: Token = Token::Whitespace(Whitespace::Space);

/// What the name of a merged table begins with, where it stands among the columns of USING.
pub const MERGED: &str = "\u{1}as ";

/// Respells the clauses of a statement.
pub fn respell(tokens: &mut Vec<TokenWithSpan>) {
    join_lines(tokens);
    name_arguments(tokens);
    name_merged(tokens);
    drop_only(tokens);
    group(tokens);
    move_digits(tokens);
    call_role(tokens);
}

/// The one name of the session that the parser takes for a column's.
fn call_role(tokens: &mut Vec<TokenWithSpan>) {
    let text = texts(tokens);
    for place in (0..text.len()).rev() {
        let at = text[place];
        let is_next = |token: &Token| text.get(place + 1).is_some_and(|next| tokens[*next].token == *token);
        let is_part = is_next(&Token::Period) || place > 0 && tokens[text[place - 1]].token == Token::Period;
        if word(&tokens[at].token) == "current_role" && !is_part && !is_next(&Token::LParen) {
            let span = tokens[at].span;
            let call = [Token::LParen, Token::RParen].map(|token| TokenWithSpan { token, span });
            tokens.splice(at + 1..at + 1, call);
        }
    }
}

/// The digits of the seconds of an interval, which the parser would drop, go behind the constant.
fn move_digits(tokens: &mut Vec<TokenWithSpan>) {
    let text = texts(tokens);
    for five in text.windows(5).rev() {
        let [name, open, digits, close, constant] = [0, 1, 2, 3, 4].map(|at| &tokens[five[at]].token);
        let is_type = word(name) == "interval" && *open == Token::LParen && *close == Token::RParen;
        if is_type && matches!((digits, constant), (Token::Number(..), Token::SingleQuotedString(_))) {
            let span = tokens[five[0]].span;
            let behind = [Token::make_keyword("SECOND"), Token::LParen, digits.clone(), Token::RParen];
            let moved = std::iter::once(constant.clone()).chain([SPACE]).chain(behind);
            let moved: Vec<_> = moved.map(|token| TokenWithSpan { token, span }).collect();
            tokens.splice(five[1]..=five[4], moved);
        }
    }
}

/// String constants of which the one begins on a later line than the other ends.
fn join_lines(tokens: &mut Vec<TokenWithSpan>) {
    let is_string = |token: &Token| matches!(token, Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_));
    let text = texts(tokens);
    for two in text.windows(2).rev() {
        let (first, second) = (two[0], two[1]);
        let is_next_line = tokens[first..second].iter().any(|token| ends_line(&token.token));
        if !is_next_line || !is_string(&tokens[first].token) {
            continue;
        }
        let Token::SingleQuotedString(rest) = &tokens[second].token else { continue };
        let rest = rest.clone();
        if let Token::SingleQuotedString(start) | Token::EscapedStringLiteral(start) = &mut tokens[first].token {
            start.push_str(&rest);
            tokens.drain(first + 1..=second);
        }
    }
}

fn ends_line(token: &Token) -> bool {
    matches!(token, Token::Whitespace(Whitespace::Newline | Whitespace::SingleLineComment { .. }))
}

/// The sign between an argument's name and its value, and the word before an array of arguments.
fn name_arguments(tokens: &mut Vec<TokenWithSpan>) {
    let text = texts(tokens);
    for place in (1..text.len()).rev() {
        let at = text[place];
        let begins = matches!(tokens[text[place - 1]].token, Token::LParen | Token::Comma);
        if tokens[at].token == Token::Assignment {
            tokens[at].token = Token::RArrow;
        } else if begins && word(&tokens[at].token) == "variadic" {
            let span = tokens[at].span;
            tokens[at].token = Token::make_word(VARIADIC, Some('"'));
            tokens.insert(at + 1, TokenWithSpan { token: Token::RArrow, span });
        }
    }
}

/// The name of the columns that a join merges goes to their front.
fn name_merged(tokens: &mut Vec<TokenWithSpan>) {
    let text = texts(tokens);
    for place in (0..text.len()).rev() {
        let token = |after: usize| text.get(place + after).map(|at| &tokens[*at].token);
        if word(&tokens[text[place]].token) != "using" || token(1) != Some(&Token::LParen) {
            continue;
        }
        let is_list = |after: &usize| match token(*after) {
            Some(Token::Word(_)) => after.is_multiple_of(2),
            Some(Token::Comma) => after % 2 == 1,
            _ => false,
        };
        let end = 2 + (2..).take_while(is_list).count();
        let named = match (token(end), token(end + 1).map(word), token(end + 2)) {
            (Some(Token::RParen), Some(keyword), Some(Token::Word(name))) if keyword == "as" => name.clone(),
            _ => continue,
        };
        let name = if named.quote_style.is_some() { named.value } else { named.value.to_lowercase() };
        tokens[text[place + end + 1]].token = SPACE;
        tokens[text[place + end + 2]].token = SPACE;
        let (at, span) = (text[place + 1] + 1, tokens[text[place]].span);
        let front = [Token::make_word(&format!("{MERGED}{name}"), Some('"')), Token::Comma];
        tokens.splice(at..at, front.map(|token| TokenWithSpan { token, span }));
    }
}

/// Tables have no children.
fn drop_only(tokens: &mut [TokenWithSpan]) {
    let text = texts(tokens);
    for three in text.windows(3) {
        let follows = ["from", "join", "update"].contains(&word(&tokens[three[0]].token).as_str());
        let is_name = matches!(tokens[three[2]].token, Token::Word(_));
        if follows && is_name && word(&tokens[three[1]].token) == "only" {
            tokens[three[1]].token = SPACE;
        }
    }
}

/// Whether sets of a grouping that are equal count once.
fn group(tokens: &mut Vec<TokenWithSpan>) {
    let text = texts(tokens);
    for three in text.windows(3).rev() {
        let words = [three[0], three[1], three[2]].map(|at| word(&tokens[at].token));
        let [group, by, which] = words.each_ref().map(String::as_str);
        if group != "group" || by != "by" {
            continue;
        }
        let (at, span) = (three[2], tokens[three[2]].span);
        match which {
            "distinct" => {
                let key = [Token::make_word(DIFFERENT_SETS, Some('"')), Token::LParen, Token::RParen, Token::Comma];
                tokens.splice(at..=at, key.map(|token| TokenWithSpan { token, span }));
            }
            "all" => tokens[at].token = SPACE,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::{Statement, parse};

    fn parsed(sql: &str) -> String {
        match parse(sql).unwrap() {
            Some(Statement::Query(query)) => query.to_string().replace('\u{1}', ""),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clauses_are_spelled_as_the_parser_knows_them() {
        for (sql, expected) in [
            ("SELECT 'a'\n 'b' -- c\n 'd'", "SELECT 'abd'"),
            ("SELECT f(a := 1, VARIADIC b)", "SELECT f(a => 1, \"variadic\" => b)"),
            ("SELECT 1 FROM a JOIN b USING (c, d) AS e", "SELECT 1 FROM a JOIN b USING(\"as e\", c, d)"),
            ("SELECT 1 FROM ONLY a", "SELECT 1 FROM a"),
            ("SELECT current_role, x.current_role", "SELECT current_role(), x.current_role"),
            ("SELECT 1 GROUP BY DISTINCT ROLLUP (a)", "SELECT 1 GROUP BY \"distinct\"(), ROLLUP (a)"),
            ("SELECT 1 GROUP BY ALL a", "SELECT 1 GROUP BY a"),
            ("SELECT interval(0) '1.6'", "SELECT INTERVAL '1.6' SECOND (0)"),
        ] {
            assert_eq!(parsed(sql), expected);
        }
    }
}
