//! A place in the tokens of one statement, with the small steps that our own statements are parsed by.

use super::failure::{Failure, Parsed};
use super::{asof, clauses, limits, respell, tokens, unsupported};
use millrace_functions::PostgresDialect;
use millrace_types::Result;
use sqlparser::ast::{Expr, Ident, ObjectName, Query};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// How deep `sqlparser` may recurse: several levels of its grammar make one of ours, which [`limits`] bounds first.
const RECURSION: usize = 1_000;

/// `sqlparser`'s parser at some token of a statement, and the statement's text.
pub struct Cursor<'a> {
    pub parser: Parser<'a>,
    pub sql: &'a str,
}

impl<'a> Cursor<'a> {
    /// At the first token of a text.
    ///
    /// # Errors
    /// `42601` when it does not tokenise, `54001` when it is nested too deep.
    pub fn new(sql: &'a str) -> Result<Cursor<'a>> {
        let mut tokens = tokens::tokenize(sql)?;
        limits::check(&tokens)?;
        asof::mark_versions(&mut tokens);
        unsupported::refuse_tokens(&tokens)?;
        clauses::respell(&mut tokens);
        respell::respell(&mut tokens);
        tokens::end_before_emission(&mut tokens);
        tokens::enclose_distinct_from(&mut tokens);
        tokens::end_before_options(&mut tokens);
        tokens::name_rows_from(&mut tokens);
        asof::mark_asof_joins(&mut tokens);
        let parser = Parser::new(&PostgresDialect).with_recursion_limit(RECURSION).with_tokens_with_locations(tokens);
        Ok(Cursor { parser, sql })
    }

    /// Whether no token is left.
    pub fn at_end(&self) -> bool {
        self.parser.peek_token_ref().token == Token::EOF
    }

    /// Steps over semicolons.
    pub fn skip_semicolons(&mut self) {
        while self.parser.consume_token(&Token::SemiColon) {}
    }

    /// # Errors
    /// A syntax error at the next token, if there is one.
    pub fn expect_end(&mut self) -> Parsed<()> {
        if self.at_end() { Ok(()) } else { self.unexpected() }
    }

    /// A syntax error at the next token.
    pub fn unexpected<T>(&self) -> Parsed<T> {
        Ok(self.parser.expected("something else", self.parser.peek_token())?)
    }

    /// The next token as an unquoted word in lowercase, if it is one.
    pub fn peek_word(&self) -> Option<String> {
        self.peek_word_at(0)
    }

    /// The `n`th token from here, counted from 0, as an unquoted word in lowercase.
    pub fn peek_word_at(&self, n: usize) -> Option<String> {
        match &self.parser.peek_nth_token_ref(n).token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
            _ => None,
        }
    }

    /// Whether these words, in lowercase and separated by blanks, come next.
    pub fn peeks(&self, words: &str) -> bool {
        words.split(' ').enumerate().all(|(n, word)| self.peek_word_at(n).is_some_and(|next| next == word))
    }

    /// Steps over these words if they come next.
    pub fn accept(&mut self, words: &str) -> bool {
        let found = self.peeks(words);
        if found {
            words.split(' ').for_each(|_| self.parser.advance_token());
        }
        found
    }

    /// Steps over the one of these phrases that comes next and says which.
    pub fn accept_one(&mut self, phrases: &[&'static str]) -> Option<&'static str> {
        phrases.iter().find(|phrase| self.accept(phrase)).copied()
    }

    /// # Errors
    /// A syntax error when these words do not come next.
    pub fn expect(&mut self, words: &str) -> Parsed<()> {
        for word in words.split(' ') {
            if !self.accept(word) {
                return self.unexpected();
            }
        }
        Ok(())
    }

    /// Steps over a token if it comes next.
    pub fn accept_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// # Errors
    /// A syntax error when this token does not come next.
    pub fn expect_token(&mut self, token: &Token) -> Parsed<()> {
        if self.accept_token(token) { Ok(()) } else { self.unexpected() }
    }

    /// A name of one to three parts.
    pub fn name(&mut self) -> Parsed<ObjectName> {
        let start = self.position();
        let name = self.parser.parse_object_name(false)?;
        if name.0.len() > 3 {
            let error = millrace_types::SqlError::new(
                millrace_types::SqlState::SYNTAX_ERROR,
                format!("improper qualified name (too many dotted names): {name}"),
            );
            return Err(error.at(start + 1).into());
        }
        Ok(name)
    }

    /// Names separated by commas.
    pub fn names(&mut self) -> Parsed<Vec<ObjectName>> {
        self.list(Cursor::name)
    }

    pub fn identifier(&mut self) -> Parsed<Ident> {
        Ok(self.parser.parse_identifier()?)
    }

    /// A string constant.
    pub fn string(&mut self) -> Parsed<String> {
        Ok(self.parser.parse_literal_string()?)
    }

    pub fn expression(&mut self) -> Parsed<Expr> {
        Ok(self.parser.parse_expr()?)
    }

    pub fn query(&mut self) -> Parsed<Box<Query>> {
        let starts_query = matches!(self.peek_word().as_deref(), Some("select" | "with" | "values" | "table"))
            || self.parser.peek_token_ref().token == Token::LParen;
        if starts_query { Ok(self.parser.parse_query()?) } else { self.unexpected() }
    }

    /// What `item` parses, separated by commas.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.accept_token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// What `item` parses, separated by commas, in parentheses.
    pub fn parenthesized<T>(&mut self, item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect_token(&Token::LParen)?;
        let items = self.list(item)?;
        self.expect_token(&Token::RParen)?;
        Ok(items)
    }

    /// Identifiers in parentheses, if an opening one comes next.
    pub fn column_list(&mut self) -> Parsed<Vec<Ident>> {
        match self.parser.peek_token_ref().token {
            Token::LParen => self.parenthesized(Cursor::identifier),
            _ => Ok(vec![]),
        }
    }

    /// How many characters stand before the next token.
    pub fn position(&self) -> usize {
        match self.parser.peek_token_ref() {
            TokenWithSpan { token: Token::EOF, .. } => self.sql.chars().count(),
            TokenWithSpan { span, .. } => (span.start.column as usize).saturating_sub(1),
        }
    }

    /// What `item` parses, with the text that it was parsed from.
    pub fn with_text<T>(&mut self, item: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<(T, String)> {
        let start = self.position();
        let item = item(self)?;
        let text = tokens::slice(self.sql, start, self.position()).trim_end().to_owned();
        Ok((item, text))
    }

    /// Steps to the end of the statement.
    pub fn skip_rest(&mut self) {
        while !self.at_end() && self.parser.peek_token_ref().token != Token::SemiColon {
            self.parser.advance_token();
        }
    }

    /// `IF NOT EXISTS`, if it comes next.
    pub fn if_not_exists(&mut self) -> bool {
        self.accept("if not exists")
    }

    /// `0A000` at the next token, for a construct that is understood and not supported.
    pub fn unsupported<T>(&self, what: impl std::fmt::Display) -> Parsed<T> {
        Err(Failure::Sql(millrace_types::SqlError::unsupported(what).at(self.position() + 1)))
    }
}
