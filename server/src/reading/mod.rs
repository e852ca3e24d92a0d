//! Ad-hoc reading: relations as DataFusion tables over what is published.

mod index_lookup;
mod memory;
mod model_table;
mod snapshot;
mod source_table;

pub use memory::query_memory;
pub use model_table::ModelTable;
pub use snapshot::Snapshot;
pub use source_table::{SourceTable, with_hidden};
