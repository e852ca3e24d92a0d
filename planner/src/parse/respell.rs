//! Spellings of Postgres that `sqlparser` does not know, as tokens that it does.
//!
//! | written | parsed as |
//! |---|---|
//! | `a->-1` | `a -> -1`: no operator ends with a sign, unless it holds one of the characters that others begin with |
//! | `'1 day'::interval PRECEDING` | `interval '1 day' PRECEDING` |
//! | `TABLE t` for a query | `SELECT * FROM t` |
//! | `ORDER BY a USING >` | `ORDER BY a DESC` |
//! | `a ISNULL`, `a NOTNULL` | `a IS NULL`, `a IS NOT NULL` |
//! | `SELECT a top` | `SELECT a "top"`: words that are keywords of other databases |
//! | `(f(x)).*` | `(f(x))."*"`, by a name that no user can type |
//! | `WHEN MATCHED THEN DO NOTHING` | `WHEN MATCHED THEN UPDATE SET "do nothing" = 0`, and an INSERT of that column when not matched |
//! | `OVER (ORDER BY a ROWS 1 PRECEDING EXCLUDE TIES)` | `OVER (PARTITION BY "exclude ties"() ORDER BY a ROWS 1 PRECEDING)`, by a name that no user can type |

use super::tokens::{texts, word};
use millrace_functions::windows::Exclusion;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// Respells the tokens of a statement.
pub fn respell(tokens: &mut Vec<TokenWithSpan>) {
    split_signs(tokens);
    name_other_keywords(tokens);
    direct_order(tokens);
    test_for_null(tokens);
    exclude(tokens);
    do_nothing(tokens);
    name_intervals(tokens);
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

/// Spells out the tests behind an operand.
fn test_for_null(tokens: &mut Vec<TokenWithSpan>) {
    const NO_OPERANDS: &[&str] = &[
        "as",
        "select",
        "distinct",
        "all",
        "where",
        "and",
        "or",
        "not",
        "on",
        "by",
        "having",
        "when",
        "then",
        "else",
        "case",
        "from",
        "join",
        "in",
        "is",
        "between",
        "like",
        "ilike",
        "returning",
        "set",
        "using",
        "with",
        "into",
        "table",
    ];
    let text = texts(tokens);
    for place in (1..text.len()).rev() {
        let test = match word(&tokens[text[place]].token).as_str() {
            "isnull" => &["IS", "NULL"][..],
            "notnull" => &["IS", "NOT", "NULL"],
            _ => continue,
        };
        let follows_an_operand = match &tokens[text[place - 1]].token {
            before @ Token::Word(_) => !NO_OPERANDS.contains(&word(before).as_str()),
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::RParen
            | Token::RBracket => true,
            _ => false,
        };
        if follows_an_operand {
            let span = tokens[text[place]].span;
            let test = test.iter().map(|keyword| TokenWithSpan { token: Token::make_keyword(keyword), span });
            tokens.splice(text[place]..=text[place], test);
        }
    }
}

/// The column that `DO NOTHING` of MERGE sets: no user can type its name.
pub const NOTHING: &str = "\u{1}nothing";

/// `THEN DO NOTHING`, as the statement of the same kind of clause that does nothing.
fn do_nothing(tokens: &mut Vec<TokenWithSpan>) {
    let text = texts(tokens);
    let words: Vec<String> = text.iter().map(|at| word(&tokens[*at].token)).collect();
    if !words.iter().any(|word| word == "merge") {
        return;
    }
    let column = || Token::make_word(NOTHING, Some('"'));
    for place in (0..words.len()).rev() {
        let is_nothing = words[place..].iter().take(3).eq(["then", "do", "nothing"]);
        let Some(matched) = words[..place].iter().rposition(|word| word == "matched").filter(|_| is_nothing) else {
            continue;
        };
        let zero = Token::Number("0".to_owned(), false);
        let action = match matched.checked_sub(1).is_some_and(|before| words[before] == "not") {
            false => vec![Token::make_keyword("UPDATE"), Token::make_keyword("SET"), column(), Token::Eq, zero],
            true => {
                let mut insert = vec![Token::make_keyword("INSERT"), Token::LParen, column(), Token::RParen];
                insert.extend([Token::make_keyword("VALUES"), Token::LParen, zero, Token::RParen]);
                insert
            }
        };
        let span = tokens[text[place + 1]].span;
        let action = action.into_iter().map(|token| TokenWithSpan { token, span });
        tokens.splice(text[place + 1]..=text[place + 2], action);
    }
}

/// What frames exclude becomes a key of the partition, after the name of a window that this one is made from.
fn exclude(tokens: &mut Vec<TokenWithSpan>) {
    const SPACE: Token = Token::Whitespace(sqlparser::tokenizer::Whitespace::Space);
    let text = texts(tokens);
    for place in (0..text.len()).rev() {
        let words = |count: usize| {
            let words: Vec<String> =
                text[place..].iter().skip(1).take(count).map(|at| word(&tokens[*at].token)).collect();
            Exclusion::named(&words.join(" ")).map(|exclusion| (exclusion, count))
        };
        if word(&tokens[text[place]].token) != "exclude" {
            continue;
        }
        let Some((exclusion, count)) = words(1).or_else(|| words(2)) else { continue };
        let ends = text.get(place + count + 1).is_some_and(|at| tokens[*at].token == Token::RParen);
        if !ends {
            continue;
        }
        let Some(open) = opening(tokens, &text[..place]) else { continue };
        for at in &text[place..=place + count] {
            tokens[*at].token = SPACE;
        }
        let first = word(&tokens[text[open + 1]].token);
        let clauses = ["partition", "order", "rows", "range", "groups"];
        let partition = if clauses.contains(&first.as_str()) { open + 1 } else { open + 2 };
        let mut key = vec![Token::make_word(exclusion.key(), Some('"')), Token::LParen, Token::RParen];
        let at = match word(&tokens[text[partition]].token).as_str() {
            "partition" => {
                key.push(Token::Comma);
                text[partition + 1] + 1
            }
            _ => {
                key.splice(0..0, [SPACE, Token::make_keyword("PARTITION"), SPACE, Token::make_keyword("BY"), SPACE]);
                key.push(SPACE);
                text[partition]
            }
        };
        let span = tokens[text[place]].span;
        tokens.splice(at..at, key.into_iter().map(|token| TokenWithSpan { token, span }));
        // The places behind have moved.
        return exclude(tokens);
    }
}

/// The offset of a frame as a constant with its type before it.
fn name_intervals(tokens: &mut [TokenWithSpan]) {
    let text = texts(tokens);
    for four in text.windows(4) {
        let [value, cast, name, direction] = [four[0], four[1], four[2], four[3]];
        let directed = ["preceding", "following"].contains(&word(&tokens[direction].token).as_str());
        let is_cast = tokens[cast].token == Token::DoubleColon && word(&tokens[name].token) == "interval";
        if directed && is_cast && matches!(tokens[value].token, Token::SingleQuotedString(_)) {
            let constant = std::mem::replace(&mut tokens[value].token, Token::make_keyword("INTERVAL"));
            tokens[cast].token = Token::Whitespace(sqlparser::tokenizer::Whitespace::Space);
            tokens[name].token = constant;
        }
    }
}

/// The place in `text` of the parenthesis that is open at its end.
fn opening(tokens: &[TokenWithSpan], text: &[usize]) -> Option<usize> {
    let mut depth = 0;
    (0..text.len()).rev().find(|place| {
        match tokens[text[*place]].token {
            Token::RParen => depth += 1,
            Token::LParen if depth == 0 => return true,
            Token::LParen => depth -= 1,
            _ => {}
        }
        false
    })
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
