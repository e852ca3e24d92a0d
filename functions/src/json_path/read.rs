//! Paths from their text, by descent: or, and, comparison, sum, product, sign, operand, steps.

use super::{Node, Operator, Path, Step};
use crate::json::Json;
use millrace_types::{Result, SqlError, SqlState};

/// Reads a path.
pub fn path(text: &str) -> Result<Path> {
    let mut reader = Reader { text, at: 0, in_subscript: false };
    let strict = reader.word("strict");
    let _ = !strict && reader.word("lax");
    let root = reader.disjunction()?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(reader.unexpected());
    }
    Ok(Path { root, strict })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Whether `last` means something.
    in_subscript: bool,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        self.at += self.text[self.at..].len() - self.text[self.at..].trim_start().len();
    }

    fn eat(&mut self, what: &str) -> bool {
        self.blanks();
        let found = self.text[self.at..].starts_with(what);
        self.at += if found { what.len() } else { 0 };
        found
    }

    /// A word that no letter follows.
    fn word(&mut self, what: &str) -> bool {
        self.blanks();
        let rest = self.text[self.at..].strip_prefix(what);
        let found = rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
        self.at += if found { what.len() } else { 0 };
        found
    }

    fn unexpected(&self) -> SqlError {
        let rest = self.text[self.at..].trim_start();
        let message = match rest.chars().next() {
            None => "syntax error at end of jsonpath input".to_owned(),
            Some(_) => {
                let token = rest.split(|c: char| c.is_whitespace()).next().unwrap_or_default();
                format!("syntax error at or near \"{token}\" of jsonpath input")
            }
        };
        SqlError::new(SqlState::SYNTAX_ERROR, message)
    }

    fn expect(&mut self, what: &str) -> Result<()> {
        if self.eat(what) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn disjunction(&mut self) -> Result<Node> {
        let mut node = self.conjunction()?;
        while self.eat("||") {
            node = Node::Or(Box::new(node), Box::new(self.conjunction()?));
        }
        Ok(node)
    }

    fn conjunction(&mut self) -> Result<Node> {
        let mut node = self.comparison()?;
        while self.eat("&&") {
            node = Node::And(Box::new(node), Box::new(self.comparison()?));
        }
        Ok(node)
    }

    fn comparison(&mut self) -> Result<Node> {
        let left = self.sum()?;
        let signs = [("==", "=="), ("!=", "!="), ("<>", "!="), ("<=", "<="), (">=", ">="), ("<", "<"), (">", ">")];
        if let Some((_, op)) = signs.into_iter().find(|(sign, _)| self.eat(sign)) {
            return Ok(Node::Compare(Box::new(left), op, Box::new(self.sum()?)));
        }
        if self.word("starts") {
            if !self.word("with") {
                return Err(self.unexpected());
            }
            return Ok(Node::StartsWith(Box::new(left), Box::new(self.operand()?)));
        }
        if self.word("like_regex") {
            let pattern = self.string()?;
            let flags = if self.word("flag") { self.string()? } else { String::new() };
            return Ok(Node::LikeRegex(Box::new(left), crate::regex::compiled(&pattern, &flags)?));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Node> {
        let mut node = self.product()?;
        while let Some(operator) = self.one_of(&[("+", Operator::Add), ("-", Operator::Subtract)]) {
            node = Node::Arithmetic(Box::new(node), operator, Box::new(self.product()?));
        }
        Ok(node)
    }

    fn product(&mut self) -> Result<Node> {
        let operators = [("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Modulo)];
        let mut node = self.signed()?;
        while let Some(operator) = self.one_of(&operators) {
            node = Node::Arithmetic(Box::new(node), operator, Box::new(self.signed()?));
        }
        Ok(node)
    }

    fn one_of(&mut self, operators: &[(&str, Operator)]) -> Option<Operator> {
        operators.iter().find(|(sign, _)| self.eat(sign)).map(|(_, operator)| *operator)
    }

    fn signed(&mut self) -> Result<Node> {
        if self.eat("-") {
            return Ok(Node::Negated(Box::new(self.signed()?)));
        }
        if self.eat("+") {
            return Ok(Node::Positive(Box::new(self.signed()?)));
        }
        self.operand()
    }

    fn operand(&mut self) -> Result<Node> {
        let node = if self.eat("!") {
            return self.negated();
        } else if self.word("exists") {
            Node::Exists(Box::new(self.within_parentheses()?))
        } else if self.eat("(") {
            let inner = self.disjunction()?;
            self.expect(")")?;
            if self.word("is") {
                return if self.word("unknown") {
                    Ok(Node::IsUnknown(Box::new(inner)))
                } else {
                    Err(self.unexpected())
                };
            }
            inner
        } else if self.eat("$") {
            match self.text[self.at..].starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '"')) {
                true => Node::Variable(self.name()?),
                false => Node::Root,
            }
        } else if self.eat("@") {
            Node::Current
        } else if self.in_subscript && self.word("last") {
            Node::Last
        } else {
            Node::Literal(self.literal()?)
        };
        self.steps(node)
    }

    /// What stands behind `!`: a predicate in parentheses, or one that has parentheses of its own.
    fn negated(&mut self) -> Result<Node> {
        let inner = match self.word("exists") {
            true => Node::Exists(Box::new(self.within_parentheses()?)),
            false => self.within_parentheses()?,
        };
        Ok(Node::Not(Box::new(inner)))
    }

    fn within_parentheses(&mut self) -> Result<Node> {
        self.expect("(")?;
        let inner = self.disjunction()?;
        self.expect(")")?;
        Ok(inner)
    }

    fn literal(&mut self) -> Result<Json> {
        for (word, value) in [("true", Json::Bool(true)), ("false", Json::Bool(false)), ("null", Json::Null)] {
            if self.word(word) {
                return Ok(value);
            }
        }
        if self.text[self.at..].starts_with('"') {
            return self.string().map(Json::Text);
        }
        let rest = &self.text[self.at..];
        let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E');
        let exponent = |at: usize| rest[at..].starts_with(['-', '+']) && rest[..at].ends_with(['e', 'E']);
        let end = rest.char_indices().find(|(at, c)| !plain(*c) && !exponent(*at)).map_or(rest.len(), |(at, _)| at);
        let lead = if rest.starts_with('.') { "0" } else { "" };
        match crate::json::parse(&format!("{lead}{}", &rest[..end])) {
            Ok(Json::Number(number)) => {
                self.at += end;
                Ok(Json::Number(number))
            }
            _ => Err(self.unexpected()),
        }
    }

    fn steps(&mut self, mut node: Node) -> Result<Node> {
        loop {
            let step = if self.eat(".**") {
                self.levels()?
            } else if self.eat(".*") {
                Step::Members
            } else if self.eat(".") {
                let name = self.name()?;
                match self.eat("(") {
                    true => {
                        self.expect(")")?;
                        Step::Method(name)
                    }
                    false => Step::Member(name),
                }
            } else if self.eat("[") {
                self.subscript()?
            } else if self.eat("?") {
                Step::Filter(Box::new(self.within_parentheses()?))
            } else {
                return Ok(node);
            };
            node = Node::Step(Box::new(node), step);
        }
    }

    fn subscript(&mut self) -> Result<Step> {
        if self.eat("*") {
            self.expect("]")?;
            return Ok(Step::AllElements);
        }
        let around = std::mem::replace(&mut self.in_subscript, true);
        let mut ranges = vec![];
        loop {
            let from = self.sum()?;
            let to = if self.word("to") { Some(self.sum()?) } else { None };
            ranges.push((from, to));
            if self.eat("]") {
                self.in_subscript = around;
                return Ok(Step::Elements(ranges));
            }
            self.expect(",")?;
        }
    }

    /// The depths of `.**`: all, or those in braces.
    fn levels(&mut self) -> Result<Step> {
        if !self.eat("{") {
            return Ok(Step::Within(0, u32::MAX));
        }
        let from = self.level()?;
        let to = if self.word("to") { self.level()? } else { from };
        self.expect("}")?;
        Ok(Step::Within(from, to))
    }

    fn level(&mut self) -> Result<u32> {
        if self.word("last") {
            return Ok(u32::MAX);
        }
        self.blanks();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let level = rest[..end].parse().map_err(|_| self.unexpected())?;
        self.at += end;
        Ok(level)
    }

    fn name(&mut self) -> Result<String> {
        self.blanks();
        if self.text[self.at..].starts_with('"') {
            return self.string();
        }
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end == 0 {
            return Err(self.unexpected());
        }
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    fn string(&mut self) -> Result<String> {
        self.blanks();
        let rest = &self.text[self.at..];
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        match (rest.starts_with('"'), end) {
            (true, Some((end, _))) => {
                let text = crate::json::bare(&rest[..=end])?.unwrap_or_default();
                self.at += end + 1;
                Ok(text)
            }
            _ => Err(self.unexpected()),
        }
    }
}
