//! The arguments of a window in FROM, by position and by name.

use super::{Called, no_such_call};
use crate::parse::{fold, name_parts, parse_expression, parse_query};
use millrace_functions::PARTITION_BY;
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, SetExpr, Spanned,
    TableAlias, TableFactor, TableFunctionArgs,
};
use sqlparser::tokenizer::Span;

/// A window in FROM: what it is over, and what it is made of.
pub struct WindowCall {
    pub name: String,
    /// The rows that are put into windows.
    pub data: TableFactor,
    pub time: Expr,
    lengths: Vec<Expr>,
    offset: Option<Expr>,
    zone: Option<Expr>,
    /// The partition of a session; `None` for other windows.
    pub keys: Option<Vec<Expr>>,
    /// Whether it is written as in SQL:2016, with TABLE or DESCRIPTOR.
    pub standard: bool,
}

impl WindowCall {
    /// # Errors
    /// `42883` for arguments that are missing, too many or unknown; `42601` for what is no relation.
    pub fn parse(called: &Called) -> Result<WindowCall> {
        let mut arguments = Arguments::of(called)?;
        let data = arguments.take("data")?;
        let (data, keys) = partitioned(data);
        let mut keys = keys.unwrap_or_default();
        if called.name == "session" && !keys.is_empty() {
            // `t PARTITION BY a, b, ts, gap`: the keys are what the others leave over.
            keys.extend(arguments.surplus());
        }
        arguments.assign()?;
        let time = arguments.take("timecol")?;
        let (time, described) = descriptor(time)?;
        let lengths = arguments.lengths().iter().map(|name| arguments.take(name)).collect::<Result<_>>()?;
        if called.name != "session" && !keys.is_empty() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "PARTITION BY is for SESSION alone"));
        }
        Ok(WindowCall {
            data: relation(called, data)?,
            time,
            lengths,
            offset: arguments.optional("offset"),
            zone: arguments.optional("time_zone"),
            keys: (called.name == "session").then_some(keys),
            standard: called.in_table || described,
            name: called.name.clone(),
        })
    }

    /// What the functions of the window are called with.
    pub fn arguments(&self) -> Vec<Expr> {
        let mut arguments = vec![self.time.clone()];
        arguments.extend(self.lengths.iter().cloned());
        let none = || parse_expression("INTERVAL '0'").ok();
        let offset = self.offset.clone().or_else(|| self.zone.as_ref().and_then(|_| none()));
        arguments.extend(offset);
        arguments.extend(self.zone.clone());
        arguments
    }
}

/// Arguments on their way to their names.
struct Arguments<'a> {
    window: &'a str,
    /// Those without a name that are not assigned yet, in order.
    positional: Vec<Expr>,
    named: Vec<(String, Expr)>,
}

impl<'a> Arguments<'a> {
    fn of(called: &'a Called) -> Result<Arguments<'a>> {
        let mut arguments = Arguments { window: &called.name, positional: vec![], named: vec![] };
        for argument in &called.arguments {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if arguments.named.is_empty() => {
                    arguments.positional.push(expr.clone());
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                    let message = "positional argument cannot follow named argument";
                    return Err(placed(SqlError::new(SqlState::SYNTAX_ERROR, message), expr.span()));
                }
                FunctionArg::ExprNamed { name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(expr), .. }
                | FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                    arguments.name(name, expr.clone())?;
                }
                other => return Err(arguments.error(format!("{} does not take {other}", arguments.word()))),
            }
        }
        if !arguments.positional.is_empty() {
            let data = arguments.positional.remove(0);
            arguments.named.push(("data".to_owned(), data));
        }
        Ok(arguments)
    }

    fn name(&mut self, name: &Ident, expr: Expr) -> Result<()> {
        let folded = fold(name);
        if !self.names().contains(&folded.as_str()) {
            return Err(placed(self.error(format!("{} has no argument \"{folded}\"", self.word())), name.span));
        }
        if self.named.iter().any(|(known, _)| *known == folded) {
            let message = format!("argument name \"{folded}\" used more than once");
            return Err(placed(SqlError::new(SqlState::SYNTAX_ERROR, message), name.span));
        }
        self.named.push((folded, expr));
        Ok(())
    }

    /// Gives the arguments without a name the names that are left.
    fn assign(&mut self) -> Result<()> {
        let names: Vec<&str> = self.names().into_iter().filter(|name| *name != "data").collect();
        if self.positional.len() > names.len() {
            return Err(self.error(format!("{} does not take so many arguments", self.word())));
        }
        for (name, expr) in names.into_iter().zip(std::mem::take(&mut self.positional)) {
            if self.named.iter().any(|(known, _)| known == name) {
                let message = format!("argument name \"{name}\" used more than once");
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
            }
            self.named.push((name.to_owned(), expr));
        }
        Ok(())
    }

    /// The first of the arguments without a name that have no place behind the relation.
    fn surplus(&mut self) -> Vec<Expr> {
        let given = |name: &&str| self.named.iter().any(|(known, _)| known == name);
        let places = ["timecol", "gap"].iter().filter(|name| !given(name)).count();
        let surplus = self.positional.len().saturating_sub(places);
        self.positional.drain(..surplus).collect()
    }

    fn take(&mut self, name: &str) -> Result<Expr> {
        self.optional(name).ok_or_else(|| self.error(format!("{} needs {}", self.word(), name.to_uppercase())))
    }

    fn optional(&mut self, name: &str) -> Option<Expr> {
        let place = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.remove(place).1)
    }

    fn lengths(&self) -> &'static [&'static str] {
        match self.window {
            "tumble" => &["size"],
            "hop" => &["slide", "size"],
            "cumulate" => &["step", "size"],
            _ => &["gap"],
        }
    }

    /// All names, in the order of positions.
    fn names(&self) -> Vec<&'static str> {
        let aligned: &[&str] = if self.window == "session" { &[] } else { &["offset", "time_zone"] };
        ["data", "timecol"].iter().chain(self.lengths()).chain(aligned).copied().collect()
    }

    fn word(&self) -> String {
        self.window.to_uppercase()
    }

    fn error(&self, message: String) -> SqlError {
        no_such_call(
            message,
            match self.window {
                "tumble" => "tumble(relation, time, size [, offset] [, time_zone => zone])",
                "hop" => "hop(relation, time, slide, size [, offset] [, time_zone => zone])",
                "cumulate" => "cumulate(relation, time, step, size [, offset] [, time_zone => zone])",
                _ => "session(relation [PARTITION BY key, ...], time, gap)",
            },
        )
    }
}

fn placed(error: SqlError, span: Span) -> SqlError {
    match span.start.column as usize {
        0 => error,
        column => error.at(column),
    }
}

/// `relation PARTITION BY keys` into its parts.
fn partitioned(data: Expr) -> (Expr, Option<Vec<Expr>>) {
    match data {
        Expr::BinaryOp { left, op: BinaryOperator::Custom(op), right } if op == PARTITION_BY => {
            let keys = match *right {
                Expr::Tuple(keys) => keys,
                Expr::Nested(key) => vec![*key],
                key => vec![key],
            };
            (*left, Some(keys))
        }
        data => (data, None),
    }
}

/// The column in `DESCRIPTOR(column)`, and whether it was written so.
fn descriptor(time: Expr) -> Result<(Expr, bool)> {
    let Expr::Function(function) = &time else { return Ok((time, false)) };
    if name_parts(&function.name) != ["descriptor"] {
        return Ok((time, false));
    }
    match &function.args {
        FunctionArguments::List(list) => match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(column))] => Ok((column.clone(), true)),
            _ => Err(placed(SqlError::new(SqlState::SYNTAX_ERROR, "DESCRIPTOR names one column"), time.span())),
        },
        _ => Err(placed(SqlError::new(SqlState::SYNTAX_ERROR, "DESCRIPTOR names one column"), time.span())),
    }
}

/// What an argument names as a relation.
fn relation(called: &Called, data: Expr) -> Result<TableFactor> {
    let mut template = parse_query("SELECT 1 FROM x")?;
    let SetExpr::Select(select) = template.body.as_mut() else {
        return Err(SqlError::internal("a SELECT is parsed as one"));
    };
    let mut table = select.from.swap_remove(0).relation;
    let TableFactor::Table { name, args, .. } = &mut table else {
        return Err(SqlError::internal("a table is parsed as one"));
    };
    match data {
        Expr::Identifier(ident) => *name = ObjectName::from(vec![ident]),
        Expr::CompoundIdentifier(parts) => *name = ObjectName::from(parts),
        Expr::Nested(inner) => return relation(called, *inner),
        Expr::Subquery(subquery) => {
            let alias = TableAlias { explicit: true, name: Ident::new("input"), columns: vec![], at: None };
            return Ok(TableFactor::Derived { lateral: called.lateral, subquery, alias: Some(alias), sample: None });
        }
        Expr::Function(function) => match function.args {
            FunctionArguments::List(list) => {
                *name = function.name;
                *args = Some(TableFunctionArgs { args: list.args, settings: None });
            }
            _ => return Err(no_relation(called)),
        },
        _ => return Err(no_relation(called)),
    }
    Ok(table)
}

fn no_relation(called: &Called) -> SqlError {
    let message = format!("{} is over a relation or a query in parentheses", called.name.to_uppercase());
    SqlError::new(SqlState::SYNTAX_ERROR, message)
}
