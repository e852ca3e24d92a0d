//! jsonpath: paths with members, elements, wildcards, variables and filters; items with comparisons, arithmetic and a few
//! methods.
//!
//! `read.rs` makes a tree of a text, `evaluate.rs` finds items by it, `number.rs` computes. The methods of dates and
//! `.keyvalue()` are refused by name.

mod evaluate;
mod number;
mod read;

use crate::json::Json;
use evaluate::Scope;
use millrace_types::{Result, SqlError, SqlState};
use number::Operator;

/// A path that has been read.
pub struct Path {
    root: Node,
    strict: bool,
}

/// An expression of a path.
enum Node {
    Root,
    Current,
    /// The last subscript of the array whose elements are asked for.
    Last,
    Variable(String),
    Literal(Json),
    /// What a step finds in what the node before it finds.
    Step(Box<Node>, Step),
    Negated(Box<Node>),
    Positive(Box<Node>),
    Arithmetic(Box<Node>, Operator, Box<Node>),
    Compare(Box<Node>, &'static str, Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    IsUnknown(Box<Node>),
    Exists(Box<Node>),
    StartsWith(Box<Node>, Box<Node>),
    LikeRegex(Box<Node>, crate::regex::Pattern),
}

enum Step {
    Member(String),
    Members,
    /// The elements from one subscript to another.
    Elements(Vec<(Node, Option<Node>)>),
    AllElements,
    /// Everything within, of these depths; `u32::MAX`: what holds nothing more.
    Within(u32, u32),
    Filter(Box<Node>),
    Method(String),
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// `42601` where it is none; `0A000` for what is not supported.
    pub fn parse(text: &str) -> Result<Path> {
        read::path(text)
    }

    /// Every item that the path finds; where it fails and is to be silent, those before.
    ///
    /// # Errors
    /// In strict mode, where a member or an element is not there; where a method or an operator does not fit an item;
    /// `42704` for a variable that `variables` has not.
    pub fn query(&self, value: &Json, variables: &Json, silent: bool) -> Result<Vec<Json>> {
        let mut found = vec![];
        match self.search(value, variables, &mut found) {
            Err(error) if !(silent && is_of_items(&error)) => Err(error),
            _ => Ok(found),
        }
    }

    /// As [`Path::query`], but `None` where it fails and is to be silent.
    pub fn query_whole(&self, value: &Json, variables: &Json, silent: bool) -> Result<Option<Vec<Json>>> {
        let mut found = vec![];
        match self.search(value, variables, &mut found) {
            Ok(()) => Ok(Some(found)),
            Err(error) if silent && is_of_items(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn search(&self, value: &Json, variables: &Json, found: &mut Vec<Json>) -> Result<()> {
        if !matches!(variables, Json::Object(_)) {
            let message = "\"vars\" argument is not an object";
            let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
            return Err(
                error.with_detail("Jsonpath parameters should be encoded as key-value pairs of \"vars\" object.")
            );
        }
        Scope { root: value, variables, strict: self.strict, forgiving: false, last: None }
            .find(&self.root, value, found)
    }
}

/// Whether an error is one of the items that are found, which predicates take as unknown.
fn is_of_items(error: &SqlError) -> bool {
    let states = [SqlState::DIVISION_BY_ZERO, SqlState::NUMERIC_VALUE_OUT_OF_RANGE];
    error.state().0.starts_with("2203") || states.contains(&error.state())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_what_postgres_finds() {
        let value = crate::json::parse(r#"{"a": [1, 2, {"b": "x"}], "c": {"d": null}}"#).unwrap();
        let vars = crate::json::parse(r#"{"least": 2, "last one": "x"}"#).unwrap();
        for (path, expected) in [
            ("$.a[*] ? (@ >= $least)", "[2]"),
            ("$.a[*].b ? (@ == $\"last one\")", r#"["x"]"#),
            ("$.a[0] + 2 * -$.a[1]", "[-3]"),
            ("7 % 4 + 1.50 / 3", "[3.50000000000000000000]"),
            ("- $.a[0 to 1]", "[-1, -2]"),
            ("$.a[$least - 1]", "[2]"),
            ("$.**{2}", r#"[1, 2, {"b": "x"}, null]"#),
            ("strict $.**.b", r#"["x"]"#),
            ("$.a[*] ? ((@ > 1) is unknown).b", r#"["x"]"#),
            ("$.a[*] ? (!(@ + 1 > 2))", "[1]"),
            ("$.a[*]", r#"[1, 2, {"b": "x"}]"#),
            ("$.a[last].b", r#"["x"]"#),
            ("$.a ? (@ > 1)", "[2]"),
            ("$.a[0 to 1]", "[1, 2]"),
            ("$.c.d", "[null]"),
            ("$.*.size()", "[3, 1]"),
            ("exists($.a[*] ? (@.b starts with \"x\"))", "[true]"),
            ("$.a[0] == 1 && !($.a[1] == 1)", "[true]"),
        ] {
            let found = Path::parse(path).unwrap().query(&value, &vars, false).unwrap();
            assert_eq!(Json::Array(found).to_string(), expected, "{path}");
        }
        for path in ["", "$.", "$[", "$.a ? (@ >", "é", "$.\"a", "$ 1"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}
