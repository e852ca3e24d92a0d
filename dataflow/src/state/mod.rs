//! State: the one keyed columnar store, and the hash index beside it.
//!
//! An [`Arrangement`] keeps the net rows of a relation (a Z-set) as immutable sorted [`Run`]s:
//!
//! ```text
//! append(tick 7) ──► run of 1 row          newest, smallest
//!                    run of 3 rows
//!                    run of 40 rows  ┐
//!                    run of 70 rows  ┘     being merged, a piece per append
//!                    run of 9,000 rows     oldest, largest: chunks of up to 16,384 rows
//!                            │
//!                         freeze() ──►  Arc<[Arc<Run>]>: what readers scan and look up while appends go on
//! ```
//!
//! **Order.** Rows are ordered by the hash of their key columns, then by the hash of all columns. Rows of one key stand
//! together, a key-group range is a contiguous piece of every run, and a look-up is an interpolation search.
//!
//! **Identity.** Two rows are the same row when both hashes agree: 128 bits, the same for values that Postgres calls
//! equal. (With an empty key, as in a cross join, the 64 bits of the row hash alone.) Keys are compared by value on
//! top, wherever equal hashes do not prove equal keys.
//!
//! **Cost.** A run is merged with the one before it when that is less than twice as long, so there are at most about
//! log2(n) runs and a row is copied at most about log2(n) times. Small merges happen at once; larger ones advance by a
//! few rows per appended row, so that no append waits for a long merge.
//!
//! **Memory.** What a run keeps is its own: strings are copied out of the blocks that they arrived in, so a run of ten
//! rows never keeps a block of megabytes. Where merges share strings, a copy is due when they stand in many buffers.
//!
//! **Snapshots** of either kind write the whole state; a section that is written replaces what an earlier snapshot
//! held of it. Restoring takes the pieces of the sections whose key hash falls into the worker's key groups.
//!
//! A relation's read model is an arrangement as well. Who needs its rows by its key takes them [`Borrowed`].
//!
//! An index for ranges is an arrangement in the order of a column's values ([`rows_in_range`]).
//!
//! Operators that need rows in an order of their own (top-k, window functions) keep them [`Ordered`].
//!
//! Operators that need no rows back (aggregate, distinct, the partners of a join's rows) keep packed words per entry
//! behind a [`HashIndex`] instead, and write the same kind of hash-ordered sections.

mod arrangement;
mod backlog;
mod best;
mod borrowed;
mod by_value;
mod counts;
mod expiry;
mod format;
mod gather;
mod index;
mod key;
mod lookup;
mod mapped;
mod merge;
mod net;
mod ordered;
mod passing;
mod probe;
mod rows;
mod run;
mod scan;
mod snapshot;
mod spill;

pub use arrangement::Arrangement;
pub use backlog::Backlog;
pub use borrowed::{Borrowed, Source};
pub use by_value::{has_order, order_keys, rows_in_range};
pub use counts::{Counts, Place};
pub use expiry::{Expiry, time_of, times_of};
pub use format::{Decoding, Format};
pub use gather::{batch_of, bytes_of, compact, compact_rows, interleave_rows, take_rows};
pub use index::HashIndex;
pub use key::{comparable, hash_is_exact, rows_without_null, same_keys};
pub use lookup::{contains_keys, lookup, net_weights};
pub use net::net;
pub use ordered::{Change, Keep, Ordered};
pub use passing::{Passed, Passing};
pub use probe::{Matches, Probe};
pub use rows::{OrderedRow, RowView, Rows};
pub use run::{CHUNK_ROWS, Chunk, RowId, Run, ids_of};
pub use scan::Scan;
pub use snapshot::{corrupt, in_range, section_of, sorted_batch, weighted_rows, weighted_section};
pub use spill::{limit_memory, on_disk};
