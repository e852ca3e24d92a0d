//! The system functions: what clients call to have catalogs explained, and to ask about their session.
//!
//! A function is an entry in one of the lists below: its name, the types of its arguments and of its result, and what
//! it does with the cells of one row and the snapshot. Arguments of type `oid` and `regclass` take a number; `regclass`
//! takes a relation's name too.

mod definitions;
mod expand_array;
mod names;
mod privileges;
mod scalar;
mod session;
mod sizes;
mod text;
mod visibility;

use super::cell::Cell;
use super::snapshot::Snapshot;
use datafusion::logical_expr::ScalarUDF;
use millrace_types::Result;
use std::sync::Arc;

/// A system function.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The internal names of its arguments' types, or `any`.
    pub arguments: &'static [&'static str],
    /// How many of the arguments must be given.
    pub required: usize,
    /// The internal name of its result's type.
    pub result: &'static str,
    /// Whether it is NULL whenever an argument is.
    pub strict: bool,
    /// The value for one row's arguments.
    pub call: Call,
}

/// What a function does with one row.
pub type Call = fn(&Snapshot, &[Cell]) -> Result<Cell>;

impl Function {
    /// A strict function of exactly these arguments.
    const fn new(name: &'static str, arguments: &'static [&'static str], result: &'static str, call: Call) -> Function {
        Function { name, arguments, required: arguments.len(), result, strict: true, call }
    }

    /// The same function with only the first `required` arguments needed.
    const fn optional(mut self, required: usize) -> Function {
        self.required = required;
        self
    }

    /// The same function called with NULLs too.
    const fn lenient(mut self) -> Function {
        self.strict = false;
        self
    }
}

/// Every system function.
pub const FUNCTIONS: &[&[Function]] = &[
    definitions::FUNCTIONS,
    names::FUNCTIONS,
    privileges::FUNCTIONS,
    session::FUNCTIONS,
    sizes::FUNCTIONS,
    text::FUNCTIONS,
    visibility::FUNCTIONS,
];

/// The system functions over a snapshot, to be registered for the statement that it was made for.
pub fn system_functions(snapshot: Arc<Snapshot>) -> Vec<ScalarUDF> {
    let functions = FUNCTIONS.iter().copied().flatten();
    let mut all: Vec<_> = functions.map(|function| scalar::bind(function, snapshot.clone())).collect();
    all.push(ScalarUDF::new_from_impl(expand_array::ExpandArray::new()));
    all
}
