//! `ASOF [LEFT] JOIN`, which the parser knows in another form: as a join whose condition begins with a mark.
//!
//! ```text
//!   a ASOF LEFT JOIN b ON a.k = b.k AND b.t <= a.t         a LEFT JOIN b ON "mark" AND a.k = b.k AND b.t <= a.t
//!   a ASOF JOIN b MATCH_CONDITION (a.t >= b.t) ON x        a JOIN b ON "mark" AND (a.t >= b.t) AND x
//!   a JOIN b FOR SYSTEM_TIME AS OF a.t ON x                a JOIN b ON "mark" AND "version"(a.t) AND x
//!   a JOIN b FOR SYSTEM_TIME AS OF PROCTIME() ON x         a JOIN b ON "mark" AND "version"(PROCTIME()) AND x
//! ```

use sqlparser::tokenizer::{Token, TokenWithSpan};

/// The column that marks such a join. Its name cannot be typed.
pub const ASOF_MARK: &str = "\u{1}asof";

/// The function that stands for "the version as of this time" in its condition.
pub const VERSION_MARK: &str = "\u{1}version";

/// Rewrites the tokens of every join with the version of a relation as of a column.
pub fn mark_versions(tokens: &mut Vec<TokenWithSpan>) {
    let mut from = 0;
    while let Some((start, end)) = find_version(tokens, from) {
        from = end;
        let Some(on) = at_depth(tokens, end, &["on", "join", "where"]) else { continue };
        if !is_word(&tokens[on].token, "on") {
            continue;
        }
        let span = tokens[on].span;
        let put = |token| TokenWithSpan { token, span };
        let version: Vec<TokenWithSpan> =
            tokens[start..end].iter().rev().take_while(|of| !is_word(&of.token, "of")).cloned().collect();
        let before = [
            Token::make_word(ASOF_MARK, Some('"')),
            Token::make_keyword("AND"),
            Token::make_word(VERSION_MARK, Some('"')),
            Token::LParen,
        ];
        let after = [Token::RParen, Token::make_keyword("AND")];
        let condition = before.map(put).into_iter().chain(version.into_iter().rev()).chain(after.map(put));
        tokens.splice(on + 1..on + 1, condition.collect::<Vec<_>>());
        tokens.drain(start..end);
        from = start;
    }
}

/// The next `FOR SYSTEM_TIME AS OF` with the column of a relation or `PROCTIME()` behind it: where it starts and ends.
fn find_version(tokens: &[TokenWithSpan], from: usize) -> Option<(usize, usize)> {
    let text: Vec<usize> =
        (from..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
    let token = |place: usize| text.get(place).map(|at| &tokens[*at].token);
    let is = |place: usize, word: &str| token(place).is_some_and(|token| is_word(token, word));
    let name = |place: usize| matches!(token(place), Some(Token::Word(_)));
    let place = (0..text.len()).find(|&place| {
        let words = ["for", "system_time", "as", "of"];
        let is_of = words.iter().enumerate().all(|(at, word)| is(place + at, word));
        let is_now = is(place + 4, "proctime")
            && token(place + 5) == Some(&Token::LParen)
            && token(place + 6) == Some(&Token::RParen);
        is_of && (is_now || name(place + 4) && token(place + 5) == Some(&Token::Period) && name(place + 6))
    })?;
    let more = token(place + 7) == Some(&Token::Period) && name(place + 8);
    Some((text[place], text[place + if more { 8 } else { 6 }] + 1))
}

/// Rewrites the tokens of every such join.
pub fn mark_asof_joins(tokens: &mut Vec<TokenWithSpan>) {
    while let Some(asof) = find(tokens) {
        tokens.remove(asof);
        mark(tokens, asof);
    }
}

/// The place of an `ASOF` before a join.
fn find(tokens: &[TokenWithSpan]) -> Option<usize> {
    let text: Vec<usize> = (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
    let is = |place: usize, word: &str| text.get(place).is_some_and(|at| is_word(&tokens[*at].token, word));
    let place = (0..text.len()).find(|&place| {
        let outer = usize::from(is(place + 1, "left")) + usize::from(is(place + 1, "left") && is(place + 2, "outer"));
        is(place, "asof") && is(place + 1 + outer, "join")
    })?;
    Some(text[place])
}

/// Puts the mark behind the ON, or MATCH_CONDITION, that belongs to the join starting at a place.
fn mark(tokens: &mut Vec<TokenWithSpan>, join: usize) {
    let Some(condition) = at_depth(tokens, join, &["on", "match_condition"]) else { return };
    let span = tokens[condition].span;
    let put = |token| TokenWithSpan { token, span };
    if is_word(&tokens[condition].token, "match_condition") {
        let opens = (condition..tokens.len()).find(|at| tokens[*at].token == Token::LParen);
        let end = opens.and_then(|opens| closing(tokens, opens));
        if let Some(end) = end
            && let Some(on) = next(tokens, end + 1).filter(|on| is_word(&tokens[*on].token, "on"))
        {
            tokens[on].token = Token::make_keyword("AND");
        }
        tokens[condition].token = Token::make_keyword("ON");
    }
    let words = [Token::make_word(ASOF_MARK, Some('"')), Token::make_keyword("AND")];
    tokens.splice(condition + 1..condition + 1, words.map(put));
}

/// The next of these words behind a place, outside of parentheses.
fn at_depth(tokens: &[TokenWithSpan], from: usize, words: &[&str]) -> Option<usize> {
    let mut depth = 0usize;
    for (at, TokenWithSpan { token, .. }) in tokens.iter().enumerate().skip(from) {
        match token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return None,
            Token::RParen => depth -= 1,
            token if depth == 0 && words.iter().any(|word| is_word(token, word)) => return Some(at),
            _ => {}
        }
    }
    None
}

/// The place of the parenthesis that closes one.
fn closing(tokens: &[TokenWithSpan], opens: usize) -> Option<usize> {
    let mut depth = 0usize;
    (opens..tokens.len()).find(|at| {
        match tokens[*at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

fn next(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    (from..tokens.len()).find(|at| !matches!(tokens[*at].token, Token::Whitespace(_)))
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(known) if known.quote_style.is_none() && known.value.eq_ignore_ascii_case(word))
}
