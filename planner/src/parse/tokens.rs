//! Text into tokens that know at which character they start.

use millrace_types::{Result, SqlError, SqlState};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, TokenizerError};

/// Characters before each line of a text: turns the tokeniser's lines and columns into character positions.
struct Lines(Vec<u64>);

impl Lines {
    fn of(sql: &str) -> Lines {
        let mut starts = vec![0];
        starts.extend(sql.chars().zip(1..).filter(|(c, _)| *c == '\n').map(|(_, after)| after));
        Lines(starts)
    }

    /// The character at a location, counted from 1.
    fn position(&self, location: Location) -> u64 {
        let line = location.line.saturating_sub(1) as usize;
        self.0.get(line).copied().unwrap_or(0) + location.column
    }
}

/// The tokens of a text. Their spans say line 1 and, as the column, the number of the character counted from 1: so
/// spans in the syntax tree and in the parser's messages are positions as Postgres counts them.
///
/// # Errors
/// `42601` where a quote, a comment or an operator does not end.
pub fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>> {
    let lines = Lines::of(sql);
    let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| unfinished(error, &lines, sql))?;
    for token in &mut tokens {
        let place = |location| Location { line: 1, column: lines.position(location) };
        token.span = Span { start: place(token.span.start), end: place(token.span.end) };
    }
    Ok(tokens)
}

fn unfinished(error: TokenizerError, lines: &Lines, sql: &str) -> SqlError {
    let position = (lines.position(error.location) as usize).max(1);
    let what = match error.message.as_str() {
        message if message.contains("dollar-quoted") => "unterminated dollar-quoted string",
        message if message.contains("string literal") => "unterminated quoted string",
        message if message.contains("close delimiter") => "unterminated quoted identifier",
        message if message.contains("comment") => "unterminated /* comment",
        _ => "syntax error",
    };
    let rest: String = sql.chars().skip(position - 1).take(100).collect();
    SqlError::new(SqlState::SYNTAX_ERROR, format!("{what} at or near \"{rest}\"")).at(position)
}

/// Puts a semicolon where `EMIT ...` follows a query: `EMIT` would be taken for the alias of what stands before it.
pub fn end_before_emission(tokens: &mut [TokenWithSpan]) {
    let text: Vec<usize> = (0..tokens.len()).filter(|n| !matches!(tokens[*n].token, Token::Whitespace(_))).collect();
    let words: Vec<String> = text.iter().map(|n| word(&tokens[*n].token)).collect();
    let is_emission = |place: usize| {
        let next = |at: usize, expected: &str| words.get(place + at).is_some_and(|word| word == expected);
        let on_close = next(1, "on") && next(2, "window") && next(3, "close");
        next(0, "emit") && (next(1, "changes") || next(1, "final") || on_close)
    };
    let mut depth = 0usize;
    for place in 0..text.len() {
        match tokens[text[place]].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ if depth == 0 && place > 0 && is_emission(place) => tokens[text[place]].token = Token::SemiColon,
            _ => {}
        }
    }
}

/// Makes `ROWS FROM (` a call of a function with a name that cannot be typed: the parser does not know it.
pub fn name_rows_from(tokens: &mut Vec<TokenWithSpan>) {
    let text = texts(tokens);
    let starts = |three: &&[usize]| {
        word(&tokens[three[0]].token) == "rows"
            && word(&tokens[three[1]].token) == "from"
            && tokens[three[2]].token == Token::LParen
    };
    let found: Vec<(usize, usize)> = text.windows(3).filter(starts).map(|three| (three[0], three[1])).collect();
    for (rows, from) in found.into_iter().rev() {
        tokens[rows].token = Token::make_word(millrace_functions::sets::ROWS_FROM, Some('"'));
        tokens.remove(from);
    }
}

/// Puts a semicolon between the query of a CREATE SINK and its `WITH (`, which `sqlparser` would take for hints on the
/// last table of the query.
pub fn end_before_options(tokens: &mut Vec<TokenWithSpan>) {
    let is_text = |index: &usize| !matches!(tokens[*index].token, Token::Whitespace(_));
    let texts: Vec<usize> = (0..tokens.len()).filter(is_text).collect();
    let is_word = |index: usize, word: &str| matches!(&tokens[index].token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
    let Some(sink) = texts.windows(2).position(|pair| is_word(pair[0], "create") && is_word(pair[1], "sink")) else {
        return;
    };
    let (mut depth, mut options) = (0usize, None);
    for (place, index) in texts.iter().enumerate().skip(sink) {
        match tokens[*index].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ if depth == 0 && is_word(*index, "with") => {
                let opens = texts.get(place + 1).is_some_and(|next| tokens[*next].token == Token::LParen);
                options = options.or_else(|| opens.then_some(*index));
            }
            _ => {}
        }
    }
    if let Some(index) = options {
        let span = tokens[index].span;
        tokens.insert(index, TokenWithSpan { token: Token::SemiColon, span });
    }
}

/// Puts `a IS [NOT] DISTINCT FROM b` in parentheses where AND or OR follows: the parser would take that into `b`.
pub fn enclose_distinct_from(tokens: &mut Vec<TokenWithSpan>) {
    let text = texts(tokens);
    let words: Vec<String> = text.iter().map(|n| word(&tokens[*n].token)).collect();
    let mut parentheses = vec![];
    for place in 1..words.len().saturating_sub(1) {
        let is_operator = words[place] == "distinct" && words[place + 1] == "from";
        let is = if words[place - 1] == "not" { place.saturating_sub(2) } else { place - 1 };
        if is_operator
            && words[is] == "is"
            && let Some(end) = operand_end(tokens, &text, &words, place + 2)
        {
            let start = operand_start(tokens, &text, &words, is);
            parentheses.extend([(text[start], Token::LParen), (text[end], Token::RParen)]);
        }
    }
    parentheses.sort_by_key(|(at, _)| *at);
    for (at, token) in parentheses.into_iter().rev() {
        let span = tokens[at].span;
        tokens.insert(at, TokenWithSpan { token, span });
    }
}

/// The place where the operand that ends before `end` starts.
fn operand_start(tokens: &[TokenWithSpan], text: &[usize], words: &[String], end: usize) -> usize {
    const BEFORE: [&str; 15] = [
        "and",
        "or",
        "not",
        "where",
        "on",
        "select",
        "distinct",
        "all",
        "when",
        "then",
        "else",
        "case",
        "having",
        "by",
        "returning",
    ];
    let mut depth = 0;
    for place in (0..end).rev() {
        match (&tokens[text[place]].token, words[place].as_str()) {
            (Token::RParen | Token::RBracket, _) | (_, "end") => depth += 1,
            (Token::LParen | Token::LBracket, _) | (_, "case") if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            (Token::LParen | Token::LBracket | Token::Comma | Token::SemiColon, _) => return place + 1,
            (_, word) if BEFORE.contains(&word) => return place + 1,
            _ => {}
        }
    }
    0
}

/// The place of the AND or OR that ends the operand starting at `start`; `None` when something else ends it.
fn operand_end(tokens: &[TokenWithSpan], text: &[usize], words: &[String], start: usize) -> Option<usize> {
    const CLAUSES: [&str; 22] = [
        "where",
        "group",
        "having",
        "order",
        "limit",
        "offset",
        "fetch",
        "for",
        "union",
        "intersect",
        "except",
        "window",
        "join",
        "inner",
        "left",
        "right",
        "full",
        "cross",
        "natural",
        "then",
        "else",
        "when",
    ];
    let mut depth = 0;
    for place in start..text.len() {
        match (&tokens[text[place]].token, words[place].as_str()) {
            (Token::LParen | Token::LBracket, _) | (_, "case") => depth += 1,
            (Token::RParen | Token::RBracket, _) | (_, "end") if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            (_, "and" | "or") => return Some(place),
            (Token::RParen | Token::RBracket | Token::Comma | Token::SemiColon, _) | (_, "end") => return None,
            (_, word) if CLAUSES.contains(&word) => return None,
            _ => {}
        }
    }
    None
}

/// The places of the tokens that are no white space.
pub fn texts(tokens: &[TokenWithSpan]) -> Vec<usize> {
    (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect()
}

/// A token's unquoted word in lowercase; empty for anything else.
pub fn word(token: &Token) -> String {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
        _ => String::new(),
    }
}

/// The statements of a text with the number of characters before each; see [`super::split`].
pub fn statements(sql: &str) -> Result<Vec<(usize, String)>> {
    let tokens = tokenize(sql)?;
    let is_separator = |token: &TokenWithSpan| token.token == Token::SemiColon;
    let mut statements = vec![];
    let mut characters = Characters::of(sql);
    for run in tokens.split(is_separator) {
        let is_text = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::EOF);
        let Some(first) = run.iter().find(is_text) else { continue };
        let last = run.iter().rfind(is_text).unwrap_or(first);
        let (start, end) = (first.span.start.column as usize - 1, last.span.end.column as usize - 1);
        statements.push((start, characters.slice(start, end).to_owned()));
    }
    Ok(statements)
}

/// Slices of a text by growing character positions, in one pass over it.
struct Characters<'a> {
    text: &'a str,
    character: usize,
    byte: usize,
}

impl<'a> Characters<'a> {
    fn of(text: &'a str) -> Characters<'a> {
        Characters { text, character: 0, byte: 0 }
    }

    fn seek(&mut self, character: usize) -> usize {
        let ahead = character.saturating_sub(self.character);
        let rest = &self.text[self.byte..];
        self.byte += rest.char_indices().nth(ahead).map_or(rest.len(), |(byte, _)| byte);
        self.character += ahead;
        self.byte
    }

    fn slice(&mut self, start: usize, end: usize) -> &'a str {
        let start = self.seek(start);
        let end = self.seek(end);
        &self.text[start..end]
    }
}

/// The characters `start..end` of a text, counted from 0.
pub fn slice(sql: &str, start: usize, end: usize) -> &str {
    Characters::of(sql).slice(start, end)
}
