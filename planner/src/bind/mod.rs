//! Names and types: a syntax tree into a logical plan that means what Postgres means.
//!
//! DataFusion's SQL planner resolves names and functions. Around it: output columns get Postgres's names ([`names`]),
//! constants Postgres's types ([`literals`]), parameters the types of what they meet ([`parameters`]), and results the
//! Arrow types that [`millrace_types::SqlType`] lists ([`output`]).

mod asof;
mod check;
mod common_type;
mod constant;
mod delete;
mod dml;
mod event_windows;
mod expression;
mod generated;
mod grouping;
mod insert;
mod limits;
mod literals;
mod names;
mod orders;
mod outer_aggregates;
mod output;
mod parameters;
mod placement;
mod populate;
mod provider;
mod query;
mod recursion;
mod refuse;
mod row_values;
mod set_operations;
mod size;
mod source;
mod subquery_order;
#[cfg(test)]
mod tests;
mod update;
mod using;
mod values;
mod view;
mod watermark;
mod whole_rows;
mod window_calls;
mod windows;

pub use check::Checks;
pub use constant::ConstantRows;
pub use delete::{Delete, bind_delete};
pub use expression::{RowExpressions, bind_check, bind_default, bind_generated, bind_row_expression};
pub use generated::GeneratedColumns;
pub use insert::{Conflict, Insert, bind_insert};
pub use query::{Bound, bind_query, bind_stored, with_parameters};
pub use source::{RelationSource, executable};
pub use update::{Update, bind_update};
pub use view::bind_view;
pub use watermark::{WatermarkExpression, micros};

pub use names::name_outputs;
pub(crate) use names::plain_name;
