//! What paths find.

use super::{Node, Operator, Step, is_of_items, number};
use crate::json::{Json, sort_key};
use millrace_types::{Result, SqlError, SqlState};

/// What nodes are evaluated in.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub root: &'a Json,
    pub variables: &'a Json,
    pub strict: bool,
    /// Whether what a step asks for may be missing, in strict mode as well: at some depth it need not be there.
    pub forgiving: bool,
    /// The last subscript of the array whose elements are asked for.
    pub last: Option<i64>,
}

impl Scope<'_> {
    /// Finds the items of a node; where it fails, those before are there.
    pub fn find(&self, node: &Node, current: &Json, found: &mut Vec<Json>) -> Result<()> {
        match node {
            Node::Step(before, step) => {
                let scope = Scope { forgiving: goes_within(before), ..*self };
                self.items(before, current)?.into_iter().try_for_each(|item| scope.step(step, item, found))
            }
            Node::Negated(operand) | Node::Positive(operand) => {
                let negative = matches!(node, Node::Negated(_));
                self.unwrapped(operand, current)?.into_iter().try_for_each(|item| {
                    found.push(match item {
                        Json::Number(number) if negative => number::negated(&number),
                        Json::Number(number) => Json::Number(number),
                        _ => return Err(not_a_number(if negative { "-" } else { "+" })),
                    });
                    Ok(())
                })
            }
            other => {
                found.push(self.one(other, current)?);
                Ok(())
            }
        }
    }

    fn items(&self, node: &Node, current: &Json) -> Result<Vec<Json>> {
        let mut found = vec![];
        self.find(node, current, &mut found)?;
        Ok(found)
    }

    /// The item of a node that always finds one.
    fn one(&self, node: &Node, current: &Json) -> Result<Json> {
        match node {
            Node::Root => Ok(self.root.clone()),
            Node::Current => Ok(current.clone()),
            Node::Last => Ok(Json::Number(self.last.unwrap_or_default().to_string())),
            Node::Variable(name) => self.variables.member(name).cloned().ok_or_else(|| {
                let message = format!("could not find jsonpath variable \"{name}\"");
                SqlError::new(SqlState::UNDEFINED_OBJECT, message)
            }),
            Node::Literal(value) => Ok(value.clone()),
            Node::Arithmetic(left, operator, right) => {
                let left = self.number(left, current, "left", *operator)?;
                operator.of(&left, &self.number(right, current, "right", *operator)?)
            }
            predicate => Ok(self.truth(predicate, current)?.map_or(Json::Null, Json::Bool)),
        }
    }

    /// The one number that an operand of an operator must be.
    fn number(&self, node: &Node, current: &Json, side: &str, operator: Operator) -> Result<String> {
        match &mut self.unwrapped(node, current)?[..] {
            [Json::Number(number)] => Ok(std::mem::take(number)),
            _ => {
                let sign = operator.sign();
                let message = format!("{side} operand of jsonpath operator {sign} is not a single numeric value");
                Err(SqlError::new(SqlState::SINGLETON_SQL_JSON_ITEM_REQUIRED, message))
            }
        }
    }

    fn missing(&self, state: SqlState, message: &str) -> Result<()> {
        match self.strict && !self.forgiving {
            true => Err(SqlError::new(state, message)),
            false => Ok(()),
        }
    }

    fn step(&self, step: &Step, item: Json, found: &mut Vec<Json>) -> Result<()> {
        let opens = match step {
            Step::Member(_) | Step::Members | Step::Filter(_) => true,
            Step::Method(name) => !matches!(name.as_str(), "type" | "size"),
            _ => false,
        };
        match item {
            // Outside of strict mode an array stands for its elements where something else is asked for.
            Json::Array(items) if opens && !self.strict => items.into_iter().try_for_each(|item| match (step, item) {
                (Step::Member(_) | Step::Members, Json::Array(_)) => Ok(()),
                (_, item) => self.step_of_one(step, item, found),
            }),
            item => self.step_of_one(step, item, found),
        }
    }

    fn step_of_one(&self, step: &Step, item: Json, found: &mut Vec<Json>) -> Result<()> {
        match (step, item) {
            (Step::Member(name), Json::Object(members)) => match members.into_iter().find(|(key, _)| key == name) {
                Some((_, member)) => found.push(member),
                None => self.missing(
                    SqlState::SQL_JSON_MEMBER_NOT_FOUND,
                    &format!("JSON object does not contain key \"{name}\""),
                )?,
            },
            (Step::Member(_), _) => self.missing(
                SqlState::SQL_JSON_MEMBER_NOT_FOUND,
                "jsonpath member accessor can only be applied to an object",
            )?,
            (Step::Members, Json::Object(members)) => found.extend(members.into_iter().map(|(_, value)| value)),
            (Step::Members, _) => self.missing(
                SqlState::SQL_JSON_OBJECT_NOT_FOUND,
                "jsonpath wildcard member accessor can only be applied to an object",
            )?,
            (Step::AllElements, Json::Array(items)) => found.extend(items),
            (Step::AllElements, _) if self.strict => self.missing(
                SqlState::SQL_JSON_ARRAY_NOT_FOUND,
                "jsonpath wildcard array accessor can only be applied to an array",
            )?,
            (Step::AllElements, item) => found.push(item),
            (Step::Elements(ranges), Json::Array(items)) => self.elements(ranges, &items, found)?,
            (Step::Elements(ranges), item) if !self.strict => self.elements(ranges, &[item], found)?,
            (Step::Elements(_), _) => self.missing(
                SqlState::SQL_JSON_ARRAY_NOT_FOUND,
                "jsonpath array accessor can only be applied to an array",
            )?,
            (Step::Within(from, to), item) => within((*from, *to), 0, item, found),
            (Step::Filter(predicate), item) => {
                if self.truth(predicate, &item)? == Some(true) {
                    found.push(item);
                }
            }
            (Step::Method(name), item) => found.push(method(name, item, self.strict)?),
        }
        Ok(())
    }

    fn elements(&self, ranges: &[(Node, Option<Node>)], items: &[Json], found: &mut Vec<Json>) -> Result<()> {
        let length = items.len() as i64;
        let scope = Scope { last: Some(length - 1), ..*self };
        for (from, to) in ranges {
            let from = scope.subscript(from)?;
            let to = to.as_ref().map_or(Ok(from), |to| scope.subscript(to))?;
            if from < 0 || from > to || to >= length {
                self.missing(SqlState::INVALID_SQL_JSON_SUBSCRIPT, "jsonpath array subscript is out of bounds")?;
            }
            found.extend((from.max(0)..=to.min(length - 1)).map(|at| items[at as usize].clone()));
        }
        Ok(())
    }

    /// A subscript, without its fraction.
    fn subscript(&self, node: &Node) -> Result<i64> {
        let invalid = |message: &str| SqlError::new(SqlState::INVALID_SQL_JSON_SUBSCRIPT, message);
        match &self.items(node, self.root)?[..] {
            [Json::Number(number)] => {
                let whole = number.split(['.', 'e', 'E']).next().unwrap_or_default();
                whole.parse().map_err(|_| invalid("jsonpath array subscript is out of integer range"))
            }
            _ => Err(invalid("jsonpath array subscript is not a single numeric value")),
        }
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
            Node::IsUnknown(inner) => Some(self.truth(inner, current)?.is_none()),
            Node::Exists(inner) => tolerant(self.items(inner, current))?.map(|items| !items.is_empty()),
            Node::StartsWith(inner, prefix) => {
                let prefix = self.items(prefix, current)?;
                self.any(inner, current, |item| match (item, &prefix[..]) {
                    (Json::Text(text), [Json::Text(prefix)]) => Some(text.starts_with(prefix)),
                    _ => None,
                })?
            }
            Node::LikeRegex(inner, pattern) => self.any(inner, current, |item| match item {
                // What cannot be told is unknown, as every other error in a filter.
                Json::Text(text) => pattern.is_match(text).ok(),
                _ => None,
            })?,
            Node::Compare(left, op, right) => {
                let Some(rights) = tolerant(self.unwrapped(right, current))? else { return Ok(None) };
                self.any(left, current, |left| {
                    either(rights.iter().map(|right| compared(left, op, right)), self.strict)
                })?
            }
            other => match self.items(other, current)?.as_slice() {
                [Json::Bool(truth)] => Some(*truth),
                _ => None,
            },
        })
    }

    /// Whether something holds for any item of an operand; unknown where the operand cannot be computed.
    fn any(&self, node: &Node, current: &Json, f: impl Fn(&Json) -> Option<bool>) -> Result<Option<bool>> {
        let items = tolerant(self.unwrapped(node, current))?;
        Ok(items.and_then(|items| either(items.iter().map(f), self.strict)))
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

/// Whether a path goes to all depths.
fn goes_within(node: &Node) -> bool {
    matches!(node, Node::Step(before, step) if matches!(step, Step::Within(..)) || goes_within(before))
}

/// What a predicate sees of a result: nothing of one that failed by its items.
fn tolerant<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_of_items(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether any truth is; in strict mode one that is unknown makes all unknown.
fn either(truths: impl Iterator<Item = Option<bool>>, strict: bool) -> Option<bool> {
    let (mut found, mut unknown) = (false, false);
    for truth in truths {
        match truth {
            Some(true) if !strict => return Some(true),
            Some(truth) => found |= truth,
            None if strict => return None,
            None => unknown = true,
        }
    }
    if found || !unknown { Some(found) } else { None }
}

/// Everything within an item, itself included, of some depths.
fn within((from, to): (u32, u32), depth: u32, item: Json, found: &mut Vec<Json>) {
    let held: Vec<Json> = match &item {
        _ if depth >= to && to != u32::MAX => vec![],
        Json::Array(items) => items.clone(),
        Json::Object(members) => members.iter().map(|(_, value)| value.clone()).collect(),
        _ => vec![],
    };
    let is_leaf = !matches!(item, Json::Array(_) | Json::Object(_));
    if (depth >= from && depth <= to) || (from == u32::MAX && is_leaf) {
        found.push(item);
    }
    held.into_iter().for_each(|held| within((from, to), depth + 1, held, found));
}

fn not_a_number(sign: &str) -> SqlError {
    let message = format!("operand of unary jsonpath operator {sign} is not a numeric value");
    SqlError::new(SqlState::SQL_JSON_NUMBER_NOT_FOUND, message)
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

fn method(name: &str, item: Json, strict: bool) -> Result<Json> {
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
        "size" => match &item {
            Json::Array(items) => Ok(Json::Number(items.len().to_string())),
            _ if strict => {
                let message = "jsonpath item method .size() can only be applied to an array";
                Err(SqlError::new(SqlState::SQL_JSON_ARRAY_NOT_FOUND, message))
            }
            _ => Ok(Json::Number("1".to_owned())),
        },
        "double" => of_number(|value| value),
        "abs" => of_number(f64::abs),
        "floor" => of_number(f64::floor),
        "ceiling" => of_number(f64::ceil),
        _ => Err(SqlError::unsupported(format!("the jsonpath method .{name}()"))),
    }
}
