//! What the planner must know of relations: look-ups only, given by whoever owns the definitions.

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use millrace_types::{RelationId, Result};
use std::sync::Arc;

/// Relations by name, as one session sees them.
pub trait Catalog: Send + Sync {
    /// The relation with a name of one to three parts (`database.schema.relation`), each folded to lowercase unless it
    /// was quoted. A bare name is looked for along the session's search path.
    ///
    /// # Errors
    /// `0A000` for another database; whatever the owner of the definitions meets.
    fn relation(&self, name: &[String]) -> Result<Option<Arc<Relation>>>;

    /// As [`Catalog::relation`] for a name in the text of the plain view `view`, where it means what it meant when the
    /// view was made. The default is for catalogs without a search path.
    fn relation_in_view(&self, view: RelationId, name: &[String]) -> Result<Option<Arc<Relation>>> {
        let _ = view;
        self.relation(name)
    }
}

/// What a relation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    Source,
    /// A plain view: its query stands for it.
    View,
    MaterializedView,
    Sink,
    /// One stored row that says where a sequence stands.
    Sequence,
    /// A relation of the system catalogs: read ad hoc only.
    System,
}

impl RelationKind {
    /// The kind as messages call it.
    pub fn name(self) -> &'static str {
        match self {
            RelationKind::Table => "table",
            RelationKind::Source => "source",
            RelationKind::View => "view",
            RelationKind::MaterializedView => "materialized view",
            RelationKind::Sink => "sink",
            RelationKind::Sequence => "sequence",
            RelationKind::System => "system relation",
        }
    }
}

/// Where the values of a column come from that users may not give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Generated {
    /// An expression over the other columns; whoever stores rows evaluates it.
    Stored(String),
    /// `GENERATED ALWAYS AS IDENTITY`: the default.
    Identity,
    /// `AS PROCTIME()`: the default, which tells when a row comes in.
    Arrival,
}

/// Columns by which the rows of a relation are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationKey {
    /// The name of the constraint or index.
    pub name: String,
    /// What holds the rows in the order of this key: the relation itself, or an index of it.
    pub model: RelationId,
    pub columns: Vec<usize>,
    /// Whether the model has the rows in the order of the one column's values, and not of a hash.
    pub ordered: bool,
    /// Whether two rows that agree on all columns, none of them NULL, are an error.
    pub unique: bool,
}

/// The columns of a source that nobody sees and plans may ask for: the watermark of the row's split before the row, of
/// the type of the event time, and the row's number.
#[derive(Debug)]
pub struct HiddenColumns {
    /// All columns, the hidden ones last.
    pub schema: SchemaRef,
    /// Reads the rows ad hoc, with these columns.
    pub provider: Arc<dyn TableProvider>,
    /// Whether windows that are final reject rows.
    pub rejects: bool,
    /// Whether nobody sees rows that are late.
    pub drops: bool,
}

/// A relation.
#[derive(Debug)]
pub struct Relation {
    pub id: RelationId,
    pub schema_name: String,
    pub name: String,
    pub kind: RelationKind,
    /// Its columns, made by [`millrace_types::field_of`]; a column is NOT NULL when its field is not nullable.
    pub schema: SchemaRef,
    /// Whether its rows never change nor go.
    pub append_only: bool,
    /// Columns of which no two rows agree, if such are known.
    pub unique_key: Option<Vec<usize>>,
    /// The column that its watermark bounds.
    pub event_time: Option<usize>,
    /// Whether it has a watermark, or is made from relations that have one.
    pub watermarked: bool,
    /// What a source with a watermark knows of each row beside its columns.
    pub hidden: Option<HiddenColumns>,
    /// The ways in which rows are looked up.
    pub keys: Vec<RelationKey>,
    /// The text of a plain view's query.
    pub view_query: Option<String>,
    /// Reads the rows ad hoc. Not called for plain views.
    pub provider: Arc<dyn TableProvider>,
    /// For each column the text of its DEFAULT, if it has one. May be empty when no column has.
    pub defaults: Vec<Option<String>>,
    /// For each column where its values come from, if users may not give them. May be empty when no column has.
    pub generated: Vec<Option<Generated>>,
    /// The name and the text of each CHECK constraint.
    pub checks: Vec<(String, String)>,
}
