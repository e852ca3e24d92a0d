//! jsonpath: paths with members, elements, wildcards and filters; items with comparisons and a few methods.
//!
//! Arithmetic, variables, `.**` and dates are refused by name.

use crate::json::{Json, sort_key};
use millrace_types::{Result, SqlError, SqlState};

/// A path that has been read.
pub struct Path {
    root: Node,
    strict: bool,
}

/// An expression of a path.
enum Node {
    Root,
    Current,
    Literal(Json),
    /// What a step finds in what the node before it finds.
    Step(Box<Node>, Step),
    Compare(Box<Node>, &'static str, Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Exists(Box<Node>),
    StartsWith(Box<Node>, String),
    LikeRegex(Box<Node>, regex::Regex),
}

enum Step {
    Member(String),
    Members,
    /// An element, or those from one to another, each counted from the end where `last` is said.
    Elements(Vec<(Index, Index)>),
    AllElements,
    Filter(Box<Node>),
    Method(String),
}

#[derive(Clone, Copy)]
struct Index {
    from_last: bool,
    offset: i64,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// `42601` where it is none; `0A000` for what is not supported.
    pub fn parse(text: &str) -> Result<Path> {
        let mut reader = Reader { text, at: 0 };
        let strict = reader.word("strict");
        let _ = !strict && reader.word("lax");
        let root = reader.disjunction()?;
        reader.blanks();
        if reader.at < text.len() {
            return Err(reader.unexpected());
        }
        Ok(Path { root, strict })
    }

    /// Every item that the path finds.
    ///
    /// # Errors
    /// In strict mode, where a member or an element is not there.
    pub fn query(&self, value: &Json) -> Result<Vec<Json>> {
        Scope { root: value, strict: self.strict }.items(&self.root, value)
    }
}

struct Scope<'a> {
    root: &'a Json,
    strict: bool,
}

impl Scope<'_> {
    fn items(&self, node: &Node, current: &Json) -> Result<Vec<Json>> {
        match node {
            Node::Root => Ok(vec![self.root.clone()]),
            Node::Current => Ok(vec![current.clone()]),
            Node::Literal(value) => Ok(vec![value.clone()]),
            Node::Step(before, step) => {
                let mut found = vec![];
                for item in self.items(before, current)? {
                    self.step(step, item, &mut found)?;
                }
                Ok(found)
            }
            predicate => Ok(vec![self.truth(predicate, current)?.map_or(Json::Null, Json::Bool)]),
        }
    }

    fn missing(&self, message: &str) -> Result<()> {
        match self.strict {
            true => Err(SqlError::new(SqlState::SQL_JSON_MEMBER_NOT_FOUND, message)),
            false => Ok(()),
        }
    }

    fn step(&self, step: &Step, item: Json, found: &mut Vec<Json>) -> Result<()> {
        match (step, item) {
            // Outside of strict mode an array stands for its elements where an object is asked for.
            (Step::Member(_) | Step::Members | Step::Filter(_), Json::Array(items)) if !self.strict => {
                items.into_iter().try_for_each(|item| match (step, item) {
                    (Step::Member(_) | Step::Members, Json::Array(_)) => Ok(()),
                    (_, item) => self.step_of_one(step, item, found),
                })
            }
            (_, item) => self.step_of_one(step, item, found),
        }
    }

    fn step_of_one(&self, step: &Step, item: Json, found: &mut Vec<Json>) -> Result<()> {
        match (step, item) {
            (Step::Member(name), item) => match item.member(name) {
                Some(member) => found.push(member.clone()),
                None => self.missing(&format!("JSON object does not contain key \"{name}\""))?,
            },
            (Step::Members, Json::Object(members)) => found.extend(members.into_iter().map(|(_, value)| value)),
            (Step::Members, _) => self.missing("jsonpath wildcard member accessor can only be applied to an object")?,
            (Step::AllElements, Json::Array(items)) => found.extend(items),
            (Step::AllElements, _) if self.strict => {
                self.missing("jsonpath wildcard array accessor can only be applied to an array")?;
            }
            (Step::AllElements, item) => found.push(item),
            (Step::Elements(ranges), item) => {
                let items = match item {
                    Json::Array(items) => items,
                    item if !self.strict => vec![item],
                    _ => return self.missing("jsonpath array accessor can only be applied to an array"),
                };
                let place = |index: Index| index.offset + if index.from_last { items.len() as i64 - 1 } else { 0 };
                for (from, to) in ranges {
                    for at in place(*from).max(0)..=place(*to).min(items.len() as i64 - 1) {
                        found.push(items[at as usize].clone());
                    }
                    if place(*to) >= items.len() as i64 || place(*from) < 0 {
                        self.missing("jsonpath array subscript is out of bounds")?;
                    }
                }
            }
            (Step::Filter(predicate), item) => {
                if self.truth(predicate, &item)? == Some(true) {
                    found.push(item);
                }
            }
            (Step::Method(name), item) => found.push(method(name, item)?),
        }
        Ok(())
    }

    /// The truth of a predicate, `None` where it is unknown.
    fn truth(&self, node: &Node, current: &Json) -> Result<Option<bool>> {
        Ok(match node {
            Node::And(a, b) => match (self.truth(a, current)?, self.truth(b, current)?) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Node::Or(a, b) => match (self.truth(a, current)?, self.truth(b, current)?) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Node::Not(inner) => self.truth(inner, current)?.map(|truth| !truth),
            Node::Exists(inner) => Some(!self.items(inner, current)?.is_empty()),
            Node::StartsWith(inner, prefix) => {
                self.any(inner, current, |item| matches!(item, Json::Text(text) if text.starts_with(prefix)))?
            }
            Node::LikeRegex(inner, pattern) => {
                self.any(inner, current, |item| matches!(item, Json::Text(text) if pattern.is_match(text)))?
            }
            Node::Compare(left, op, right) => {
                let rights = self.unwrapped(right, current)?;
                let mut unknown = false;
                for left in self.unwrapped(left, current)? {
                    for right in &rights {
                        match compared(&left, op, right) {
                            Some(true) => return Ok(Some(true)),
                            Some(false) => {}
                            None => unknown = true,
                        }
                    }
                }
                if unknown { None } else { Some(false) }
            }
            other => match self.items(other, current)?.as_slice() {
                [Json::Bool(truth)] => Some(*truth),
                _ => None,
            },
        })
    }

    fn any(&self, node: &Node, current: &Json, f: impl Fn(&Json) -> bool) -> Result<Option<bool>> {
        Ok(Some(self.unwrapped(node, current)?.iter().any(f)))
    }

    /// The items of an operand: outside of strict mode an array stands for its elements.
    fn unwrapped(&self, node: &Node, current: &Json) -> Result<Vec<Json>> {
        let items = self.items(node, current)?.into_iter();
        Ok(items
            .flat_map(|item| match item {
                Json::Array(items) if !self.strict => items,
                item => vec![item],
            })
            .collect())
    }
}

fn compared(left: &Json, op: &str, right: &Json) -> Option<bool> {
    let scalar = |value: &Json| !matches!(value, Json::Array(_) | Json::Object(_));
    if !scalar(left) || !scalar(right) {
        return None;
    }
    let null = *left == Json::Null || *right == Json::Null;
    if left.type_name() != right.type_name() {
        return if null { Some(op == "!=") } else { None };
    }
    let order = sort_key(left).cmp(&sort_key(right));
    Some(match op {
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    })
}

fn method(name: &str, item: Json) -> Result<Json> {
    let number = |item: &Json| match item {
        Json::Number(text) => text.parse::<f64>().ok(),
        Json::Text(text) if name == "double" => text.parse().ok(),
        _ => None,
    };
    let of_number = |f: fn(f64) -> f64| match number(&item) {
        Some(value) => Ok(Json::Number(f(value).to_string())),
        None => {
            let message = format!("jsonpath item method .{name}() can only be applied to a numeric value");
            Err(SqlError::new(SqlState::NON_NUMERIC_SQL_JSON_ITEM, message))
        }
    };
    match name {
        "type" => Ok(Json::Text(item.type_name().to_owned())),
        "size" => Ok(Json::Number(match &item {
            Json::Array(items) => items.len().to_string(),
            _ => "1".to_owned(),
        })),
        "double" => of_number(|value| value),
        "abs" => of_number(f64::abs),
        "floor" => of_number(f64::floor),
        "ceiling" => of_number(f64::ceil),
        _ => Err(SqlError::unsupported(format!("the jsonpath method .{name}()"))),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
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
        if self.eat("!") {
            self.expect("(")?;
            let inner = self.disjunction()?;
            self.expect(")")?;
            return Ok(Node::Not(Box::new(inner)));
        }
        let left = self.operand()?;
        let signs = [("==", "=="), ("!=", "!="), ("<>", "!="), ("<=", "<="), (">=", ">="), ("<", "<"), (">", ">")];
        if let Some((_, op)) = signs.into_iter().find(|(sign, _)| self.eat(sign)) {
            return Ok(Node::Compare(Box::new(left), op, Box::new(self.operand()?)));
        }
        if self.word("starts") {
            if !self.word("with") {
                return Err(self.unexpected());
            }
            return Ok(Node::StartsWith(Box::new(left), self.string()?));
        }
        if self.word("like_regex") {
            let pattern = self.string()?;
            let flags = if self.word("flag") { self.string()? } else { String::new() };
            return Ok(Node::LikeRegex(Box::new(left), crate::regex::compiled(&pattern, &flags)?));
        }
        self.blanks();
        if self.text[self.at..].starts_with(['+', '-', '*', '/', '%']) {
            return Err(SqlError::unsupported("arithmetic in a jsonpath"));
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Node> {
        self.blanks();
        let node = if self.word("exists") {
            self.expect("(")?;
            let inner = self.disjunction()?;
            self.expect(")")?;
            Node::Exists(Box::new(inner))
        } else if self.eat("(") {
            let inner = self.disjunction()?;
            self.expect(")")?;
            inner
        } else if self.eat("$") {
            if self.text[self.at..].starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '"')) {
                return Err(SqlError::unsupported("a variable in a jsonpath"));
            }
            Node::Root
        } else if self.eat("@") {
            Node::Current
        } else {
            return self.literal().map(Node::Literal);
        };
        self.steps(node)
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
        let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | 'e' | 'E');
        let end = rest.find(|c| !plain(c)).unwrap_or(rest.len());
        match crate::json::parse(&rest[..end]) {
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
                return Err(SqlError::unsupported("the accessor .** in a jsonpath"));
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
                self.expect("(")?;
                let predicate = self.disjunction()?;
                self.expect(")")?;
                Step::Filter(Box::new(predicate))
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
        let mut ranges = vec![];
        loop {
            let from = self.index()?;
            let to = if self.word("to") { self.index()? } else { from };
            ranges.push((from, to));
            if self.eat("]") {
                return Ok(Step::Elements(ranges));
            }
            self.expect(",")?;
        }
    }

    fn index(&mut self) -> Result<Index> {
        let from_last = self.word("last");
        if from_last && !self.eat("-") {
            return Ok(Index { from_last, offset: 0 });
        }
        self.blanks();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: i64 = rest[..end].parse().map_err(|_| self.unexpected())?;
        self.at += end;
        Ok(Index { from_last, offset: if from_last { -number } else { number } })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_what_postgres_finds() {
        let value = crate::json::parse(r#"{"a": [1, 2, {"b": "x"}], "c": {"d": null}}"#).unwrap();
        for (path, expected) in [
            ("$.a[*]", r#"[1, 2, {"b": "x"}]"#),
            ("$.a[last].b", r#"["x"]"#),
            ("$.a ? (@ > 1)", "[2]"),
            ("$.a[0 to 1]", "[1, 2]"),
            ("$.c.d", "[null]"),
            ("$.*.size()", "[3, 1]"),
            ("exists($.a[*] ? (@.b starts with \"x\"))", "[true]"),
            ("$.a[0] == 1 && !($.a[1] == 1)", "[true]"),
        ] {
            let found = Path::parse(path).unwrap().query(&value).unwrap();
            assert_eq!(Json::Array(found).to_string(), expected, "{path}");
        }
        for path in ["", "$.", "$[", "$.a ? (@ >", "é", "$.\"a", "$ 1"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}
