//! Walks over syntax trees.
//!
//! sqlparser makes the code of a walk over its whole tree anew for every type of visitor, which costs the build seconds and
//! megabytes each. Here it is made once, for visitors behind a pointer. So nobody else calls sqlparser's `visit`.

use datafusion::sql::sqlparser::ast::{
    Delete, Expr, Insert, ObjectName, Query, Select, Statement, TableFactor, Update, ValueWithSpan, Visit, VisitMut,
    Visitor, VisitorMut, With,
};
use millrace_types::{Result, SqlError};
use std::ops::ControlFlow;

/// A syntax tree that can be walked over. A visitor breaks off with an error.
pub trait Walk {
    /// Shows every node to a visitor.
    ///
    /// # Errors
    /// The one with which the visitor breaks off.
    fn walk(&self, visitor: &mut dyn Visitor<Break = SqlError>) -> Result<()>;

    /// Lets a visitor change every node.
    ///
    /// # Errors
    /// The one with which the visitor breaks off.
    fn walk_mut(&mut self, visitor: &mut dyn VisitorMut<Break = SqlError>) -> Result<()>;
}

macro_rules! walk {
    ($($tree:ty),*) => {$(
        impl Walk for $tree {
            fn walk(&self, visitor: &mut dyn Visitor<Break = SqlError>) -> Result<()> {
                outcome(self.visit(&mut Reader(visitor)))
            }

            fn walk_mut(&mut self, visitor: &mut dyn VisitorMut<Break = SqlError>) -> Result<()> {
                outcome(self.visit(&mut Writer(visitor)))
            }
        }
    )*};
}

walk!(Statement, Query, Select, Expr, Insert, Update, Delete, With);

fn outcome(flow: ControlFlow<SqlError>) -> Result<()> {
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Applies a change to every expression in a tree, inner ones first.
pub fn each_expression(tree: &mut impl Walk, change: impl FnMut(&mut Expr)) {
    struct Each<F>(F);
    impl<F: FnMut(&mut Expr)> VisitorMut for Each<F> {
        type Break = SqlError;

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
            (self.0)(expr);
            ControlFlow::Continue(())
        }
    }
    // It never breaks off.
    let _ = tree.walk_mut(&mut Each(change));
}

/// Applies a change to every SELECT in a tree, inner ones first.
pub fn each_select(tree: &mut impl Walk, change: impl FnMut(&mut Select)) {
    struct Each<F>(F);
    impl<F: FnMut(&mut Select)> VisitorMut for Each<F> {
        type Break = SqlError;

        fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
            (self.0)(select);
            ControlFlow::Continue(())
        }
    }
    // It never breaks off.
    let _ = tree.walk_mut(&mut Each(change));
}

struct Reader<'a>(&'a mut dyn Visitor<Break = SqlError>);

struct Writer<'a>(&'a mut dyn VisitorMut<Break = SqlError>);

macro_rules! forward {
    ($($method:ident($node:ty)),* $(,)?) => {
        impl Visitor for Reader<'_> {
            type Break = SqlError;
            $(fn $method(&mut self, node: &$node) -> ControlFlow<SqlError> {
                self.0.$method(node)
            })*
        }

        impl VisitorMut for Writer<'_> {
            type Break = SqlError;
            $(fn $method(&mut self, node: &mut $node) -> ControlFlow<SqlError> {
                self.0.$method(node)
            })*
        }
    };
}

forward! {
    pre_visit_query(Query),
    post_visit_query(Query),
    pre_visit_select(Select),
    post_visit_select(Select),
    pre_visit_relation(ObjectName),
    post_visit_relation(ObjectName),
    pre_visit_table_factor(TableFactor),
    post_visit_table_factor(TableFactor),
    pre_visit_expr(Expr),
    post_visit_expr(Expr),
    pre_visit_statement(Statement),
    post_visit_statement(Statement),
    pre_visit_value(ValueWithSpan),
    post_visit_value(ValueWithSpan),
}
