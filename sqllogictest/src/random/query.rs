//! Queries as trees: written as SQL, and made smaller when one fails.

use std::fmt;

/// The types that random columns and expressions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Int,
    Bigint,
    Numeric,
    Text,
    Bool,
    Date,
}

/// An expression.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A column or a literal.
    Leaf(String),
    /// A template with a `{}` for each operand.
    Call(String, Vec<Expr>),
    /// A template with a `{}` for each operand, the last of which is a query.
    Query(&'static str, Vec<Expr>, Box<Query>),
}

/// A query expression.
#[derive(Clone, Debug)]
pub struct Query {
    pub with: Vec<(String, Query)>,
    pub body: Body,
    /// Ordered by all its columns, so that the rows that a limit keeps are certain.
    pub limit: Option<Limit>,
}

/// LIMIT and OFFSET.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub rows: u32,
    pub offset: u32,
    pub descending: bool,
}

/// What a query's rows come from.
#[derive(Clone, Debug)]
pub enum Body {
    Select(Box<Select>),
    Set { operator: &'static str, left: Box<Query>, right: Box<Query> },
}

/// A SELECT.
#[derive(Clone, Debug)]
pub struct Select {
    pub distinct: bool,
    pub items: Vec<Expr>,
    pub from: From,
    pub filter: Option<Expr>,
    pub group: Vec<Expr>,
    /// `ROLLUP`, `CUBE` or nothing.
    pub grouping: &'static str,
    pub having: Option<Expr>,
}

/// A FROM item.
#[derive(Clone, Debug)]
pub enum From {
    Table { name: String, alias: String },
    Derived { query: Box<Query>, alias: String, lateral: bool },
    Join { kind: &'static str, left: Box<From>, right: Box<From>, on: Option<Expr> },
}

impl Query {
    /// The number of columns.
    pub fn width(&self) -> usize {
        match &self.body {
            Body::Select(select) => select.items.len(),
            Body::Set { left, .. } => left.width(),
        }
    }

    /// Queries that are a little smaller. Not all of them are valid, nor equal in what they show: one that still fails
    /// is a better report.
    pub fn smaller(&self) -> Vec<Query> {
        let mut smaller = vec![];
        if self.limit.is_some() {
            smaller.push(Query { limit: None, ..self.clone() });
        }
        if !self.with.is_empty() {
            smaller.push(Query { with: self.with[1..].to_vec(), ..self.clone() });
        }
        for (at, (name, query)) in self.with.iter().enumerate() {
            smaller.extend(query.smaller().into_iter().filter(|q| q.width() == query.width()).map(|query| {
                let mut with = self.with.clone();
                with[at] = (name.clone(), query);
                Query { with, ..self.clone() }
            }));
        }
        smaller.extend(self.body.smaller().into_iter().map(|body| Query { body, ..self.clone() }));
        if let Body::Set { left, right, .. } = &self.body {
            smaller.extend([left, right].map(|side| Query { with: self.with.clone(), ..side.as_ref().clone() }));
        }
        smaller
    }
}

impl Body {
    fn smaller(&self) -> Vec<Body> {
        match self {
            Body::Select(select) => select.smaller().into_iter().map(|select| Body::Select(Box::new(select))).collect(),
            Body::Set { operator, left, right } => {
                let same = |of: &Query| -> Vec<Query> {
                    of.smaller().into_iter().filter(|query| query.width() == of.width()).collect()
                };
                let body = |left: &Query, right: &Query| Body::Set {
                    operator,
                    left: Box::new(left.clone()),
                    right: Box::new(right.clone()),
                };
                let lefts = same(left).into_iter().map(|left| body(&left, right));
                lefts.chain(same(right).into_iter().map(|right| body(left, &right))).collect()
            }
        }
    }
}

impl Select {
    fn smaller(&self) -> Vec<Select> {
        let mut smaller = vec![];
        let mut push = |change: &dyn Fn(&mut Select)| {
            let mut select = self.clone();
            change(&mut select);
            smaller.push(select);
        };
        if self.distinct {
            push(&|select| select.distinct = false);
        }
        if self.having.is_some() {
            push(&|select| select.having = None);
        }
        if self.filter.is_some() {
            push(&|select| select.filter = None);
        }
        if !self.grouping.is_empty() {
            push(&|select| select.grouping = "");
        }
        if self.items.len() > 1 {
            (0..self.items.len()).for_each(|at| push(&|select| drop(select.items.remove(at))));
        }
        (0..self.group.len()).for_each(|at| push(&|select| drop(select.group.remove(at))));
        for (at, item) in self.items.iter().enumerate() {
            item.smaller().into_iter().for_each(|expr| push(&|select| select.items[at] = expr.clone()));
        }
        if let Some(filter) = &self.filter {
            filter.smaller().into_iter().for_each(|expr| push(&|select| select.filter = Some(expr.clone())));
        }
        self.from.smaller().into_iter().for_each(|from| push(&|select| select.from = from.clone()));
        smaller
    }
}

impl Expr {
    fn smaller(&self) -> Vec<Expr> {
        match self {
            Expr::Leaf(_) => vec![],
            Expr::Call(template, operands) => {
                let is_value = |operand: &&Expr| !matches!(operand, Expr::Leaf(text) if text.is_empty());
                let mut smaller: Vec<Expr> = operands.iter().filter(is_value).cloned().collect();
                for (at, operand) in operands.iter().enumerate() {
                    smaller.extend(operand.smaller().into_iter().map(|operand| {
                        let mut operands = operands.clone();
                        operands[at] = operand;
                        Expr::Call(template.clone(), operands)
                    }));
                }
                smaller
            }
            Expr::Query(template, operands, query) => query
                .smaller()
                .into_iter()
                .map(|query| Expr::Query(template, operands.clone(), Box::new(query)))
                .collect(),
        }
    }
}

impl From {
    fn smaller(&self) -> Vec<From> {
        match self {
            From::Table { .. } => vec![],
            From::Derived { query, alias, lateral } => {
                let smaller = query.smaller().into_iter().filter(|smaller| smaller.width() == query.width());
                let derived = |query| From::Derived { query: Box::new(query), alias: alias.clone(), lateral: *lateral };
                smaller.map(derived).collect()
            }
            From::Join { kind, left, right, on } => {
                let join = |left: From, right: From, on: Option<Expr>| From::Join {
                    kind,
                    left: Box::new(left),
                    right: Box::new(right),
                    on,
                };
                let mut smaller = vec![left.as_ref().clone(), right.as_ref().clone()];
                smaller.extend(left.smaller().into_iter().map(|left| join(left, right.as_ref().clone(), on.clone())));
                smaller.extend(right.smaller().into_iter().map(|right| join(left.as_ref().clone(), right, on.clone())));
                if let Some(on) = on {
                    let ons = on.smaller().into_iter();
                    smaller.extend(ons.map(|on| join(left.as_ref().clone(), right.as_ref().clone(), Some(on))));
                }
                smaller
            }
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, query)) in self.with.iter().enumerate() {
            write!(f, "{} {name} AS ({query})", if at == 0 { "WITH" } else { "," })?;
        }
        if !self.with.is_empty() {
            f.write_str(" ")?;
        }
        write!(f, "{}", self.body)?;
        let Some(Limit { rows, offset, descending }) = self.limit else { return Ok(()) };
        let direction = if descending { " DESC" } else { "" };
        let columns: Vec<_> = (1..=self.width()).map(|column| format!("{column}{direction}")).collect();
        write!(f, " ORDER BY {} LIMIT {rows} OFFSET {offset}", columns.join(", "))
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Select(select) => write!(f, "{select}"),
            Body::Set { operator, left, right } => write!(f, "({left}) {operator} ({right})"),
        }
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.distinct { "SELECT DISTINCT " } else { "SELECT " })?;
        for (at, item) in self.items.iter().enumerate() {
            write!(f, "{}{item} AS c{at}", if at == 0 { "" } else { ", " })?;
        }
        write!(f, " FROM {}", self.from)?;
        if let Some(filter) = &self.filter {
            write!(f, " WHERE {filter}")?;
        }
        if !self.group.is_empty() {
            let columns: Vec<_> = self.group.iter().map(ToString::to_string).collect();
            write!(f, " GROUP BY {}({})", self.grouping, columns.join(", "))?;
        }
        self.having.as_ref().map_or(Ok(()), |having| write!(f, " HAVING {having}"))
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            From::Table { name, alias } => write!(f, "{name} AS {alias}"),
            From::Derived { query, alias, lateral } => {
                write!(f, "{}({query}) AS {alias}", if *lateral { "LATERAL " } else { "" })
            }
            From::Join { kind, left, right, on } => {
                write!(f, "{left} {kind} JOIN {right}")?;
                on.as_ref().map_or(Ok(()), |on| write!(f, " ON {on}"))
            }
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (template, operands, query) = match self {
            Expr::Leaf(text) => return f.write_str(text),
            Expr::Call(template, operands) => (template.as_str(), operands, None),
            Expr::Query(template, operands, query) => (*template, operands, Some(query)),
        };
        let mut operands = operands.iter();
        let mut pieces = template.split("{}");
        f.write_str(pieces.next().unwrap_or_default())?;
        for piece in pieces {
            match (operands.next(), query) {
                (Some(operand), _) => write!(f, "{operand}")?,
                (None, Some(query)) => write!(f, "{query}")?,
                (None, None) => {}
            }
            f.write_str(piece)?;
        }
        Ok(())
    }
}
